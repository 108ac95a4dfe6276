"""Tables on the disk hold what tables in memory do, and only the rows in use are in memory."""

import gc
import sys

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

import geoseg
from geoseg.errors import OutputError
from geoseg.run import disk_tables
from geoseg.run.disk_tables import DiskTables, storage_of
from geoseg.run.folder import RunFolder
from geoseg.run.memory import MemoryFolder
from geoseg.segment.table_storage import IN_MEMORY, InMemory, batches

from .conftest import fields, output_of

RESIDENT = """
import sys
from pathlib import Path
import numpy as np
from geoseg.run.disk_tables import DiskTables
from geoseg.segment.table_storage import batches

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) // 1024

storage = DiskTables(Path(sys.argv[1]))
table = storage.concatenate({"x": np.full((2**17, 8), i, float)} for i in range(40))["x"]  # 320 MiB
begin = peak()
copy = storage.zeros(table.shape, float)
for rows in batches(len(table), storage):
    copy[rows] = table[rows] + 1
total = sum(copy[rows].sum() for rows in batches(len(table), storage))
print(peak() - begin, total == sum(range(1, 41)) * 2**20)
"""


@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=5),
    in_memory=st.sampled_from([0, 500, 2**20]),
    dtype=st.sampled_from(["float16", "int64", "bool"]),
)
@settings(max_examples=30)
def test_columns_of_several_tables_are_the_same_on_the_disk(tmp_path_factory, lengths, in_memory, dtype):
    storage = DiskTables(tmp_path_factory.getbasetemp(), in_memory)
    draw = np.random.default_rng(sum(lengths))
    parts = [{"a": draw.random((n, 3)).astype(dtype), "b": draw.integers(0, 9, n)} for n in lengths]

    found, expected = storage.concatenate(iter(parts)), IN_MEMORY.concatenate(parts)

    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column, strict=True)
        found[name][:1] = 1
        storage.release()
        assert (found[name][:1] == 1).all()
        assert not np.shares_memory(found[name], parts[0][name])


def test_array_of_zeros_is_on_the_disk_only_beyond_the_bytes_in_memory(tmp_path):
    storage = DiskTables(tmp_path, 1000)

    arrays = [storage.zeros((100,), np.float64), storage.zeros((25, 4), np.int64)]

    assert storage.n_bytes == 800
    for array in arrays:
        assert not array.any()
        array[3:] = 7
        storage.release()
        assert (array[3:] == 7).all()


def test_files_have_no_name_and_end_with_their_arrays(tmp_path):
    storage = DiskTables(tmp_path, 0)
    array = storage.zeros((10, 2), np.float64)

    assert list(tmp_path.iterdir()) == [] or sys.platform == "win32"
    assert len(storage._maps) == 1
    del array
    gc.collect()
    assert len(storage._maps) == 0


def test_disk_without_space_is_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(OutputError, match=r"could not be written: .*--run-dir"):
        DiskTables(tmp_path, 0).zeros((2**59,), np.float64)


def test_error_of_a_part_is_not_one_of_writing(tmp_path):
    def parts():
        yield {"x": np.zeros(3)}
        raise OSError("cannot be read")

    with pytest.raises(OSError, match=r"^cannot be read$"):
        DiskTables(tmp_path, 0).concatenate(parts())


def test_tables_of_a_run_in_memory_are_in_memory(tmp_path):
    assert isinstance(storage_of(MemoryFolder()), InMemory)
    assert isinstance(storage_of(RunFolder(tmp_path)), DiskTables)


def test_results_of_a_scene_are_the_same_with_all_tables_on_the_disk(make_raster, tmp_path, monkeypatch):
    scene = make_raster(fields((160, 200)), "scene.tif")
    made = []
    for in_memory in (2**25, 0):
        monkeypatch.setattr(disk_tables, "IN_MEMORY", in_memory)
        out = tmp_path / f"{in_memory}.fgb"
        geoseg.segment_scene(scene, out, method="kmeans", tiles__size=64, workers=0, class_raster=tmp_path / "c.tif",
                             overwrite=True)  # fmt: skip
        with rasterio.open(tmp_path / "c.tif") as raster:
            made.append((raster.read().tobytes(), out.read_bytes()))

    assert made[0] == made[1]
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of the process from /proc")
def test_memory_holds_the_rows_in_use_alone(tmp_path):
    grown, is_right = output_of(f"import sys; sys.argv = ['', {str(tmp_path)!r}]\n{RESIDENT}").split()

    assert is_right == "True"
    assert int(grown) < 40  # MiB, of two tables with 320 each


def test_batches_are_all_rows_once():
    assert [(some.start, some.stop) for some in batches(10, rows=4)] == [(0, 4), (4, 8), (8, 10)]
    assert list(batches(0)) == []
