"""The pictures of the tutorial are drawn by its commands and by QGIS, and those in docs/ are what is drawn today."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from .pages import ROOT

PICTURES = ROOT / "docs" / "pictures"
NAMES = ("tutorial-preview", "tutorial-qgis", "tutorial-levels", "tutorial-selection")
MAX_DIFFERENCE = 12  # of 255, of the mean pixel: another version of QGIS has other icons, and GPUs and CPUs round

pytestmark = [
    pytest.mark.slow,
    pytest.mark.qgis,
    pytest.mark.skipif(not (shutil.which("qgis") and shutil.which("xvfb-run")), reason="QGIS or Xvfb is not installed"),
]


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.int64)


def test_pictures_of_the_tutorial_are_those_of_its_commands(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "tutorial_pictures.py", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )

    assert done.returncode == 0, done.stderr[-3000:]
    for name in NAMES:
        drawn, shown = pixels_of(tmp_path / f"{name}.png"), pixels_of(PICTURES / f"{name}.png")
        assert drawn.shape == shown.shape, name
        assert np.abs(drawn - shown).mean() <= MAX_DIFFERENCE, name
