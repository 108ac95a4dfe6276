"""Names of regions by samples: `geoseg classify` on a made-up layer."""

import dataclasses
import json

import geopandas
import numpy as np
import pyarrow as pa
import pyogrio
import pytest
import shapely
from pyproj import CRS
from scipy import sparse

import geoseg
from geoseg.classify import forest, validation
from geoseg.classify import samples as located
from geoseg.classify.attributes import attribute_columns
from geoseg.classify.borders import BorderCollector
from geoseg.classify.forest import TrainingSet, train
from geoseg.classify.forest_file import load_forest, save_forest
from geoseg.classify.read_samples import read_samples
from geoseg.classify.region_table import Features, RegionTable
from geoseg.classify.rings import edges_of
from geoseg.classify.shapes import polygon_shapes
from geoseg.classify.suggest import suggestions
from geoseg.classify.validation import spatial_folds
from geoseg.errors import ConfigError, ModelError, OutputError, RasterError
from geoseg.output.columns import label_fields
from geoseg.output.extra_columns import extra_fields

from .conftest import run_command

SIDE = 12  # regions along each side of the layer
CELL = 10  # metres
NAMES = ("forest", "road", "water")


def boxes():
    corners = [(CELL * x, CELL * y) for y, x in np.ndindex(SIDE, SIDE)]
    return np.array([shapely.box(x, y, x + CELL, y + CELL) for x, y in corners])


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch):
    monkeypatch.setattr(forest, "N_TREES", 40)
    monkeypatch.setattr(validation, "_N_TREES", 10)


