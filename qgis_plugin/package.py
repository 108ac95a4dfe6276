"""Pack the QGIS plugin into a zip, with the source code of geoseg that "Install geoseg…" installs, and check it.

Usage: python qgis_plugin/package.py FOLDER

The checks are those of plugins.qgis.org as far as they are known: keys of metadata.txt, names, kinds and size of files.
"""

from __future__ import annotations

import configparser
import re
import sys
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
NAME = "geoseg_qgis"
SOURCE = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "geoseg/**/*", "configs/*")
MAX_SIZE = 25_000_000  # bytes
_TEXT = {".py", ".txt", ".json", ".md", ".toml", ".yaml", ".typed", ".css", ".js", ".j2", ""}
SUFFIXES = _TEXT | {".svg", ".png"}
REQUIRED = ("name", "description", "about", "version", "qgisMinimumVersion", "author", "email", "tracker", "repository")
URLS = ("homepage", "tracker", "repository")
_DATE = (2020, 1, 1, 0, 0, 0)  # of all files, so that the same files give the same zip
_SKIPPED = {"__pycache__"}


def members(root: Path = ROOT) -> dict[str, Path]:
    """Return the files of the zip by their names in it."""
    plugin = root / "qgis_plugin" / NAME
    found = {f"{NAME}/{_name(path, plugin)}": path for path in _files(plugin, ("**/*",))}
    found |= {f"{NAME}/source/{_name(path, root)}": path for path in _files(root, SOURCE)}
    return dict(sorted({**found, f"{NAME}/LICENSE": root / "LICENSE"}.items()))


def pack(folder: Path, root: Path = ROOT) -> Path:
    """Write the zip into a folder, and return its path."""
    metadata = metadata_of((root / "qgis_plugin" / NAME / "metadata.txt").read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}-{metadata['version']}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in members(root).items():
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o100644 << 16
            archive.writestr(info, file.read_bytes())
    return path


def metadata_of(text: str) -> dict[str, str]:
    """Return the keys of a metadata.txt."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # keys keep their case
    parser.read_string(text)
    return dict(parser["general"])


def problems_of(path: Path) -> list[str]:
    """Return what the plugin repository would refuse in a zip."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        text = archive.read(f"{NAME}/metadata.txt").decode() if f"{NAME}/metadata.txt" in names else ""
    found = [f"{path.name} has {path.stat().st_size} bytes; at most {MAX_SIZE}"] * (path.stat().st_size > MAX_SIZE)
    found += [
        f"{name} is missing" for name in ("__init__.py", "metadata.txt", "LICENSE") if f"{NAME}/{name}" not in names
    ]
    return found + [problem for name in names for problem in _problems_of_name(name)] + _problems_of_metadata(text)


def _problems_of_name(name: str) -> list[str]:
    parts = PurePosixPath(name).parts
    found = []
    if parts[0] != NAME or not re.fullmatch("[A-Za-z][A-Za-z0-9_-]+", parts[0]):
        found.append(f"{name} is outside of the folder {NAME}")
    if (
        ".." in parts
        or name.startswith("/")
        or any(part.startswith((".", "__MACOSX", "__pycache__")) for part in parts)
    ):
        found.append(f"{name} is a hidden or generated file")
    if PurePosixPath(name).suffix not in SUFFIXES:
        found.append(f"{name} is of a kind that is not allowed: binaries are refused")
    return found


def _problems_of_metadata(text: str) -> list[str]:
    if not text:
        return []
    metadata = metadata_of(text)
    found = [f"metadata.txt has no {key}" for key in REQUIRED if not metadata.get(key, "").strip()]
    found += [f"{key} is no address" for key in URLS if not re.match(r"https?://\S+$", metadata.get(key, ""))]
    if "plugin" in metadata.get("name", "").lower():
        found.append("the name contains plugin")
    if len(metadata.get("description", "")) > 500:
        found.append("the description is longer than 500 characters")
    return found


def _files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(path for path in paths if not _SKIPPED & set(path.parts))


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def main() -> None:
    """Write the zip, and print what is wrong with it."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    path = pack(Path(sys.argv[1]))
    problems = problems_of(path)
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
    with zipfile.ZipFile(path) as archive:
        metadata = archive.read(f"{NAME}/metadata.txt").decode()
    if "example.org" in metadata:
        print("metadata.txt names example.org: set email, homepage, tracker and repository before you upload it.")


if __name__ == "__main__":
    main()
