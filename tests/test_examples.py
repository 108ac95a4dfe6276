"""The examples do what they say: the script, and the batch job with `srun` and `sbatch` played by this machine."""

import os
import subprocess
import sys
from pathlib import Path

import geopandas
import pytest

from geoseg.tools.scenes import SceneOptions, write_scene

ROOT = Path(__file__).parents[1]

# Takes a copy of the script, as Slurm does, so that the script cannot rely on where it lies.
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


def run(*command, **environment):
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
    )


@pytest.fixture
def slurm(tmp_path):
    """Send a batch script off to this machine and give what became of it."""
    commands, spool = tmp_path / "commands", tmp_path / "spool"
    commands.mkdir()
    spool.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    path = os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]])

    def send(*arguments):
        done = run(commands / "sbatch", ROOT / "examples" / "slurm.sh", *arguments, PATH=path, SPOOL=str(spool))
        return done, (spool / "steps").read_text().splitlines()

    return send


@pytest.mark.slow
def test_script_says_how_many_hectares_each_class_has(tmp_path):
    done = run(sys.executable, ROOT / "examples" / "segment.py", tmp_path / "new" / "folder", 320)

    assert done.returncode == 0, done.stderr
    frame = geopandas.read_file(tmp_path / "new" / "folder" / "labels.gpkg", layer="labels")
    head, names, _, *rows = done.stdout.splitlines()
    assert head.startswith(f"{len(frame)} regions of {frame['class'].nunique()} classes")
    assert names.split() == ["regions", "hectares", "color", "class_2"]
    assert sum(int(row.split()[1]) for row in rows) == len(frame)
    assert sum(float(row.split()[2]) for row in rows) == pytest.approx(320 * 320 * 0.25 / 10_000, abs=0.05)


@pytest.mark.slow
def test_script_runs_a_second_time_in_the_same_folder(tmp_path):
    outcomes = [run(sys.executable, ROOT / "examples" / "segment.py", tmp_path, 128) for _ in range(2)]

    assert [done.returncode for done in outcomes] == [0, 0], outcomes[1].stderr
    assert outcomes[0].stdout == outcomes[1].stdout


@pytest.mark.slow
def test_batch_job_segments_on_as_many_workers_as_it_has_tasks_and_leaves_nothing_behind(tmp_path, slurm):
    write_scene(tmp_path / "scene.tif", SceneOptions(shape=(256, 384)))
    (tmp_path / "results").mkdir()
    labels = tmp_path / "results" / "labels.gpkg"

    done, steps = slurm(tmp_path / "scene.tif", labels, "--tile-size", "128", "--halo", "16")

    assert done.returncode == 0, done.stderr
    assert [step.split()[:3] for step in steps] == [["1", "dask", "scheduler"], ["2", "dask", "worker"]]
    assert geopandas.read_file(labels, layer="labels")["pixels"].sum() == 256 * 384
    assert sorted(path.name for path in labels.parent.iterdir()) == ["labels.gpkg", "labels.run"]


@pytest.mark.slow
def test_batch_job_gives_on_what_is_wrong_and_its_exit_code(tmp_path, slurm):
    done, _ = slurm(tmp_path / "nothing.tif", tmp_path / "labels.gpkg")

    assert done.returncode == 1
    assert f"there is no file {tmp_path / 'nothing.tif'}" in done.stderr
    assert list(tmp_path.glob(".scheduler*")) == []
