"""Connections to Dask clusters: encrypted, and closed to everyone without the certificate."""

import logging
import socket
import urllib.request

import pytest
from distributed import Client
from distributed.security import Security

from geoseg.errors import ConfigError
from geoseg.run.dask_client import local_client, remote_client
from geoseg.run.executors import ClusterOptions

from .conftest import run_command

pytestmark = pytest.mark.xdist_group("dask")  # clusters compete for the cores: one after the other


def listening_ports():
    """Return the ports on which this process and its children listen."""
    import psutil  # comes with distributed

    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    connections = [each for found in processes for each in found.net_connections("tcp")]
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


def is_answered(port, security=None):
    """Return whether a server greets whoever connects, with the certificate of `security` if that is given."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            if security is None:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return bool(connection.recv(1))
            context = security.get_connection_args("client")["ssl_context"]
            with context.wrap_socket(connection) as encrypted:
                return bool(encrypted.recv(1))  # Dask's greeting
    except OSError:
        return False


def test_only_the_holder_of_the_certificate_is_answered_by_a_local_cluster():
    with local_client(ClusterOptions(workers=1)) as (client, _, wait_until_ready):
        wait_until_ready()
        workers = client.scheduler_info()["workers"]
        addresses = [client.scheduler.address, *workers, *(worker["nanny"] for worker in workers.values())]
        servers = [int(address.rsplit(":", 1)[1]) for address in addresses]
        ports = listening_ports()

        own = [is_answered(port, client.security) for port in servers]
        stranger = [is_answered(port, Security.temporary()) for port in servers]
        unencrypted = [is_answered(port) for port in servers]

    assert all(address.startswith("tls://") for address in addresses)
    assert set(servers) <= ports
    assert own == [True] * 3
    assert stranger == unencrypted == [False] * 3


def test_pages_of_a_local_cluster_show_nothing_without_a_dashboard():
    with local_client(ClusterOptions(workers=1)) as (_, _, wait_until_ready):
        wait_until_ready()
        for port in listening_ports():
            for page in ("info/main/workers.html", "metrics", "json/counts.json", "info/logs.html", "sysmon"):
                with pytest.raises(OSError):  # noqa: PT011 # refused, reset or not found
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5)


@pytest.fixture
def pem_files(tmp_path):
    """Return the TLS options of a new key pair: pem_files(name) → dict of ClusterOptions."""

    def make(name="own"):
        pair = Security.temporary()
        cert, key = tmp_path / f"{name}-cert.pem", tmp_path / f"{name}-key.pem"
        cert.write_text(pair.tls_ca_file)
        key.write_text(pair.tls_client_key)
        return {"tls_ca_file": str(cert), "tls_cert": str(cert), "tls_key": str(key)}

    return make


@pytest.fixture
def running(pem_files):
    """The address of a cluster in this process that takes the certificate `own`."""
    from distributed import LocalCluster

    files = pem_files()
    cert, key = files["tls_cert"], files["tls_key"]
    roles = {f"tls_{role}_{part}": path for role in ("client", "scheduler", "worker")
             for part, path in (("cert", cert), ("key", key))}  # fmt: skip
    security = Security(tls_ca_file=cert, require_encryption=True, **roles)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tls://", host="127.0.0.1", security=security,
        dashboard_address=None,
    ) as cluster:  # fmt: skip
        yield cluster.scheduler_address, files


def test_certificates_open_a_cluster_with_tls_and_others_do_not(running, pem_files):
    address, files = running

    with remote_client(ClusterOptions(scheduler=address, timeout=20, **files)) as client:
        answer = client.submit(sum, [1, 2]).result()

    assert isinstance(client, Client)
    assert answer == 3
    with (
        pytest.raises(ConfigError, match="no Dask scheduler"),
        remote_client(ClusterOptions(scheduler=address, timeout=2, **pem_files("other"))),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheduler": "tls://host:8786"}, "needs --tls-ca-file, --tls-cert, --tls-key"),
        ({"scheduler": "tls://host:8786", "tls_cert": "a.pem"}, "--tls-ca-file and --tls-key are missing"),
        ({"tls_ca_file": "a", "tls_cert": "b", "tls_key": "c"}, "no scheduler is given"),
        ({"scheduler": "tcp://h:1", "tls_ca_file": "a", "tls_cert": "b", "tls_key": "c"}, "--scheduler is tcp://h:1"),
        ({"scheduler": "tls://h:1", "tls_ca_file": "a", "tls_cert": "b", "tls_key": "c"}, "--tls-ca-file a cannot"),
    ],
    ids=["no file", "one file", "no scheduler", "tcp", "missing files"],
)
def test_incomplete_certificates_are_refused_at_the_start(options, message):
    with pytest.raises(ConfigError) as caught:
        ClusterOptions(**options)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_command_refuses_a_certificate_without_a_scheduler(tmp_path):
    ended = run_command("tile", tmp_path / "scene.tif", "--out", tmp_path / "o.gpkg", "--tls-cert", "cert.pem")

    assert ended.code == 1
    assert "--tls-ca-file and --tls-key are missing" in ended.text


@pytest.mark.parametrize(("host", "is_warned"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_unencrypted_connection_to_another_host_gives_one_warning(caplog, host, is_warned):
    with socket.socket() as closed:  # bound and not listening: nobody answers there
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://{host}:{closed.getsockname()[1]}"
        with (
            caplog.at_level(logging.WARNING, "geoseg"),
            pytest.raises(ConfigError),
            remote_client(ClusterOptions(scheduler=address, timeout=0.5)),
        ):
            pass

    assert [record.getMessage().startswith(f"the connection to {address}") for record in caplog.records] == (
        [True] if is_warned else []
    )
