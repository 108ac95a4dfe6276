"""A report in Chromium: the map and its controls by mouse, touch and keyboard, and nothing that leaves the page."""

import base64
import io
import shutil
from dataclasses import replace

import numpy as np
import pyogrio
import pytest
import rasterio
from PIL import Image

from geoseg.report.content import FailedTile, gather
from geoseg.report.finished_run import find_run
from geoseg.report.page import render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.xdist_group("report browser"),  # which start a browser once
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Opened:
    """A page with what it has logged and requested."""

    def __init__(self, browser, path, **options):
        self.page = browser.new_page(
            **{"viewport": {"width": 1200, "height": 900}, "reduced_motion": "reduce", **options}
        )
        self.messages, self.requests, self.dialogs = [], [], []
        self.page.on("console", lambda message: self.messages.append(message.text))  # warnings too
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-state]")

    def canvas(self):
        """Return the pixels of the classes, (y, x, 4)."""
        address = self.page.evaluate("document.getElementById('canvas').toDataURL('image/png')")
        picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
        return np.asarray(picture.convert("RGBA"))

    def point(self, row, col):
        """Return the place on the screen of a pixel of the picture."""
        box = self.page.evaluate(
            "() => { const b = document.getElementById('canvas').getBoundingClientRect();"
            "return [b.left, b.top, b.width / canvas.width, b.height / canvas.height]; }"
        )
        return box[0] + (col + 0.5) * box[2], box[1] + (row + 0.5) * box[3]

    def facts(self):
        """Return what is shown of the region under the pointer."""
        terms, values = (self.page.locator(f"#region-list {tag}").all_inner_texts() for tag in ("dt", "dd"))
        return dict(zip(terms, values, strict=True))

    def attribute(self, selector, name):
        return self.page.locator(selector).get_attribute(name)


@pytest.fixture
def opened(browser, reported):
    found = Opened(browser, reported / "report.html")
    yield found
    assert not found.messages
    found.page.close()


@pytest.fixture
def classes(reported):
    with rasterio.open(reported / "classes.tif") as raster:
        return raster.read(1)


def test_page_loads_nothing_but_itself_and_logs_nothing(opened, reported):
    addresses = [url for url in opened.requests if not url.startswith("data:")]

    assert addresses == [(reported / "report.html").as_uri()]
    assert opened.attribute("html", "data-state") == "drawn"


def test_classes_are_drawn_in_their_colours_and_nodata_is_transparent(opened, classes, reported):
    pixels = opened.canvas()

    frame = pyogrio.read_dataframe(reported / "labels.gpkg", layer="labels")
    for value, color in frame.groupby("class")["color"].first().items():
        drawn = np.unique(pixels[classes == value], axis=0)
        assert drawn.tolist() == [[*bytes.fromhex(color[1:]), 255]]
    assert not pixels[classes == 0].any()


def test_swipe_moves_with_the_mouse(opened):
    handle, box = opened.page.locator("#swipe"), opened.page.locator("#map").bounding_box()
    place = handle.bounding_box()

    opened.page.mouse.move(place["x"] + 22, place["y"] + place["height"] / 2)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 50, steps=4)
    opened.page.mouse.up()

    assert opened.attribute("#swipe", "aria-valuenow") == "80"
    clip = opened.page.evaluate("getComputedStyle(document.getElementById('overlay')).clipPath")
    assert float(clip.removesuffix("%)").split()[-1]) == pytest.approx(80, abs=1)


def test_swipe_moves_with_the_keyboard(opened):
    opened.page.locator("#swipe").focus()
    for key in ("ArrowLeft", "ArrowLeft", "PageUp"):
        opened.page.keyboard.press(key)
    assert opened.attribute("#swipe", "aria-valuenow") == "65"
    opened.page.keyboard.press("Home")

    assert opened.attribute("#swipe", "aria-valuetext") == "0 percent scene"


def test_switch_in_the_legend_hides_a_class(opened, classes):
    opened.page.get_by_role("checkbox", name="class 2").uncheck()
    pixels = opened.canvas()

    assert not pixels[classes == 2].any()
    assert (pixels[(classes > 0) & (classes != 2)][:, 3] == 255).all()
    opened.page.get_by_role("button", name="None").click()
    assert not opened.canvas().any()
    opened.page.get_by_role("button", name="All").click()
    assert (opened.canvas()[classes > 0][:, 3] == 255).all()


