#!/usr/bin/env bash
# Segment a scene with geoseg in parts, in a plain shell: any batch system that starts commands can do the same.
#
#     examples/parts.sh SCENE.tif LABELS.gpkg N_PARTS [options of geoseg plan]
#
# As many parts are computed at the same time as there are cores, or PROCESSES if it is set. After an interruption, the
# same command continues.

set -euo pipefail

scene=$1
labels=$2
n_parts=$3
shift 3
run_dir="${labels%.*}.run"
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1 # the parts share the cores

geoseg plan "$scene" --run-dir "$run_dir" --resume "$@"
seq "$n_parts" | xargs -P "${PROCESSES:-$(nproc)}" -I{} geoseg work --run-dir "$run_dir" --part "{}/$n_parts" ||
  echo "some parts have failed; geoseg finish computes what is missing" >&2
geoseg finish --run-dir "$run_dir" --out "$labels" --workers 0
