"""Classes on CUDA agree with those on the CPU. Tests that need no particular device also run on the CPU."""

import subprocess
import sys

import numpy as np
import pytest
import rasterio
import torch
from sklearn.metrics import adjusted_rand_score

from geoseg.config import load_config
from geoseg.errors import ConfigError
from geoseg.output import system
from geoseg.output.paths import Outputs
from geoseg.pipeline import run_scene
from geoseg.run import resources
from geoseg.run.executors import ClusterOptions
from geoseg.run.resources import pick_device
from geoseg.run.run_options import RunOptions
from geoseg.segment import network, tile_batches

from .conftest import fields, rest_slow

CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")],
)


@pytest.fixture
def segment(tmp_path, quick_config):
    """Return the class raster of a scene: segment(scene, device, workers=0, **changes of the configuration)."""

    def run(scene, device, *, workers=0, **changes):
        outputs = Outputs(tmp_path / "labels.gpkg", tmp_path / f"{device}.tif")
        run_scene(
            str(scene),
            outputs,
            load_config(quick_config, **changes),
            options=RunOptions(device=device, overwrite=True),
            cluster=ClusterOptions(workers=workers),
        )
        with rasterio.open(outputs.class_raster) as raster:
            return raster.read(1)

    return run


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("changes", rest_slow([{"tile_steps": 3}, {}, {"training": "tile", "tile_steps": 6}]))
def test_classes_on_a_device_agree_with_those_on_the_cpu(segment, make_raster, device, changes):
    scene = make_raster(fields())
    expected = segment(scene, "cpu", **changes)

    found = segment(scene, device, **changes)

    assert len(np.unique(expected)) >= 2
    assert adjusted_rand_score(expected.ravel(), found.ravel()) >= 0.95


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_second_run_on_the_same_device_gives_the_same_classes(segment, make_raster, device):
    scene = make_raster(fields())

    np.testing.assert_array_equal(segment(scene, device), segment(scene, device))


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.xdist_group("dask")
def test_two_workers_share_a_device(segment, make_raster, device):
    scene = make_raster(fields())

    np.testing.assert_array_equal(segment(scene, device, workers=2), segment(scene, device))


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_device_that_is_there_is_used(device):
    assert pick_device(device, load_config()) == device


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_auto_uses_cuda_where_there_is_a_gpu():
    assert pick_device("auto", load_config()) == "cuda"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused():
    assert pick_device("auto", load_config()) == "cpu"
    with pytest.raises(ConfigError, match="torch finds no GPU"):
        pick_device("cuda", load_config())


@pytest.mark.parametrize("found", [True, False])
@pytest.mark.parametrize("name", [None, "nvidia0", "nvidiactl", "nvhost-gpu", "nvmap", "kfd", "dxg", "nvme0n1"])
def test_torch_is_asked_for_a_gpu_where_a_driver_has_a_device_file(tmp_path, monkeypatch, name, found):
    if name is not None:
        (tmp_path / name).touch()
    monkeypatch.setattr(system.sys, "platform", "linux")
    monkeypatch.setattr(resources, "may_have_gpu", lambda: system.may_have_gpu(tmp_path))
    monkeypatch.setattr(network, "gpu_is_available", lambda _: found)
    is_asked = name not in (None, "nvme0n1")

    assert pick_device("auto", load_config()) == ("cuda" if is_asked and found else "cpu")


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_torch_is_asked_for_a_gpu_on_systems_without_device_files(tmp_path, monkeypatch, platform):
    monkeypatch.setattr(system.sys, "platform", platform)

    assert system.may_have_gpu(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_choosing_the_cpu_does_not_import_torch_where_no_driver_has_a_device_file():
    if system.may_have_gpu():
        pytest.skip("a driver has a device file")
    code = (
        "import sys; from geoseg.config import Config; from geoseg.run.resources import pick_device;"
        "print(pick_device('auto', Config()), 'torch' in sys.modules)"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.split() == ["cpu", "False"]


def test_methods_without_a_network_use_no_gpu():
    assert pick_device("auto", load_config(method="kmeans")) == "cpu"
    with pytest.raises(ConfigError, match="does not use a GPU"):
        pick_device("cuda", load_config(method="kmeans"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("changes", [{}, {"tile_steps": 3}, {"training": "tile", "tile_steps": 6}])
def test_size_of_the_batch_does_not_change_the_classes_on_a_gpu(segment, make_raster, monkeypatch, changes):
    scene = make_raster(fields((400, 400)))
    together = segment(scene, "cuda", **changes)

    monkeypatch.setattr(tile_batches, "batch_size", lambda *_: 1)

    np.testing.assert_array_equal(segment(scene, "cuda", **changes), together)
