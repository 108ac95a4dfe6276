"""Kinds of failures, what is tried again, and when failures end a run."""

import errno
import os
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from geoseg.errors import ConfigError, GeosegError, OutputError, RasterError, RunError, UnavailableError
from geoseg.output.files import write_file
from geoseg.pipeline import segment_scene
from geoseg.raster import availability
from geoseg.raster.availability import check_available, check_server
from geoseg.raster.scene import open_scene, read_tolerant
from geoseg.run import outcome
from geoseg.run.executors import Serial
from geoseg.run.failures import FailureLimit, check_max_failed
from geoseg.run.outcome import Outcome, attempt, failure_kind, patiently
from geoseg.segment.network import with_device
from geoseg.steps import segment

from .conftest import QUICK, fields, run_command


def system_error(number):
    return OSError(number, os.strerror(number), "somewhere")


def raised(err, cause=None):
    """Return an exception as it is after being raised, with its cause."""
    try:
        raise err from cause
    except type(err) as caught:
        return caught


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(outcome, "PAUSES", (0.0, 0.0, 0.0))


ENVIRONMENT = ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EMFILE", "ENFILE", "EROFS", "EACCES", "EPERM", "ENOENT", "ENODEV")
TRANSIENT = ("ETIMEDOUT", "ECONNRESET", "ECONNREFUSED", "EPIPE", "ESTALE", "EAGAIN", "EINTR", "EHOSTUNREACH")


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_error_of_the_system_is_of_the_environment_also_as_a_cause(name):
    err = system_error(getattr(errno, name))

    assert failure_kind(err) == "environment"
    assert failure_kind(raised(OutputError("labels.gpkg could not be written"), err)) == "environment"


@pytest.mark.parametrize("name", TRANSIENT)
def test_error_of_the_network_is_transient_also_as_a_cause(name):
    err = system_error(getattr(errno, name))

    assert failure_kind(err) == "transient"
    assert failure_kind(raised(RasterError("scene.tif cannot be read"), err)) == "transient"


