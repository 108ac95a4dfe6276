"""The memory that a run needs: sizes, limits of the machine, the estimate, and runs that are refused."""

from dataclasses import replace

import pytest

import geoseg
from geoseg.config import load_config
from geoseg.errors import ConfigError
from geoseg.raster.scene import open_scene
from geoseg.run import budget, resources
from geoseg.run.budget import MemoryEstimate, affordable_workers, check_budget, chosen_workers, estimate_memory
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.job import Task
from geoseg.run.machine_memory import machine_memory, n_bytes
from geoseg.run.memory import MemoryFolder
from geoseg.run.products import ProductStore
from geoseg.run.resources import pixels_per_worker

from .conftest import fields, run_command

GIB = 2**30
SERIAL, TWO = ClusterOptions(workers=0), ClusterOptions(workers=2)


@pytest.fixture
def scene(make_raster):
    return make_raster(fields((160, 200)), "scene.tif")


@pytest.fixture
def task(scene):
    """Return the task of the scene with config values: task(tiles__size=256)."""
    opened = open_scene(str(scene))
    return lambda **values: Task(ProductStore(MemoryFolder()), opened, load_config(**values))


@pytest.fixture
def machine(monkeypatch):
    """Set the memory of the machine: machine(n)."""
    return lambda n: monkeypatch.setattr(budget, "machine_memory", lambda: n)


def large(task, side=100_000):
    box = task.scene.geobox
    return replace(task, scene=replace(task.scene, geobox=replace(box, shape=(side, side))))


# --- sizes and limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "n"),
    [("2GiB", 2 * GIB), ("2 gib", 2 * GIB), ("1.5GB", 1_500_000_000), ("3M", 3_000_000), ("10", 10), (".5kib", 512)],
)
def test_size_with_its_unit(text, n):
    assert n_bytes(text) == n


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "0", "0.5", "1 GiB GiB", "1e9", "nan", "auto", "9" * 40])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="expected a size such as 2GiB"):
        n_bytes(text)


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/job/step\n", {"job/memory.max": "3000000", "job/step/memory.max": "max"}, 3_000_000),
        ("0::/job/step\n", {"job/memory.max": "5000000", "job/step/memory.max": "4000000"}, 4_000_000),
        ("0::/of/the/host\n", {"memory.max": "2000000"}, 2_000_000),
        ("4:memory:/job\n1:cpu:/\n", {"memory/job/memory.limit_in_bytes": "6000000"}, 6_000_000),
        ("4:memory:/job\n", {"memory/job/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("0::/job\n", {"job/memory.max": "max"}, None),
        ("nonsense\n", {}, None),
    ],
    ids=["parent", "nearest", "container", "version 1", "version 1 unlimited", "unlimited", "unknown"],
)
def test_limit_of_a_control_group_is_the_memory_of_the_machine(tmp_path, own, files, limit):
    groups = tmp_path / "groups"
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text + "\n")
    (tmp_path / "own").write_text(own)

    unlimited = machine_memory(groups, tmp_path / "absent")
    assert machine_memory(groups, tmp_path / "own") == (unlimited if limit is None else limit)


# --- estimate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "side", "grows"),
    [
        ({"tiles__size": 2048}, 4000, {"worker", "alone", "thread"}),
        ({"tile_steps": 4}, 4000, {"worker", "alone", "thread"}),
        ({"polygons__attributes": ["all"]}, 100_000, {"main", "alone", "tables"}),
        ({"polygons__min_pixels": 16}, 100_000, {"main", "alone", "tables"}),
    ],
    ids=["tile", "training", "attributes", "regions"],
)
def test_estimate_grows_with_what_takes_memory_and_only_there(task, values, side, grows):
    before, after = (vars(estimate_memory(large(task(**more), side))) for more in ({}, values))

    assert {name for name in before if after[name] > before[name]} == grows
    assert all(after[name] >= before[name] for name in before)


def test_only_the_tables_grow_with_a_large_scene(task):
    small, twice = (estimate_memory(large(task(), side)) for side in (50_000, 100_000))

    assert twice.worker == small.worker
    assert twice.main - small.main == twice.tables - small.tables
    assert twice.tables == pytest.approx(4 * small.tables, rel=1e-6)


def test_bands_count_for_all_processes(task):
    few = task()
    many = replace(few, scene=replace(few.scene, bands=few.scene.bands * 8))
    before, after = estimate_memory(few), estimate_memory(many)

    assert all(vars(after)[name] > vars(before)[name] for name in ("worker", "main", "alone"))


def test_method_without_a_network_needs_less(task):
    assert estimate_memory(task(method="kmeans")).main < estimate_memory(task()).main


# --- check ----------------------------------------------------------------------------------------------------------


def test_run_within_its_budget_is_accepted(task):
    needed = estimate_memory(task())

    check_budget(task(), SERIAL, str(needed.alone))
    check_budget(task(), TWO, str(max(needed.worker, needed.main)))


def test_message_names_the_largest_tile_that_fits(task):
    wide = large(task(tiles__size=4096))
    fits = large(task(tiles__size=1024))
    limit = estimate_memory(fits).worker

    with pytest.raises(ConfigError, match=r"a worker needs about .* for tiles of 4096 px .* Use --tile-size 1024\."):
        check_budget(wide, TWO, str(limit))
    with pytest.raises(ConfigError, match=r"Use --tile-size 512\."):
        check_budget(wide, TWO, str(limit - 1))


