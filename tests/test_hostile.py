"""Files from anywhere: none makes geoseg open an address, read a file that was not named, or take all memory."""

import contextlib
import html
import json
import os
import re
import sqlite3
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from geoseg.classify.read_samples import read_samples
from geoseg.config import load_config
from geoseg.errors import ConfigError, GeosegError, RasterError
from geoseg.evaluate.evaluate import evaluate_classes
from geoseg.evaluate.reference import open_reference
from geoseg.grid import Window
from geoseg.raster.scene import open_scene, read

from .conftest import TRANSFORM, fields, run_command, write_raster

AREA = shapely.box(500_100, 4_999_500, 501_000, 4_999_900)
HEAD = '<VRTDataset rasterXSize="170" rasterYSize="150"><SRS>EPSG:32631</SRS>'
HEAD += "<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
BAND = '<VRTRasterBand dataType="Byte" band="1">{}</VRTRasterBand></VRTDataset>'
FILE = '<SourceFilename relativeToVRT="1">{}</SourceFilename><SourceBand>1</SourceBand>'
RECTANGLES = '<SrcRect xOff="0" yOff="0" xSize="170" ySize="150"/><DstRect xOff="0" yOff="0" xSize="{}" ySize="{}"/>'
SOURCE = f"<SimpleSource>{FILE}</SimpleSource>"


@pytest.fixture(scope="module")
def server():
    """A server on this machine that counts its requests, and answers them with a raster."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.paths.append(self.path)
            content = self.server.content if self.path.endswith("/scene.tif") else b""
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 # the names of http.server

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.paths, running.content, running.n_addresses = [], b"", 0
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def address(server, monkeypatch):
    """The address of a raster at the server, which must not be asked for during the test."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_S3_ENDPOINT", f"127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_HTTPS", "NO")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    server.paths.clear()
    server.n_addresses += 1  # GDAL remembers what it has asked for
    yield f"http://127.0.0.1:{server.server_address[1]}/{server.n_addresses}/scene.tif"
    assert server.paths == []


@pytest.fixture
def scene(tmp_path):
    """A raster of 150 × 170 pixels in one band."""
    return write_raster(tmp_path / "scene.tif", fields(n_bands=1))


def refusal(path, **options):
    """Return the message with which a scene is refused, after reading all of it if it is not."""

    def read_all():
        opened = open_scene(path, **options)
        read(opened, opened.geobox.window)

    with pytest.raises(GeosegError) as caught:
        read_all()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 2500
    return message


# --- mosaics ------------------------------------------------------------------------------------------------------

