"""GeoParquet files of any program are read in batches, within a bound of memory."""

import geopandas
import pytest
import shapely

from geoseg.classify.read_samples import read_samples
from geoseg.errors import RasterError
from geoseg.evaluate.reference import open_reference
from geoseg.grid import GeoBox
from geoseg.raster import geoparquet
from geoseg.raster.geoparquet import opened_geoparquet

from .conftest import TRANSFORM

CRS = "EPSG:32631"


@pytest.fixture
def path(tmp_path):
    boxes = [shapely.box(500_000 + 20 * i, 4_999_900, 500_015 + 20 * i, 4_999_990) for i in range(8)]
    frame = geopandas.GeoDataFrame({"name": ["water", "land"] * 4, "other": range(8)}, geometry=boxes, crs=CRS)
    frame.to_parquet(tmp_path / "polygons.parquet", write_covering_bbox=True, row_group_size=3)
    return tmp_path / "polygons.parquet"


def as_samples(path):
    read_samples(path, CRS, field="name")


def as_reference(path):
    with open_reference(path, GeoBox((10, 20), TRANSFORM, CRS), field="name"):
        pass


def test_rows_have_the_geometry_and_the_fields_that_are_asked_for(path):
    with opened_geoparquet(path) as file:
        assert (file.geometry, file.fields) == ("geometry", ("name", "other"))
        assert file.crs.startswith("PROJCRS")
        rows = [row for batch in file.batches(["name"]) for row in batch.to_pylist()]

    assert [row["name"] for row in rows] == ["water", "land"] * 4
    assert all(set(row) == {"geometry", "name"} for row in rows)
    assert shapely.from_wkb(rows[1]["geometry"]).bounds[0] == 500_020


@pytest.mark.parametrize("read", [as_samples, as_reference])
def test_file_with_a_large_row_group_is_refused_wherever_it_is_read(path, monkeypatch, read):
    read(path)
    monkeypatch.setattr(geoparquet, "_MAX_GROUP_BYTES", 100)

    with pytest.raises(RasterError, match=r"has a row group of .* Write it with smaller row groups"):
        read(path)
