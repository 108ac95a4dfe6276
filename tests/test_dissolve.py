"""Dissolving: a coverage stays one, columns are those of all pixels, and what cannot be dissolved is refused."""

import geopandas
import numpy as np
import pyarrow as pa
import pyogrio
import pytest
import shapely
from pyproj import CRS

import geoseg
from geoseg.errors import ConfigError, OutputError, RasterError
from geoseg.output.columns import Layer, label_fields
from geoseg.output.extra_columns import Field
from geoseg.output.polygons import write_polygons
from geoseg.vectorize.dissolve import adjacent_groups, is_constant, merge_columns, unite

from .conftest import run_command
from .tilings import assert_coverage, drawn, regions_of, winding

N_CLASSES = 6
UTM = CRS(32631).to_wkt()


@pytest.fixture(scope="module")
def coverage():
    """Polygons of a map of six classes, in tiles, with their columns; values of pixels, (y, x)."""
    classes = winding((60, 70), N_CLASSES, 2.0, 4) + 1
    regions = regions_of(classes)
    polygons, numbers = drawn(regions, 16)
    values = np.random.default_rng(0).normal(50, 9, regions.shape)
    per_region = [values[regions == number] for number in numbers]
    table = {
        "region": numbers.astype(np.int32),
        "class": np.array([classes[regions == number][0] for number in numbers], np.int16),
        "color": np.array(["#%06x" % (number % 5) for number in numbers]),
        "pixels": np.array([len(some) for some in per_region]),
        "area": np.array([4.0 * len(some) for some in per_region]),
        "perimeter": shapely.length(polygons),
        "compactness": np.ones(len(numbers)),
        "confidence": np.array([0.5 if number % 2 else 0.25 for number in numbers]),
        "mean_1": np.array([some.mean() for some in per_region]),
        "std_1": np.array([some.std() for some in per_region]),
        "min_1": np.array([some.min() for some in per_region]),
        "max_1": np.array([some.max() for some in per_region]),
        "elongation": np.full(len(numbers), 0.5),
    }
    table["class_2"] = np.where(table["class"] < 4, 1, 2).astype(np.int16)
    table["class_4"] = np.minimum(table["class"], 4).astype(np.int16)
    return regions, polygons, table, values


@pytest.fixture(params=[".gpkg", ".fgb", ".parquet"])
def file(request, coverage, tmp_path):
    _, polygons, table, _ = coverage
    fields = label_fields(
        bands=[1], levels=[2, 4], n_regions=9, n_classes=6, indices=["confidence"],
        extra=[Field("elongation", pa.float64(), "Elongation")],
    )  # fmt: skip

    layer = Layer("labels", "Regions", "", UTM, fields)
    path = tmp_path / f"labels{request.param}"
    write_polygons(path, [layer.batch(table, polygons)], layer, style="<qgis/>")
    return path


def read(path):
    return geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path, layer=0)


@pytest.mark.parametrize("by", ["class_2", "class"])
def test_dissolved_file_is_the_coverage_of_the_coarser_classes(file, by, coverage, tmp_path):
    regions, _, table, values = coverage
    out = tmp_path / f"out{file.suffix}"

    result = geoseg.dissolve_polygons(file, out, by=by)

    found = read(out)
    coarse = np.concatenate([[0], table[by]])[regions]
    expected = regions_of(coarse)
    assert (
        (result.n_before, result.n_after)
        == (len(table["region"]), expected.max())
        == (len(table["region"]), len(found))
    )
    assert_coverage(np.asarray(found.geometry), regions.size)
    assert found["regions"].sum() == len(table["region"])
    for row in found.rename(columns={by: "value"}).itertuples():
        x, y = row.geometry.representative_point().coords[0]
        inside = expected == expected[int(y), int(x)]
        assert row.value == coarse[int(y), int(x)]
        assert (row.pixels, row.area) == (inside.sum(), 4 * inside.sum())
        assert row.perimeter == pytest.approx(row.geometry.length)
        assert row.mean_1 == pytest.approx(values[inside].mean())
        assert row.std_1 == pytest.approx(values[inside].std())
        assert (row.min_1, row.max_1) == pytest.approx((values[inside].min(), values[inside].max()))