PYTHON = (
    "<PixelFunctionType>hack</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>"
    "<PixelFunctionCode>def hack(*a, **k): open('{secret}', 'w')</PixelFunctionCode>"
)
ENTITIES = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx">{}]>'.format(
    "".join(f'<!ENTITY x{i} "{f"&x{i - 1 if i else str()};" * 10}">' for i in range(9))
)
MOSAICS = {  # what is hostile → the VRT
    "lower case": HEAD + BAND.format("<SimpleSource><sourcefilename>/vsicurl/{url}</sourcefilename></SimpleSource>"),
    "upper case": HEAD + BAND.format("<SimpleSource><SOURCEFILENAME>/vsicurl/{url}</SOURCEFILENAME></SimpleSource>"),
    "lower case of a band": HEAD + BAND.format(SOURCE).replace("VRTRasterBand", "vrtrasterband"),
    "lower case of a source": HEAD + BAND.format(SOURCE).replace("SimpleSource", "simplesource"),
    "file name as an attribute": HEAD + BAND.format('<SimpleSource SourceFilename="/vsicurl/{url}"/>'),
    "relative by a child": HEAD + BAND.format(SOURCE.replace("</SourceF", "<relativeToVRT>0</relativeToVRT></SourceF")),
    "curl": HEAD + BAND.format(SOURCE.format("/vsicurl/{url}")),
    "curl in capitals": HEAD + BAND.format(SOURCE.format("  /VsiCurl_Streaming/{url}")),
    "curl in a section": HEAD + BAND.format(SOURCE.format("<![CDATA[/vsicurl/{url}]]>")),
    "curl in entities": HEAD + BAND.format(SOURCE.format("&#47;vsi&#x63;url/{url}")),
    "bucket": HEAD + BAND.format(SOURCE.format("/vsis3/bucket/scene.tif")),
    "bare address": HEAD + BAND.format(SOURCE.format("{url}")),
    "vrt address": HEAD + BAND.format(SOURCE.format("vrt:///vsicurl/{url}")),
    "driver prefix": HEAD + BAND.format(SOURCE.format("WMS:{url}")),
    "tiff directory": HEAD + BAND.format(SOURCE.format("GTIFF_DIR:1:/vsicurl/{url}")),
    "service inline": HEAD + BAND.format(SOURCE.format("&lt;GDAL_WMS&gt;&lt;ServerUrl&gt;{url}&lt;/ServerUrl&gt;")),
    "stdin": HEAD + BAND.format(SOURCE.format("/vsistdin/")),
    "part of a file": HEAD + BAND.format(SOURCE.format("/vsisubfile/0_100,{secret}")),
    "secret": HEAD + BAND.format(SOURCE.format("{secret}")),
    "raw band": HEAD + BAND.format("<SourceFilename>{secret}</SourceFilename><ImageOffset>0</ImageOffset>").replace(
        'band="1"', 'band="1" subClass="VRTRawRasterBand"'
    ),
    "Python": HEAD + BAND.format(SOURCE.format("scene.tif") + PYTHON).replace(
        'band="1"', 'band="1" subClass="VRTDerivedRasterBand"'
    ),
    "Python without a class": HEAD + BAND.format(SOURCE.format("scene.tif") + PYTHON),
    "pixel function": HEAD + BAND.format(SOURCE.format("scene.tif") + "<PixelFunctionType>sum</PixelFunctionType>"),
    "warped": HEAD.replace("<VRTDataset", '<VRTDataset subClass="VRTWarpedDataset"')
    + "<GDALWarpOptions><SourceDataset>/vsicurl/{url}</SourceDataset></GDALWarpOptions></VRTDataset>",
    "warped without a class": HEAD
    + "<GDALWarpOptions><SourceDataset>{url}</SourceDataset></GDALWarpOptions></VRTDataset>",
    "pansharpened": HEAD.replace("<VRTDataset", '<VRTDataset subClass="VRTPansharpenedDataset"')
    + "<PansharpeningOptions><PanchroBand><SourceFilename>/vsicurl/{url}</SourceFilename></PanchroBand>"
    "</PansharpeningOptions></VRTDataset>",
    "processed": HEAD.replace("<VRTDataset", '<VRTDataset subClass="VRTProcessedDataset"')
    + "<Input><SourceFilename>/vsicurl/{url}</SourceFilename></Input></VRTDataset>",
    "group": HEAD
    + '<Group name="/"><Array><Source><SourceFilename>{url}</SourceFilename></Source></Array>'
    "</Group></VRTDataset>",
    "open options": HEAD + BAND.format(f'<SimpleSource>{FILE.format("scene.tif")}<OpenOptions/></SimpleSource>'),
    "mask": HEAD
    + f"<MaskBand>{BAND.format(SOURCE.format('/vsicurl/{url}'))}".replace("</VRTDataset>", "</MaskBand></VRTDataset>"),
    "CRS": HEAD.replace("EPSG:32631", "{url}") + BAND.format(SOURCE.format("scene.tif")),
    "CRS in a file": HEAD.replace("EPSG:32631", "{secret}") + BAND.format(SOURCE.format("scene.tif")),
    "CRS of points": HEAD + '<GCPList Projection="{url}"/>' + BAND.format(SOURCE.format("scene.tif")),
    "external entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "{url}">]>' + HEAD + BAND.format(SOURCE.format("&x;")),
    "many entities": ENTITIES + HEAD + BAND.format(SOURCE.format("&x8;")),
    "average of everything": HEAD
    + BAND.format(f"<AveragedSource>{FILE.format('scene.tif')}{RECTANGLES.format(1, 1)}</AveragedSource>"),
    "average without sizes": HEAD + BAND.format(f"<AveragedSource>{FILE.format('scene.tif')}</AveragedSource>"),
    "kernel": HEAD
    + BAND.format(SOURCE.format("scene.tif"))
    .replace("SimpleSource", "KernelFilteredSource")
    .replace("</Kernel", "<Kernel><Size>9999</Size></Kernel></Kernel"),
    "pixels": HEAD.replace("170", "2147483647").replace("150", "2147483647") + BAND.format(SOURCE.format("scene.tif")),
    "deep": HEAD + "<MaskBand>" * 500 + "</MaskBand>" * 500 + "</VRTDataset>",
    "itself": HEAD + BAND.format(SOURCE.format("mosaic.vrt")),
}  # fmt: skip


