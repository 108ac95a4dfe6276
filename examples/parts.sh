#!/usr/bin/env bash
# Segment a scene with geoseg in parts, in a plain shell: any batch system that starts commands can do the same.
#
#     examples/parts.sh SCENE.tif LABELS.gpkg N_PARTS [options of geoseg plan]

set -euo pipefail

scene=$1
labels=$2
n_parts=$3
shift 3
run_dir="${labels%.*}.run"
export OMP_NUM_THREADS=1 # the parts share the cores

geoseg plan "$scene" --run-dir "$run_dir" "$@"
for ((part = 1; part <= n_parts; part++)); do
  geoseg work --run-dir "$run_dir" --part "$part/$n_parts" &
done
wait # a part that failed is computed by the next command
geoseg finish --run-dir "$run_dir" --out "$labels" --workers 0
