#!/usr/bin/env bash
# Segment a scene with geoseg on a Slurm cluster: a Dask scheduler, one worker per task, and the command.
#
#     source .venv/bin/activate
#     sbatch --ntasks=64 examples/slurm.sh SCENE.tif LABELS.gpkg [options of geoseg tile]
#
# Scene, result and run folder must be on a file system that all nodes share. A job that ran out of time, or whose node
# failed, continues where it was: submit it again with the same arguments.

#SBATCH --job-name=geoseg
#SBATCH --ntasks=16
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=4G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail

scene=$1
labels=$2
shift 2

# One file per job, so that no job finds the scheduler of another.
scheduler_file="$(realpath "$(dirname "$labels")")/.scheduler-$SLURM_JOB_ID.json"
rm -f "$scheduler_file" # left by the same job before it was requeued

processes=()
finish() {
  for process in "${processes[@]}"; do # workers before the scheduler, so that they can disconnect
    kill "$process" 2>/dev/null || true
    wait "$process" || true
  done
  rm -f "$scheduler_file"
}
trap finish EXIT

# One thread per worker: workers share the cores, and floating point sums depend on the number of threads.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
export MALLOC_TRIM_THRESHOLD_=2000000000 MALLOC_MMAP_THRESHOLD_=2000000000 # workers keep freed memory: twice as fast
export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0 # geoseg retries the tiles of a dead worker itself
export DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL=null    # a worker that computes for minutes is not dead
export DASK_LOGGING__DISTRIBUTED=warning               # geoseg reports progress; Dask reports problems only

# --overlap: the scheduler needs few resources and shares a task with a worker. Port 0: any free port.
srun --overlap --ntasks=1 --nodes=1 \
  dask scheduler --port 0 --no-dashboard --scheduler-file "$scheduler_file" &
processes=("$!")
srun --ntasks="$SLURM_NTASKS" \
  dask worker --nthreads 1 --no-dashboard --scheduler-file "$scheduler_file" \
  --memory-limit "${SLURM_MEM_PER_CPU:-4096}MiB" --local-directory "${TMPDIR:-/tmp}" &
processes=("$!" "${processes[@]}")

# The first start on many nodes reads Python from a shared disk, which can take minutes.
timeout 600 python - "$scheduler_file" <<'PY'
import sys

from distributed import Client

with Client(scheduler_file=sys.argv[1], timeout=600) as client:
    client.wait_for_workers(1, timeout=600)
PY

code=0
geoseg tile "$scene" --out "$labels" --scheduler-file "$scheduler_file" --resume "$@" || code=$?
exit "$code" # 0 done, 3 done but some tiles failed
