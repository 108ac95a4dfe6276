"""geoseg on a GPU: speed of whole runs and of training steps, and the share of the card that is reached.

    python benchmarks/gpu.py [--device cuda] [--megapixels 64] [--workers N] [--size 1000] [--steps 128]
                             [--peak-mib 1024] [-- OPTIONS OF geoseg tile]

Three tables. (1) What the device reaches at best, measured here: bytes read and written per second by a copy, and
operations per second of a product of two matrices in bfloat16. (2) Training steps of the network of Yonv (2019) on one
image of --size px: the literal script (tests/reference/backprop.py, on the CPU: its loop over superpixels is numpy),
geoseg with one network, and with several networks at once, each on its image. Their operations are those of the
convolutions, forward and backward; their bytes are those that a step moves at least, if every layer reads and writes
its values once in each direction. (3) A whole run on a synthetic scene, in Mpx per wall second, and each of its stages.

--device cpu runs all of it without a GPU. Times of a GPU are taken after it has finished.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from scaling import segmented, synthetic
from skimage.segmentation import felzenszwalb
from step import CONFIG, literal, read

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from geoseg.segment.backprop import fixed_threads
from geoseg.segment.grouped_descent import train_each
from geoseg.segment.network import new_network
from geoseg.segment.patch import MAX_BATCH, Patch

_BYTES_PER_VALUE = 2  # bfloat16
_REPEATS = 3  # of which the fastest counts; the first run of each is not counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--megapixels", type=float, default=64)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--peak-mib", type=int, default=1024)
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU; --device cpu measures this processor")
    name = torch.cuda.get_device_name() if args.device == "cuda" else platform.processor() or "CPU"
    print(f"{name}, torch {torch.__version__}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}\n", flush=True)
    bandwidth, arithmetic = peaks(args.device, args.peak_mib * 2**20)
    print(f"| copy, GB/s | product of matrices in bfloat16, TFLOP/s |\n|---|---|\n| {bandwidth / 1e9:.3g} ", end="")
    print(f"| {arithmetic / 1e12:.3g} |\n", flush=True)
    print(steps_table(args.device, args.size, args.steps, (bandwidth, arithmetic)), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        options = ["--device", args.device, *args.options]
        segmented(synthetic(scratch, 300), "-j 0", scratch, options)  # compiles, and loads the libraries of the device
        scene = synthetic(scratch, round((args.megapixels * 1e6) ** 0.5))
        run = segmented(scene, f"-j {args.workers}", scratch, options)
    print(f"{run.mpx:.3g} Mpx, {args.workers} workers\n\n| | s | Mpx/s |\n|---|---|---|")
    for stage, seconds in {"whole run": run.usage.wall, **run.stages}.items():
        print(f"| {stage} | {seconds:.3g} | {run.mpx / max(seconds, 1e-3):.3g} |")


def peaks(device: str, n_bytes: int) -> tuple[float, float]:
    """Return the bytes that a copy reads and writes per second, and the operations per second of a matrix product."""
    source = torch.zeros(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    side = 64 * max(int((n_bytes / 8) ** 0.5) // 64, 1)
    matrix = torch.ones(side, side, dtype=torch.bfloat16, device=device)
    copied = fastest(lambda: target.copy_(source), device)
    multiplied = fastest(lambda: matrix @ matrix, device)
    return 2 * 4 * len(source) / copied, 2 * side**3 / multiplied


def steps_table(device: str, size: int, steps: int, peak: tuple[float, float]) -> str:
    """Return a table of the steps per second of the literal script and of geoseg."""
    image = read(None, size)
    options = CONFIG.superpixels
    regions = felzenszwalb(image.transpose(1, 2, 0), options.scale, options.sigma, options.min_size)
    patch = Patch(image.astype(np.float32) / 255, regions.astype(np.int32))
    lines = [f"{size} px square, {regions.max() + 1} superpixels, {steps} steps\n"]
    lines += ["| | s | steps/s | bandwidth | arithmetic |", "|---|---|---|---|---|"]
    seconds = fastest(lambda: literal(patch, 1), "cpu") * steps
    lines.append(f"| literal script, CPU, from one step | {seconds:.3g} | {steps / seconds:.3g} | | |")
    for n in (1, 2, 4, MAX_BATCH):
        with fixed_threads():
            seconds = fastest(lambda n=n: train(patch, n, steps, device), device)
        shares = [work * n * steps / seconds / best for work, best in zip(work_of_step(size), peak, strict=True)]
        name = "geoseg, one network" if n == 1 else f"geoseg, {n} networks at once"
        lines.append(f"| {name} | {seconds:.3g} | {n * steps / seconds:.3g} | {shares[0]:.1%} | {shares[1]:.1%} |")
    return "\n".join(lines) + "\n"


def train(patch: Patch, n: int, steps: int, device: str) -> None:
    """Train `n` networks on the same image for exactly `steps` steps."""
    networks = [new_network(3, CONFIG.network, seed=seed) for seed in range(n)]
    options = replace(CONFIG.backprop, min_labels=1)
    train_each(networks, [patch] * n, options, steps=steps, device=device)


def work_of_step(size: int) -> tuple[float, float]:
    """Return the least bytes and the operations of one step of one network; see the beginning of this file."""
    inputs = (3, *CONFIG.network.channels[:-1])
    pairs = list(zip(CONFIG.network.kernels, inputs, CONFIG.network.channels, strict=True))
    products = sum(kernel**2 * n_in * n_out for kernel, n_in, n_out in pairs)
    values = sum(n_in + 3 * n_out for _, n_in, n_out in pairs)  # a convolution; then its norm, which reads and writes
    return 3 * size**2 * values * _BYTES_PER_VALUE, 3 * 2 * size**2 * products


def fastest(function: Callable[[], object], device: str) -> float:
    """Return the wall seconds of the fastest call."""
    found = []
    for _ in range(1 + _REPEATS):
        begin = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - begin)
    return min(found[1:])


if __name__ == "__main__":
    main()
