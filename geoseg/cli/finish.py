"""The command ``geoseg finish``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloup import command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.ineffective import FINISH_RULES, refuse_ineffective
from geoseg.cli.parsing import (
    EXIT_DONE,
    EXIT_TILES_FAILED,
    cluster_options,
    display_mode,
    outputs_from,
    run_options,
    start_log,
)

if TYPE_CHECKING:
    from geoseg.run.report import Result


@command()
@option_group(
    "Run",
    option("--run-dir", required=True, **shared.FILE, help="Use this folder of a planned run."),
    option("--overwrite", is_flag=True, help="Replace existing output files; keep what the parts have computed."),
    shared.KEEP,
    shared.MAX_FAILED,
)
@shared.OUTPUT_GROUP
@option_group("Where to compute", *shared.CLUSTER_OPTIONS)
@shared.DISPLAY
def finish(**options: Any) -> int:
    """Finish a run that geoseg plan has planned: compute what no part has computed, and write the results.

    Exit codes: 0 done; 1 an error that you can fix; 2 wrong usage; 3 done, but some tiles failed.
    """
    from geoseg.cli.progress_bars import progress_display

    with progress_display(display_mode(options)) as progress:
        start_log(options)
        refuse_ineffective(FINISH_RULES, options)
        result = _run(options, progress)
        progress.summary(result)
    return EXIT_TILES_FAILED if result.failed else EXIT_DONE


def _run(options: dict[str, Any], progress: Any) -> Result:
    """Call the Python function behind the command."""
    from geoseg.parts.finish import run_finish

    return run_finish(
        outputs_from(options), options=run_options(options), cluster=cluster_options(options), progress=progress
    )
