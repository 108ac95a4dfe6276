"""A run folder keeps finished results, complete or absent, for one run at a time."""

import errno
import json
import logging
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from geoseg.errors import ConfigError, OutputError, RunError
from geoseg.run import folder as folder_module
from geoseg.run.content_cache import ContentCache
from geoseg.run.folder import RunFolder, read_content, write_run_id
from geoseg.run.manifest import open_run, read_report, write_report
from geoseg.run.provenance import versions

IDENTITY = {"version": "0.1.0", "config": {"polygons": {"min_pixels": 64}, "bands": [1, 2, 3]}, "input": {}, "grid": {}}
LABELS = np.arange(12, dtype=np.int32).reshape(3, 4)


def open_new(path, *, resume=False, overwrite=False, identity=IDENTITY):
    return open_run(path, identity=identity, resume=resume, overwrite=overwrite)


def files_of(folder):
    return sorted(path for path in folder.path.rglob("*") if path.is_file())


def only_file(folder):
    (path,) = files_of(folder)
    return path


# --- storing and reading arrays ---------------------------------------------------------------------------------------


ARRAYS = nps.arrays(
    dtype=st.one_of(nps.integer_dtypes(), nps.floating_dtypes(), nps.boolean_dtypes(), nps.unicode_string_dtypes()),
    shape=nps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)


@settings(max_examples=40, deadline=None)
@given(arrays=st.dictionaries(st.text(max_size=8), ARRAYS, max_size=4), key=st.integers(0, 10**7))
def test_arrays_read_back_with_the_same_names_types_and_values(tmp_path_factory, arrays, key):
    folder = RunFolder(tmp_path_factory.mktemp("run"))

    folder.put("segment", key, arrays)
    back = folder.get("segment", key)

    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array, strict=True)


def test_array_that_is_read_is_writeable(tmp_path):
    folder = RunFolder(tmp_path)
    folder.put("segment", 3, {"labels": LABELS})

    back = folder.get("segment", 3)["labels"]
    back[0, 0] = 7

    assert back[0, 0] == 7


def test_arrays_that_were_read_before_are_those_of_the_file_as_it_is_now(tmp_path, monkeypatch):
    folder, other = RunFolder(tmp_path), RunFolder(tmp_path)
    reads = []
    monkeypatch.setattr(folder_module, "read_content", lambda path: (reads.append(path), read_content(path))[1])
    folder.put("segment", 3, {"labels": LABELS})

    folder.get("segment", 3)["labels"][:] = 0
    np.testing.assert_array_equal(other.get("segment", 3)["labels"], LABELS)
    assert len(reads) == 1

    other.put("segment", 3, {"labels": LABELS + 1})
    np.testing.assert_array_equal(folder.get("segment", 3)["labels"], LABELS + 1)
    folder.remove("segment", 3)
    with pytest.raises(RunError, match="is not finished"):
        folder.get("segment", 3)


def test_arrays_of_another_run_are_not_those_that_were_read_before(tmp_path):
    one = RunFolder(tmp_path, "0" * 32)
    write_run_id(one)
    one.put("segment", 3, {"labels": LABELS})
    one.get("segment", 3)

    with pytest.raises(RunError, match="does not match its checksum"):
        RunFolder(tmp_path, "f" * 32).get("segment", 3)


def test_arrays_that_were_read_last_are_kept_within_their_bytes():
    cache = ContentCache(100)

    for number in range(200):
        cache.add(number % 30, bytes(number % 13))
        assert cache.get(number % 30) == bytes(number % 13)
        assert sum(len(cache.get(key) or b"") for key in range(30)) <= 100
    cache.add("long", bytes(101))

    assert cache.get("long") is None


def test_equal_arrays_give_equal_bytes(tmp_path):
    one, two = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "two")

    one.put("segment", 3, {"labels": LABELS})
    time.sleep(0.01)
    two.put("segment", 3, {"labels": LABELS.copy()})

    assert only_file(one).read_bytes() == only_file(two).read_bytes()


def test_object_arrays_are_refused_and_leave_no_file(tmp_path):
    folder = RunFolder(tmp_path)

    with pytest.raises(ValueError, match="dtype object"):
        folder.put("segment", 3, {"objects": np.array([{}, None])})

    assert not files_of(folder)


