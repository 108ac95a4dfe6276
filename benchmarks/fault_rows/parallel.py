"""Runs at the same time, and the same run in every way of computing it."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fault_rows.bench import Bench, Row, SkippedError

_PARTS = 7
_REVERSED = """
import sys
from geoseg.cli import main as cli
from geoseg.run.executors import Serial
run = Serial.run
Serial.run = lambda self, function, context, keys, **more: run(self, function, context, list(keys)[::-1], **more)
sys.argv = ["geoseg", *sys.argv[1:]]
cli.main()
"""


def two_runs(bench: Bench, _options: argparse.Namespace) -> Row:
    """Start two runs at once with the same or another scene, run folder and output."""
    row = Row("two runs at once, every combination of the same or another scene, run folder, output")
    bench.reference()
    other = bench.folder / "other.tif"
    if not other.exists():
        bench.geoseg("synthetic", other, "--size", "480x320", "--seed", 4)
    for same_scene, same_folder, same_output in itertools.product((True, False), repeat=3):
        for name in ("one", "two"):
            bench.remove(name)
        first = bench.tile("one", "--run-dir", bench.folder / "one.run", "--progress", "none")
        name, folder = ("one" if same_output else "two"), ("one.run" if same_folder else "two.run")
        scene = bench.scene if same_scene else other
        second = bench.tile(name, "--run-dir", bench.folder / folder, "--progress", "none", scene=scene)
        with bench.started(*first) as one, bench.started(*second) as two:
            ended = (bench.end(one), bench.end(two))
        what = f"{same_scene, same_folder, same_output}: exit {ended[0].code}, {ended[1].code}"
        codes = [end.code for end in ended]
        expected = codes == [0, 0] if not (same_folder or same_output) else sorted(codes, key=str) == [0, 1]
        won = codes[0] == 0  # where both want the same, either may be the first
        identical = bench.is_identical("one") if won or (same_scene and same_output) else None
        row.add(what, survived=expected and all(end.is_clean for end in ended), identical=identical)
    return row


def every_way(bench: Bench, _options: argparse.Namespace) -> Row:
    """Compute the same scene with other numbers of workers, in reversed order and in parts."""
    row = Row(f"1, 2, 3 workers, 4 threads; reversed order; plan, work, finish in {_PARTS} parts")
    bench.reference()
    for place in (("--workers", 1), ("--workers", 2), ("--workers", 3), ("--threads", 4)):
        bench.remove("way")
        ended = bench.geoseg(*bench.tile("way", *place, "--progress", "none"))
        row.add(f"{place}", survived=ended.code == 0, identical=bench.is_identical("way"))
    bench.remove("way")
    command = [sys.executable, "-c", _REVERSED, *map(str, bench.tile("way", "--progress", "none"))]
    code = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False).returncode
    row.add("reversed", survived=code == 0, identical=bench.is_identical("way"))
    bench.remove("way")
    run_dir = bench.folder / "way.run"
    ends = [bench.geoseg("plan", bench.scene, "--run-dir", run_dir, "--config", bench.config)]
    ends += [bench.geoseg("work", "--run-dir", run_dir, "--part", f"{i}/{_PARTS}") for i in range(_PARTS, 0, -1)]
    outputs = ("--out", bench.folder / "way.gpkg", "--class-raster", bench.folder / "way.tif")
    ends.append(bench.geoseg("finish", "--run-dir", run_dir, *outputs, "--workers", 0))
    row.add("parts", survived=all(end.code == 0 for end in ends), identical=bench.is_identical("way"))
    return row


def two_hosts(bench: Bench, _options: argparse.Namespace) -> Row:
    """Run the scheduler and a worker in two network namespaces, with certificates."""
    row = Row("two hosts in network namespaces over TLS")
    bench.reference()
    with _namespaces() as (first, second), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ca, cert, key = _certificates(folder)
        tls = ("--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key)
        scheduler = ["dask", "scheduler", "--host", "tls://10.77.0.1", "--port", "8786", "--no-dashboard", *tls]
        worker = [
            "dask",
            "worker",
            "tls://10.77.0.1:8786",
            "--nthreads",
            "1",
            "--host",
            "10.77.0.2",
            "--no-dashboard",
            *tls,
        ]
        bench.remove("hosts")
        command = bench.tile("hosts", "--workers", "none")
        command = [part for part in command if part not in ("--workers", "none")]
        geoseg = [sys.executable, "-m", "geoseg", *command, "--scheduler", "tls://10.77.0.1:8786", *tls]
        with _inside(first, scheduler), _inside(second, worker):
            time.sleep(3)
            ended = subprocess.run(
                ["ip", "netns", "exec", first, *map(str, geoseg)], capture_output=True, text=True, check=False
            )
        row.add(ended.stderr[-200:], survived=ended.returncode == 0, identical=bench.is_identical("hosts"))
    return row


@contextlib.contextmanager
def _namespaces() -> Iterator[tuple[str, str]]:
    """Make two network namespaces that are connected by a cable."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise SkippedError("network namespaces need root and iproute2")
    names = ("geoseg-a", "geoseg-b")
    commands = [f"ip netns add {name}" for name in names]
    commands += [f"ip link add veth-a netns {names[0]} type veth peer name veth-b netns {names[1]}"]
    for name, end, address in zip(names, ("veth-a", "veth-b"), ("10.77.0.1", "10.77.0.2"), strict=True):
        commands += [f"ip -n {name} addr add {address}/24 dev {end}", f"ip -n {name} link set {end} up"]
        commands += [f"ip -n {name} link set lo up"]
    try:
        for command in commands:
            if subprocess.run(command.split(), capture_output=True, check=False).returncode:
                raise SkippedError(f"this machine does not allow: {command}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@contextlib.contextmanager
def _inside(namespace: str, command: list[object]) -> Iterator[None]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    given = ["ip", "netns", "exec", namespace, *map(str, command)]
    process = subprocess.Popen(given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Write a temporary certificate and its key; the certificate is its own authority."""
    from distributed.security import Security

    security = Security.temporary()
    paths = (folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    texts = (security.tls_ca_file, security.tls_client_cert, security.tls_client_key)
    for path, text in zip(paths, texts, strict=True):
        path.write_text(str(text))
    return paths
