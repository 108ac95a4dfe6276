#!/usr/bin/env bash
# Segment a scene with geoseg as a Slurm job array, without Dask: one job plans the run, the jobs of an array compute a
# part of the tiles each, and a last job writes the results.
#
#     source .venv/bin/activate
#     examples/slurm_array.sh SCENE.tif LABELS.gpkg N_PARTS [options of geoseg plan]
#
# Scene, result and run folder must be on a file system that all nodes share. Parts may run at any time and in any
# order. What a part has not computed, because its node failed, the last job computes itself.

set -euo pipefail

scene=$1
labels=$2
n_parts=$3
shift 3
run_dir="${labels%.*}.run"

submit() { # name of the job, options of sbatch, --, command
  local options=(--parsable "--job-name=geoseg-$1" --cpus-per-task=1 --mem-per-cpu=4G --time=04:00:00)
  shift
  while [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  shift
  local command
  printf -v command '%q ' "$@"
  sbatch "${options[@]}" --wrap "export OMP_NUM_THREADS=1; $command"
}

plan=$(submit plan -- geoseg plan "$scene" --run-dir "$run_dir" --progress plain "$@")
# --part must be expanded by the job, so it is not quoted by `submit`.
work=$(sbatch --parsable --job-name=geoseg-work --cpus-per-task=1 --mem-per-cpu=4G --time=04:00:00 \
  "--dependency=afterok:$plan" "--array=1-$n_parts" \
  --wrap "export OMP_NUM_THREADS=1; geoseg work --run-dir $(printf %q "$run_dir") --part \$SLURM_ARRAY_TASK_ID/$n_parts --progress plain")
submit finish "--dependency=afterany:$work" -- \
  geoseg finish --run-dir "$run_dir" --out "$labels" --workers 1 --progress plain
