"""Break runs on purpose, and check that nothing is lost, nothing is wrong in silence, and every error is one line.

Usage: python benchmarks/faults.py FOLDER [--rows kills,damage,…] [--kills 50] [--fuzz-seconds 600]
       [--fuzz-kinds config,model,…] [--out TABLE.md]

FOLDER is new or empty; the scene, the runs and their logs are written to it. Prints a Markdown table: how often each
fault was tried, how often the run survived it or was refused in one line, and how often the final class raster was
byte for byte, and the polygons value for value, those of an unbroken run. Rows that need root (a full disk, another
user, two hosts) are skipped with the reason otherwise. The exit code is 1 if a row falls short;
FOLDER/ROW.notes.txt has each attempt that did.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from fault_rows import disk, files, fuzz, hostile, inputs, kills, parallel
from fault_rows.bench import Bench, Row, SkippedError

ROWS: dict[str, Callable[[Bench, argparse.Namespace], Row]] = {
    "kills": kills.process_tree,
    "workers": kills.workers,
    "stopped": kills.stopped_worker,
    "damage": files.products_and_documents,
    "disk": disk.full,
    "inputs": inputs.changed,
    "corrupt": inputs.corrupted,
    "practice": inputs.practice,
    "hostile": hostile.files,
    "user": hostile.another_user,
    "http": hostile.servers,
    "two": parallel.two_runs,
    "order": parallel.every_way,
    "hosts": parallel.two_hosts,
    "fuzz": fuzz.loaders,
}


def main() -> int:
    """Run the rows that are asked for, and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--fuzz-seconds", type=float, default=600)
    parser.add_argument("--fuzz-kinds", help="kinds of files, separated by commas; all of them if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    bench = Bench(options.folder, options.seed)
    lines = [
        "| fault | tried | survived or refused in one line | identical afterwards | notes |",
        "|---|---|---|---|---|",
    ]
    complete = True
    for name in options.rows.split(","):
        try:
            row = ROWS[name](bench, options)
        except SkippedError as reason:
            lines.append(f"| {name} | skipped | | | {reason} |")
        else:
            lines.append(row.line)
            (bench.folder / f"{name}.notes.txt").write_text("\n".join(row.notes) + "\n", encoding="utf-8")
            complete &= row.is_complete
        print(lines[-1], flush=True)
    table = "\n".join(lines) + "\n"
    if options.out is not None:
        options.out.write_text(table, encoding="utf-8")
    print(f"\n{table}")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