def truth():
    """Return the position in NAMES of each region: bands of four columns."""
    return np.array([x // 4 for _, x in np.ndindex(SIDE, SIDE)])


@pytest.fixture(scope="module")
def layer():
    rng, kind = np.random.default_rng(0), truth()
    columns = {
        "region": np.arange(1, SIDE**2 + 1),
        "class": kind % 2 + 1,
        "color": np.array(["#205020", "#808080", "#2040a0"])[kind],
        "mean_1": 50.0 * kind + rng.normal(0, 3, len(kind)),
        "std_1": rng.normal(5, 1, len(kind)),
        "remark": ["x"] * len(kind),
    }
    columns["mean_1"][5] = np.nan
    return geopandas.GeoDataFrame(columns, geometry=boxes(), crs="EPSG:32632")


@pytest.fixture
def labels(layer, tmp_path):
    layer.to_file(tmp_path / "labels.gpkg", layer="labels")
    return tmp_path / "labels.gpkg"


def points(layer, rows, names=None):
    at = layer.geometry.iloc[rows].centroid
    given = [NAMES[i] for i in truth()[rows]] if names is None else names
    return geopandas.GeoDataFrame({"cover": given}, geometry=at.to_numpy(), crs=layer.crs)


ROWS = [0, 4, 8, 30, 54, 94, 96, 124, 140, 2, 19, 71]


@pytest.fixture
def samples(layer, tmp_path):
    points(layer, ROWS).to_file(tmp_path / "samples.gpkg")
    return tmp_path / "samples.gpkg"


def read(path):
    return pyogrio.read_dataframe(path, layer="labels" if path.suffix == ".gpkg" else 0)


def classify(labels, samples, out="named.gpkg", **options):
    given = {"samples": samples, "field": "cover", "validate": False} | options
    return geoseg.classify_regions(labels, labels.parent / out, **given)


def test_regions_get_the_name_of_their_samples_and_keep_their_columns(labels, samples, layer):
    result = classify(labels, samples)

    named = read(result.path)
    assert np.mean(named["name"] == np.array(NAMES)[truth()]) > 0.95
    assert list(named.columns[:6]) == list(layer.columns[:6])
    assert named["probability"].between(1 / 3, 1).all()
    assert (named["second"] != named["name"]).all()
    assert [score.samples for score in result.scores] == [3, 5, 4]
    assert sum(score.regions for score in result.scores) == len(layer)


@pytest.mark.parametrize("suffix", [".fgb", ".parquet"])
def test_other_formats_have_the_same_names_and_a_style_beside_them(labels, samples, suffix):
    expected = read(classify(labels, samples).path).set_index("region")["name"]

    path = classify(labels, samples, f"other{suffix}").path

    found = geopandas.read_parquet(path) if suffix == ".parquet" else read(path)
    assert found.set_index("region")["name"].to_dict() == expected.to_dict()
    assert all(f'value="{name}"' in path.with_suffix(".qml").read_text() for name in NAMES)


def test_samples_in_another_crs_and_format_give_the_same_names(labels, samples, tmp_path):
    expected = read(classify(labels, samples).path)["name"]
    geopandas.read_file(samples).to_crs("EPSG:4326").to_file(tmp_path / "s.geojson")

    assert list(read(classify(labels, tmp_path / "s.geojson", "b.gpkg").path)["name"]) == list(expected)


def table_of(frame, columns, separator=","):
    rows = [
        separator.join(map(repr, pair)) + f"{separator}{name}"
        for *pair, name in zip(*columns, frame["cover"], strict=True)
    ]
    return "\n".join(rows)


def written(frame, path, kind):
    """Write samples as a file of a kind; return it and the option for its CRS."""
    degrees, mercator = frame.to_crs("EPSG:4326").geometry, frame.to_crs("EPSG:3857").geometry
    if kind == "parquet":
        frame.to_crs("EPSG:3857").to_parquet(path / "s.parquet")
        return path / "s.parquet", None
    head, geometry, separator, crs = {
        "lon, lat": ("LON,Latitude,Cover", degrees, ",", None),
        "x, y": ("x;y;cover", frame.geometry, ";", None),
        "x, y in a CRS": ("x\ty\tcover", mercator, "\t", "EPSG:3857"),
    }[kind]
    text = table_of(frame, (geometry.x.tolist(), geometry.y.tolist()), separator)
    (path / "s.csv").write_text(f"{head}\n{text}\n", encoding="utf-8-sig")
    return path / "s.csv", crs


@pytest.mark.parametrize("kind", ["parquet", "lon, lat", "x, y", "x, y in a CRS"])
def test_samples_in_tables_and_geoparquet_have_the_same_places_and_names(layer, tmp_path, kind):
    frame = points(layer, ROWS)
    path, crs = written(frame, tmp_path, kind)

    found = read_samples(path, layer.crs.to_wkt(), field="cover", crs=crs)

    expected = shapely.get_coordinates(frame.geometry)
    np.testing.assert_allclose(shapely.get_coordinates(found.points), expected, atol=1e-4)
    assert [found.names[i] for i in found.numbers] == frame["cover"].tolist()


def test_rows_of_a_table_without_place_or_name_are_counted_in_notes(tmp_path, layer):
    (tmp_path / "s.csv").write_text("x,y,cover\n5,5,water\n,5,road\n5,5,\n\n")

    found = read_samples(tmp_path / "s.csv", layer.crs.to_wkt(), field="cover")

    assert (len(found), len(found.notes)) == (1, 2)
    assert found.notes[1].startswith("1 of 3 samples have no geometry")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no field 'cover'"),
        ("x,y,kind\n1,2,water\n", "no field 'cover'; it has x, y, kind"),
        ("easting,cover\n1,water\n", "expected the place of each sample in lon and lat"),
        ("x,y,cover\n1,2,water\n3,east,road\n", "line 3 of .* has 'east' as y; expected a number"),
        ("x;y;cover\n1,5;2;water\n", "has '1,5' as x; expected a number. Write decimals with a point"),
        ("x,y,cover\n1e999,2,water\n", "has '1e999' as x"),
        ("lon,lat,cover\n4000000,500000,water\n", "has 4e.06 as lon; expected degrees"),
        ("x,y,cover,x\n1,2,water,3\n", "two columns 'x'"),
        ('x,y,cover\n1,2,"water\n', "is no table"),
        ("x,y,cover\n", "has no sample that can be used"),
        (b"x,y,cover\n1,2,\xff\n", "Expected a CSV file in UTF-8"),
    ],
    ids=lambda each: str(each)[:12],
)
def test_tables_that_cannot_be_used_are_refused_in_one_line(layer, tmp_path, text, message):
    (tmp_path / "s.csv").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(RasterError, match=message) as caught:
        read_samples(tmp_path / "s.csv", layer.crs.to_wkt(), field="cover")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="geometry"), "has no geometry; expected GeoParquet"),
        (lambda frame: frame.set_crs(None, allow_override=True), "has no CRS"),
        (lambda frame: frame.rename(columns={"cover": "kind"}), "no field 'cover'; it has kind"),
    ],
)
def test_parquet_without_place_or_field_is_refused(layer, tmp_path, change, message):
    change(points(layer, ROWS)).to_parquet(tmp_path / "s.parquet")

    with pytest.raises(RasterError, match=message):
        read_samples(tmp_path / "s.parquet", layer.crs.to_wkt(), field="cover")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("s.gpkg", "--crs", "EPSG:4326"), "--crs is that of the coordinates in a .csv"),
        (("s.csv", "--crs", "nowhere"), "'nowhere'; expected a CRS such as EPSG:25832"),
        (("s.csv", "--layer", "points"), "has no layers, so --layer points has no effect"),
    ],
)
def test_options_that_do_not_fit_the_samples_are_refused(labels, options, message):
    (labels.parent / "s.csv").write_text("x,y,cover\n5,5,water\n")
    name, *others = options

    ended = run_command(
        "classify", labels, "--samples", labels.parent / name, "--out", labels.parent / "n.gpkg", *others
    )

    assert ended.code == 1
    assert message in ended.text
    assert len(ended.lines) == 1


