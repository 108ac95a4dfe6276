"""Polygon files contain every polygon with its columns, complete or not at all."""

import json
import resource
import sqlite3
import tracemalloc
from contextlib import closing, contextmanager

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from pyproj import CRS

from geoseg.errors import OutputError
from geoseg.output import geoparquet
from geoseg.output import polygons as module
from geoseg.output.columns import Layer, class_fields, label_fields
from geoseg.output.files import writing
from geoseg.output.polygons import POLYGON_SUFFIXES, Dissolved, Extras, FailedTile, sidecars, write_polygons
from geoseg.output.style import Legend, polygon_qml, region_qml

FIELDS = label_fields(bands=[1, 4], levels=[2], n_regions=10, n_classes=3, indices=["ndvi_mean"])
LAYER = Layer("labels", "Segmentation of scene.tif", "Made from scene.tif", CRS(32631).to_wkt(), FIELDS)
STYLE = polygon_qml(Legend(np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8), ("a", "b", "c")), LAYER.aliases)
REGIONS = region_qml(LAYER.aliases)
BYTES_PER_ROW = 60  # centre, position on the curve and order, each with a temporary copy
FAILED = [FailedTile(7, "out of memory", shapely.box(5e5, 5e6, 5e5 + 40, 5e6 + 40))]


def _batch(n=4, first=1, size=10.0):
    number = np.arange(first, first + n)
    polygons = shapely.box(5e5 + number * size, 5e6, 5e5 + (number + 1) * size, 5e6 + size)
    columns = {"region": number, "class": number % 3 + 1, "color": ["#c80000"] * n, "pixels": number * 100}
    floats = [field.name for field in FIELDS if field.type == pa.float64()]
    columns |= dict.fromkeys(floats, number / 7) | {"ndvi_mean": np.where(number % 4, number / 9, np.nan)}
    return LAYER.batch(columns | {"class_2": number % 2 + 1}, polygons)


def _write(path, batches=None, **options):
    return write_polygons(path, [_batch(), _batch(3, 5)] if batches is None else batches, LAYER, style=STYLE, **options)


def _dissolved():
    """Return the second layer; class 4 has no polygon."""
    layer = Layer("classes", "Classes", "", LAYER.crs, class_fields(bands=[1], n_classes=4), "MultiPolygon")
    number = np.arange(1, 5)
    columns = {"class": number, "name": ["a", "b", "c", "d"], "color": ["#000000"] * 4, "regions": number}
    columns |= {"pixels": number, "area": number / 2, "share": number / 10, "mean_1": number / 3}
    return Dissolved(layer, {name: np.array(values) for name, values in columns.items()}, STYLE)


def _read(path):
    return geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path, layer="labels")


