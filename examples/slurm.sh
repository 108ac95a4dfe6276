#!/usr/bin/env bash
# Segment a scene with geoseg on a Slurm cluster: a Dask scheduler, one worker per task, and the command.
#
#     source .venv/bin/activate
#     sbatch --ntasks=64 examples/slurm.sh SCENE.tif LABELS.gpkg [options of geoseg tile]
#
# Scene, result and run folder must lie where all nodes see them. A job that ran out of time, or whose node went down,
# goes on where it was: send it off again just as it was.

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

# Its own for each job, so that none finds the scheduler of another.
scheduler_file="$(realpath "$(dirname "$labels")")/.scheduler-$SLURM_JOB_ID.json"
rm -f "$scheduler_file" # of the same job before it was requeued

steps=()
finish() {
  for step in "${steps[@]}"; do # the workers before the scheduler, so that they can say goodbye
    kill "$step" 2>/dev/null || true
    wait "$step" || true
  done
  rm -f "$scheduler_file"
}
trap finish EXIT

# Workers share the cores already, and sums of floats depend on the number of threads.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0 # geoseg itself tries the tiles of a dead worker again
export DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL=null    # a worker that is busy for minutes is not dead
export DASK_LOGGING__DISTRIBUTED=warning               # geoseg says how far it is; Dask only what goes wrong

# --overlap: the scheduler needs so little that it takes no task away from the workers. Port 0: any that is free.
srun --overlap --ntasks=1 --nodes=1 \
  dask scheduler --port 0 --no-dashboard --scheduler-file "$scheduler_file" &
steps=("$!")
srun --ntasks="$SLURM_NTASKS" \
  dask worker --nthreads 1 --no-dashboard --scheduler-file "$scheduler_file" \
  --memory-limit "${SLURM_MEM_PER_CPU:-4096}MiB" --local-directory "${TMPDIR:-/tmp}" &
steps=("$!" "${steps[@]}")

# The first start on many nodes reads all of Python from a shared disk; give it its time.
timeout 600 python - "$scheduler_file" <<'PY'
import sys

from distributed import Client

with Client(scheduler_file=sys.argv[1], timeout=600) as client:
    client.wait_for_workers(1, timeout=600)
PY

code=0
geoseg tile "$scene" --out "$labels" --scheduler-file "$scheduler_file" --resume "$@" || code=$?
exit "$code" # 0 done, 3 done but some tiles failed