def test_same_input_gives_the_same_columns_again(labels, samples):
    first, second = (read(classify(labels, samples, f"{i}.gpkg").path) for i in range(2))

    assert first.drop(columns="geometry").equals(second.drop(columns="geometry"))


def test_order_of_the_samples_does_not_matter(labels, layer, tmp_path):
    points(layer, ROWS[::-1]).to_file(tmp_path / "back.gpkg")
    points(layer, ROWS).to_file(tmp_path / "forth.gpkg")

    back, forth = (
        read(classify(labels, tmp_path / f"{each}.gpkg", f"n{each}.gpkg").path) for each in ("back", "forth")
    )
    assert back["probability"].to_numpy() == pytest.approx(forth["probability"].to_numpy())


def test_polygon_names_the_regions_that_it_covers_and_overrules_points_in_them(labels, layer, tmp_path):
    area = shapely.union_all(layer.geometry.iloc[[0, 1, 12]].to_numpy())
    shapes = [area, *points(layer, [4, 8, 0]).geometry]
    given = geopandas.GeoDataFrame({"cover": ["mud", "road", "water", "road"]}, geometry=shapes, crs=layer.crs)
    given.to_file(tmp_path / "mixed.geojson")

    named = read(classify(labels, tmp_path / "mixed.geojson").path)

    assert set(named["region"][(named["name"] == "mud") & (named["probability"] == 1)]) == {1, 2, 13}


def test_small_polygon_in_a_region_counts_like_a_point():
    regions = np.array([shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10)])
    small = np.array([shapely.box(11, 1, 12, 2)])
    none = np.zeros(1, np.int64)
    finder = located.SampleLocator(located.Samples(shapely.point_on_surface(small), small, none, none, none, ("a",)))

    finder.add(regions, 7)

    found = finder.located()
    assert (found.rows.tolist(), found.is_covered.tolist()) == ([8], [False])


def test_improbable_names_are_unknown_and_keep_the_best_name_as_second(labels, samples):
    sure = read(classify(labels, samples, "a.gpkg").path)
    limit = float(np.median(sure["probability"]))

    named = read(classify(labels, samples, "b.gpkg", min_probability=limit).path)

    is_unknown = sure["probability"] < limit
    assert 0 < is_unknown.sum() < len(sure)
    assert list(named["name"]) == list(sure["name"].where(~is_unknown, "unknown"))
    assert list(named["second"][is_unknown]) == list(sure["name"][is_unknown])


def test_dissolved_regions_cover_the_same_area_without_neighbours_of_one_name(labels, samples, layer):
    named = read(classify(labels, samples).path)
    united = read(classify(labels, samples, "united.gpkg", dissolve=True).path)

    expected = named.dissolve("name").area
    assert united.dissolve("name").area.to_dict() == pytest.approx(expected.to_dict())
    assert united["regions"].sum() == len(layer)
    assert len(united) == sum(len(shapely.get_parts(each)) for each in named.dissolve("name").geometry)
    assert shapely.coverage_is_valid(united.geometry.to_numpy())


def test_suggestions_have_an_empty_field_and_can_be_given_as_further_samples(labels, samples):
    result = classify(labels, samples, suggest=6)

    wanted = read(result.suggestions)
    assert wanted["cover"].isna().all()
    assert sorted(wanted["rank"]) == list(range(1, 7))
    wanted["cover"] = np.array(NAMES)[truth()[wanted["region"] - 1]]
    wanted.to_file(result.suggestions.with_name("filled.gpkg"), layer="labels")
    again = classify(labels, [samples, result.suggestions.with_name("filled.gpkg")], "again.gpkg", suggest=6)
    named = read(again.path).set_index("region")
    assert (named["name"][wanted["region"]].to_numpy() == wanted["cover"].to_numpy()).all()
    assert not set(read(again.suggestions)["region"]) & set(wanted["region"])


