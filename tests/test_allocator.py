import os
import platform
import sys

import pytest

from .conftest import output_of

FAULTS = """
import resource, sys
import numpy as np
from geoseg.run.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
np.ones(4_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(4_000_000)  # 32 MB
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
STAGE = """
import numpy as np
from geoseg.progress import ignore
from geoseg.run.allocator import keep_freed_memory
from geoseg.run.memory import MemoryFolder
from geoseg.run.products import ProductStore
from geoseg.run.stages import Stages

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) // 1024

keep_freed_memory()
stages = Stages(ProductStore(MemoryFolder()), [0], n_pixels=1, progress=ignore)
begin = resident()
with stages.stage("merge", 1):
    arrays = [np.ones(2**20) for _ in range(40)]  # 320 MiB
    kept = np.ones(2**10)  # above them in memory
    del arrays
    within = resident() - begin
print(within, resident() - begin)
"""
THREADS = """
import threading
import numpy as np
from geoseg.run.allocator import keep_freed_memory

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) // 1024

def fill():
    for _ in range(2):
        arrays = [np.ones(2**17) for _ in range(100)]  # 100 MiB
        del arrays

keep_freed_memory()
thread = threading.Thread(target=fill)
thread.start()
thread.join()
before = resident()
fill()
print(resident() - before)
"""
is_glibc = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not is_glibc, reason="the thresholds are those of glibc")
def test_arrays_reuse_freed_memory_without_new_pages():
    kept, n_faults = faults("keep")
    _, n_without = faults("leave")

    assert kept
    assert 5 * n_faults < n_without


@pytest.mark.skipif(not is_glibc, reason="the thresholds are those of glibc")
def test_threshold_of_the_user_is_left_as_it_is(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")

    assert not faults("keep")[0]


@pytest.mark.skipif(not is_glibc, reason="the thresholds are those of glibc")
def test_freed_memory_is_given_back_at_the_end_of_a_stage():
    before, after = map(int, output_of(STAGE).split())

    assert before > 200
    assert after < 20


@pytest.mark.skipif(not is_glibc, reason="the number of arenas is that of glibc")
def test_memory_that_a_thread_has_freed_is_used_by_another(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    grown = int(output_of(THREADS))
    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")  # of the user, so it is left as it is
    grown_with_arenas = int(output_of(THREADS))

    assert grown < 10
    assert grown_with_arenas > 60


def faults(mode):
    """Return whether the thresholds are set, and the page faults of arrays that are allocated again and again."""
    code = f"import sys; sys.argv = ['', {mode!r}]\n{FAULTS}"
    kept, n = output_of(code).split()
    assert "MALLOC_MMAP_THRESHOLD_" not in os.environ
    return kept == "True", int(n)
