from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label

import geoseg
from geoseg.run.folder import RunFolder, read_run_id
from geoseg.run.products import REPEATS, SUPERPIXEL_TABLE, ProductStore
from geoseg.segment import repeats, scene_repeats
from geoseg.segment import superpixels as superpixels_module
from geoseg.segment.repeats import Repeats, find_repeats
from geoseg.segment.scene_repeats import repeats_of_blocks
from geoseg.segment.superpixels import SuperpixelParameters, superpixels
from geoseg.segment.votes import SuperpixelTable
from geoseg.steps import classify

from .conftest import fields

QUICK = {"learn": {"windows": 4, "crop": 64, "steps": 6}, "backprop": {"max_steps": 6}, "polygons": {"min_pixels": 1}}
METHODS = {
    "scene": {},
    "scene-steps": {"tile_steps": 4},
    "tile": {"training": "tile"},
    "votes": {"training": "tile", "classify__evidence": "votes"},
    "kmeans": {"method": "kmeans"},
    "rag": {"method": "rag"},
}


def table_of(moments, votes, pixels):
    none = np.zeros(0, np.int64)
    return SuperpixelTable(np.arange(len(moments)), votes, pixels, moments, none.reshape(0, 2), none)


@given(seed=st.integers(0, 9999), n=st.integers(0, 30))
def test_rows_with_equal_moments_get_their_mean_votes_and_the_others_keep_theirs(seed, n):
    draw = np.random.default_rng(seed)
    moments, votes = draw.integers(0, 3, (n, 2)) / 7, draw.dirichlet(np.ones(4), n).reshape(n, 4)
    pixels = draw.integers(1, 50, n)
    halves = [table_of(moments[part], votes[part], pixels[part]) for part in (slice(0, n // 2), slice(n // 2, n))]

    repeats = find_repeats(halves)
    found = np.concatenate([repeats.share(half).votes for half in halves]) if n else votes

    for row in range(n):
        same = (moments == moments[row]).all(axis=1)
        if same.sum() == 1:
            np.testing.assert_array_equal(found[row], votes[row])
        else:
            np.testing.assert_allclose(found[row], np.average(votes[same], axis=0, weights=pixels[same]))
            assert (found[same] == found[row]).all()


def test_table_without_repeated_moments_is_returned_as_it_is():
    table = table_of(np.array([[0.1, 0.2], [0.1, 0.3], [0.2, 0.2]]), np.eye(3), np.ones(3, int))

    assert find_repeats([table]).share(table) is table


@pytest.mark.parametrize("keys", [2**20, 7], ids=["all keys at once", "a few keys at a time"])
@pytest.mark.parametrize("pending", [200_000, 5])
def test_repeats_of_many_blocks_are_those_of_one_table(monkeypatch, keys, pending):
    monkeypatch.setattr(scene_repeats, "_KEYS", keys)
    monkeypatch.setattr(scene_repeats, "_PENDING", pending)
    draw = np.random.default_rng(keys)
    moments, votes = draw.integers(0, 5, (60, 2)) / 7, draw.dirichlet(np.ones(4), 60)
    moments[::7] = draw.random((9, 2))  # which occur once
    moments[7] *= -0.0
    moments[14] = 0.0
    table = replace(table_of(moments, votes, draw.integers(1, 50, 60)), context=draw.random((60, 3)).astype(np.float16))
    blocks = [table.rows(slice(begin, begin + 9)) for begin in range(0, 60, 9)]

    whole, found = find_repeats([table]), repeats_of_blocks(blocks.__getitem__, range(len(blocks)))

    np.testing.assert_array_equal(found.moments, whole.moments)
    np.testing.assert_array_equal(found.votes, whole.votes)
    np.testing.assert_array_equal(found.context, whole.context)


def test_of_too_many_repeats_those_of_the_most_superpixels_are_kept(monkeypatch):
    monkeypatch.setattr(scene_repeats, "_MAX_REPEATS", 3)
    monkeypatch.setattr(scene_repeats, "_KEYS", 4)  # so that they are found in several shares
    numbers = [2, 5, 1, 3, 4, 2]  # superpixels with the moments 0, 1, …
    moments = np.repeat(np.arange(6.0), numbers)[np.random.default_rng(0).permutation(sum(numbers))][:, None]
    table = table_of(moments, np.ones((len(moments), 1)), np.ones(len(moments), int))

    found = repeats_of_blocks([table.rows(np.arange(9)), table.rows(np.arange(9, 17))].__getitem__, [0, 1])

    assert found.moments[:, 0].tolist() == [1, 3, 4]


def test_rows_whose_keys_are_equal_by_chance_are_no_repeats(monkeypatch):
    for module in (repeats, scene_repeats):
        monkeypatch.setattr(module, "moment_keys", lambda moments: np.zeros(len(moments), np.uint64))
    table = table_of(np.array([[0.1], [0.2], [0.1], [0.4], [0.3], [0.3]]), np.eye(6), np.ones(6, int))

    found = repeats_of_blocks([table].__getitem__, [0])

    np.testing.assert_array_equal(found.moments, [[0.1], [0.3]])
    expected = np.eye(6)
    expected[[0, 2]], expected[[4, 5]] = [0.5, 0, 0.5, 0, 0, 0], [0, 0, 0, 0, 0.5, 0.5]
    np.testing.assert_array_equal(found.share(table).votes, expected)


def test_votes_are_shared_as_by_comparing_each_superpixel_with_each_repeat():
    draw = np.random.default_rng(3)
    moments, others = np.unique(draw.integers(0, 4, (90, 3)) / 7, axis=0), draw.integers(0, 6, (200, 3)) / 7
    others[:20] *= -1.0
    moments, votes = moments[draw.permutation(len(moments))[:25]], draw.dirichlet(np.ones(4), 25)
    table = table_of(others, draw.dirichlet(np.ones(4), 200), np.ones(200, int))
    is_equal = (table.moments[:, None] == moments[None]).all(axis=2)

    found = Repeats(moments, votes).share(table)

    expected = np.where(is_equal.any(axis=1)[:, None], votes[is_equal.argmax(axis=1)], table.votes)
    np.testing.assert_array_equal(found.votes, expected)
    assert 20 < is_equal.any(axis=1).sum() < 180


def test_scene_without_repeats_has_none():
    tables = [table_of(np.array([[0.1], [0.2]]), np.eye(2), np.ones(2, int))]

    assert len(repeats_of_blocks(tables.__getitem__, [0]).moments) == 0


def test_repeats_of_a_scene_are_also_those_outside_the_sample_of_blocks(monkeypatch, make_raster):
    monkeypatch.setattr(classify, "_MAX_BLOCKS", 2)
    monkeypatch.setattr(superpixels_module, "BLOCK", 48)
    monkeypatch.setattr(superpixels_module, "BLOCK_MARGIN", 12)
    image = squares()
    image[70:90, 70:90], image[70:90, 100:120] = 130, 130  # in no block of the sample, the first and the last
    scene = make_raster(image[None], "mask.tif")

    geoseg.segment_scene(scene, scene.parent / "a.gpkg", config=QUICK, method="kmeans", workers=0, keep=True)

    run = scene.parent / "a.run"
    store = ProductStore(RunFolder(run, read_run_id(run)))
    tables = [store.get(SUPERPIXEL_TABLE, block) for block in sorted(store.finished([SUPERPIXEL_TABLE]))]
    expected = find_repeats(tables)
    np.testing.assert_array_equal(store.get(REPEATS).moments, expected.moments)
    assert len(expected.moments) > len(find_repeats([tables[0], tables[-1]]).moments)


def squares(shape=(150, 170), n=9):
    """Return (y, x) pixels that are 255 in squares and 0 elsewhere."""
    draw, image = np.random.default_rng(5), np.zeros(shape, np.uint8)
    for _ in range(n):
        top, left, side = draw.integers(0, 130), draw.integers(0, 150), draw.integers(9, 40)
        image[top : top + side, left : left + side] = 255
    return image


def n_pieces(image):
    return int(label(image.astype(int) + 1, connectivity=1).max())


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=() if i < 3 else pytest.mark.slow)
        for i, (name, options) in enumerate(METHODS.items())
    ],
)
def test_pixels_of_equal_value_get_one_class_in_all_tiles(options):
    image = squares()

    found = geoseg.segment_array(image, config=QUICK, device="cpu", tiles__size=64, tiles__halo=8, **options)

    assert [len(np.unique(found.classes[image == value])) for value in (0, 255)] == [1, 1]
    assert len(found.region_list) == n_pieces(image)


