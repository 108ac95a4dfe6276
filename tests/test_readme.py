"""The Python examples of the README run as they are, on a scene such as `make demo` makes; training takes few steps."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from geoseg.synthetic.scene import SceneOptions, write_scene

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    (folder / "demo").mkdir()
    write_scene(folder / "demo" / "scene.tif", SceneOptions(shape=(128, 128)))
    return folder


QUICKLY = "from tests.run_page import train_quickly\ntrain_quickly()\n"


def run_block(folder, block):
    """Run a block as a script of its own, because worker processes import the main module."""
    script = folder / "script.py"
    script.write_text(QUICKLY + block, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def test_readme_has_a_script_of_at_most_ten_lines_from_an_array_to_a_plot():
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()]

    assert len(lines) <= 10
    assert "segment_array" in BLOCKS[0]
    assert "plot" in BLOCKS[0]


def test_readme_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


@pytest.fixture(scope="module")
def ended(demo):
    """How each block ended, in their order."""
    return [run_block(demo, block) for block in BLOCKS]


@pytest.mark.slow
@pytest.mark.xdist_group("readme")
@pytest.mark.parametrize("number", [0, 1], ids=["array", "files"])
def test_python_block_of_the_readme_runs_without_an_error(ended, number):
    assert len(ended) == 2
    assert ended[number].returncode == 0, ended[number].stderr


@pytest.mark.slow
@pytest.mark.xdist_group("readme")
def test_array_script_of_the_readme_prints_the_area_of_each_class_and_saves_a_picture(demo, ended):
    pytest.importorskip("matplotlib", reason="the script draws with matplotlib")
    done = ended[0]

    areas = [float(line.split()[1]) for line in done.stdout.splitlines() if re.fullmatch(r"\d+\s+[\d.]+", line)]
    assert sum(areas) == pytest.approx(128 * 128 * 0.25), done.stderr
    assert (demo / "polygons.png").read_bytes().startswith(b"\x89PNG")
