"""Hostile files, other users of the machine, and bad servers."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from fault_rows.bench import Bench, Row, SkippedError

_ROOT = Path(__file__).parents[2]
_TIMEOUT = 240  # s; the time-outs of GDAL, a few attempts, and the start of geoseg
_INTRUDER = """
import sys
from distributed import Client
for address in sys.argv[1:]:
    try:
        client = Client(address, timeout=5, set_as_default=False)
        print("LET IN", client.submit(lambda: 1, pure=False).result(timeout=5))
    except BaseException as err:
        print("refused", type(err).__name__)
"""


def files(_bench: Bench, _options: argparse.Namespace) -> Row:
    """Run the tests with hostile files and a listening server."""
    row = Row("hostile files (VRT in every spelling, side files, vector files, bombs, models, YAML), server listening")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_hostile.py"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    counts = {name: int(n) for n, name in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    row.tried, row.survived = sum(counts.values()), counts.get("passed", 0)
    row.notes.append("tests/test_hostile.py: 0 requests, 0 foreign bytes")
    return row


def another_user(bench: Bench, _options: argparse.Namespace) -> Row:
    """Connect to every port of a local cluster as another user."""
    if os.geteuid() != 0:
        raise SkippedError("becoming another user needs root")
    row = Row("another user against the local cluster: every port that it listens on")
    bench.remove("user")
    with bench.started(*bench.tile("user", "--workers", 2, "--progress", "json")) as process:
        bench.wait_for(process, "superpixels")
        time.sleep(2)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        listening = {c.laddr for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        for host, port in sorted(listening):
            addresses = [f"{scheme}://{host}:{port}" for scheme in ("tcp", "tls")]
            answer = subprocess.run(
                ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", _INTRUDER, *addresses],
                capture_output=True, text=True, check=False, timeout=120, cwd="/",
            ).stdout  # fmt: skip
            row.add(f"{host}:{port}: {answer}", survived="LET IN" not in answer and "refused" in answer)
    return row


def servers(bench: Bench, _options: argparse.Namespace) -> Row:
    """Read a scene from servers that are slow, cut off, silent or broken for a while."""
    row = Row("slow, cut-off, silent and failing HTTP servers on loopback")
    content = bench.scene.read_bytes()
    for name, answer in _ANSWERS.items():
        with _server(content, answer) as address:
            begin = time.monotonic()
            bench.remove("http")
            ended = bench.geoseg(*bench.tile("http", "--method", "kmeans", "--progress", "none", scene=address))
            seconds = time.monotonic() - begin
        works = name == "fails twice"
        survived = ended.is_clean and seconds < _TIMEOUT and (ended.code == 0) == works
        row.add(f"{name}: exit {ended.code} after {seconds:.0f} s {ended.text[-100:]}", survived=survived)
    return row


class _Answer(BaseHTTPRequestHandler):
    content = b""
    n_requests = 0
    behave: Callable[[_Answer, bytes], None]

    def do_HEAD(self) -> None:
        self._headers(len(self.content), 200)

    def do_GET(self) -> None:
        type(self).n_requests += 1
        wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        begin = int(wanted[1]) if wanted else 0
        end = int(wanted[2]) + 1 if wanted and wanted[2] else len(self.content)
        with contextlib.suppress(OSError):
            type(self).behave(self, self.content[begin:end])

    def _headers(self, length: int, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


def _slow(request: _Answer, body: bytes) -> None:
    request._headers(len(body), 206)
    for byte in range(0, len(body), 16):
        request.wfile.write(body[byte : byte + 16])
        time.sleep(1)


def _cut_off(request: _Answer, body: bytes) -> None:
    request._headers(len(body), 206)
    request.wfile.write(body[: len(body) // 2])
    request.connection.close()


def _silent(_request: _Answer, _body: bytes) -> None:
    time.sleep(_TIMEOUT)


def _broken(request: _Answer, _body: bytes) -> None:
    request._headers(0, 503)


def _fails_twice(request: _Answer, body: bytes) -> None:
    if request.n_requests <= 2:
        return _broken(request, body)
    request._headers(len(body), 206)
    request.wfile.write(body)
    return None


_ANSWERS = {"slow": _slow, "cut off": _cut_off, "silent": _silent, "broken": _broken, "fails twice": _fails_twice}


@contextlib.contextmanager
def _server(content: bytes, behave: Callable[[_Answer, bytes], None]) -> Iterator[str]:
    handler = type("Handler", (_Answer,), {"content": content, "behave": staticmethod(behave), "n_requests": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/scene.tif"
    finally:
        server.shutdown()