@contextmanager
def _files_of_at_most(n_bytes):
    """Limit the size of files to `n_bytes`, like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", POLYGON_SUFFIXES)
def test_every_format_preserves_columns_polygons_and_crs(tmp_path, suffix):
    path = tmp_path / f"labels{suffix}"

    assert _write(path) == 7

    frame = _read(path).sort_values("region", ignore_index=True)
    expected = pa.Table.from_batches([_batch(7)])
    assert list(frame.columns) == [*(field.name for field in FIELDS), "geometry"]
    for field in FIELDS:
        found = frame[field.name].astype(object).where(frame[field.name].notna(), None)
        assert found.tolist() == expected[field.name].to_pylist()
    assert shapely.equals_exact(frame.geometry.array, shapely.from_wkb(expected["geometry"])).all()
    assert frame.crs.to_epsg() == 32631


@pytest.mark.parametrize("suffix", POLYGON_SUFFIXES)
def test_scene_without_polygons_gives_an_empty_layer(tmp_path, suffix):
    path = tmp_path / f"labels{suffix}"

    assert _write(path, []) == 0

    assert len(_read(path)) == 0
    assert "class_2" in _read(path).columns


def test_geopackage_is_of_version_1_2_with_index_title_and_one_default_style(tmp_path):
    _write(tmp_path / "labels.gpkg", extras=Extras(styles={"regions": REGIONS}))

    with closing(sqlite3.connect(tmp_path / "labels.gpkg")) as database:
        ask = lambda query: database.execute(query).fetchall()  # noqa: E731 - six queries, one line each
        assert ask("PRAGMA user_version") == [(10200,)]
        assert ask("SELECT geometry_type_name FROM gpkg_geometry_columns") == [("POLYGON",)]
        assert ask("SELECT identifier, description, srs_id FROM gpkg_contents WHERE data_type = 'features'") == [
            ("Segmentation of scene.tif", "Made from scene.tif", 32631)
        ]
        assert ask("SELECT DISTINCT extension_name FROM gpkg_extensions ORDER BY 1") == [
            ("gpkg_rtree_index",),
            ("gpkg_schema",),
        ]
        assert ask("SELECT data_type FROM gpkg_contents WHERE table_name = 'layer_styles'") == [("attributes",)]
        styles = ask("SELECT styleName, f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles")
        assert styles == [("classes", "labels", "geom", 1, STYLE), ("regions", "labels", "geom", 0, REGIONS)]
        assert ask("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("given", [None, "5000000"])
def test_memory_of_the_index_of_a_geopackage_is_limited_unless_the_user_has_set_it(tmp_path, given):
    option, seen = "OGR_GPKG_MAX_RAM_USAGE_RTREE", []

    def batches():
        seen.append(str(pyogrio.get_gdal_config_option(option)))
        yield _batch()

    pyogrio.set_gdal_config_options({option: given})
    try:
        _write(tmp_path / "a.gpkg", batches())
        seen.append(pyogrio.get_gdal_config_option(option))
    finally:
        pyogrio.set_gdal_config_options({option: None})

    assert seen == (["67108864", None] if given is None else ["5000000", 5_000_000])


def test_geopackage_stores_aliases_and_descriptions_in_its_schema_table(tmp_path):
    _write(tmp_path / "labels.gpkg")

    with closing(sqlite3.connect(tmp_path / "labels.gpkg")) as database:
        described = database.execute("SELECT column_name, name, description FROM gpkg_data_columns").fetchall()
    assert described == [(field.name, field.alias, field.description) for field in FIELDS]


def test_flatgeobuf_stores_aliases_and_descriptions(tmp_path):
    _write(tmp_path / "labels.fgb")

    head = (tmp_path / "labels.fgb").read_bytes()[:20_000]
    assert all(field.alias.encode() in head and field.description.encode() in head for field in FIELDS)


def test_geoparquet_stores_version_extent_columns_and_bounding_boxes(tmp_path):
    _write(tmp_path / "labels.parquet")

    metadata = pq.read_metadata(tmp_path / "labels.parquet").metadata
    geo = json.loads(metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["bbox"] == [5e5 + 10, 5e6, 5e5 + 80, 5e6 + 10]
    assert geo["columns"]["geometry"]["geometry_types"] == ["Polygon"]
    assert (metadata[b"title"], metadata[b"description"]) == (b"Segmentation of scene.tif", b"Made from scene.tif")
    assert json.loads(metadata[b"columns"])["area"] == {"alias": FIELDS[4].alias, "description": FIELDS[4].description}
    field_metadata = pq.read_schema(tmp_path / "labels.parquet").field("area").metadata
    assert field_metadata[b"description"].decode() == FIELDS[4].description
    near = geopandas.read_parquet(tmp_path / "labels.parquet", bbox=(5e5 + 12, 5e6 + 1, 5e5 + 13, 5e6 + 2))
    assert near["region"].tolist() == [1]


def test_geoparquet_has_its_rows_in_the_order_of_the_hilbert_curve(tmp_path, monkeypatch):
    monkeypatch.setattr(geoparquet, "_ROWS_PER_GROUP", 64)
    draw = np.random.default_rng(0)
    batches = [_scattered(draw, n) for n in (100, 0, 250, 1)]

    _write(tmp_path / "labels.parquet", batches)

    frame = _read(tmp_path / "labels.parquet")
    places = geopandas.GeoSeries(shapely.centroid(frame.geometry.array)).hilbert_distance()
    assert (np.diff(places.to_numpy().astype(np.int64)) >= 0).all()
    given = geopandas.GeoDataFrame.from_arrow(pa.Table.from_batches(batches))
    pair = (one.sort_values("region", ignore_index=True)[["region", "area", "geometry"]] for one in (frame, given))
    first, second = pair
    assert (first["area"] == second["area"]).all()
    assert shapely.equals_exact(first.geometry.array, second.geometry.array).all()
    file = pq.ParquetFile(tmp_path / "labels.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [64, 64, 64, 64, 64, 31]


@pytest.mark.parametrize("offsets", [[(0, 0)] * 3, [(0, 0), (5, 0), (2, 0)]], ids=["one place", "one line"])
def test_geoparquet_of_polygons_without_an_extent_keeps_every_row(tmp_path, offsets):
    number = np.arange(3)
    columns = dict(zip(_batch(3).schema.names[:-1], _batch(3).columns[:-1], strict=True)) | {"region": number}
    polygons = np.array([shapely.box(x, y, x + 1, y + 1) for x, y in offsets])

    _write(tmp_path / "labels.parquet", [LAYER.batch(columns, polygons)])

    assert sorted(_read(tmp_path / "labels.parquet")["region"]) == [0, 1, 2]


def _scattered(draw, n):
    """Return a batch of squares at random places with unique numbers."""
    batch = _batch(n)
    x, y = draw.uniform(0, 1e4, (2, n))
    number = draw.choice(2**31 - 1, n, replace=False).astype(np.int32)
    columns = {name: batch[name].to_numpy(zero_copy_only=False) for name in batch.schema.names[:-1]}
    polygons = shapely.box(5e5 + x, 5e6 + y, 5e5 + x + 3, 5e6 + y + 3)
    return LAYER.batch(columns | {"region": number, "area": number / 7}, polygons)


@pytest.mark.parametrize("suffix", [".fgb", ".parquet"])
def test_styles_are_written_beside_a_format_that_cannot_store_them(tmp_path, suffix):
    path = tmp_path / f"labels{suffix}"
    _write(path, extras=Extras(styles={"regions": REGIONS}))

    assert (tmp_path / "labels.qml").read_text(encoding="utf-8") == STYLE
    assert (tmp_path / "labels.regions.qml").read_text(encoding="utf-8") == REGIONS
    assert len(list(tmp_path.iterdir())) == 3
    assert set(sidecars(path, ["classes", "regions"])) >= set(tmp_path.iterdir()) - {path}


def test_dissolved_classes_are_a_second_layer_with_its_own_style(tmp_path):
    path = tmp_path / "labels.gpkg"

    _write(path, extras=Extras(styles={"regions": REGIONS}, failed=FAILED, dissolved=_dissolved()))

    assert [name for name, kind in pyogrio.list_layers(path) if kind] == ["labels", "classes", "failed_tiles"]
    whole, parts = geopandas.read_file(path, layer="classes"), _read(path)
    assert whole["class"].tolist() == [1, 2, 3]  # class 4 has no polygon
    assert (whole["name"].tolist(), whole["area"].tolist()) == (["a", "b", "c"], [0.5, 1.0, 1.5])
    assert set(whole.geom_type) == {"MultiPolygon"}
    assert whole.is_valid.all()
    for number, geometry in zip(whole["class"], whole.geometry, strict=True):
        assert geometry.equals(parts[parts["class"] == number].union_all())
    with closing(sqlite3.connect(path)) as database:
        styles = database.execute("SELECT f_table_name, SUM(useAsDefault), COUNT(*) FROM layer_styles GROUP BY 1")
        assert styles.fetchall() == [("classes", 1, 1), ("labels", 1, 2)]


def test_scene_without_polygons_gives_no_dissolved_layer(tmp_path):
    _write(tmp_path / "labels.gpkg", [], extras=Extras(dissolved=_dissolved()))

    assert [name for name, kind in pyogrio.list_layers(tmp_path / "labels.gpkg") if kind] == ["labels"]


def test_failed_tiles_are_a_second_layer_of_the_geopackage(tmp_path):
    path = tmp_path / "labels.gpkg"

    _write(path, extras=Extras(failed=FAILED))

    assert [name for name, kind in pyogrio.list_layers(path) if kind] == ["labels", "failed_tiles"]
    frame = geopandas.read_file(path, layer="failed_tiles")
    assert (frame["tile"].tolist(), frame["message"].tolist()) == ([7], ["out of memory"])
    assert len(_read(path)) == 7


@pytest.mark.parametrize("suffix", [".fgb", ".parquet"])
def test_file_of_failed_tiles_is_removed_when_no_tile_fails(tmp_path, suffix):
    _write(tmp_path / f"labels{suffix}", extras=Extras(failed=FAILED))
    found = geopandas.read_file(tmp_path / "labels.failed.geojson")

    _write(tmp_path / f"labels{suffix}", overwrite=True)

    assert found["tile"].tolist() == [7]
    assert found.geometry[0].equals(FAILED[0].polygon)
    assert not (tmp_path / "labels.failed.geojson").exists()


@pytest.mark.parametrize("suffix", POLYGON_SUFFIXES)
def test_exception_of_the_rows_is_raised_unchanged_and_leaves_no_file(tmp_path, suffix):
    def rows():
        yield _batch()
        raise LookupError("tile 3 is gone")

    with pytest.raises(LookupError, match="tile 3 is gone"):
        _write(tmp_path / f"labels{suffix}", rows())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", POLYGON_SUFFIXES)
def test_full_disk_gives_an_error_with_the_file_name_and_keeps_the_existing_file(tmp_path, suffix):
    path = tmp_path / f"labels{suffix}"
    _write(path)
    before = path.read_bytes()

    with _files_of_at_most(300_000), pytest.raises(OutputError, match=f"{path.name}.*Is the disk full"):
        _write(path, (_batch(1000, 1 + 1000 * i, np.pi) for i in range(20)), overwrite=True)

    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("suffix", POLYGON_SUFFIXES)
def test_file_with_missing_rows_is_detected(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"labels{suffix}"
    whole = module.Source.__iter__
    # The last batch is counted but does not reach the file.
    monkeypatch.setattr(module.Source, "__iter__", lambda self: iter(list(whole(self))[:-1]))

    with pytest.raises(OutputError, match="contains 4 polygons, but 7 were written"):
        _write(path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
def test_truncated_file_is_detected(tmp_path, suffix):
    path = tmp_path / f"labels{suffix}"
    _write(path, [_batch(500)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(OutputError, match=path.name), writing(path):
        module._verify(path, 500)


def test_temporary_files_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / ".labels.gpkg.geoseg-part").mkdir()
    (tmp_path / ".labels.gpkg.geoseg-part" / "labels.gpkg").write_bytes(b"half")

    _write(tmp_path / "labels.gpkg")

    assert [path.name for path in tmp_path.iterdir()] == ["labels.gpkg"]
    assert len(_read(tmp_path / "labels.gpkg")) == 7


@pytest.mark.parametrize("suffix", POLYGON_SUFFIXES)
def test_memory_does_not_grow_with_the_number_of_batches(tmp_path, suffix):
    def rows(n):
        return (_batch(500, 1 + 500 * i) for i in range(n))

    def peak(name, n):
        tracemalloc.start()
        arrow = pa.total_allocated_bytes()
        most = 0

        def watched():
            nonlocal most
            for batch in rows(n):
                most = max(most, pa.total_allocated_bytes() - arrow)
                yield batch

        _write(tmp_path / f"{name}{suffix}", watched())
        _, python = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most + python

    peak("warm", 2)

    assert peak("long", 80) < 2 * peak("short", 8) + 72 * 500 * BYTES_PER_ROW  # GeoParquet keeps one entry per row


def test_existing_file_is_replaced_only_with_overwrite(tmp_path):
    path = tmp_path / "labels.gpkg"
    _write(path)

    with pytest.raises(OutputError, match=r"exists.*--overwrite"):
        _write(path)
    _write(path, [_batch(2)], overwrite=True)

    assert len(_read(path)) == 2