def test_message_states_the_least_memory_where_no_tile_fits(task):
    with pytest.raises(ConfigError, match=r"one process needs .*more than --memory 1MiB\. Give it at least \d+ MiB"):
        check_budget(task(method="kmeans"), SERIAL, "1MiB")


def test_main_process_that_holds_the_tables_is_refused(task):
    asked = large(task(polygons__attributes=["all"]))
    limit = estimate_memory(asked).worker

    with pytest.raises(ConfigError, match=r"the main process needs .* fewer --attributes or a larger --min-pixels\."):
        check_budget(asked, TWO, str(limit))


def test_workers_share_the_memory_of_the_machine(task, machine):
    needed = estimate_memory(task())
    machine(needed.total(3) - 1)

    check_budget(task(), TWO)
    with pytest.raises(ConfigError, match=r"3 workers need .* Use --workers 2, or a smaller --tile-size\."):
        check_budget(task(), ClusterOptions(workers=3))


def test_workers_of_other_machines_are_checked_only_against_a_given_limit(task, machine):
    asked, remote = task(tiles__size=4096, method="kmeans"), ClusterOptions(scheduler="tcp://127.0.0.1:8786")
    asked = replace(asked, scene=large(asked, 4096).scene)
    machine(estimate_memory(asked).main)
    assert estimate_memory(asked).worker > estimate_memory(asked).main

    check_budget(asked, remote)
    with pytest.raises(ConfigError, match="a worker needs"):
        check_budget(asked, remote, str(estimate_memory(asked).main))


def test_number_of_workers_that_is_not_given_fits_the_memory(task, machine, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(resources, "n_usable_cores", lambda: 8)
    asked = large(task(), int((100 * pixels_per_worker(task().config)) ** 0.5))
    needed = estimate_memory(asked)

    for n in (7, 5):
        machine(needed.total(n) + 1)
        assert chosen_workers(ClusterOptions(), asked).workers == n
    machine(needed.total(4) + 1)  # threads of one process are as many, and take less
    assert chosen_workers(ClusterOptions(), asked) == ClusterOptions(threads=4)
    machine(2**60)
    assert chosen_workers(ClusterOptions(), asked).workers == 8
    assert chosen_workers(ClusterOptions(workers=50), asked).workers == 50


def test_number_of_threads_that_is_not_given_fits_the_memory(task, machine, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(resources, "n_usable_cores", lambda: 4)
    asked, small = task(), "1MiB"
    needed = estimate_memory(asked)

    for n in (1, 2, 4):
        machine(needed.of_threads(n) + 1)
        assert chosen_workers(ClusterOptions(), asked).threads == n
        assert chosen_workers(ClusterOptions(), asked, str(needed.of_threads(2))).threads == 2
    assert chosen_workers(ClusterOptions(), asked, small).threads == 1
    assert chosen_workers(ClusterOptions(threads=9), asked, small).threads == 9


def test_threads_that_do_not_fit_are_refused_with_a_number_that_does(task, machine):
    needed = estimate_memory(task())
    machine(needed.of_threads(3))

    check_budget(task(), ClusterOptions(threads=3))
    with pytest.raises(ConfigError, match=r"4 threads need .* of this machine\. Use --threads 3, or a smaller"):
        check_budget(task(), ClusterOptions(threads=4))
    with pytest.raises(ConfigError, match=r"more than --memory \d+\. Use --threads 1, or a smaller --tile-size\."):
        check_budget(task(), ClusterOptions(threads=2), str(needed.alone))


def test_workers_that_fit_leave_room_for_the_main_process():
    estimate = MemoryEstimate(worker=10, main=20, alone=25, thread=5, tables=0)

    assert [affordable_workers(estimate, limit) for limit in (15, 29, 30, 45)] == [0, 0, 1, 2]


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["tile", "dry run", "info", "plan"])
def test_command_refuses_a_run_over_its_budget_before_it_computes_anything(command, scene, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    out = ("--out", tmp_path / "a.gpkg")
    words = {
        "tile": ("tile", scene, *out),
        "dry run": ("tile", scene, *out, "--dry-run"),
        "info": ("info", scene),
        "plan": ("plan", scene, "--run-dir", tmp_path / "run"),
    }[command]

    ended = run_command(*words, "--memory", "100MiB", "-q")

    assert ended.code == 1
    assert ended.text.count("\n") <= 1
    assert "more than --memory 100MiB" in ended.text
    assert sorted(tmp_path.rglob("*")) == before


def test_details_show_the_estimate(scene, tmp_path, caplog):
    run_command("tile", scene, "--out", tmp_path / "a.gpkg", "--method", "kmeans", "-j", 0, "-v", "--memory", "1MiB")

    assert any(record.message.startswith("memory: about ") for record in caplog.records)


def test_budget_is_refused_where_it_has_no_effect(scene, tmp_path):
    with pytest.raises(ConfigError, match="a budget of memory has no effect"):
        geoseg.outline_labels(scene, tmp_path / "a.gpkg", memory="2GiB")
    with pytest.raises(ConfigError, match="option memory is settled by the plan"):
        geoseg.finish_run(tmp_path / "run", tmp_path / "a.gpkg", memory="2GiB")