@pytest.mark.parametrize("hostile", MOSAICS)
def test_mosaic_that_is_more_than_a_mosaic_of_local_rasters_is_refused(tmp_path, scene, address, hostile):
    assert scene.is_file()
    secret = tmp_path / "secret"
    secret.write_bytes(b"password")
    text = MOSAICS[hostile].replace("{url}", address).replace("{secret}", str(secret))
    (tmp_path / "mosaic.vrt").write_text(text)

    message = refusal(tmp_path / "mosaic.vrt")

    assert str(tmp_path) in message
    assert "password" not in message
    assert secret.read_bytes() == b"password"


@pytest.mark.parametrize("hostile", ["curl", "lower case", "Python", "external entity"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", ["inner.vrt", "inner.tif", "inner"])
def test_mosaic_inside_a_mosaic_is_checked_whatever_its_name_and_encoding(tmp_path, address, hostile, encoding, name):
    declared = f'<?xml version="1.0" encoding="{encoding}"?>'
    (tmp_path / name).write_text(declared + MOSAICS[hostile].replace("{url}", address), encoding=encoding)
    (tmp_path / "mosaic.vrt").write_text(HEAD + BAND.format(SOURCE.format(name)))

    refusal(tmp_path / "mosaic.vrt")
    refusal(tmp_path / name)


def test_mosaics_that_refer_to_each_other_many_times_are_refused(tmp_path, scene):
    for i in range(7):
        inner = scene.name if i == 0 else f"{i - 1}.vrt"
        (tmp_path / f"{i}.vrt").write_text(HEAD + BAND.format(SOURCE.format(inner) * 10))

    assert "mosaics" in refusal(tmp_path / "6.vrt")


def test_overviews_and_metadata_of_a_mosaic_are_not_opened(tmp_path, scene, address):
    overview = f"<Overview><SourceFilename>/vsicurl/{address}</SourceFilename><SourceBand>1</SourceBand></Overview>"
    metadata = f'<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/vsicurl/{address}</MDI></Metadata>'
    plain = tmp_path / "mosaic.vrt"
    plain.write_text(HEAD + metadata + BAND.format(overview + metadata + SOURCE.format(scene.name)))

    pixels, valid = read(open_scene(plain), Window(0, 0, 170, 150))

    np.testing.assert_array_equal(pixels, read(open_scene(scene), Window(0, 0, 170, 150))[0])
    assert valid.all()


def test_mosaic_is_read_as_it_was_when_it_was_checked(tmp_path, scene, address, monkeypatch):
    """The file changes between the check and the opening."""
    import geoseg.raster.dataset as dataset

    path = tmp_path / "mosaic.vrt"
    path.write_text(HEAD + BAND.format(SOURCE.format(scene.name)))
    check = dataset.read_vrt

    def check_and_change(given):
        checked = check(given)
        path.write_text(MOSAICS["lower case"].replace("{url}", address))
        return checked

    monkeypatch.setattr(dataset, "read_vrt", check_and_change)
    with dataset.opened(str(path)) as src:
        assert src.read(1).any()


# --- files beside a raster ----------------------------------------------------------------------------------------

OVERVIEW = '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{}</MDI></Metadata></PAMDataset>'
VRT_AT = HEAD + BAND.format(SOURCE.format("/vsicurl/{url}"))
SIDES = {  # what is hostile → suffix, content
    "mask": (".msk", VRT_AT),
    "mask in capitals": (".MSK", VRT_AT),
    "overviews": (".ovr", VRT_AT),
    "overviews of the mask": (".msk.ovr", VRT_AT),
    "mask that is a service": (".msk", "<GDAL_WMS><Service><ServerUrl>{url}</ServerUrl></Service></GDAL_WMS>"),
    "mask that is text": (".msk", "no mask"),
    "VRT behind the signature of a TIFF": (".msk", "II*\0 " + VRT_AT),
    "metadata": (".aux.xml", OVERVIEW.format("/vsicurl/{url}")),
    "metadata with a service": (".aux.xml", OVERVIEW.format("WMS:{url}")),
    "metadata in entities": (".aux.xml", OVERVIEW.format("{url}").replace("OVERVIEW_FILE", "OVERVIEW&#95;FILE")),
    "metadata in another case": (".aux.xml", OVERVIEW.format("{url}").replace("OVERVIEW_FILE", "overview_File")),
    "metadata by a child": (".aux.xml", OVERVIEW.format("<key>OVERVIEW_FILE</key>{url}").replace("key=", "x=", 1)),
    "proxy": (".aux.xml", OVERVIEW.format("{url}").replace("OVERVIEWS", "ProxyOverviewRequest")),
    "metadata with a document type": (".aux.xml", '<!DOCTYPE a SYSTEM "{url}"><PAMDataset/>'),
    "metadata that are a VRT": (".aux.xml", VRT_AT),
    "metadata that are words": (".aux.xml", "words"),
    "CRS": (".aux.xml", "<PAMDataset><SRS>{url}</SRS></PAMDataset>"),
}  # fmt: skip


@pytest.mark.parametrize("hostile", SIDES)
@pytest.mark.parametrize("as_member", [False, True], ids=["raster", "file of a mosaic"])
def test_file_beside_a_raster_that_is_not_what_its_name_says_is_refused(tmp_path, scene, address, hostile, as_member):
    suffix, content = SIDES[hostile]
    (tmp_path / f"scene.tif{suffix}").write_text(content.replace("{url}", address))
    (tmp_path / "mosaic.vrt").write_text(HEAD + BAND.format(SOURCE.format("scene.tif")))

    message = refusal(tmp_path / ("mosaic.vrt" if as_member else "scene.tif"))

    assert f"scene.tif{suffix}" in message
    assert scene.is_file()


@pytest.mark.parametrize("name", ["scene.tif.aux.xml", "scene.tif.msk", "scene.tfw", "scene_RPC.TXT", "SCENE.IMD"])
def test_pipe_beside_a_raster_is_not_waited_for(tmp_path, scene, name):
    os.mkfifo(tmp_path / name)

    assert name in refusal(scene)


@pytest.mark.parametrize("name", ["scene.tfw", "scene.xml", "scene.tif.aux.xml"])
def test_text_of_gigabytes_beside_a_raster_is_not_read(tmp_path, scene, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**34)  # no block of it is on the disk

    assert f"{name} beside" in refusal(scene)


def test_interlaced_png_of_gigabytes_is_refused(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 1)
    (tmp_path / "scene.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + b"\0" * 99)

    assert "blocks of 10.1 GiB" in refusal(tmp_path / "scene.png")


def test_jpeg_2000_with_the_address_of_a_crs_makes_no_request(tmp_path, address):
    path = write_raster(tmp_path / "scene.jp2", fields(n_bands=1), driver="JP2OpenJPEG", GeoJP2="NO")
    code = b"urn:ogc:def:crs:EPSG::32631"
    content = path.read_bytes()
    assert code in content
    path.write_bytes(content.replace(code, address.removesuffix("scene.tif").encode().ljust(len(code), b"x")))

    assert "has no CRS" in refusal(path)


def test_ordinary_files_beside_a_raster_are_read(tmp_path):
    pixels, mask = fields(n_bands=1), np.ones((150, 170), bool)
    mask[:50] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        path = write_raster(tmp_path / "scene.tif", pixels, mask=mask)
    (tmp_path / "scene.tif.aux.xml").write_text(
        '<PAMDataset><Metadata domain="Esri" format="xml"><a href="https://example.org"/></Metadata>'
        '<PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">9</MDI></Metadata></PAMRasterBand></PAMDataset>'
    )
    (tmp_path / "scene.tif.ovr").write_bytes(path.read_bytes())
    (tmp_path / "scene.aux").write_text("of another program")

    opened = open_scene(path)

    assert (tmp_path / "scene.tif.msk").is_file()
    np.testing.assert_array_equal(read(opened, opened.geobox.window)[1], mask)
    assert str(tmp_path / "scene.tif.msk") in opened.files


# --- bombs --------------------------------------------------------------------------------------------------------


def tiff(path, *, width, height, block=None, bands=1, metadata=b""):
    """Write the header of a TIFF without its pixels."""
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, bands)]
    tags += [(273, 4, 1, 0), (278, 4, 1, 1), (279, 4, 1, 0)] if block is None else []
    tags += [(322, 4, 1, block), (323, 4, 1, block), (324, 4, 1, 0), (325, 4, 1, 0)] if block else []
    offset = 8 + 2 + 12 * (len(tags) + bool(metadata)) + 4
    tags += [(42112, 2, len(metadata), offset)] if metadata else []
    entries = b"".join(
        struct.pack("<HHI", *tag[:3]) + (struct.pack("<HH", tag[3], 0) if tag[1] == 3 else struct.pack("<I", tag[3]))
        for tag in sorted(tags)
    )
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + metadata)
    return path


