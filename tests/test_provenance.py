"""Fingerprints change with the content of files and not with their folder."""

from __future__ import annotations

import os
import subprocess
import sys

from geoseg.run.provenance import fingerprint


def test_versions_are_found_without_importing_torch_or_dask():
    program = (
        "import sys; from geoseg.run.provenance import versions; versions(); "
        "print({'torch', 'dask'} & set(sys.modules))"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "set()"


def test_fingerprint_changes_with_any_byte_and_not_with_the_time(tmp_path):
    scene = tmp_path / "scene.tif"
    content = bytearray(300_000)
    prints = []

    for at in (None, 0, 150_000, 299_999):
        if at is not None:
            content[at] = 1
        scene.write_bytes(content)
        os.utime(scene, ns=(0, 0))
        prints.append(fingerprint([str(scene)]))
    os.utime(scene, ns=(0, 5))
    assert fingerprint([str(scene)]) == prints[-1]
    scene.write_bytes(content + b"\0")
    prints.append(fingerprint([str(scene)]))

    assert all(prints[i] != prints[j] for i in range(5) for j in range(i))


def test_fingerprint_is_the_same_after_moving_the_scene(tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "scene.tif").write_bytes(b"small")
        os.utime(tmp_path / folder / "scene.tif", ns=(0, 7))

    here, there = (fingerprint([str(tmp_path / folder / "scene.tif")]) for folder in ("here", "there"))

    assert here == there
    assert here["scene.tif"]["size"] == 5


def test_fingerprint_of_a_path_of_gdal_or_missing_file_is_only_its_name(tmp_path):
    names = ["/vsis3/bucket/scene.tif", str(tmp_path / "absent.tif")]

    assert fingerprint(names) == {name: {} for name in names}


def test_files_with_the_same_name_in_two_folders_have_two_fingerprints(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "scene.tif").write_text(folder)

    assert len(fingerprint([str(tmp_path / "a" / "scene.tif"), str(tmp_path / "b" / "scene.tif")])) == 2
