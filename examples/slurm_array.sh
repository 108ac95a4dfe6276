#!/usr/bin/env bash
# Segment a scene with geoseg as a Slurm job array, without Dask: one job plans the run, the jobs of an array compute a
# part of the tiles each, and a last job writes the results.
#
#     source .venv/bin/activate
#     examples/slurm_array.sh SCENE.tif LABELS.gpkg N_PARTS [options of geoseg plan]
#     geoseg status --run-dir LABELS.run
#
# Scene, result and run folder must be on a file system that all nodes share. Parts may run at any time and in any
# order. What a part has not computed, because its node failed, the last job computes itself. After an interruption, the
# same command continues.

set -euo pipefail

scene=$1
labels=$2
n_parts=$3
shift 3
run_dir="${labels%.*}.run"
options=(--parsable --cpus-per-task=1 --mem-per-cpu=4G --time=04:00:00 --requeue --open-mode=append)

# The command of a job as one word of a shell. One thread: floating point sums depend on the number of threads.
command_of() {
  echo "export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1; $(printf '%q ' "$@")"
}

plan=$(sbatch "${options[@]}" --job-name=geoseg-plan \
  --wrap "$(command_of geoseg plan "$scene" --run-dir "$run_dir" --resume --progress plain "$@")")
# The number of the part is known in the job only, so it is not quoted.
work=$(sbatch "${options[@]}" --job-name=geoseg-work --array="1-$n_parts" \
  --dependency="afterok:$plan" --kill-on-invalid-dep=yes \
  --wrap "$(command_of geoseg work --run-dir "$run_dir" --progress plain) --part \$SLURM_ARRAY_TASK_ID/$n_parts")
# afterany: parts that failed do not keep it from running.
finish=$(sbatch "${options[@]}" --job-name=geoseg-finish --dependency="afterany:$work" \
  --wrap "$(command_of geoseg finish --run-dir "$run_dir" --out "$labels" --workers 0 --progress plain)")
echo "jobs: plan $plan, work $work, finish $finish"
