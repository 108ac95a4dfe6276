"""One training step of the network of Yonv (2019) on one image: geoseg against the literal script.

    python benchmarks/step.py [--size 1000] [--steps 2] [--repeats 3] [--scene SCENE.tif] [--float32]

CPU seconds per step on one thread, from a synthetic scene or the upper left corner of a given one, with the same
superpixels: the literal script (tests/reference/backprop.py, whose loop over superpixels is its own), automatic
differentiation on the whole image, which geoseg uses on a GPU, and strips of the image, which it uses on a CPU. The
methods take turns, and the fastest run of each counts. --float32 leaves out bfloat16, as a processor without it does.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

sys.path.insert(0, str(Path(__file__).parents[1]))

from geoseg.config import Backprop, load_config
from geoseg.run.allocator import keep_freed_memory
from geoseg.segment.descent import Optimizer
from geoseg.segment.network import CodeNetwork, new_network, placed
from geoseg.segment.patch import Patch
from geoseg.segment.strip_descent import StripDescent
from geoseg.segment.whole_descent import WholeDescent
from tests.reference import backprop as reference

CONFIG = load_config(Path(__file__).parents[1] / "configs" / "yonv2019.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--float32", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as geoseg does at its start
    if args.float32:
        torch.ops.mkldnn._is_mkldnn_bf16_supported = lambda: False
    image = read(args.scene, args.size)
    options = CONFIG.superpixels
    regions = felzenszwalb(image.transpose(1, 2, 0), options.scale, options.sigma, options.min_size)
    patch = Patch(image.astype(np.float32) / 255, regions.astype(np.int32))
    print(f"{args.size} px square, {regions.max() + 1} superpixels\n\n| | CPU s per step | of the literal |")
    print("|---|---|---|")
    best = fastest(
        {
            "literal script": lambda: literal(patch, args.steps),
            "automatic differentiation of the whole image": lambda: whole(patch, args.steps),
            "strips": lambda: strips(patch, args.steps),
        },
        args.repeats,
    )
    for name, seconds in best.items():
        seconds /= args.steps
        print(f"| {name} | {seconds:.2f} | {seconds * args.steps / best['literal script']:.2f} |")


def read(path: Path | None, size: int) -> NDArray[np.uint8]:
    """Return a (3, size, size) image."""
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / "scene.tif"
            command = [sys.executable, "-m", "geoseg", "synthetic", path, "--size", f"{size}x{size}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with rasterio.open(path) as scene:
            return scene.read([1, 2, 3], window=((0, size), (0, size)))


def fastest(methods: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Return the CPU seconds of the fastest run of each method, which take turns; a first run is not counted."""
    best = dict.fromkeys(methods, float("inf"))
    for repeat in range(repeats + 1):
        for name, method in methods.items():
            begin = time.process_time()
            method()
            if repeat:
                best[name] = min(best[name], time.process_time() - begin)
    return best


def literal(patch: Patch, steps: int) -> None:
    options = CONFIG.backprop
    reference.train(
        new_network(3, CONFIG.network, seed=0),
        patch.channels,
        patch.superpixels.astype(np.int64),
        optimizer=options.optimizer,
        learning_rate=options.learning_rate,
        momentum=options.momentum,
        min_labels=1,
        entropy_weight=options.entropy_weight,
        steps=steps,
    )


def whole(patch: Patch, steps: int) -> None:
    network = initial()
    descend(network, WholeDescent(network, [patch], "cpu"), CONFIG.backprop, steps)


def strips(patch: Patch, steps: int) -> None:
    network = initial()
    descend(network, StripDescent(network, [patch]), CONFIG.backprop, steps)


def initial() -> CodeNetwork:
    return placed(new_network(3, CONFIG.network, seed=0), "cpu")


def descend(network: CodeNetwork, descent: StripDescent | WholeDescent, options: Backprop, steps: int) -> None:
    optimizer = Optimizer(network.parameters(), options)
    for _ in range(steps):
        descent.step(optimizer, options)


if __name__ == "__main__":
    main()
