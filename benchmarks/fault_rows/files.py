"""Files of a run folder that are damaged."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from fault_rows.bench import Bench, Row


def products_and_documents(bench: Bench, _options: argparse.Namespace) -> Row:
    """Damage one file of every product, every document and the files of the folder itself, in five ways, and resume."""
    row = Row("every product and document: bit flip, cut, emptied, removed, replaced by another's; `--resume`")
    bench.remove("kept")
    bench.geoseg(*bench.tile("kept", "--keep", "--progress", "none"))
    kept = bench.folder / "kept.run"
    names = _one_of_each(kept)
    for name in names:
        for damage, do in DAMAGES.items():
            bench.remove("damaged")
            shutil.copytree(kept, bench.folder / "damaged.run")
            do(bench.folder / "damaged.run" / name, bench)
            ended = bench.geoseg(*bench.tile("damaged", "--resume", "--progress", "none"))
            refused = ended.code != 0
            row.add(
                f"{name} {damage}: {ended.text[-120:]}",
                survived=ended.is_clean,
                identical=None if refused else bench.is_identical("damaged"),
            )
    row.notes.append(f"{len(names)} kinds of files")
    return row


def _one_of_each(run: Path) -> list[Path]:
    """Return one file of each product, all documents, and the files of the folder itself, relative to it."""
    products = [sorted(folder.rglob("*.arrays"))[-1] for folder in sorted((run / "stages").iterdir())]
    documents = sorted((run / "documents").iterdir())
    own = [path for path in sorted(run.iterdir()) if path.is_file()]
    return [path.relative_to(run) for path in (*products, *documents, *own)]


def _flip(path: Path, bench: Bench) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[bench.random.randrange(len(content))] ^= 1 << bench.random.randrange(8)
        path.write_bytes(content)


def _cut(path: Path, bench: Bench) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: bench.random.randrange(max(len(content), 1))])


def _swap(path: Path, _bench: Bench) -> None:
    """Replace a file by another of its kind; by itself with a part repeated where there is no other."""
    files = [other for other in sorted(path.parent.iterdir()) if other.is_file() and other != path]
    others = [other for other in files if other.suffix == path.suffix]
    path.write_bytes(others[0].read_bytes() if others else path.read_bytes() * 2)


DAMAGES: dict[str, Callable[[Path, Bench], None]] = {
    "bit flip": _flip,
    "cut": _cut,
    "emptied": lambda path, _: path.write_bytes(b"") and None,
    "removed": lambda path, _: path.unlink(),
    "replaced": _swap,
}
