"""The built site: no dead link, no request to another place, and no error in a browser, light and dark."""

import functools
import html
import re
import shutil
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest

from .pages import PAGES, ROOT

pytest.importorskip("zensical", reason="Zensical builds the site: pip install -c constraints.txt -e '.[dev]'")
SITE = ROOT / "build" / "site"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]


@pytest.fixture(scope="module")
def site():
    """Build the site, as `make docs` does."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "build_site.py"], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    return {path: path.read_text(encoding="utf-8") for path in SITE.rglob("*.html")}


def links_of(text):
    return [html.unescape(link) for link in re.findall(r"""(?:href|src)=["']?([^"'\s>]+)""", text)]


@functools.cache
def ids_of(text):
    return set(re.findall(r"""\bid=["']?([^"'\s>]+)""", text))


def test_every_page_of_the_documentation_is_built(site):
    built = {path.relative_to(SITE).with_suffix(".md").as_posix() for path in site}

    assert {path.relative_to(ROOT / "docs").as_posix() for path in PAGES if path.stem != "README"} <= built


def test_every_link_leads_to_a_file_and_an_anchor_of_the_site(site):
    dead = [
        (page.name, link)
        for page, text in site.items()
        if page.name != "404.html"  # served at any depth, so its links begin at the root of the server
        for link in links_of(text)
        if not urlsplit(link).scheme and is_dead(site, page, link)
    ]

    assert not dead


def is_dead(site, page, link):
    parts = urlsplit(link)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    target = target / "index.html" if target.is_dir() else target
    anchor = unquote(parts.fragment)
    return not target.is_file() or bool(anchor and target in site and anchor not in ids_of(site[target]))


def test_every_public_name_is_on_the_page_of_the_api(site):
    import geoseg

    assert {f"geoseg.{name}" for name in geoseg.__all__} <= ids_of(site[SITE / "api.html"])


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_load_from_the_file_system_without_requests_or_errors(scheme):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_context(color_scheme=scheme).new_page()
        outside, errors = [], []
        tab.on("request", lambda request: outside.append(request.url) if request.url.startswith("http") else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("requestfailed", lambda request: errors.append(request.url))
        for name in ("index.html", "tutorial.html", "api.html", "gallery.html", "howto/model.html"):
            tab.goto((SITE / name).as_uri())
            assert tab.locator("article h1").first.is_visible()
            assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        tab.goto((SITE / "index.html").as_uri())
        background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        browser.close()

    assert not outside
    assert not errors
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 384) == (scheme == "light")
