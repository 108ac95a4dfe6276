"""Overhead of a tile: a stage that does nothing, over many tiles, on local workers.

Usage: python benchmarks/overhead.py [N_TILES ...] [--workers N]

Prints for each number of tiles (50 000 and 200 000 by default) the wall time per tile with everything that geoseg does
for a stage, and by how much the memory of this process grew, which holds Dask's scheduler, its client and the driver of
the stages. A tile costs about 1 s of computation, so 0.2 ms are negligible.
"""

import argparse
import gc
import os
import time

import psutil

from geoseg.progress import ignore
from geoseg.run.contents import LabelMeans
from geoseg.run.executors import ClusterOptions, Executor, open_executor
from geoseg.run.memory import MemoryFolder
from geoseg.run.products import LABEL_MEANS, ProductStore
from geoseg.run.stages import Stages

WARM_UP = 5_000


def nothing(_context: object, _number: int) -> None:
    """Do what the function of a stage would do, in no time."""


def measure(executor: Executor, n_tiles: int) -> tuple[float, float]:
    """Return the milliseconds per tile and the growth of the memory in MB."""
    process = psutil.Process(os.getpid())
    stages = Stages(ProductStore(MemoryFolder()), range(n_tiles), n_pixels=n_tiles, executor=executor, progress=ignore)
    gc.collect()
    before, begin = process.memory_info().rss, time.perf_counter()
    with stages.stage("label", n_tiles):
        stages.each_tile(nothing, LabelMeans, makes=[LABEL_MEANS])
    seconds = time.perf_counter() - begin
    gc.collect()
    return 1000 * seconds / n_tiles, (process.memory_info().rss - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("n_tiles", nargs="*", type=int, default=[50_000, 200_000])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print("| tiles | ms per tile | memory of scheduler and driver (MB) |\n|---|---|---|")
    with open_executor(ClusterOptions(workers=options.workers)) as executor:
        measure(executor, WARM_UP)
        for n_tiles in options.n_tiles:
            milliseconds, grown = measure(executor, n_tiles)
            print(f"| {n_tiles} | {milliseconds:.3f} | {grown:+.1f} |", flush=True)


if __name__ == "__main__":
    main()
