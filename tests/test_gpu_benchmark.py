"""benchmarks/gpu.py runs without a GPU, and counts what it says."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu")


@pytest.mark.slow
def test_tables_of_peaks_and_steps_have_positive_figures(gpu):
    bandwidth, arithmetic = gpu.peaks("cpu", 2**20)
    rows = [line.split("|") for line in gpu.steps_table("cpu", 64, 1, (bandwidth, arithmetic)).splitlines()[4:]]

    assert bandwidth > 0
    assert arithmetic > 0
    assert [row[1].strip() for row in rows][:2] == ["literal script, CPU, from one step", "geoseg, one network"]
    assert len(rows) == 5
    assert all(float(cell.strip(" %")) > 0 for row in rows[1:] for cell in row[2:6])


def test_operations_of_a_step_are_those_that_torch_counts(gpu):
    network = gpu.new_network(3, gpu.CONFIG.network, seed=0)
    image = torch.zeros(1, 3, 20, 20, requires_grad=True)  # the first layer has a gradient by its input too

    with FlopCounterMode(display=False) as counter:
        network(image).sum().backward()

    assert gpu.work_of_step(20)[1] == counter.get_total_flops()


@pytest.mark.slow
def test_command_measures_a_whole_run(quick_config):
    command = [sys.executable, BENCHMARKS / "gpu.py", "--device", "cpu", "--megapixels", "0.02", "--workers", "0"]
    command += ["--size", "64", "--steps", "1", "--peak-mib", "1", "--", "--config", quick_config]

    done = subprocess.run(command, capture_output=True, text=True, timeout=600)

    assert done.returncode == 0, done.stderr
    assert {"| whole run |", "| segment |", "| write |"} <= {
        line[: line.find("|", 1) + 1] for line in done.stdout.splitlines()
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_the_command_says_so(gpu, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])

    with pytest.raises(SystemExit) as ended:
        gpu.main()

    assert ended.value.code == 2
    assert "--device cpu measures this processor" in capsys.readouterr().err
