"""The example script, and the batch job with scripts in place of `srun` and `sbatch`."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import geopandas
import pytest

from geoseg.synthetic.scene import SceneOptions, write_scene

from .programs import served_program

ROOT = Path(__file__).parents[1]

# Runs a copy of the script, as Slurm does, so that the script cannot rely on its own path.
SBATCH = """#!/usr/bin/env bash
set -e
cp "$1" "$SPOOL/slurm_script"
shift
export SLURM_JOB_ID=17 SLURM_NTASKS=2 SLURM_MEM_PER_CPU=2048
exec bash "$SPOOL/slurm_script" "$@"
"""

# Starts the command as often as there are tasks, and ends them when it is ended.
SRUN = """#!/usr/bin/env bash
ntasks=1
while [[ $1 == --* ]]; do
  case $1 in --ntasks=*) ntasks=${1#*=} ;; esac
  shift
done
echo "$ntasks $*" >> "$SPOOL/steps"
trap 'kill $(jobs -p) 2>/dev/null' TERM
for ((task = 0; task < ntasks; task++)); do "$@" & done
wait
wait
"""


@pytest.fixture
def slurm(tmp_path, command_server):
    """Run examples/slurm.sh as a batch job: slurm(*arguments) → (CompletedProcess, lines with the job steps)."""
    commands, spool = tmp_path / "commands", tmp_path / "spool"
    served_program(commands, command_server)
    spool.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    path = os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]])

    def send(*arguments):
        done = subprocess.run(
            [str(part) for part in (commands / "sbatch", ROOT / "examples" / "slurm.sh", *arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PATH": path, "SPOOL": str(spool)},
        )
        return done, (spool / "steps").read_text().splitlines()

    return send


@pytest.mark.slow
def test_script_replaces_earlier_outputs_and_prints_the_hectares_of_each_class(tmp_path, capsys):
    for name in ("scene.tif", "labels.gpkg"):
        (tmp_path / name).write_bytes(b"of an earlier run")
    script = runpy.run_path(str(ROOT / "examples" / "segment.py"))

    script["main"](tmp_path, 256)

    frame = geopandas.read_file(tmp_path / "labels.gpkg", layer="labels")
    head, names, _, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{len(frame)} regions of {frame['class'].nunique()} classes")
    assert names.split() == ["regions", "hectares", "color", "class_2"]
    assert sum(int(row.split()[1]) for row in rows) == len(frame)
    assert sum(float(row.split()[2]) for row in rows) == pytest.approx(256 * 256 * 0.25 / 10_000, abs=0.05)


@pytest.mark.slow
def test_batch_job_uses_as_many_workers_as_it_has_tasks_and_removes_its_temporary_files(tmp_path, slurm):
    write_scene(tmp_path / "scene.tif", SceneOptions(shape=(256, 384)))
    (tmp_path / "quick.yaml").write_text("tiles: {size: 128, halo: 16}\nlearn: {steps: 4}\n")
    (tmp_path / "results").mkdir()
    labels = tmp_path / "results" / "labels.gpkg"

    done, steps = slurm(tmp_path / "scene.tif", labels, "--config", tmp_path / "quick.yaml")

    assert done.returncode == 0, done.stderr
    assert sorted(step.split()[:3] for step in steps) == [["1", "dask", "scheduler"], ["2", "dask", "worker"]]
    assert geopandas.read_file(labels, layer="labels")["pixels"].sum() == 256 * 384
    assert sorted(path.name for path in labels.parent.iterdir()) == ["labels.classes.json", "labels.gpkg", "labels.run"]


@pytest.mark.slow
def test_batch_job_refuses_local_workers_and_returns_the_exit_code(tmp_path, slurm):
    write_scene(tmp_path / "scene.tif", SceneOptions(shape=(64, 64)))

    done, _ = slurm(tmp_path / "scene.tif", tmp_path / "labels.gpkg", "--workers", "2")

    assert done.returncode == 1
    assert "exclude each other; give one of them" in done.stderr
    assert [*tmp_path.glob(".scheduler*"), *tmp_path.glob(".tls*")] == []