def test_slider_shows_each_level_of_the_class_tree(opened, classes, reported):
    frame = pyogrio.read_dataframe(reported / "labels.gpkg", layer="labels")
    slider = opened.page.locator("#level")

    for level in (4, 2):
        slider.fill(str(level))
        pixels = opened.canvas()
        colors = np.zeros(classes.shape, np.int64)
        colors[classes > 0] = np.unique(pixels[classes > 0], axis=0, return_inverse=True)[1] + 1
        of_class = frame.groupby("class")[f"class_{level}"].first()
        assert len(np.unique(colors[classes > 0])) == level
        for _, members in of_class.groupby(of_class):
            assert len(np.unique(colors[np.isin(classes, members.index)])) == 1
        assert opened.page.locator("#level-text").inner_text() == f"{level} classes"
        assert opened.page.locator("#legend-list li").count() == level
    assert slider.get_attribute("min") == "2"


def test_slider_moves_with_the_keyboard(opened):
    opened.page.locator("#level").focus()
    opened.page.keyboard.press("ArrowLeft")

    assert opened.page.locator("#level-text").inner_text() == "5 classes"
    assert opened.attribute("#level", "aria-valuetext") == "5 classes"


def test_hidden_class_stays_hidden_at_another_level(opened, classes):
    opened.page.get_by_role("checkbox", name="class 2").uncheck()
    opened.page.locator("#level").fill("5")

    assert not opened.canvas()[classes == 2].any()


def test_hover_shows_the_region_with_its_size_and_means(opened, reported):
    frame = pyogrio.read_dataframe(reported / "labels.gpkg", layer="labels")
    largest = frame.loc[frame["pixels"].idxmax()]
    inside = largest.geometry.representative_point()
    with rasterio.open(reported / "classes.tif") as raster:
        row, col = raster.index(inside.x, inside.y)

    opened.page.locator("#map").scroll_into_view_if_needed()
    opened.page.mouse.move(*opened.point(row, col))
    facts = opened.facts()

    assert facts["class"] == f"class {largest['class']}"
    assert facts["region"] == str(largest["region"])
    assert facts["size"].replace("\u202f", "") == f"{largest['pixels']} px"
    assert float(facts["mean of band 1: red"]) == pytest.approx(largest["mean_1"], rel=1e-3)
    assert float(facts["confidence"]) == pytest.approx(largest["confidence"], abs=0.006)
    assert opened.page.locator("#tip").is_visible()


def test_hover_over_nodata_states_it(opened):
    opened.page.locator("#map").scroll_into_view_if_needed()
    opened.page.mouse.move(*opened.point(5, 5))

    assert opened.facts() == {"class": "nodata"}


def test_map_zooms_pans_and_describes_the_region_with_the_keyboard(opened):
    opened.page.locator("#map").focus()
    before = opened.point(75, 85)
    for _ in range(3):
        opened.page.keyboard.press("+")
    zoomed = opened.point(75, 85)
    opened.page.keyboard.press("ArrowRight")
    panned = opened.point(75, 85)
    opened.page.keyboard.press("Enter")

    assert opened.page.locator("#scale").inner_text().startswith("zoom 3.375 ")
    assert zoomed == pytest.approx(before, abs=8)  # the centre stays, half a pixel away
    assert panned[0] == pytest.approx(zoomed[0] - 60, abs=1)
    assert opened.page.locator("#status").inner_text().startswith("class class ")
    opened.page.keyboard.press("0")
    assert opened.page.locator("#scale").inner_text().startswith("zoom 1 ")


def test_map_pans_with_the_mouse_and_zooms_with_the_wheel(opened):
    opened.page.locator("#map").click(position={"x": 120, "y": 200})
    opened.page.mouse.wheel(0, -600)
    opened.page.wait_for_function("!document.getElementById('scale').textContent.startsWith('zoom 1 ')")
    before = opened.point(75, 85)
    opened.page.mouse.down()
    opened.page.mouse.move(400, 300)
    first = opened.point(75, 85)
    opened.page.mouse.move(380, 290, steps=2)
    opened.page.mouse.up()

    assert opened.point(75, 85) == pytest.approx((first[0] - 20, first[1] - 10), abs=1)
    assert before != first