@pytest.mark.parametrize("key", ["../manifest", "", ".hidden", "a/b", -1])
def test_key_that_is_a_path_is_refused(tmp_path, key):
    with pytest.raises(ValueError, match="is not a valid name"):
        RunFolder(tmp_path).put("segment", key, {"labels": LABELS})


def test_finished_keys_keep_their_type_and_numpy_integers_are_integers(tmp_path):
    folder = RunFolder(tmp_path)

    for key in (0, 999, np.int64(1000), 123456, "12", "scene"):
        folder.put("outline", key, {"labels": LABELS})

    assert folder.finished("outline") == {0, 999, 1000, 123456, "12", "scene"}
    assert folder.finished("label") == set()


def test_folder_has_at_most_a_thousand_tiles(tmp_path):
    folder = RunFolder(tmp_path)

    for key in (0, 999, 1000):
        folder.put("segment", key, {})

    assert {path.parent.name for path in files_of(folder)} == {"000000", "000001"}


# --- complete or absent -------------------------------------------------------------------------------------------


def test_every_flipped_byte_and_every_truncation_is_detected(tmp_path):
    folder = RunFolder(tmp_path)
    folder.put("segment", 3, {"labels": LABELS})
    path = only_file(folder)
    whole = path.read_bytes()
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]

    for content in [*damaged, *(whole[:length] for length in range(len(whole))), whole + b"\0"]:
        path.write_bytes(content)

        assert not folder.has("segment", 3, verify=True)
        with pytest.raises(RunError, match=r"'segment' of tile 3 is damaged.*delete .*--resume"):
            folder.get("segment", 3)


def test_damaged_tile_counts_as_absent_and_is_removed(tmp_path, caplog):
    folder = RunFolder(tmp_path)
    for key in (1, 2):
        folder.put("segment", key, {"labels": LABELS})
    damaged = files_of(folder)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])

    assert folder.finished("segment") == {2}

    assert not damaged.exists()
    assert "step segment, tile 1" in caplog.text


def test_tile_copied_to_the_place_of_another_is_detected(tmp_path):
    folder = RunFolder(tmp_path)
    folder.put("segment", 1, {"labels": LABELS})
    path = only_file(folder)
    path.with_name(path.name.replace("1", "2")).write_bytes(path.read_bytes())

    assert folder.finished("segment") == {1}


def test_error_for_an_absent_tile_names_its_step(tmp_path):
    folder = RunFolder(tmp_path)

    assert not folder.has("label", 7)
    assert not folder.has("label", 7, verify=True)
    with pytest.raises(RunError, match=r"'label' of tile 7 is not finished.*--resume"):
        folder.get("label", 7)


KILLED_WHILE_WRITING = """
import sys, numpy as np
from pathlib import Path
from geoseg.run import folder as folder_module
from geoseg.run.content_cache import ContentCache
from geoseg.run.folder import RunFolder, read_content, write_run_id
folder = RunFolder(Path(sys.argv[1]))
noise = np.random.default_rng(0).integers(0, 1 << 30, 200_000, dtype=np.int32)
print("ready", flush=True)
for key in range(100_000):
    folder.put("segment", key % 4, {"noise": noise, "key": np.array(key % 4)})
"""


def test_process_killed_while_writing_leaves_only_complete_tiles(tmp_path):
    folder = RunFolder(tmp_path)
    with subprocess.Popen([sys.executable, "-c", KILLED_WHILE_WRITING, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        time.sleep(0.3)
        process.kill()

    keys = {int(path.stem) for path in tmp_path.rglob("*.arrays")}

    assert keys
    assert folder.finished("segment") == keys
    assert all(folder.get("segment", key)["key"] == key for key in keys)


def test_reader_of_a_tile_that_is_being_replaced_reads_the_old_one_completely(tmp_path):
    folder = RunFolder(tmp_path)
    folder.put("segment", 3, {"labels": LABELS})
    old = only_file(folder).read_bytes()

    with only_file(folder).open("rb") as reader:
        folder.put("segment", 3, {"labels": LABELS + 1})

        assert reader.read() == old
    assert only_file(folder).read_bytes() != old


def test_full_disk_gives_an_error_with_the_path_and_leaves_no_file(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)

    def no_room(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)  # where file systems with delayed allocation report it

    with pytest.raises(
        OutputError, match=r"000000.* could not be written: No space left on device\. Free space .*--run-dir"
    ):
        folder.put("segment", 3, {"labels": LABELS})

    assert not files_of(folder)


def test_incomplete_write_is_an_output_error_and_leaves_no_file(tmp_path):
    folder = RunFolder(tmp_path)
    noise = np.random.default_rng(0).integers(0, 1 << 30, 100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))

    try:
        with pytest.raises(OutputError, match="File too large"):
            folder.put("segment", 3, {"noise": noise})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)

    assert not files_of(folder)


