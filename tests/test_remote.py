"""Scenes at addresses, what results state of their origin, and names that are not read."""

import json
import os
import re
import sqlite3
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest

import geoseg
from geoseg.errors import RasterError, RunError, UnavailableError
from geoseg.raster.availability import remote_state
from geoseg.raster.dataset import opened
from geoseg.run.provenance import command_line, fingerprint, source_of

from .conftest import fields, run_command, write_raster

QUICK = {"method": "kmeans", "workers": 0, "classes": 3, "min_pixels": 12}
SECRET = "5ecret"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server on this machine whose scene can change; it answers parts, and records what is asked for."""
    path = write_raster(tmp_path / "served.tif", fields((64, 80)))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append((self.path, self.headers["Authorization"]))
            content, found = self.server.content, self.path.partition("?")[0].endswith("scene.tif")
            first, _, last = (self.headers["Range"] or "").removeprefix("bytes=").partition("-")
            begin, end = int(first or 0), min(int(last or len(content)), len(content) - 1) + 1
            self.send_response(404 if not found else 206 if first else 200)
            if found:
                self.send_header("Content-Length", str(end - begin))
                self.send_header("Accept-Ranges", "bytes")
                for name, value in self.server.stated.items():
                    self.send_header(name, value)
                if first:
                    self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
            else:
                self.send_header("Content-Length", "0")
            self.end_headers()
            if found and self.command == "GET":
                self.wfile.write(content[begin:end])

        do_HEAD = do_GET  # noqa: N815 # the name of http.server

        def log_message(self, *_):
            pass

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.content, running.asked = path.read_bytes(), []
    running.stated = {"ETag": '"one"', "Last-Modified": "Fri, 27 Nov 2026 10:00:00 GMT"}
    running.at = f"127.0.0.1:{running.server_port}"
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


# --- the identity of a scene at an address ------------------------------------------------------------------------


def test_what_the_server_states_of_the_content_is_in_the_identity(server):
    address = f"http://{server.at}/scene.tif"
    stated = {"size": str(len(server.content)), "etag": '"one"', "last_modified": "Fri, 27 Nov 2026 10:00:00 GMT"}

    assert remote_state(address) == stated
    assert fingerprint([address]) == {address: stated}
    assert remote_state("s3://bucket/scene.tif") == {}


@pytest.fixture
def bucket(server, monkeypatch):
    """The server as a store of objects whose names end in scene.tif, in any bucket."""
    settings = {"AWS_S3_ENDPOINT": server.at, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
    for name, value in {**settings, "AWS_NO_SIGN_REQUEST": "YES", "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    return server


def test_object_in_a_bucket_is_identified_by_its_blocks(bucket, tmp_path):
    # GDAL keeps what it has read of an address, so each content has a name of its own.
    prints = []
    for at, changed in enumerate([False, False, True]):
        pixels = fields((64, 80))
        if changed:
            pixels[1, 33, 44] ^= 1
        tiling = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
        bucket.content = write_raster(tmp_path / f"{at}.tif", pixels, **tiling).read_bytes()
        (found,) = fingerprint([f"s3://of-{at}/scene.tif"]).values()
        prints.append(found)

    assert set(prints[0]) == {"blocks"}
    assert prints[0] == prints[1] != prints[2]


def test_object_that_cannot_be_read_has_no_identity(bucket):
    assert fingerprint(["s3://of-nobody/refused"]) == {"s3://of-nobody/refused": {}}
    assert bucket.asked


def test_signature_of_an_address_is_not_in_the_identity_where_the_server_states_an_etag(server):
    address = f"http://{server.at}/scene.tif"

    one, other = (fingerprint([f"{address}?token={token}"]) for token in (SECRET, "another"))
    server.stated.clear()
    one_of_unknown, other_of_unknown = (fingerprint([f"{address}?id={number}"]) for number in (1, 2))

    assert one == other
    assert SECRET not in json.dumps(one)
    assert one_of_unknown != other_of_unknown


def test_server_that_refuses_is_no_error_of_the_identity_and_one_that_is_silent_is(server):
    assert fingerprint([f"http://{server.at}/refused"]) == {f"http://{server.at}/refused": {}}
    with pytest.raises(UnavailableError, match="does not answer"):
        fingerprint(["http://127.0.0.1:9/scene.tif"])


def test_run_is_not_resumed_on_a_scene_that_has_changed_at_its_address(server, tmp_path):
    address, out = f"http://{server.at}/a/scene.tif?token={SECRET}", tmp_path / "labels.gpkg"
    geoseg.segment_scene(address, out, **QUICK)
    again = geoseg.segment_scene(address, out, resume=True, **QUICK)

    server.stated["ETag"] = '"two"'
    with pytest.raises(RunError, match=r"another input .*etag: .*one.* → .*two"):
        geoseg.segment_scene(address, out, resume=True, **QUICK)

    assert again.n_classes >= 2
    manifest = (tmp_path / "labels.run" / "manifest.json").read_text(encoding="utf-8")
    classes = (tmp_path / "labels.classes.json").read_text(encoding="utf-8")
    assert SECRET not in manifest + classes
    assert json.loads(classes)["scene"] == "scene.tif"
    assert json.loads(classes)["source"]["scene"] == f"http://{server.at}/a/scene.tif"
    assert SECRET.encode() not in out.read_bytes()


# --- other addresses ----------------------------------------------------------------------------------------------


@pytest.fixture
def clouds(server, monkeypatch):
    """Let the clients of Google and Azure ask the server instead."""
    monkeypatch.setenv("CPL_GS_ENDPOINT", f"http://{server.at}/")
    monkeypatch.setenv("GS_NO_SIGN_REQUEST", "YES")
    monkeypatch.setenv("AZURE_NO_SIGN_REQUEST", "YES")
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName=me;BlobEndpoint=http://{server.at};AccountKey=a2V5",
    )
    return server


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_address_in_another_cloud_is_opened_and_nothing_beside_it_is_asked_for(clouds, scheme, tmp_path):
    with opened(f"{scheme}://{scheme}-bucket/{tmp_path.name}/scene.tif") as raster:
        assert raster.shape == (64, 80)
        assert raster.read(1).any()

    paths = {path.partition("?")[0] for path, _ in clouds.asked}
    assert paths == {f"/{scheme}-bucket/{tmp_path.name}/scene.tif"}


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_address_in_a_mosaic_is_refused(clouds, scheme, tmp_path):
    mosaic = tmp_path / "mosaic.vrt"
    mosaic.write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{scheme}://bucket/scene.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )

    with pytest.raises(RasterError, match="may only point to local files"), opened(str(mosaic)):
        pass
    assert clouds.asked == []


@pytest.mark.parametrize("name", ["/vsigs/bucket/scene.tif", "/vsiaz/bucket/scene.tif", "oss://bucket/scene.tif"])
def test_other_names_of_addresses_are_files_that_do_not_exist(clouds, name):
    with pytest.raises(RasterError, match="there is no file"), opened(name):
        pass
    assert clouds.asked == []


# --- containers of rasters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ['NETCDF:"a.nc":temperature', "HDF5:a.h5://group/band", "ZARR:a.zarr:/band", 'HDF4_SDS:UNKNOWN:"a.hdf":0']
)
def test_raster_in_a_container_is_refused_with_the_command_that_copies_it(name):
    with pytest.raises(RasterError, match=f"gdal_translate '?{re.escape(name)}'? scene"), opened(name):
        pass


@pytest.mark.parametrize(("name", "prefix"), [("a.nc", "NETCDF"), ("a.h5", "HDF5"), ("a.zarr", "ZARR")])
def test_container_is_refused_with_the_command_that_copies_a_raster_of_it(tmp_path, name, prefix):
    path = tmp_path / name
    path.mkdir() if prefix == "ZARR" else path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(2000))

    with pytest.raises(RasterError, match=rf"gdal_translate '{prefix}:\"{re.escape(str(path))}\":"), opened(str(path)):
        pass


# --- what results state of their origin ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tile", "in/scene.tif", "--classes", "8"], "geoseg tile in/scene.tif --classes 8"),
        (["tile", "/home/me/scene.tif"], "geoseg tile scene.tif"),
        (["tile", r"C:\Users\me\scene.tif", "--out=C:/me/a.gpkg"], "geoseg tile scene.tif --out=a.gpkg"),
        (["tile", f"https://me:{SECRET}@host/a.tif?key={SECRET}#{SECRET}"], "geoseg tile https://host/a.tif"),
        (["tile", f"s3://bucket/a.tif?{SECRET}"], "geoseg tile s3://bucket/a.tif"),
        (["tile", "my scene.tif"], "geoseg tile 'my scene.tif'"),
        (["tile", f"https://[me:{SECRET}@host/a.tif?{SECRET}"], "geoseg tile 'host/a.tif'"),
    ],
)
def test_command_has_neither_keys_nor_folders_of_this_machine(words, text):
    assert command_line(words).replace("'", "") == text.replace("'", "")


def test_origin_is_in_every_format(make_raster, tmp_path):
    scene = make_raster(fields((64, 80)))
    expected = {
        "scene": "scene.tif",
        "geoseg": geoseg.__version__,
        "command": "geoseg tile scene.tif --method kmeans --classes 3 --workers 0 --out labels.{0} --run-dir {0} "
        "--overwrite",
    }

    for suffix in ("gpkg", "parquet"):
        words = ("--method", "kmeans", "--classes", 3, "--workers", 0, "--out", tmp_path / f"labels.{suffix}")
        assert run_command("tile", scene, *words, "--run-dir", tmp_path / suffix, "--overwrite").code == 0
        document = json.loads((tmp_path / "labels.classes.json").read_text(encoding="utf-8"))
        assert document["source"] == expected | {"command": expected["command"].format(suffix)}

    with closing(sqlite3.connect(tmp_path / "labels.gpkg")) as database:
        (text,) = database.execute(
            "SELECT metadata FROM gpkg_metadata JOIN gpkg_metadata_reference ON md_file_id = id "
            "WHERE table_name = 'labels'"
        ).fetchone()
    assert all(f'<MDI key="{name}">' in text for name in expected)
    assert expected["command"].format("gpkg") in text
    source = json.loads(pq.read_metadata(tmp_path / "labels.parquet").metadata[b"source"])
    assert source == expected | {"command": expected["command"].format("parquet")}


def test_result_of_a_call_from_python_says_so():
    assert source_of("/data/scene.tif", None)["command"] == "called from Python"