def test_confidence_of_the_regions_replaces_their_classes(opened, classes):
    before = opened.canvas()
    opened.page.get_by_role("radio", name="confidence").check()
    pixels = opened.canvas()

    assert opened.page.locator("#confidence-legend").is_visible()
    assert len(np.unique(pixels[classes > 0], axis=0)) > 6
    assert not pixels[classes == 0].any()
    opened.page.get_by_role("radio", name="classes").check()
    assert np.array_equal(opened.canvas(), before)


def test_list_of_uncertain_regions_zooms_to_each(opened):
    button = opened.page.locator(".zoom-to").first
    name = button.get_attribute("aria-label").split()[2]
    button.focus()
    opened.page.keyboard.press("Enter")

    assert opened.page.evaluate("document.activeElement.id") == "map"
    assert opened.page.locator("#marks .chosen").count() == 1
    assert not opened.page.locator("#scale").inner_text().startswith("zoom 1 ")
    assert "region" in opened.page.locator("#status").inner_text()
    assert name.isdecimal()


def test_every_control_is_reached_by_the_tab_key(opened):
    opened.page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        opened.page.keyboard.press("Tab")
        reached.append(opened.page.evaluate("document.activeElement.id || document.activeElement.type || ''"))

    positions = [
        reached.index(each) for each in ("map", "swipe", "zoom-in", "zoom-all", "radio", "level", "all-classes")
    ]
    assert positions == sorted(positions)
    assert "checkbox" in reached


def test_page_fits_a_narrow_screen_and_follows_a_dark_one(browser, reported):
    light = Opened(browser, reported / "report.html", viewport={"width": 390, "height": 844})
    dark = Opened(browser, reported / "report.html", color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"

    assert light.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert light.page.evaluate(background) == "rgb(255, 255, 255)"
    assert max(map(int, dark.page.evaluate(background)[4:-1].split(","))) < 60
    assert not [*light.messages, *dark.messages]


def test_print_shows_the_whole_map_after_zooming(opened):
    for _ in range(4):
        opened.page.locator("#zoom-in").click()
    opened.page.emulate_media(media="print")

    of_map, of_canvas = (opened.page.locator(each).bounding_box() for each in ("#map", "#canvas"))
    assert of_canvas["width"] == pytest.approx(of_map["width"], abs=3)
    assert of_canvas["height"] == pytest.approx(of_map["height"], abs=3)
    assert not opened.page.locator("#zoom-in").is_visible()


@pytest.mark.parametrize(
    "attempt",
    [
        "fetch('https://example.org/')",
        "new Promise((done, failed) => { const i = new Image(); i.onload = done; i.onerror = failed; i.src = "
        "'https://example.org/a.png'; })",
        "new Promise((done, failed) => { const s = document.createElement('script'); s.onload = done; "
        "s.onerror = failed; s.src = 'https://example.org/a.js'; document.body.append(s); })",
    ],
    ids=["fetch", "picture", "script"],
)
def test_policy_of_the_page_blocks_addresses(browser, reported, attempt):
    found = Opened(browser, reported / "report.html")
    found.page.evaluate("addEventListener('securitypolicyviolation', (e) => { window.violated = e.blockedURI; })")

    blocked = found.page.evaluate(f"() => {attempt}.then(() => false, () => true)")

    assert blocked
    assert found.page.evaluate("window.violated").startswith("https://example.org")


def test_markup_in_names_does_nothing_in_the_browser(browser, reported, tmp_path):
    content = gather(find_run(reported / "labels.gpkg"), max_pixels=30_000)
    facts = {**content.run.facts, "scene": f"/a/{HOSTILE}"}
    hostile = replace(
        content,
        run=replace(content.run, facts=facts),
        table=replace(content.table, names=(HOSTILE,) * len(content.table)),
        bands=(HOSTILE,) * len(content.bands),
        failed=(FailedTile(1, HOSTILE, (64, 0, 128, 64)),),
        notes=(HOSTILE,),
    )
    (tmp_path / "hostile.html").write_text(render(hostile), encoding="utf-8")

    found = Opened(browser, tmp_path / "hostile.html")
    found.page.locator("#level").fill("2")
    found.page.locator("#map").scroll_into_view_if_needed()
    found.page.mouse.move(*found.point(75, 40))

    assert found.facts()["class"] == HOSTILE
    assert HOSTILE in found.page.locator("#legend-list").inner_text()
    assert found.page.locator("#marks .failed").count() == 1
    assert not [*found.messages, *found.dialogs]
    assert found.page.locator("img").count() == 2