def test_run_folder_below_a_file_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError, match="--run-dir"):
        open_new(tmp_path / "file" / "run")


# --- documents and reports ----------------------------------------------------------------------------------------


def test_documents_read_back_as_json_with_numpy_numbers_as_numbers(tmp_path):
    folder = RunFolder(tmp_path)

    folder.put_json("survey", {"stretch": np.array([0.1, 0.2]), "n": np.int64(3), "path": Path("a/b")})

    assert folder.get_json("survey") == {"stretch": [0.1, 0.2], "n": 3, "path": "a/b"}
    assert folder.get_json("absent") is None


def test_every_changed_byte_and_every_truncation_of_a_document_is_detected(tmp_path):
    folder = RunFolder(tmp_path)
    folder.put_json("keys", {"keys": [1, 22, 3], "note": "ä"})
    path = only_file(folder)
    whole = path.read_bytes()
    changed = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    texts = {content: json_or_none(content) for content in [*changed, *(whole[:n] for n in range(len(whole) - 1))]}

    for content, value in texts.items():
        path.write_bytes(content)

        assert folder.get_json("keys") is None or value == json.loads(whole)  # a changed space is no change


@pytest.mark.parametrize(
    "content",
    ["null", "{}", "[]", "0", '"text"', "", "[" * 100_000, '{"a":' * 100_000, '{"checksum": null}', "\ufeff{}"],
)
def test_document_of_any_other_content_is_damaged(tmp_path, content):
    with open_new(tmp_path) as folder:
        folder.put_json("keys", {"keys": [1]})
    for name in ("documents/keys.json", "manifest.json", "run.json"):
        (tmp_path / name).write_text(content)

    assert folder.get_json("keys") is None
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        read_report(folder)
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        open_new(tmp_path, resume=True)


def test_document_under_the_name_of_another_is_damaged(tmp_path):
    folder = RunFolder(tmp_path)
    folder.put_json("one", {"keys": [1]})
    folder.put_json("two", {"keys": [1]})
    (tmp_path / "documents" / "one.json").replace(tmp_path / "documents" / "two.json")

    assert folder.get_json("two") is None


def json_or_none(content):
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_cleaning_removes_results_and_keeps_the_report(tmp_path):
    with open_new(tmp_path / "run") as folder:
        folder.put("segment", 1, {})
        folder.put("label", 1, {})
        folder.put_json("size", {})
        write_report(folder, {"versions": versions()})

        folder.remove_steps("segment", "absent")
        assert (folder.finished("segment"), folder.finished("label")) == (set(), {1})

        folder.clean()
        assert {path.name for path in files_of(folder)} == {"lock", "manifest.json", "run-id", "run.json"}

    report = json.loads((tmp_path / "run" / "run.json").read_text())
    assert report["versions"]["numpy"] == np.__version__
    assert {"geoseg", "python", "torch", "rasterio", "GDAL", "dask", "numba"} <= set(report["versions"])


# --- one folder, one run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [False, True])
def test_absent_or_empty_folder_starts_a_new_run(tmp_path, resume):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "absent" / "run", tmp_path / "empty"):
        with open_new(path, resume=resume) as folder:
            assert json.loads((folder.path / "manifest.json").read_text())["identity"] == IDENTITY


def test_resuming_keeps_results_and_removes_partial_files(tmp_path):
    with open_new(tmp_path) as folder:
        folder.put("segment", 1, {"labels": LABELS})
    partial = tmp_path / "stages" / "segment" / "000000" / ".2.arrays.99.abcd.geoseg-part"
    partial.write_bytes(b"half")

    with open_new(tmp_path, resume=True) as folder:
        assert folder.finished("segment") == {1}

    assert not partial.exists()