def test_columns_that_do_not_follow_from_the_value_are_left_out(tmp_path, file):
    out = tmp_path / "out.gpkg"
    geoseg.dissolve_polygons(file, out, by="class_4")

    names = pyogrio.read_info(out, layer="labels")["fields"].tolist()

    assert names == [
        *("color", "pixels", "area", "perimeter", "compactness", "confidence", "mean_1", "std_1", "min_1", "max_1"),
        *("class_2", "class_4", "regions"),
    ]


def test_style_is_kept_where_its_classes_are_and_else_shows_the_colours(tmp_path, file):
    styles = {}
    for by in ("class", "class_2"):
        out = tmp_path / f"{by}.gpkg"
        geoseg.dissolve_polygons(file, out, by=by)
        styles[by] = str(pyogrio.read_dataframe(out, layer="layer_styles")["styleQML"][0])

    assert (styles["class"] == "<qgis/>") == (file.suffix == ".gpkg")
    assert "color" in styles["class_2"]


def test_polygons_that_share_a_corner_only_are_not_united():
    squares = shapely.box([0, 1, 1, 0], [0, 1, 0, 5], [1, 2, 2, 1], [1, 2, 1, 6])

    groups = adjacent_groups(squares[[0, 1, 3]])

    assert groups.tolist() == [0, 1, 2]
    assert adjacent_groups(squares).tolist() == [0, 0, 0, 1]
    assert shapely.area(unite(squares, adjacent_groups(squares))).tolist() == [3, 1]


def test_region_in_several_polygons_counts_once():
    table = {"region": np.array([1, 1, 2]), "pixels": np.array([6, 6, 2]), "mean_1": np.array([1.0, 1.0, 5.0])}

    merged = merge_columns(table, np.zeros(3, np.int64))

    assert {name: column.tolist() for name, column in merged.items()} == {
        "regions": [2],
        "pixels": [8],
        "mean_1": [2.0],
    }


def test_regions_without_a_value_do_not_count_in_its_mean():
    table = {"pixels": np.array([6, 2, 3]), "v_mean": np.array([np.nan, 5.0, np.nan])}
    table |= {"v_std": np.array([np.nan, 1.0, np.nan]), "v_min": np.array([np.nan, 4.0, np.nan])}

    merged = merge_columns(table, np.array([0, 0, 1]))

    for name, expected in (("v_mean", [5, np.nan]), ("v_std", [1, np.nan]), ("v_min", [4, np.nan])):
        np.testing.assert_allclose(merged[name], expected)


def test_column_is_constant_only_if_all_rows_of_each_group_agree():
    groups = np.array([0, 1, 0, 1])

    assert is_constant(np.array([3, 4, 3, 4]), groups)
    assert not is_constant(np.array([3, 4, 3, 5]), groups)


def test_wrong_input_is_refused_in_one_line(tmp_path, file):
    with pytest.raises(ConfigError, match=r"has no column klass\. Choose one of its columns: region, class"):
        geoseg.dissolve_polygons(file, tmp_path / "out.gpkg", by="klass")
    with pytest.raises(OutputError, match="is a file that is read"):
        geoseg.dissolve_polygons(file, file, by="class", overwrite=True)
    with pytest.raises(RasterError):
        geoseg.dissolve_polygons(tmp_path / "absent.gpkg", tmp_path / "out.gpkg", by="class")
    assert not (tmp_path / "out.gpkg").exists()

    ended = run_command("dissolve", file, "--by", "klass", "--out", tmp_path / "out.gpkg")

    assert (ended.code, len(ended.lines)) == (1, 1)
    assert run_command("dissolve", file, "--by", "class_2", "--out", tmp_path / "out.gpkg").code == 0
    assert run_command("dissolve", file, "--by", "class_2", "--out", tmp_path / "out.gpkg").code == 1
    assert run_command("dissolve", file, "--by", "class", "--out", tmp_path / "out.gpkg", "--overwrite").code == 0