def test_saved_forest_gives_the_names_that_the_samples_gave(labels, samples, tmp_path):
    points_only = read(classify(labels, samples, "a.gpkg", save_model=tmp_path / "town.forest").path)

    again = geoseg.classify_regions(labels, tmp_path / "b.gpkg", model=tmp_path / "town.forest")

    assert list(read(again.path)["name"]) == list(points_only["name"])
    assert read(again.path)["probability"].to_numpy() == pytest.approx(points_only["probability"].to_numpy())


def test_forest_needs_the_columns_with_which_it_was_trained(labels, samples, layer, tmp_path):
    classify(labels, samples, save_model=tmp_path / "town.forest")
    layer.drop(columns="std_1").to_file(tmp_path / "less.gpkg", layer="labels")

    with pytest.raises(ModelError, match="needs the column std_1"):
        geoseg.classify_regions(tmp_path / "less.gpkg", tmp_path / "b.gpkg", model=tmp_path / "town.forest")


def test_damaged_forests_are_refused_and_never_read_outside_of_their_arrays(labels, samples, tmp_path):
    classify(labels, samples, save_model=tmp_path / "town.forest")
    content = (tmp_path / "town.forest").read_bytes()
    intact = load_forest(tmp_path / "town.forest")
    rng, refused = np.random.default_rng(0), 0

    for _ in range(60):
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        (tmp_path / "damaged.forest").write_bytes(damaged)
        try:
            found = load_forest(tmp_path / "damaged.forest")
        except ModelError:
            refused += 1
            continue
        found.trees.predict(np.zeros((3, 5 + 2 * len(content)), np.float32))  # ends, and stays inside
    assert refused
    (tmp_path / "cut.forest").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError):
        load_forest(tmp_path / "cut.forest")
    assert intact.names == NAMES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(cover="water"), "have the name 'water'; expected samples of at least two names"),
        (lambda frame: frame.assign(cover=None), "12 of 12 samples have no value in the field 'cover'"),
        (lambda frame: frame.iloc[:0], "has no sample that can be used"),
        (
            lambda frame: frame.translate(1e5).to_frame("geometry").assign(cover=frame["cover"]),
            "none of the 12 samples",
        ),
        (lambda frame: frame.rename(columns={"cover": "kind"}), "has no field 'cover'; it has kind"),
        (lambda frame: frame.assign(geometry=frame.buffer(1).boundary), "are neither points nor polygons"),
    ],
    ids=["one name", "no names", "empty", "outside", "no field", "lines"],
)
def test_samples_that_cannot_be_used_are_refused_in_one_line(labels, layer, tmp_path, change, message):
    pyogrio.write_dataframe(
        change(points(layer, ROWS)), tmp_path / "wrong.gpkg", geometry_type="Unknown" if "lines" in message else None
    )

    with pytest.raises(RasterError, match=message) as caught:
        classify(labels, tmp_path / "wrong.gpkg")

    assert "\n" not in str(caught.value)
    assert not (tmp_path / "named.gpkg").exists()


def test_samples_without_a_crs_are_refused(labels, layer, tmp_path):
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        points(layer, ROWS).set_crs(None, allow_override=True).to_file(tmp_path / "nowhere.gpkg")

    with pytest.raises(RasterError, match="has no CRS, so the place of the samples is unknown"):
        classify(labels, tmp_path / "nowhere.gpkg")


def test_contradicting_missing_and_outside_samples_are_counted_in_notes(labels, layer, tmp_path):
    given = points(layer, [0, 0, 4, 8, 20], ["forest", "road", "road", "water", None])
    far = points(layer, [8]).translate(1e4).to_frame("geometry").assign(cover="water")
    geopandas.pd.concat([given, far]).to_file(tmp_path / "odd.gpkg")

    notes = " ".join(classify(labels, tmp_path / "odd.gpkg").notes)

    assert "1 of 6 samples have no value" in notes
    assert "1 of 5 samples are in no region" in notes
    assert "1 of 3 regions with samples have samples of different names" in notes


