"""Every block of code in the documentation runs, or states why it does not."""

import dataclasses
import json
import re
import runpy
import subprocess

import pytest
import rasterio
import yaml
from rasterio.windows import Window

from .command_server import write_client
from .pages import CODE, DATA, NOT_CODE, PAGES, ROOT, blocks_of, files_of, setup_of
from .run_page import QUICK_LEARN, write_command

TEXTS = {path.relative_to(ROOT / "docs").as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
WITH_CODE = [
    name
    for name, text in TEXTS.items()
    if any(block.language in CODE and not block.reason for block in blocks_of(text))
]
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
MAX_CROP = 1_000_000  # bytes
PART = 384  # px, of the scenes on which the pages are run: the largest window that a page names


def pages_of(nav):
    """Return the files of a nav of MkDocs, at any depth."""
    if isinstance(nav, str):
        return [nav]
    return [name for entry in (nav if isinstance(nav, list) else nav.values()) for name in pages_of(entry)]


def test_blocks_files_and_setup_of_a_page_are_found():
    text = "<!-- files: a.tif=b.tif c.tif=d.tif -->\n<!-- setup\nls\n-->\n```bash\nls\n```\n\n"
    text += "<!-- not run: slow -->\n\n```python\n1\n```\n"

    found = blocks_of(text)

    assert [dataclasses.astuple(block) for block in found] == [("bash", "ls\n", 5, ""), ("python", "1\n", 11, "slow")]
    assert files_of(text) == {"a.tif": "b.tif", "c.tif": "d.tif"}
    assert setup_of(text) == "ls\n"


def test_every_page_is_in_the_navigation_once_and_every_entry_is_a_page():
    entries = pages_of(SITE["nav"])

    assert sorted(entries) == sorted([*TEXTS, "SECURITY.md", "CHANGELOG.md"])


@pytest.mark.parametrize("name", TEXTS)
def test_every_block_names_its_language_and_every_fence_is_closed(name):
    languages = [block.language for block in blocks_of(TEXTS[name])]

    assert set(languages) <= {*CODE, *NOT_CODE}, "use bash or python for what can be run, text or yaml for the rest"
    assert TEXTS[name].count("```") == 2 * len(languages)


@pytest.mark.parametrize("name", TEXTS)
def test_reasons_belong_to_a_block_and_files_to_the_page(name):
    reasons = [block.reason for block in blocks_of(TEXTS[name]) if block.reason]

    assert reasons == re.findall(r"<!-- not run: (.*?) -->", TEXTS[name], flags=re.DOTALL)
    assert all(len(reason) > 10 for reason in reasons)
    for shown, source in files_of(TEXTS[name]).items():
        assert (DATA / source).is_file()
        assert any(shown in part for part in [setup_of(TEXTS[name]), *(block.text for block in blocks_of(TEXTS[name]))])


def test_sample_scenes_are_small_and_described():
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    crops = [path for path in DATA.iterdir() if path.suffix == ".tif"]

    assert sorted(re.findall(r"^\| `(.*?)`", readme, flags=re.MULTILINE)) == sorted(path.name for path in crops)
    assert all(path.stat().st_size <= MAX_CROP for path in crops)


def test_gallery_has_the_commands_of_its_script_and_a_valid_coverage_each():
    script = runpy.run_path(str(ROOT / "docs" / "gallery.py"))
    blocks = [block.text for block in blocks_of(TEXTS["gallery.md"])]

    assert blocks == ["\n".join([*entry.commands, ""]) for entry in script["ENTRIES"]]
    assert TEXTS["gallery.md"].count("| yes |") == len(blocks) == 6


def test_the_runner_changes_only_how_the_network_is_trained():
    from geoseg.config import Learn

    assert list(QUICK_LEARN) == [field.name for field in dataclasses.fields(Learn)]


def write_part(source, path):
    """Write the upper left part of a raster to a file; it has the bands, the storage and the metadata of the raster."""
    with rasterio.open(source) as raster:
        window = Window(0, 0, min(raster.width, PART), min(raster.height, PART))
        profile = raster.profile | {"width": window.width, "height": window.height}
        with rasterio.open(path, "w", **profile) as part:
            part.write(raster.read(window=window))
            part.colorinterp, part.descriptions = raster.colorinterp, raster.descriptions
            part.update_tags(**raster.tags())
            for band in raster.indexes:
                part.update_tags(band, **raster.tags(band))


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_CODE)
def test_all_code_of_a_page_runs(name, tmp_path, command_server):
    folder, text = tmp_path / "run", TEXTS[name]
    environment = write_command(tmp_path / "bin", command_server)
    write_client(tmp_path / "bin" / "run-page", command_server, "tests.run_page:main")
    folder.mkdir()
    for shown, source in files_of(text).items():
        write_part(DATA / source, folder / shown)
    code = [block for block in blocks_of(text) if block.language in CODE and not block.reason]
    setup = [{"language": "bash", "text": setup_of(text), "line": 0}] if setup_of(text) else []
    (tmp_path / "blocks.json").write_text(json.dumps([*setup, *map(dataclasses.asdict, code)]))

    done = subprocess.run(
        [tmp_path / "bin" / "run-page", str(tmp_path / "blocks.json")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,  # minutes, on a machine that others use too
        stdin=subprocess.DEVNULL,
    )

    assert done.returncode == 0, done.stderr[-3000:]
