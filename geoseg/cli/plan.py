"""The command ``geoseg plan``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from cloup import command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.ineffective import PLAN_RULES, refuse_ineffective
from geoseg.cli.parsing import EXIT_DONE, config_from, display_mode, run_options, start_log

if TYPE_CHECKING:
    from geoseg.parts.plan import PlannedRun


@command()
@shared.SCENE
@shared.SEGMENTATION_GROUP
@shared.POLYGON_GROUP
@option_group(
    "Tiling and run",
    option("--run-dir", required=True, **shared.FILE, help="Use this run folder, which all parts can write to."),
    shared.TILE_SIZE,
    shared.HALO,
    option("--resume", is_flag=True, help="Continue an interrupted plan; keep what the parts have computed."),
    option("--overwrite", is_flag=True, help="Remove what the run folder has of an earlier run."),
)
@option_group("Where to compute", shared.DEVICE, shared.MEMORY)
@shared.DISPLAY
@shared.FORMER_PRIOR
def plan(scene: str, **options: Any) -> int:
    """Plan a run on SCENE that geoseg work computes in parts and geoseg finish completes.

    Surveys the scene, trains the network, and chooses the device for all parts.

    Exit codes: 0 done; 1 an error that you can fix, described in one line; 2 wrong usage.
    """
    from geoseg.cli.progress_bars import progress_display

    with progress_display(display_mode(options)) as progress:
        start_log(options)
        config = config_from(options)
        refuse_ineffective(PLAN_RULES, options, config)
        planned = _run(scene, config, run_options(options), progress)
    run_dir, out = shlex.quote(str(planned.run_dir)), shlex.quote(f"{Path(scene).stem}.gpkg")
    n_parts = min(planned.n_tiles, 10)
    click.echo(f"tiles: {planned.n_tiles}, blocks of superpixels: {planned.n_blocks}. Compute them in parts, such as")
    click.echo(f"  geoseg work --run-dir {run_dir} --part 1/{n_parts}  # to {n_parts}/{n_parts}, in any order")
    click.echo(f"  geoseg finish --run-dir {run_dir} --out {out}")
    return EXIT_DONE


def _run(scene: str, config: Any, options: Any, progress: Any) -> PlannedRun:
    """Call the Python function behind the command."""
    from geoseg.parts.plan import run_plan

    return run_plan(scene, config, options=options, progress=progress)