def one_line(*arguments):
    """Return the line with which a command ends for a reason that the user can change."""
    ended = run_command(*arguments)
    assert ended.code == 1, ended.text
    (line,) = ended.lines
    return line


def reads_of(file, scene):
    """Return the arguments of each command that reads a raster, for a file that it refuses."""
    out = ("--out", file.parent / "out.gpkg")
    return {
        "tile": ("tile", file, *out),
        "outline": ("outline", file, *out),
        "preview": ("preview", file),
        "info": ("info", file),
        "evaluate": ("evaluate", file, "--reference", scene),
        "values": ("outline", scene, "--values", file, *out),
        "reference": ("evaluate", scene, "--reference", file),
    }


@pytest.mark.parametrize("command", ["tile", "outline", "preview", "info", "evaluate", "values", "reference"])
def test_every_command_refuses_a_file_of_500_bytes_with_a_block_of_gigabytes(tmp_path, scene, command):
    bomb = tiff(tmp_path / "bomb.tif", width=131_056, height=131_056, block=131_056)

    line = one_line(*reads_of(bomb, scene)[command])

    assert bomb.stat().st_size < 551
    assert "blocks of 16.0 GiB" in line
    assert "TILED=YES" in line


@pytest.mark.parametrize("command", ["tile", "outline", "preview", "info", "values"])
@pytest.mark.parametrize("unit", ["degree", "metre"])
def test_every_command_refuses_a_crs_whose_unit_is_zero(tmp_path, scene, command, unit):
    # GDAL reports it late, when it is asked for something else.
    crs = re.sub(rf'UNIT\["{unit}",[^,]*', f'UNIT["{unit}",0', rasterio.CRS.from_epsg(32631).to_wkt())
    band = BAND.format("<ColorInterp>Gray</ColorInterp>" + SOURCE.format(scene.name))
    (tmp_path / "mosaic.vrt").write_text(HEAD.replace("EPSG:32631", html.escape(crs)) + band)

    line = one_line(*reads_of(tmp_path / "mosaic.vrt", scene)[command])

    assert str(tmp_path / "mosaic.vrt") in line
    assert "unit" in line


