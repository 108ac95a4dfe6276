"""Products of a run: what is stored, what it is computed from, and what a repeated stage makes stale."""

import contextlib
import functools
import shutil
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import pytest

from geoseg.errors import RunError
from geoseg.run.contents import pack, unpack
from geoseg.run.executors import Serial
from geoseg.run.folder import RunFolder
from geoseg.run.memory import MemoryFolder
from geoseg.run.products import (
    CLASS_MODEL,
    CODE_ASSIGNMENTS,
    COLLAR,
    FEATURE_REDUCTION,
    LABEL_FEATURES,
    LABEL_MEANS,
    MERGED_TABLE,
    NETWORK,
    OUTLINES,
    PRODUCTS,
    REPEATS,
    SCENE,
    SUPERPIXEL_TABLE,
    SUPERPIXELS,
    SURVEY,
    VALUE_SUMS,
    VOTE_COMPONENTS,
    ProductStore,
    dependents,
)
from geoseg.segment import superpixels

from .run_in_folder import MODES, run_in, write_inputs

BY_FOLDER = {product.folder: product for product in PRODUCTS}
NOT_MADE = {
    "scene": {FEATURE_REDUCTION, CODE_ASSIGNMENTS, MERGED_TABLE, LABEL_FEATURES, LABEL_MEANS, VALUE_SUMS},
    "tile": {FEATURE_REDUCTION, NETWORK, MERGED_TABLE, LABEL_FEATURES, LABEL_MEANS, VALUE_SUMS},
    "rag": {NETWORK, CODE_ASSIGNMENTS, LABEL_FEATURES, LABEL_MEANS, VALUE_SUMS, VOTE_COMPONENTS},
}
MADE = {mode: [product for product in PRODUCTS if product not in absent] for mode, absent in NOT_MADE.items()}
MADE["labels"] = [
    product for product in PRODUCTS if product.stage in ("merge", "outline") and product != VOTE_COMPONENTS
]
MADE["labels"] += [product for product in PRODUCTS if product.stage == "label"]
CASES = [pytest.param(mode, product, id=f"{mode}-{product.folder}") for mode in MODES for product in MADE[mode]]
# Quick: one product of each of two modes. The tests of one product share a run, in one process.
FAILURES = [
    pytest.param(
        *case.values,
        id=case.id,
        marks=[pytest.mark.xdist_group(f"failures-{case.id}")]
        + [pytest.mark.slow] * (case.values not in (("tile", OUTLINES), ("labels", VALUE_SUMS))),
    )
    for case in CASES
]
each_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.folder)

TILE, BLOCK = 1, 3  # the tile and the block that fail; without the last block, two of the four tiles remain


def ancestors(product):
    """Return everything that a product is computed from, directly or not."""
    found = set()
    for earlier in product.depends_on:
        found |= {earlier} | ancestors(earlier)
    return found


@pytest.fixture(scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(superpixels, "BLOCK", 64)
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, small_blocks):  # noqa: ARG001 # every run needs the small blocks
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, inputs):
    """unbroken(mode) → the folder of a finished run and what it made."""

    @functools.cache
    def run(mode):
        folder = tmp_path_factory.mktemp(mode) / "run"
        return folder, run_in(RunFolder(folder), inputs, mode)

    return run


def key_of(product):
    """Return the key of the file that a test deletes."""
    if product in (COLLAR, SURVEY, FEATURE_REDUCTION, NETWORK, VOTE_COMPONENTS) or product.name in (
        "class_model",
        "repeats",
    ):
        return SCENE
    return BLOCK if product in (SUPERPIXELS, SUPERPIXEL_TABLE, MERGED_TABLE) else TILE


def stored(folder):
    """Return {(product, key): path} of all files of a run."""
    files = (folder / "stages").rglob("*.arrays")
    return {(BY_FOLDER[path.parts[-3]], path.stem): path for path in files}


def contents(folder):
    return {name: path.read_bytes() for name, path in stored(folder).items()}


def same(one, two):
    return np.array_equal(one.classes, two.classes) and np.array_equal(one.regions, two.regions)


# --- the list -----------------------------------------------------------------------------------------------------


def test_each_product_comes_after_those_that_it_is_computed_from():
    for i, product in enumerate(PRODUCTS):
        assert set(product.depends_on) <= set(PRODUCTS[:i]), product.folder


def test_no_two_products_have_the_same_folder():
    assert len(BY_FOLDER) == len(PRODUCTS)


@each_product
def test_dependents_are_the_products_that_have_it_among_their_ancestors(product):
    expected = [later for later in PRODUCTS if product in ancestors(later)]

    assert dependents(product) == expected


# --- contents -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def examples(unbroken):
    """One content of every product, from the runs of all modes."""
    found = {}
    for mode in MODES:
        folder, _ = unbroken(mode)
        store = ProductStore(RunFolder(folder))
        found |= {product: store.get(product, key_of(product)) for product in MADE[mode]}
    return found