def test_name_whose_samples_are_all_outside_is_found_nowhere(labels, layer, tmp_path):
    far = points(layer, [8]).translate(1e4).to_frame("geometry").assign(cover="mud")
    geopandas.pd.concat([points(layer, ROWS), far]).to_file(tmp_path / "far.gpkg")

    result = classify(labels, tmp_path / "far.gpkg", validate=True)

    assert "no sample of mud is in a region." in result.notes
    assert [score.regions for score in result.scores if score.name == "mud"] == [0]
    assert read(result.path)["probability"].notna().all()


def test_existing_files_are_kept_without_overwrite_and_inputs_always(labels, samples):
    path = classify(labels, samples).path
    before = path.read_bytes()

    with pytest.raises(OutputError, match="exists"):
        classify(labels, samples)
    assert path.read_bytes() == before
    for name in ("labels.gpkg", "samples.gpkg"):
        with pytest.raises(OutputError, match="is a file that is read"):
            classify(labels, samples, name, overwrite=True)


@pytest.mark.parametrize(
    "options",
    [{"min_probability": 1.5}, {"suggest": -1}, {"model": "a.forest"}, {"field": ""}],
    ids=lambda each: next(iter(each)),
)
def test_options_out_of_range_are_refused(labels, samples, options):
    given = {"samples": samples, "field": "cover"} | options

    with pytest.raises(ConfigError):
        geoseg.classify_regions(labels, labels.parent / "named.gpkg", **given)


def test_command_prints_tables_or_only_json(labels, samples, capsys):
    out = ["--field", "cover", "--out", labels.parent / "named.gpkg", "--overwrite"]

    assert run_command("classify", labels, "--samples", samples, *out).code == 0
    table = capsys.readouterr().out
    assert run_command("classify", labels, "--samples", samples, *out, "--json", "-").code == 0

    figures = json.loads(capsys.readouterr().out)
    assert all(name in table for name in NAMES)
    assert "Cross-validation by spatial blocks" in table
    assert np.sum(figures["confusion"]) == len(ROWS)
    assert sum(figures["importance"].values()) == pytest.approx(1)
    assert figures["names"][1]["samples"] == np.sum(figures["confusion"][1])


# --- parts --------------------------------------------------------------------------------------------------------


def test_borders_do_not_depend_on_the_batches_in_which_polygons_are_read(layer):
    polygons = layer.geometry.to_numpy()
    expected = np.array([[a.intersection(b).length * (a != b) for b in polygons[:30]] for a in polygons[:30]])

    for size in (1, 7, 30):
        collector = BorderCollector()
        for first in range(0, 30, size):
            collector.add(edges_of(polygons[first : min(first + size, 30)]), first)
        assert collector.lengths(30).toarray() == pytest.approx(expected)


@pytest.mark.parametrize("angle", [0, 30, 75])
def test_shapes_are_those_of_a_turned_rectangle_with_a_hole(angle):
    plate = shapely.box(0, 0, 40, 10).difference(shapely.box(18, 3, 22, 7))
    turned = np.array([shapely.affinity.rotate(plate, angle, origin=(1e6, 1e6))])

    found = {name: float(value[0]) for name, value in polygon_shapes(turned, edges_of(turned)).items()}

    major = (40**3 * 10 - 4**3 * 4) / 12 / 384  # variances of the rectangle without those of the hole
    minor = (10**3 * 40 - 4**3 * 4) / 12 / 384
    assert found["area"] == pytest.approx(384)
    assert found["elongation"] == pytest.approx(1 - (minor / major) ** 0.5, abs=1e-6)
    assert found["rectangularity"] == pytest.approx(384 / 400, abs=1e-6)
    assert found["solidity"] == pytest.approx(384 / 400, abs=1e-6)
    assert found["compactness"] == pytest.approx(16 * 384 / 116**2)


def test_flat_trees_predict_what_scikit_learn_predicts():
    from sklearn.ensemble import ExtraTreesClassifier

    from geoseg.classify.trees import trees_of

    rng = np.random.default_rng(1)
    values = rng.normal(size=(90, 6)).astype(np.float32)
    fitted = ExtraTreesClassifier(20, random_state=0).fit(values, rng.integers(0, 4, 90))

    assert trees_of(fitted).predict(values[:50]) == pytest.approx(fitted.predict_proba(values[:50]), abs=1e-6)