@pytest.mark.parametrize(
    ("err", "kind"),
    [
        (RasterError("scene.tif is damaged"), "data"),
        (RunError("step 'votes' of tile 3 is not finished"), "data"),
        (ValueError("no pixels"), "unexpected"),
        (SystemExit(3), "unexpected"),
        (MemoryError(), "memory"),
        (np._core._exceptions._ArrayMemoryError((10,), np.dtype("u1")), "memory"),
        (system_error(errno.ENOMEM), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), "memory"),
        (RuntimeError("CUDA error: out of memory"), "device memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), "device memory"),
        (sqlite3.OperationalError("database or disk is full"), "environment"),
        (RuntimeError("/out/labels.fgb: No space left on device"), "environment"),
        (TimeoutError(), "transient"),
        (ConnectionResetError(), "transient"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_kind_follows_from_the_type_or_the_message(err, kind):
    assert failure_kind(err) == kind


def test_causes_in_a_circle_end():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one

    assert failure_kind(one) == "unexpected"


def test_error_of_the_environment_states_once_how_to_continue(tmp_path):
    (tmp_path / "file").touch()

    def write(_context, _key):
        write_file(tmp_path / "file" / "x", b"content")

    found = attempt(write, None, 3)

    assert found.kind == "environment"
    assert found.error.endswith("and continue with --resume.")
    assert found.error.count("--resume") == 1


# --- what is tried again ------------------------------------------------------------------------------------------


def fail_first(context, key):
    """Raise the error of the context until it has been raised often enough; count the calls."""
    context["calls"] += 1
    if context["calls"] <= context["times"]:
        raise context["error"]
    return key


@pytest.mark.parametrize(
    ("error", "times", "calls", "kind"),
    [
        (TimeoutError("no answer"), 2, 3, None),
        (TimeoutError("no answer"), 9, 4, "transient"),
        (MemoryError(), 1, 2, None),
        (MemoryError(), 9, 2, "memory"),
        (RasterError("damaged"), 9, 1, "data"),
        (ValueError("no pixels"), 9, 1, "unexpected"),
        (OSError(errno.ENOSPC, "full"), 9, 1, "environment"),
    ],
    ids=["transient", "transient-always", "memory", "memory-always", "data", "unexpected", "environment"],
)
def test_failure_is_tried_again_only_where_another_attempt_may_succeed(error, times, calls, kind):
    context = {"calls": 0, "times": times, "error": error}

    (found,) = Serial().run(fail_first, context, [5])

    assert (found.kind, context["calls"]) == (kind, calls)
    assert found.result == (5 if kind is None else None)


def test_pauses_grow_and_are_kept(monkeypatch):
    begin, moments = time.monotonic(), []
    monkeypatch.setattr(outcome, "PAUSES", (0.05, 0.2))

    def fail():
        moments.append(time.monotonic() - begin)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        patiently(fail)

    assert len(moments) == 3
    assert moments[1] >= 0.05
    assert moments[2] - moments[1] >= 0.2


# --- when a run ends ----------------------------------------------------------------------------------------------


def feed(limit, outcomes):
    limit.begin("segment")
    for found in outcomes:
        limit.check_cause(found)


def failed(key, error="ImportError: no module", kind="unexpected"):
    return Outcome(key, None, f"{error} (tile {key})", kind=kind)


@pytest.mark.parametrize("kind", ["unexpected", "transient", "memory", "worker died", "timed out"])
def test_ten_tiles_in_a_row_with_the_same_error_end_the_run(kind):
    feed(FailureLimit(None, 100), [failed(key, kind=kind) for key in range(9)])
    with pytest.raises(GeosegError, match=r"^stage segment stopped, nothing is written: 10 tiles in a row .*--resume"):
        feed(FailureLimit(None, 100), [failed(key, kind=kind) for key in range(10)])


def test_success_another_error_or_a_new_stage_starts_the_count_again():
    limit = FailureLimit(None, 100)
    nine = [failed(key) for key in range(9)]

    feed(limit, [*nine, Outcome(9, "done"), *nine, failed(9, "KeyError: 'x'"), *nine])
    feed(limit, nine)


def test_damaged_pixels_of_many_tiles_do_not_end_the_run():
    feed(FailureLimit(None, 100), [failed(key, "RasterError: damaged", "data") for key in range(50)])


def test_max_failed_replaces_the_rule_of_the_same_error():
    feed(FailureLimit(1.0, 100), [failed(key) for key in range(50)])


def test_failure_of_the_environment_ends_the_run_at_once_with_its_cause():
    with pytest.raises(GeosegError, match=r"stopped at tile 4, nothing is written: OSError: .*No space left"):
        feed(FailureLimit(1.0, 100), [failed(4, "OSError: [Errno 28] No space left on device", "environment")])


@pytest.mark.parametrize(("most", "allowed"), [(0, 0), (3, 3), (0.0, 0), (0.05, 2), (0.29, 11), (1.0, 40)])
def test_more_failed_tiles_than_allowed_end_the_run(most, allowed):
    limit, errors = FailureLimit(most, 40), {key: f"RasterError: {key}" for key in range(40)}

    limit.check_number(dict(list(errors.items())[:allowed]))
    if allowed < 40:
        with pytest.raises(GeosegError, match=rf"{allowed + 1} of 40 tiles have failed .* allows {allowed};"):
            limit.check_number(dict(list(errors.items())[: allowed + 1]))


@pytest.mark.parametrize("most", [-1, 1.5, -0.1, float("nan"), True, "5"])
def test_limit_that_is_no_number_or_share_is_refused(most):
    with pytest.raises(ConfigError, match=r"max_failed is .*; expected a number of tiles"):
        check_max_failed(most)


# --- whole runs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def scene(make_raster):
    return make_raster(fields((150, 170)))


def run(scene, folder, **options):
    config = folder / "quick.yaml"
    config.write_text(QUICK)
    return segment_scene(scene, folder / "labels.gpkg", config=config, method="kmeans", workers=0, **options)


@pytest.mark.parametrize("name", ["ENOSPC", "EIO", "EMFILE", "EROFS"])
def test_run_stops_in_one_line_at_a_failure_of_the_environment_and_resumes(scene, tmp_path, monkeypatch, name):
    segment_tile = segment.segment_tile

    def fail_at_1(job, number):
        if number == 1:
            raise raised(OutputError("run folder could not be written"), system_error(getattr(errno, name)))
        segment_tile(job, number)

    with monkeypatch.context() as patch:
        patch.setattr(segment, "segment_tile", fail_at_1)
        with pytest.raises(GeosegError, match="stage segment stopped at tile 1, nothing is written") as caught:
            run(scene, tmp_path)

    assert "\n" not in str(caught.value)
    assert "--resume" in str(caught.value)
    assert not (tmp_path / "labels.gpkg").exists()
    assert run(scene, tmp_path, resume=True).failed == {}


def test_scene_that_vanishes_during_the_run_stops_it(scene, tmp_path, monkeypatch):
    segment_tile = segment.segment_tile

    def remove_at_1(job, number):
        if number == 1:
            scene.rename(tmp_path / "moved.tif")
        segment_tile(job, number)

    monkeypatch.setattr(segment, "segment_tile", remove_at_1)

    with pytest.raises(GeosegError) as caught:
        run(scene, tmp_path)

    assert "scene.tif" in str(caught.value)
    assert not (tmp_path / "labels.gpkg").exists()


def test_run_folder_that_vanishes_during_the_run_stops_it(scene, tmp_path, monkeypatch):
    segment_tile = segment.segment_tile

    def remove_at_1(job, number):
        if number == 1:
            (tmp_path / "labels.run").rename(tmp_path / "moved.run")
        segment_tile(job, number)

    monkeypatch.setattr(segment, "segment_tile", remove_at_1)

    with pytest.raises(GeosegError, match=r"labels\.run"):
        run(scene, tmp_path)

    assert not (tmp_path / "labels.gpkg").exists()


def test_more_damaged_tiles_than_allowed_stop_the_run_and_fewer_do_not(scene, tmp_path, monkeypatch):
    segment_tile = segment.segment_tile

    def fail_at_1(job, number):
        if number == 1:
            raise RasterError("damaged")
        segment_tile(job, number)

    monkeypatch.setattr(segment, "segment_tile", fail_at_1)

    with pytest.raises(GeosegError, match="1 of 4 tiles have failed and --max-failed allows 0"):
        run(scene, tmp_path, max_failed=0)
    assert set(run(scene, tmp_path, max_failed=0.25, resume=True).failed) == {1}


@pytest.mark.parametrize("margin", [True, False])
def test_too_many_open_files_are_not_taken_for_damaged_pixels(scene, monkeypatch, margin):
    import rasterio

    opened = open_scene(scene)
    window = opened.geobox.window
    core = None if margin else window
    os.utime(scene)  # so that the file is opened again
    message = f"{scene}: {os.strerror(errno.EMFILE)}"

    def refuse(*_arguments, **_options):
        raise rasterio.errors.RasterioIOError(message)

    monkeypatch.setattr(rasterio, "open", refuse)

    with pytest.raises(UnavailableError, match="Too many open files") as caught:
        read_tolerant(opened, window, core=core)
    assert failure_kind(caught.value) == "environment"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("TIFFReadEncodedTile:Read error at row 4294967295; got 0 bytes, expected 16384", "transient"),
        ("HTTP response code: 503", "transient"),
        ("CURL error: Empty reply from server", "transient"),
        ("HTTP response code: 404", "environment"),
        ("HTTP response code: 403", "environment"),
    ],
)
def test_address_that_does_not_answer_is_distinguished_from_damaged_pixels(message, kind):
    with pytest.raises(UnavailableError) as caught:
        check_available("https://host.example/scene.tif", RuntimeError(message))

    assert message in str(caught.value)
    assert failure_kind(caught.value) == kind


def test_damaged_file_at_an_address_is_available():
    check_available("https://host.example/scene.tif", RuntimeError("TIFFFillTile: invalid tile offset"))


@pytest.fixture
def serve():
    """Start servers on this machine that answer every request with the given function."""
    servers = []

    def start(answer):
        handler = type("Handler", (BaseHTTPRequestHandler,), {"do_GET": answer, "log_message": lambda *_: None})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/scene.tif"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("code", [429, 500, 503])
def test_server_that_fails_is_named_as_the_cause(serve, code):
    address = serve(lambda request: request.send_error(code))

    with pytest.raises(UnavailableError, match=f"answers {code} .* Try again later"):
        check_server(address)


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_server_that_refuses_is_named_as_the_cause(serve, code):
    address = serve(lambda request: request.send_error(code))

    with pytest.raises(RasterError, match=f"answers {code} .* Check the address and the permission"):
        check_server(address)


def test_server_that_is_silent_or_hangs_up_is_named_as_the_cause(serve, monkeypatch):
    monkeypatch.setattr(availability, "_SERVER_TIMEOUT", 0.2)

    for answer in (lambda _: time.sleep(1), lambda request: request.connection.close()):
        with pytest.raises(UnavailableError, match="does not answer: "):
            check_server(serve(answer))
    with pytest.raises(UnavailableError, match="Connection refused"):
        check_server("http://127.0.0.1:9/scene.tif")


def test_server_that_answers_is_not_blamed(serve):
    check_server(serve(lambda request: request.send_response(200) or request.end_headers()))


# --- the memory of a GPU ------------------------------------------------------------------------------------------


def test_cpu_computes_what_exceeds_the_memory_of_the_device():
    import torch

    tried = []

    def compute(device):
        tried.append(device)
        if device == "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return "result"

    assert with_device(compute, "cuda") == "result"
    assert tried == ["cuda", "cpu"]


def test_other_errors_of_the_device_are_raised():
    def compute(_device):
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side"):
        with_device(compute, "cuda")


def test_current_folder_that_was_removed_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    for arguments in (
        ("tile", "a.tif", "--out", "a.gpkg"),
        ("preview", tmp_path / "a.tif"),
        ("status", "--run-dir", "a"),
    ):
        ended = run_command(*arguments)
        assert ended.code == 1
        assert "the current folder does not exist any more" in ended.lines[-1]
