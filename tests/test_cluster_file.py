"""Clusters that are described by a YAML file. dask-jobqueue is replaced by a class with its interface."""

import logging
import sys
import types

import pytest
from distributed import LocalCluster

from geoseg.errors import ConfigError
from geoseg.run.cluster_file import read_cluster_file
from geoseg.run.executors import ClusterOptions, Outcome, open_executor

pytestmark = pytest.mark.xdist_group("dask")  # clusters compete for the cores: one after the other


def square(_context, key):
    return key * key


@pytest.fixture
def cluster_file(tmp_path):
    def write(text):
        path = tmp_path / "cluster.yaml"
        path.write_text(text)
        return str(path)

    return write


def install(monkeypatch, module, **classes):
    """Make a module importable that has some classes."""
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**classes))


def test_type_number_and_arguments_are_read(cluster_file):
    found = read_cluster_file(cluster_file("type: slurm\nworkers: 8\nqueue: gpu\nmemory: 8GB\n"))

    assert (found.type.name, found.workers) == ("SLURMCluster", 8)
    assert found.arguments == {"queue": "gpu", "memory": "8GB"}


def test_cuda_needs_no_number_of_workers(cluster_file):
    assert read_cluster_file(cluster_file("type: cuda")).workers is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers: 2", "has the type None; expected one of slurm, pbs, cuda, local"),
        ("type: lsf\nworkers: 2", "has the type 'lsf'"),
        ("type: [slurm]\nworkers: 2", r"has the type \['slurm'\]"),
        ("type: slurm", "has workers: None; expected a number from 1"),
        ("type: slurm\nworkers: 0", "has workers: 0"),
        ("type: slurm\nworkers: true", "has workers: True"),
        ("type: slurm\nworkers: 100000000000000000000", "has workers: 1000"),
        ("- type: slurm", "expected names with values"),
        ("1: slurm", "expected names with values"),
        ("", "contains None"),
        ("type: {", "is not a readable YAML file"),
        ("a: &a [x, x]\nb: [*a, *a]", "has YAML aliases"),
        ("type: !!python/object/apply:os.getcwd []", "is not a readable YAML file"),
        ("#" * 70_000, "is longer than 65536 bytes"),
    ],
)
def test_file_that_describes_no_cluster_is_an_error_of_one_line(cluster_file, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_cluster_file(cluster_file(text))

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        read_cluster_file(str(tmp_path / "absent.yaml"))


@pytest.mark.parametrize(
    ("text", "extra"),
    [("type: slurm\nworkers: 1", "slurm"), ("type: pbs\nworkers: 1", "slurm"), ("type: cuda", "cuda")],
)
def test_absent_package_is_an_error_that_names_the_extra(cluster_file, monkeypatch, text, extra):
    for module in ("dask_jobqueue", "dask_cuda"):
        monkeypatch.setitem(sys.modules, module, None)

    with (
        pytest.raises(ConfigError, match=rf"pip install 'geoseg\[{extra}\]'"),
        open_executor(ClusterOptions(cluster=cluster_file(text))),
    ):
        pass


def test_arguments_that_the_class_does_not_accept_are_an_error_of_one_line(cluster_file, monkeypatch):
    def refuse(**arguments):
        raise TypeError(f"unexpected keyword {min(arguments)}")

    install(monkeypatch, "dask_jobqueue", SLURMCluster=refuse)

    with (
        pytest.raises(ConfigError, match=r"SLURMCluster does not start .*unexpected keyword"),
        open_executor(ClusterOptions(cluster=cluster_file("type: slurm\nworkers: 1"))),
    ):
        pass


def test_places_exclude_each_other():
    with pytest.raises(ConfigError, match="exclude each other"):
        ClusterOptions(workers=2, cluster="cluster.yaml")


class JobQueue(LocalCluster):
    """Like a cluster of dask-jobqueue: no workers until it is scaled by a number of jobs."""

    created: list[dict] = []  # noqa: RUF012 # the test reads the arguments

    def __init__(self, **arguments):
        self.created.append(arguments)
        options = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
        super().__init__(n_workers=0, threads_per_worker=1, **options)

    def scale(self, n=None, *, jobs=None):
        super().scale(n if jobs is None else jobs)


def test_jobs_of_a_batch_system_compute_the_tiles_with_one_thread_each(cluster_file, monkeypatch, caplog):
    install(monkeypatch, "dask_jobqueue", SLURMCluster=JobQueue)
    JobQueue.created.clear()
    path = cluster_file("type: slurm\nworkers: 1\ncores: 4\nmemory: 8GB\njob_script_prologue: [module load geoseg]\n")

    with open_executor(ClusterOptions(cluster=path)) as executor:
        outcomes = sorted(executor.run(square, None, range(30)), key=lambda outcome: outcome.key)

    (arguments,) = JobQueue.created
    assert outcomes == [Outcome(key, key * key) for key in range(30)]
    assert (arguments["cores"], arguments["processes"], arguments["memory"]) == (4, 4, "8GB")
    assert "export OMP_NUM_THREADS=1" in arguments["job_script_prologue"]
    assert arguments["job_script_prologue"][-1] == "module load geoseg"
    assert "does not ask for encryption" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "cuda"])
def test_cluster_on_this_machine_computes_the_tiles(cluster_file, monkeypatch, kind):
    install(monkeypatch, "dask_cuda", LocalCUDACluster=LocalCluster)

    with open_executor(ClusterOptions(cluster=cluster_file(f"type: {kind}\nworkers: 2\n"))) as executor:
        outcomes = sorted(executor.run(square, None, range(30)), key=lambda outcome: outcome.key)

    assert outcomes == [Outcome(key, key * key) for key in range(30)]


def test_name_that_a_cluster_file_has_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("type: local\nworkers: 2\nworkers: 4\n")

    with pytest.raises(ConfigError, match=r"'workers' twice \(line 3\)"):
        read_cluster_file(str(path))