def test_block_of_gigabytes_is_found_in_a_mask_and_in_a_file_of_a_mosaic(tmp_path, scene):
    tiff(tmp_path / "member.tif", width=131_056, height=131_056, block=131_056)
    (tmp_path / "mosaic.vrt").write_text(HEAD + BAND.format(SOURCE.format("member.tif")))
    assert "blocks of 16.0 GiB" in refusal(tmp_path / "mosaic.vrt")

    tiff(tmp_path / "scene.tif.msk", width=131_056, height=131_056, block=131_056)
    assert "blocks of 16.0 GiB" in refusal(scene)


def test_metadata_inside_a_tiff_that_name_another_file_are_refused(tmp_path, address):
    item = f'<GDALMetadata><Item name="OVERVIEW_FILE" domain="OVERVIEWS">/vsicurl/{address}</Item></GDALMetadata>\0'
    path = tiff(tmp_path / "scene.tif", width=64, height=64, metadata=item.encode())

    assert "OVERVIEW_FILE" in refusal(path)


def test_raster_with_thousands_of_bands_is_refused(tmp_path):
    assert "bands; expected at most" in refusal(tiff(tmp_path / "scene.tif", width=64, height=64, bands=5000))


def test_tile_that_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=9000, height=9000, count=40, dtype="uint8", crs="EPSG:32631", tiled=True,
        transform=TRANSFORM, interleave="band", sparse_ok=True,
    ):  # fmt: skip
        pass

    for command in (("tile", path, "--out", tmp_path / "o.gpkg"), ("info", path), ("preview", path)):
        assert "needs 10 GiB in memory" in one_line(*command, "--tile-size", 8192)


# --- vector files -------------------------------------------------------------------------------------------------