def assert_equal(one, two):
    one, two = pack(one), pack(two)
    assert list(one) == list(two)
    for name, array in one.items():
        assert array.dtype == two[name].dtype
        np.testing.assert_array_equal(array, two[name], strict=True)


@each_product
def test_content_is_of_its_type_and_equal_after_packing_and_storing(product, examples, tmp_path):
    content = examples[product]

    assert type(content) is product.content
    assert_equal(unpack(product.content, pack(content)), content)
    for folder in (RunFolder(tmp_path), MemoryFolder()):
        store = ProductStore(folder)
        store.put(product, content, 7)

        assert_equal(store.get(product, 7), content)
        assert store.has(product, 7, verify=True)
        assert store.finished([product]) == {7}
        assert not store.has(product, 8)


@pytest.mark.parametrize("kind", [RunFolder, MemoryFolder])
def test_absent_product_is_a_run_error_in_both_folders(kind, tmp_path):
    store = ProductStore(kind(tmp_path) if kind is RunFolder else kind())

    with pytest.raises(RunError, match="is not finished"):
        store.get(SURVEY)
    assert store.folder.get_json("keys") is None


@pytest.mark.parametrize("mode", MODES)
def test_run_makes_the_products_of_its_mode_and_no_others(mode, unbroken):
    folder, _ = unbroken(mode)

    assert {product for product, _ in stored(folder)} == set(MADE[mode])


@pytest.mark.parametrize("mode", MODES)
def test_run_in_memory_has_the_products_of_a_run_on_disk(mode, unbroken, inputs):
    folder, on_disk = unbroken(mode)
    memory = MemoryFolder()

    in_memory = run_in(memory, inputs, mode)

    assert same(in_memory, on_disk)
    on_disk = RunFolder(folder)
    for product in MADE[mode]:
        assert memory.finished(product.folder) == on_disk.finished(product.folder)
        for key in memory.finished(product.folder):
            one, two = memory.get(product.folder, key), on_disk.get(product.folder, key)
            assert list(one) == list(two)
            for name in one:
                np.testing.assert_array_equal(one[name], two[name], strict=True)


# --- the staleness rule -------------------------------------------------------------------------------------------


def full_store(folder):
    store = ProductStore(folder)
    for product in PRODUCTS:
        for key in (0, 1, SCENE):
            folder.put(product.folder, key, {"of": np.array(key)})
    return store


@pytest.mark.parametrize("kind", [RunFolder, MemoryFolder])
@each_product
def test_other_keys_remove_exactly_what_is_computed_from_the_product(product, kind, tmp_path):
    folder = kind(tmp_path) if kind is RunFolder else kind()
    store = full_store(folder)
    store.settle(product, [0, 1])
    full_store(folder)
    everything = {each: folder.finished(each.folder) for each in PRODUCTS}
    assert all(len(keys) == 3 for keys in everything.values())

    store.settle(product, [0, 1])
    assert {each: folder.finished(each.folder) for each in PRODUCTS} == everything

    store.settle(product, [0])
    left = {each for each in PRODUCTS if folder.finished(each.folder)}
    assert left == {each for each in PRODUCTS if product not in ancestors(each)}
    assert all(folder.finished(each.folder) == {0, 1, SCENE} for each in left)


@each_product
def test_keys_that_were_never_recorded_count_as_others(product):
    folder = MemoryFolder()
    store = full_store(folder)

    store.settle(product, [0, 1])

    left = {each for each in PRODUCTS if folder.finished(each.folder)}
    assert left == {each for each in PRODUCTS if product not in ancestors(each)}


# --- what the stages read -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """A folder that records which products are read and which are stored between two marks."""

    folder: MemoryFolder = field(default_factory=MemoryFolder)
    spans: list = field(default_factory=lambda: [(set(), set())])

    def mark(self):
        self.spans.append((set(), set()))

    def get(self, step, key):
        self.spans[-1][0].add(BY_FOLDER[step])
        return self.folder.get(step, key)

    def put(self, step, key, arrays):
        self.spans[-1][1].add(BY_FOLDER[step])
        self.folder.put(step, key, arrays)

    def __getattr__(self, name):
        return getattr(self.folder, name)


@dataclass(frozen=True)
class Marking:
    """An executor that marks where the function of a tile or block begins and ends."""

    recording: Recording

    def run(self, function, context, keys, **_options):
        self.recording.mark()
        for outcome in Serial().run(function, context, keys):
            self.recording.mark()
            yield outcome


@pytest.fixture(scope="module")
def reads(inputs):
    """For each set of products that are stored together: what the code read to compute them, in all modes."""
    found = defaultdict(set)
    for mode in MODES:
        recording = Recording()
        run_in(recording, inputs, mode, executor=Marking(recording))
        for read, put in recording.spans:
            if put:
                found[frozenset(put)] |= read - put
    return dict(found)