@pytest.mark.slow
def test_number_of_regions_of_a_mask_does_not_depend_on_the_workers(make_raster, tmp_path):
    image = squares()
    path = make_raster(image[None])

    results = [
        geoseg.segment_scene(
            path, tmp_path / f"{n}.gpkg", config=QUICK, device="cpu", tiles__size=64, tiles__halo=8, workers=n
        )
        for n in (0, 2)
    ]

    assert [result.n_regions for result in results] == [n_pieces(image)] * 2


def test_model_gives_pixels_of_equal_value_one_class():
    image = squares()
    model = geoseg.segment_array(fields((128, 128), 1), config=QUICK, device="cpu").model

    found = model.predict(image[None], device="cpu")

    assert [len(np.unique(found.classes[image == value])) for value in (0, 255)] == [1, 1]


@pytest.mark.parametrize("pixel_size", [0.05, 0.5, 10])
@pytest.mark.parametrize("superpixel_method", ["felzenszwalb", "slic"])
def test_superpixels_of_a_thematic_raster_do_not_mix_values_at_any_resolution(pixel_size, superpixel_method):
    image = np.stack([squares(), squares()[::-1]]) // 3 + 20

    found = geoseg.segment_array(
        image, config=QUICK, method="kmeans", pixel_size=pixel_size, superpixels=superpixel_method
    )

    values = image[0].astype(int) * 256 + image[1]
    for value in np.unique(values):
        assert len(np.unique(found.classes[values == value])) == 1


@pytest.mark.parametrize("by_value", [False, True])
def test_superpixels_are_connected_and_of_one_value_with_by_value(by_value):
    bands, valid = squares()[None] / np.float32(255), np.ones((150, 170), bool)
    valid[:10] = False

    found = superpixels(bands, valid, SuperpixelParameters(sigma=1.0, min_size=200, by_value=by_value))

    np.testing.assert_array_equal(found < 0, ~valid)
    mixed = [number for number in range(found.max() + 1) if len(np.unique(bands[0][found == number])) > 1]
    assert bool(mixed) != by_value
    for number in range(found.max() + 1):
        assert label(found == number, connectivity=1).max() == 1


def test_superpixels_with_equal_moments_share_their_context() -> None:
    none = np.zeros(0, np.int64)
    moments, votes = np.array([[0.5], [0.5], [0.1]]), np.ones((3, 1))
    context = np.array([[1.0, 0.0], [0.0, 1.0], [0.25, 0.25]], np.float16)
    table = SuperpixelTable(np.arange(3), votes, np.array([3, 1, 1]), moments, none, none, context=context)

    shared = find_repeats([table]).share(table)

    assert shared.context is not None
    assert shared.context.tolist() == [[0.75, 0.25], [0.75, 0.25], [0.25, 0.25]]
