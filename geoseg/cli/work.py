"""The command ``geoseg work``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloup import command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.parsing import EXIT_DONE, EXIT_TILES_FAILED, display_mode, part_of, start_log

if TYPE_CHECKING:
    from geoseg.parts.work import PartResult
    from geoseg.progress import ProgressCallback


@command()
@option_group(
    "Run",
    option("--run-dir", required=True, **shared.FILE, help="Use this folder of a planned run."),
    option("--part", required=True, metavar="I/N", type=part_of, help="Compute part I of N, from 1."),
    shared.MAX_FAILED,
)
@option_group(
    "Where to compute",
    option(
        "-j", "--workers", type=int, default=0, show_default=True, metavar="N",
        help="Start N processes; 0 computes in this one.",
    ),
)  # fmt: skip
@shared.DISPLAY
def work(run_dir: Path, part: tuple[int, int], **options: Any) -> int:
    """Compute a part of the tiles of a run that geoseg plan has planned; parts may run at the same time.

    Exit codes: 0 done; 1 an error that you can fix; 2 wrong usage; 3 done, but some tiles failed, which geoseg finish
    tries again.
    """
    from geoseg.cli.progress_bars import progress_display

    with progress_display(display_mode(options)) as progress:
        start_log(options)
        result = _run(run_dir, part, options, progress)
        done = len(result.tiles) - len(result.failed)
        progress.finish(f"part {part[0]} of {part[1]}: {done} of {len(result.tiles)} tiles are segmented")
    return EXIT_TILES_FAILED if result.failed else EXIT_DONE


def _run(run_dir: Path, part: tuple[int, int], options: dict[str, Any], progress: ProgressCallback) -> PartResult:
    """Call the Python function behind the command."""
    from geoseg.parts.work import work_part

    workers, max_failed = options["workers"], options["max_failed"]
    return work_part(run_dir, *part, workers=workers, max_failed=max_failed, progress=progress)