def test_run_interrupted_before_its_manifest_starts_again(tmp_path):
    (tmp_path / "lock").write_text("")
    (tmp_path / ".manifest.json.1.abcd.geoseg-part").write_text("{")

    with open_new(tmp_path, resume=True) as folder:
        assert {path.name for path in files_of(folder)} == {"lock", "manifest.json", "run-id"}


def test_folder_with_results_requires_resume_or_overwrite(tmp_path):
    open_new(tmp_path).close()

    with pytest.raises(RunError, match=r"continue it with --resume, or remove them with --overwrite"):
        open_new(tmp_path)
    with pytest.raises(ConfigError, match="give one of them"):
        open_new(tmp_path, resume=True, overwrite=True)


def test_overwriting_removes_results_but_no_file_of_the_user(tmp_path):
    with open_new(tmp_path) as folder:
        folder.put("segment", 1, {})
        folder.put_json("size", {})
        write_report(folder, {})
    (tmp_path / "labels.gpkg").write_text("mine")

    with open_new(tmp_path, overwrite=True, identity={"version": "9"}) as folder:
        assert {path.name for path in files_of(folder)} == {"lock", "manifest.json", "run-id", "labels.gpkg"}

    assert json.loads((tmp_path / "manifest.json").read_text())["identity"] == {"version": "9"}


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_folder_that_is_not_a_run_folder_is_not_changed(tmp_path, options):
    (tmp_path / "thesis.tex").write_text("years of work")

    with pytest.raises(
        RunError, match=r"not a run folder: it contains thesis\.tex, and no run-id and no intact manifest\.json"
    ):
        open_new(tmp_path, **options)
    with pytest.raises(RunError, match="not a run folder"):
        open_new(tmp_path / "thesis.tex", **options)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


FOREIGN = {
    "the manifest of a web page": {"manifest.json": '{"name": "app", "icons": []}', "documents/cv.json": "{}"},
    "an empty manifest": {"manifest.json": "", "stages/segment/000000/1.arrays": "mine"},
    "a mark with another text": {"run-id": "geoseg run mine", "stages/notes.txt": "mine"},
    "folders with the names of ours": {"documents/outputs.json": "{}", "stages/label.pieces/000000/1.arrays": "mine"},
}


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_folder_of_the_user_with_names_of_ours_is_not_changed(tmp_path, files, options):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    with pytest.raises(RunError, match="not a run folder"):
        open_new(tmp_path, **options)

    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(files)


@pytest.mark.parametrize("option", ["resume", "overwrite"])
def test_files_of_the_user_anywhere_in_a_run_folder_are_kept(tmp_path, option):
    with open_new(tmp_path) as folder:
        folder.put("segment", 1, {"labels": LABELS})
        folder.put_json("keys", {"keys": [1]})
    mine = [
        tmp_path / name for name in ("notes.txt", "documents/notes.txt", "stages/notes.txt", "stages/mine/notes.txt")
    ]
    mine += [tmp_path / "stages" / "segment" / "000000" / name for name in ("notes.txt", "copy.arrays.bak")]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")

    with open_new(tmp_path, **{option: True}) as folder:
        kept = folder.finished("segment")
        folder.clean()

    assert kept == ({1} if option == "resume" else set())
    assert all(path.read_text() == "mine" for path in mine)
    assert not list(tmp_path.rglob("*.arrays"))


def test_worker_of_an_earlier_run_stores_nothing_and_what_it_stored_is_not_accepted(tmp_path):
    with open_new(tmp_path) as folder:
        folder.put("segment", 1, {"labels": LABELS})
        old, name = pickle.loads(pickle.dumps(folder)), only_named(folder, "*.arrays")
        stored = name.read_bytes()

    with open_new(tmp_path, overwrite=True) as folder:
        with pytest.raises(RunError, match="another run has started in it"):
            old.put("segment", 1, {"labels": LABELS})
        with pytest.raises(RunError, match="another run has started in it"):
            old.put_json("keys", {"keys": [1]})
        name.parent.mkdir(parents=True)
        name.write_bytes(stored)  # the worker had checked before

        assert folder.finished("segment") == set()


def only_named(folder, pattern):
    (path,) = folder.path.rglob(pattern)
    return path


@pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_file_that_cannot_be_read_now_is_not_taken_for_damaged(tmp_path, monkeypatch, error):
    folder = RunFolder(tmp_path)
    folder.put("segment", 1, {"labels": LABELS})
    folder.put_json("keys", {"keys": [1]})

    def unreadable(self):
        raise OSError(error, os.strerror(error), str(self))

    advice = "raise the limit of open files with ulimit -n" if error == errno.EMFILE else "repair it"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", unreadable)
        for read in (
            lambda: folder.finished("segment"),
            lambda: folder.get("segment", 1),
            lambda: folder.has("segment", 1, verify=True),
            lambda: folder.get_json("keys"),
        ):
            with pytest.raises(RunError, match=f"cannot be read: {os.strerror(error)}; {advice}"):
                read()

    assert folder.finished("segment") == {1}


def test_error_for_another_identity_lists_the_options_that_differ(tmp_path):
    open_new(tmp_path).close()
    config = {"polygons": {"min_pixels": 32}, "bands": (3, 2, 1), "aoi": "field.gpkg"}

    with pytest.raises(RunError) as caught:
        open_new(tmp_path, resume=True, identity=IDENTITY | {"config": config})

    differences = (
        'config.polygons.min_pixels: 64 → 32; config.bands: [1, 2, 3] → [3, 2, 1]; config.aoi: absent → "field.gpkg"'
    )
    assert f"({differences})" in str(caught.value)


def test_differences_beyond_five_are_counted(tmp_path):
    open_new(tmp_path, identity={"config": dict.fromkeys("abcdefgh", 1)}).close()

    with pytest.raises(RunError, match=r"config\.e: 1 → 2 and 3 more\)"):
        open_new(tmp_path, resume=True, identity={"config": dict.fromkeys("abcdefgh", 2)})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(one=st.dictionaries(st.text(max_size=5), JSON, max_size=3), two=JSON)
def test_run_is_resumed_if_and_only_if_its_identity_is_the_same(tmp_path_factory, one, two):
    path = tmp_path_factory.mktemp("run")
    open_new(path, identity=one).close()

    open_new(path, identity=one, resume=True).close()
    with pytest.raises(RunError, match="belong to another input or configuration"):
        open_new(path, identity=one | {"changed by": {"two": two}}, resume=True)


def test_run_with_a_damaged_manifest_can_only_be_overwritten(tmp_path):
    open_new(tmp_path).close()
    (tmp_path / "manifest.json").write_text("{")

    with pytest.raises(RunError, match=r"manifest\.json is damaged.*--overwrite"):
        open_new(tmp_path, resume=True)

    open_new(tmp_path, overwrite=True).close()


# --- one process at a time ----------------------------------------------------------------------------------------


def test_second_run_in_the_same_folder_is_refused_until_the_first_ends(tmp_path):
    with open_new(tmp_path):
        for options in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(RunError, match=f"another run uses .*process {os.getpid()} on "):
                open_new(tmp_path, **options)

    open_new(tmp_path, resume=True).close()


def test_run_that_could_not_be_opened_holds_no_lock(tmp_path):
    open_new(tmp_path).close()
    with pytest.raises(RunError, match="belong to another input or configuration"):
        open_new(tmp_path, resume=True, identity={})

    open_new(tmp_path, resume=True).close()


HOLDS_THE_LOCK = """
import sys, time
from geoseg.run.manifest import open_run
folder = open_run(sys.argv[1], identity={}, resume=False, overwrite=False)
print("ready", flush=True)
time.sleep(60)
"""


def test_lock_is_released_when_the_process_is_killed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDS_THE_LOCK, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        with pytest.raises(RunError, match=f"another run uses .*process {process.pid} on "):
            open_new(tmp_path, resume=True, identity={})
        process.kill()

    open_new(tmp_path, resume=True, identity={}).close()


def test_folder_that_cannot_be_locked_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    def no_locks(_file, _operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)

    with caplog.at_level(logging.WARNING), open_new(tmp_path) as folder:
        folder.put("segment", 1, {})

    assert "cannot be locked" in caplog.text


def test_pickled_folder_has_no_lock(tmp_path):
    with open_new(tmp_path) as folder:
        copy = pickle.loads(pickle.dumps(folder))
        copy.put("segment", 1, {"labels": LABELS})

        assert copy.lock is None
        assert copy == folder
        assert len(pickle.dumps(folder)) < 500
        assert folder.finished("segment") == {1}
