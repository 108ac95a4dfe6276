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

# A key pair for this job, in a folder that other users cannot read: whoever connects to a scheduler can run code.
tls_folder="$(mktemp -d "$(realpath "$(dirname "$labels")")/.tls-$SLURM_JOB_ID-XXXXXX")"
tls=(--tls-ca-file "$tls_folder/cert.pem" --tls-cert "$tls_folder/cert.pem" --tls-key "$tls_folder/key.pem")

processes=()
finish() {
  for process in "${processes[@]}"; do # workers before the scheduler, so that they can disconnect
    kill "$process" 2>/dev/null || true
    wait "$process" || true
  done
  rm -rf "$scheduler_file" "$tls_folder"
}
trap finish EXIT

python - "$tls_folder" <<'PY'
import sys
from pathlib import Path

from distributed.security import Security

pair = Security.temporary()
(Path(sys.argv[1]) / "cert.pem").write_text(pair.tls_ca_file)
(Path(sys.argv[1]) / "key.pem").write_text(pair.tls_client_key)
PY

# One thread per worker: workers share the cores, and floating point sums depend on the number of threads.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
export MALLOC_TRIM_THRESHOLD_=2000000000 MALLOC_MMAP_THRESHOLD_=2000000000 # workers keep freed memory: twice as fast
export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0 # geoseg retries the tiles of a dead worker itself
export DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL=null    # a worker that computes for minutes is not dead
for part in SCHEDULER WORKER NANNY; do
  export "DASK_DISTRIBUTED__${part}__HTTP__ROUTES=[]" # pages with call stacks and logs, open to the network
done
export DASK_LOGGING__DISTRIBUTED=warning               # geoseg reports progress; Dask reports problems only

# --overlap: the scheduler needs few resources and shares a task with a worker. Port 0: any free port.
srun --overlap --ntasks=1 --nodes=1 \
  dask scheduler --protocol tls "${tls[@]}" --port 0 --no-dashboard --scheduler-file "$scheduler_file" &
processes=("$!")
srun --ntasks="$SLURM_NTASKS" \
  dask worker --protocol tls "${tls[@]}" --nthreads 1 --no-dashboard --scheduler-file "$scheduler_file" \
  --memory-limit "${SLURM_MEM_PER_CPU:-4096}MiB" --local-directory "${TMPDIR:-/tmp}" &
processes=("$!" "${processes[@]}")

# The first start on many nodes reads Python from a shared disk, which can take minutes.
timeout 600 python - "$scheduler_file" "$tls_folder" <<'PY'
import sys

from distributed import Client
from distributed.security import Security

cert, key = (f"{sys.argv[2]}/{name}.pem" for name in ("cert", "key"))
security = Security(tls_ca_file=cert, tls_client_cert=cert, tls_client_key=key, require_encryption=True)
with Client(scheduler_file=sys.argv[1], security=security, timeout=600) as client:
    client.wait_for_workers(1, timeout=600)
PY

code=0
geoseg tile "$scene" --out "$labels" --scheduler-file "$scheduler_file" "${tls[@]}" --resume "$@" || code=$?
exit "$code" # 0 done, 3 done but some tiles failed