def test_what_a_stage_reads_is_declared(reads):
    assert set.union(*map(set, reads)) == set(PRODUCTS)
    for made, read in reads.items():
        declared = set().union(*(product.depends_on for product in made))
        undeclared = {product.folder for product in read - declared}
        assert not undeclared, f"{sorted(product.folder for product in made)} also read {sorted(undeclared)}"


def test_what_is_declared_is_read_or_known_from_memory(reads):
    in_memory = {COLLAR, SURVEY, LABEL_FEATURES}  # parts of the job, and the means that `label_tiles` returns
    for product in PRODUCTS:
        read = set().union(*(read for made, read in reads.items() if product in made))
        assert set(product.depends_on) - in_memory <= read, product.folder


# --- resuming -----------------------------------------------------------------------------------------------------


def copy_of(unbroken, mode, tmp_path):
    folder, made = unbroken(mode)
    shutil.copytree(folder, tmp_path / "run")
    return tmp_path / "run", made


def flip_a_byte(path):
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.unlink(), pytest.param(flip_a_byte, marks=pytest.mark.slow)],
    ids=["deleted", "damaged"],
)
@pytest.mark.parametrize(("mode", "product"), CASES)
def test_product_that_is_lost_is_computed_again_and_nothing_else_changes(
    mode, product, damage, unbroken, inputs, tmp_path
):
    folder, made = copy_of(unbroken, mode, tmp_path)
    before, key = contents(folder), key_of(product)
    times = {name: path.stat().st_mtime_ns for name, path in stored(folder).items()}
    damage(stored(folder)[product, str(key)])

    again = run_in(RunFolder(folder), inputs, mode)

    assert same(again, made)
    assert contents(folder) == before
    written = {name for name, path in stored(folder).items() if times[name] != path.stat().st_mtime_ns}
    assert (product, str(key)) in written
    assert {each for each, _ in written} <= set(together(product))
    if product is not CODE_ASSIGNMENTS:  # those of all tiles are computed together
        assert {at for _, at in written} <= {str(key)}


def together(product):
    """Return the products that one function stores for a tile, or for the scene."""
    if product in (REPEATS, CLASS_MODEL):
        return [REPEATS, CLASS_MODEL]
    if product.stage in ("segment", "outline"):
        return [each for each in PRODUCTS if each.stage == product.stage]
    return [product]


@contextlib.contextmanager
def failing(product, key):
    """Let every attempt to store a product for one tile fail."""
    put = ProductStore.put

    def put_or_fail(self, made, content, at=SCENE):
        if (made, at) == (product, key):
            raise MemoryError(f"no room for {product.folder}")
        put(self, made, content, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProductStore, "put", put_or_fail)
        yield


def fail(product, folder, inputs, mode):
    """Run with a failure; return what was made, or None where the main process itself failed."""
    with failing(product, key_of(product)):
        try:
            return run_in(RunFolder(folder), inputs, mode)
        except MemoryError:
            return None


@pytest.fixture(scope="module")
def failed_from_the_start(tmp_path_factory, inputs):
    """failed_from_the_start(mode, product) → the folder of a run that failed to store the product, and what it made."""

    @functools.cache
    def run(mode, product):
        folder = tmp_path_factory.mktemp("failed") / "run"
        return folder, fail(product, folder, inputs, mode)

    return run


@pytest.mark.parametrize(("mode", "product"), FAILURES)
def test_failure_and_success_after_it_give_what_an_unbroken_run_gives(
    mode, product, unbroken, failed_from_the_start, inputs, tmp_path
):
    _, made = unbroken(mode)

    failed, broken = failed_from_the_start(mode, product)
    folder = tmp_path / "run"
    if failed.exists():  # the first product of all may be the one that failed
        shutil.copytree(failed, folder)
    again = run_in(RunFolder(folder), inputs, mode)

    assert broken is None or broken.failed
    assert broken is None or not same(broken, made)
    assert not again.failed
    assert same(again, made)
    assert contents(folder) == contents(unbroken(mode)[0])


@pytest.mark.parametrize(("mode", "product"), FAILURES)
def test_failure_after_a_success_gives_what_a_failure_from_the_start_gives(
    mode, product, unbroken, failed_from_the_start, inputs, tmp_path
):
    folder, made = copy_of(unbroken, mode, tmp_path)
    stored(folder)[product, str(key_of(product))].unlink()

    late = fail(product, folder, inputs, mode)
    _, early = failed_from_the_start(mode, product)
    again = run_in(RunFolder(folder), inputs, mode)

    assert (late is None) == (early is None)
    assert late is None or (set(late.failed) == set(early.failed) and same(late, early))
    assert same(again, made)
    assert contents(folder) == contents(unbroken(mode)[0])