OGR_VRT = (
    '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{url}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>'
)
VECTORS = {  # what is hostile → name, content
    **{f"OGR VRT named a.{end}": (f"a.{end}", OGR_VRT) for end in ("geojson", "gpkg", "shp", "kml", "vrt", "fgb")},
    "OGR VRT in a KML": ("a.kml", '<!-- <OGRVRTDataSource> --><kml xmlns="http://x/kml/2.2"></kml>' + OGR_VRT),
    "pipeline": ("a.gdalg.json", '{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read {url}"}'),
    "two types": ("a.json", '{"type": "gdal_streamed_alg", "command_line": "gdal vector read {url}", '
                            '"type": "FeatureCollection", "features": []}'),
    "service": ("a.json", '{"type": "FeatureCollection", "links": [{"rel": "items", "href": "{url}"}]}'),
    "linked CRS": ("a.geojson", '{"type": "FeatureCollection", "features": [], '
                                '"crs": {"type": "link", "properties": {"href": "{url}", "type": "ogcwkt"}}}'),
    "address as the CRS": ("a.geojson", '{"type": "FeatureCollection", "features": [], '
                                        '"crs": {"type": "name", "properties": {"name": "{url}"}}}'),
    "deep JSON": ("a.geojson", '{"type":"FeatureCollection","features":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "deep geometry": ("a.geojson", '{"type":"GeometryCollection","geometries":[' * 400 + "]}" * 400),
    "numbers instead of features": ("a.geojson", '{"type": "FeatureCollection", "features": [1, 2]}'),
    "external entity": ("a.kml", '<!DOCTYPE a [<!ENTITY x SYSTEM "{url}">]><kml>&x;</kml>'),
    "many entities": ("a.gml", ENTITIES + '<a xmlns:gml="http://www.opengis.net/gml">&x8;</a>'),
    "address as the CRS of GML": (
        "a.gml", '<a xmlns:gml="http://www.opengis.net/gml"><gml:Polygon srsName="{url}"/></a>'
    ),
    "address in a file": ("a.txt", "WFS:{url}"),
    "SQL": ("a.sql", "SELECT 1"),
    "nothing": ("a.gpkg", ""),
    "head of a database": ("a.gpkg", "SQLite format 3\0"),
}  # fmt: skip


@pytest.mark.parametrize("hostile", VECTORS)
def test_vector_file_that_is_not_a_list_of_geometries_is_refused(tmp_path, scene, address, hostile):
    name, content = VECTORS[hostile]
    path = tmp_path / name
    path.write_text(content.replace("{url}", address))

    refusal(scene, aoi=path)
    with pytest.raises(RasterError) as caught:
        evaluate_classes(scene, path)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["/vsicurl/", "WFS:", "", "/vsicurl_streaming/"])
def test_area_at_an_address_is_refused(scene, address, prefix):
    assert "cannot be read" in refusal(scene, aoi=prefix + address)


def test_references_of_kml_and_gml_are_not_followed(tmp_path, scene, address):
    area = geopandas.GeoSeries([AREA], crs="EPSG:32631").to_crs(4326)
    area.to_file(tmp_path / "area.kml", driver="KML")
    area.to_file(tmp_path / "area.gml", driver="GML")
    link = f"<NetworkLink><Link><href>{address}</href></Link></NetworkLink><styleUrl>{address}#a</styleUrl>"
    for name, change in (("area.kml", ("<Placemark", f"{link}<Placemark")), ("area.gml", ("\n", ""))):
        text = (tmp_path / name).read_text().replace(*change, 1)
        text = re.sub(r'schemaLocation="[^"]*"', f'schemaLocation="x {address}?SERVICE=WFS"', text)
        (tmp_path / name).write_text(text)

    for name in ("area.kml", "area.gml"):
        valid = read(open_scene(scene, aoi=tmp_path / name), Window(0, 0, 170, 150))[1]

        assert valid.sum() == pytest.approx(AREA.area / 100, rel=0.02)


ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS fid, NULL AS geom FROM n WHERE i < 0"
)


@pytest.fixture
def geopackage(tmp_path):
    """Write a GeoPackage with the layer "area" and run SQL on it: geopackage(*statements) → path."""

    def make(*statements):
        path = tmp_path / "area.gpkg"
        geopandas.GeoDataFrame({"name": ["a"]}, geometry=[AREA], crs="EPSG:32631").to_file(path, layer="area")
        database = sqlite3.connect(path)
        for statement in statements:
            database.execute(statement)
        database.commit()
        database.close()
        return path

    return make


REGISTERED = (
    "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) VALUES ('endless', 'features', 'e', 32631)",
    "INSERT INTO gpkg_geometry_columns VALUES ('endless', 'geom', 'POLYGON', 32631, 0, 0)",
)


@pytest.mark.parametrize("registered", [(), REGISTERED], ids=["unknown", "as a layer"])
def test_endless_query_beside_a_layer_is_not_run(scene, geopackage, registered):
    path = geopackage(f"CREATE VIEW endless AS {ENDLESS}", *registered)

    valid = read(open_scene(scene, aoi=path), Window(0, 0, 170, 150))[1]

    assert valid.sum() == AREA.area / 100
    assert evaluate_classes(scene, path, field="name").agreement is not None


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        ((f"CREATE VIEW endless AS {ENDLESS}", *REGISTERED, "DELETE FROM gpkg_geometry_columns WHERE rowid = 1"),
         "the view endless"),
        (("DROP TABLE gpkg_ogr_contents", f"CREATE VIEW gpkg_ogr_contents AS {ENDLESS}"), "the view gpkg_ogr_contents"),
        (("ALTER TABLE gpkg_geometry_columns RENAME TO g", f"CREATE VIEW gpkg_geometry_columns AS {ENDLESS}"),
         "the view gpkg_geometry_columns"),
        (("ALTER TABLE area ADD COLUMN huge BLOB GENERATED ALWAYS AS (zeroblob(1000000000))",),
         "computes the column huge"),
        (("PRAGMA writable_schema = 1",
          "INSERT INTO sqlite_master VALUES "
          "('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING VirtualOGR(''{url}'')')"),
         "v"),
    ],
    ids=["only a view", "a view as a table of GDAL", "a view as the list of layers", "a computed column", "a module"],
)  # fmt: skip
def test_geopackage_that_runs_queries_is_refused(scene, geopackage, address, statements, reason):
    path = geopackage(*(statement.replace("{url}", address) for statement in statements))

    assert reason in refusal(scene, aoi=path)