def test_name_without_samples_in_a_part_gets_no_probability():
    values = np.arange(8, dtype=np.float32)[:, None]
    names = np.array([0, 0, 0, 0, 2, 2, 2, 2])

    found = train(TrainingSet(values, names, np.ones(8), 3), n_trees=5).predict(values)

    assert not found[:, 1].any()
    assert found.argmax(axis=1).tolist() == names.tolist()


def test_samples_in_one_block_are_in_one_fold():
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 6, (200, 2)) * 10 + rng.uniform(0, 1, (200, 2))

    folds = spatial_folds(centres, np.ones(200))

    block = (centres // 10).astype(int) @ [6, 1]
    assert all(len(set(folds[block == each])) == 1 for each in set(block))
    assert np.bincount(folds).min() >= 30


def test_crs_of_the_output_is_that_of_the_regions(labels, samples, layer):
    info = pyogrio.read_info(classify(labels, samples).path, layer="labels")

    assert CRS(info["crs"]) == layer.crs


def test_every_column_says_between_which_regions_it_compares_and_what_is_tied_to_class_numbers_never_does():
    def columns(n_classes, levels):
        extra = extra_fields(n_classes=n_classes, levels=levels)
        own = label_fields(bands=[1], levels=levels, n_regions=9, n_classes=9, indices=["confidence"], extra=extra)
        return {field.name: field for field in own}

    fields, fewer = columns(9, (2, 4)), columns(0, ())
    assert {field.name for field in fields.values() if not field.comparable} == set()
    tied = fields.keys() - fewer.keys()
    assert tied >= {"border_class_9", "class_4", "object_2"}
    assert {fields[name].comparable for name in tied | {"region", "class"}} == {"never"}
    schema = pa.schema([(name, pa.float64()) for name in fields])
    for in_one_scene, allowed in ((True, {"everywhere", "scene"}), (False, {"everywhere"})):
        found = attribute_columns(schema, in_one_scene=in_one_scene)
        assert set(found) == {name for name, field in fields.items() if field.comparable in allowed}


def test_columns_that_are_comparable_in_one_scene_are_not_in_a_saved_forest(layer, samples, tmp_path):
    more = layer.assign(votes_1=truth() * 1.0, border_class_1=0.5, neighbours=4)
    more.to_file(tmp_path / "more.gpkg", layer="labels")
    out, kept = tmp_path / "out.gpkg", tmp_path / "a.forest"
    here = geoseg.classify_regions(tmp_path / "more.gpkg", out, samples=samples, field="cover")
    assert "votes_1" in dict(here.importance)
    assert "border_class_1" not in dict(here.importance)
    options = {"samples": samples, "field": "cover", "save_model": kept, "overwrite": True}
    saved = geoseg.classify_regions(tmp_path / "more.gpkg", out, **options)
    assert {"neighbours"} == dict(saved.importance).keys() & {"neighbours", "votes_1", "border_class_1"}
    assert {"neighbours"} == set(load_forest(kept).attributes) & {"neighbours", "votes_1", "border_class_1"}


def test_forest_that_compares_what_is_comparable_in_one_scene_is_refused(labels, layer, samples, tmp_path):
    geoseg.classify_regions(
        labels, tmp_path / "o.gpkg", samples=samples, field="cover", save_model=tmp_path / "a.forest"
    )
    own = load_forest(tmp_path / "a.forest")
    tied = tuple("votes_1" if name == "std_1" else name for name in own.attributes)
    save_forest(tmp_path / "b.forest", dataclasses.replace(own, attributes=tied))
    layer.assign(votes_1=1.0).to_file(tmp_path / "more.gpkg", layer="labels")
    with pytest.raises(ModelError, match="votes_1"):
        geoseg.classify_regions(tmp_path / "more.gpkg", tmp_path / "p.gpkg", model=tmp_path / "b.forest")


@pytest.mark.parametrize(("places", "expected"), [([0, 1, 9], [2]), ([0, 9, 1], [1]), ([8, 9, 0], [2])])
def test_of_two_regions_that_differ_as_much_the_one_farther_on_the_map_is_suggested(places, expected):
    centres = np.array([places, [0, 0, 0]], float).T
    values = np.array([[0], [-1], [1]], np.float32)
    table = RegionTable(("a",), values, np.ones(3), centres, sparse.csr_array((3, 3), dtype=np.float32))
    unsure = np.full((3, 2), 0.5, np.float32)

    found = suggestions(unsure, Features(table, np.zeros(1, np.float32)), table.sizes, centres, np.array([0]), 1)

    assert found.tolist() == expected