def test_attributes_in_another_encoding_do_not_matter_to_an_area(tmp_path, scene):
    path = tmp_path / "area.shp"
    geopandas.GeoDataFrame({"name": ["ORT"]}, geometry=[AREA], crs="EPSG:32631").to_file(path)
    table = tmp_path / "area.dbf"
    table.write_bytes(table.read_bytes().replace(b"ORT", b"M\xfc\xdf"))
    (tmp_path / "area.cpg").write_text("UTF-8")

    assert read(open_scene(scene, aoi=path), Window(0, 0, 170, 150))[1].sum() == AREA.area / 100


def test_area_with_too_many_vertices_is_refused(tmp_path, scene, monkeypatch):
    monkeypatch.setattr("geoseg.raster.aoi._MAX_VERTICES", 100)
    path = tmp_path / "area.gpkg"
    geopandas.GeoSeries([AREA.segmentize(5)], crs="EPSG:32631").to_file(path)

    assert "vertices; expected at most 100" in refusal(scene, aoi=path)


# --- configurations -----------------------------------------------------------------------------------------------

ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    "text",
    [
        ALIASES,
        ALIASES + "seed: *a8\n",
        "a: &a [*a]\n",
        "seed: " + "[" * 5000 + "]" * 5000,
        "seed: " + "x" * 900_000,
        "x" * 900_000 + ": 1",
        "seed: 1\n" * 200_000,
        f"bands: [{', '.join(map(str, range(9000)))}, 1]",
        f"network: {{kernels: [{', '.join(['3'] * 500)}], channels: [{', '.join(['64'] * 500)}]}}",
        "network: {channels: [100000000, 100000000, 64, 32]}",
        "network: {kernels: [100001, 1, 3, 1]}",
        "tiles: {size: 1000000000}",
        "learn: {windows: 1000000000}",
        "learn: {steps: 1000000000000}",
        "classify: {clusters: 1000000000}",
        "backprop: {max_steps: 1000000000000}",
        "superpixels: {n_segments: 1000000000000}",
        'seed: "\\e[31m"',
    ],
    ids=["aliases", "aliases of an option", "alias of itself", "deep", "long word", "long name", "long file", "bands",
         "layers", "channels", "kernel", "tile", "windows", "steps", "clusters", "max_steps", "segments", "escape"],
)  # fmt: skip
def test_config_that_asks_for_everything_is_refused_in_a_short_line(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    message = str(caught.value)
    assert len(message) < 1000
    assert message.isprintable()


def test_aliases_that_repeat_little_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("tiles: {size: &size 256, halo: 16}\nlearn: {windows: *size}\n")

    assert load_config(path).learn.windows == 256


# --- names --------------------------------------------------------------------------------------------------------

NAMES = ["zip:x.tif", "s3:x.tif", "http:x.tif", "GTIFF_DIR:1:x.tif", "-dash.tif", "a b & c?d=1.tif", "x!y.tif",
         "x#y;z.tif", "vrt:..tif", "é\u2028.tif", "%2e.tif", "<VRTDataset>.tif", "NETCDF:x.tif"]  # fmt: skip


@pytest.mark.usefixtures("address")
@pytest.mark.parametrize("name", NAMES)
def test_file_whose_name_looks_like_an_address_or_option_is_a_file(tmp_path, scene, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    scene.rename(tmp_path / name)
    expected = np.asarray(fields(n_bands=1))

    opened = open_scene(name)

    np.testing.assert_array_equal(read(opened, opened.geobox.window)[0], expected)
    ended = run_command("evaluate", name, "--reference", name)
    assert ended.code == 0, ended.text


@pytest.mark.usefixtures("address")
@pytest.mark.parametrize("name", ["zip:a.gpkg", "-dash.gpkg", "a!b.gpkg", "a b & c?d=1.gpkg", "x.zip", "s3:a#b;c.shp"])
def test_area_whose_name_looks_like_an_address_or_option_is_a_file(tmp_path, scene, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    suffix = ".shp" if name.endswith(".shp") else ".gpkg"
    geopandas.GeoSeries([AREA], crs="EPSG:32631").to_file(tmp_path / f"area{suffix}")
    for each in tmp_path.glob("area.*"):
        each.rename(name.removesuffix(suffix) + each.suffix if suffix == ".shp" else name)

    assert read(open_scene(scene, aoi=name), Window(0, 0, 170, 150))[1].sum() == AREA.area / 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zip:x.tif", "s3:x.tif", "-dash.tif", "a b & c?d=1.tif"])
def test_every_command_takes_a_file_whose_name_looks_like_an_address_or_option(tmp_path, scene, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    scene.rename(tmp_path / name)
    cheap = ("--method", "kmeans", "--device", "cpu")

    for arguments in (
        ("tile", name, "--out", "a.gpkg", *cheap, "--workers", 0),
        ("outline", name, "--out", "b.gpkg", "--values", name, "--workers", 0),
        ("preview", name, "--out", "c.png", *cheap),
        ("info", name, *cheap, "--workers", 0),
        ("evaluate", name, "--reference", name),
    ):
        ended = run_command(*arguments)
        assert ended.code == 0, ended.text


# --- addresses ----------------------------------------------------------------------------------------------------


def test_scene_at_an_address_makes_no_request_for_another(server, address, scene):
    server.content = scene.read_bytes()

    opened = open_scene(address)
    pixels, _ = read(opened, opened.geobox.window)

    np.testing.assert_array_equal(pixels, fields(n_bands=1))
    assert {path.rpartition("/")[2] for path in server.paths} == {"scene.tif"}
    server.paths.clear()


def test_text_from_a_file_cannot_control_the_terminal(tmp_path, scene):
    (tmp_path / "mosaic.vrt").write_text(HEAD + BAND.format(SOURCE.format("&#x9b;31mred" + "x" * 5000)))

    message = refusal(tmp_path / "mosaic.vrt")

    assert scene.is_file()
    assert message.isprintable()
    assert len(message) < 1000


def test_deep_and_long_metadata_do_not_end_in_a_traceback(tmp_path, scene):
    (tmp_path / "scene.tif.aux.xml").write_text("<a>" * 50_000 + "</a>" * 50_000)
    assert "scene.tif.aux.xml" in refusal(scene)

    (tmp_path / "area.geojson").write_text(json.dumps({"type": "Feature", "geometry": {"type": "x" * 10_000}}))
    (tmp_path / "scene.tif.aux.xml").unlink()
    assert len(refusal(scene, aoi=tmp_path / "area.geojson")) < 1000


@pytest.mark.parametrize("corner", [0, 1])
@pytest.mark.parametrize("number", ["1e999", "-1e999", "1e308", "1e200"])
@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:4326"])
@pytest.mark.parametrize("use", ["area", "samples", "reference"])
def test_polygon_with_a_coordinate_that_no_place_has_is_refused_or_left_out(tmp_path, scene, number, crs, use, corner):
    x, y = (500_000, 4_999_000) if crs == "EPSG:32631" else (3.0, 45.1)
    ring = [[x, y], [x + 500, y], [x + 500, y + 500]]
    ring[corner] = ["NUMBER", y]
    shape = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    feature = {"type": "Feature", "properties": {"name": "a"}, "geometry": shape}
    about = {"type": "name", "properties": {"name": crs}}
    path = tmp_path / "polygons.geojson"
    text = json.dumps({"type": "FeatureCollection", "crs": about, "features": [feature]})
    path.write_text(text.replace('"NUMBER"', number))

    with contextlib.suppress(RasterError):
        if use == "area":
            open_scene(scene, aoi=path)
        elif use == "samples":
            read_samples(path, rasterio.CRS.from_epsg(32631).to_wkt(), field="name")
        else:
            with open_reference(path, open_scene(scene).geobox, field="name"):
                pass
