"""The command ``geoseg tile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloup import command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.ineffective import TILE_RULES, refuse_ineffective
from geoseg.cli.info import show_facts
from geoseg.cli.json_output import JsonOutput, json_option
from geoseg.cli.parsing import (
    EXIT_DONE,
    EXIT_TILES_FAILED,
    cluster_options,
    config_from,
    display_mode,
    outputs_from,
    run_options,
    start_log,
)

if TYPE_CHECKING:
    from geoseg.cli.scene_info import SceneInfo
    from geoseg.config import Config
    from geoseg.output.paths import Outputs
    from geoseg.progress import ProgressCallback
    from geoseg.run.report import Result


@command()
@shared.SCENE
@shared.OUTPUT_GROUP
@shared.SEGMENTATION_GROUP
@shared.POLYGON_GROUP
@option_group(
    "Tiling and run",
    shared.TILE_SIZE,
    shared.HALO,
    *shared.RUN_OPTIONS,
    option("--dry-run", is_flag=True, help="Check what the run checks, show what geoseg info shows, and stop."),
    json_option("the facts of --dry-run"),
)
@option_group("Where to compute", *shared.CLUSTER_OPTIONS, shared.DEVICE, shared.MEMORY)
@shared.DISPLAY
@shared.FORMER_PRIOR
def tile(scene: str, **options: Any) -> int:
    """Segment SCENE, a raster of any size, and write a styled layer of polygons.

    Exit codes: 0 done; 1 an error that you can fix, described in one line; 2 wrong usage; 3 done, but some tiles
    failed.
    """
    from geoseg.cli.progress_bars import progress_display

    with progress_display(display_mode(options)) as progress:
        start_log(options)
        config = config_from(options)
        refuse_ineffective(TILE_RULES, options, config)
        if options["dry_run"]:
            output = JsonOutput.of(options["json"], (scene,), overwrite=options["overwrite"])
            facts = _check(scene, outputs_from(options), config, options, progress)
            show_facts(facts, output)
            return EXIT_DONE
        result = _run(scene, outputs_from(options), config, options, progress)
        progress.summary(result)
    return EXIT_TILES_FAILED if result.failed else EXIT_DONE


def _run(scene: str, outputs: Outputs, config: Config, options: dict[str, Any], progress: ProgressCallback) -> Result:
    """Call the Python function behind the command."""
    from geoseg.pipeline import run_scene

    return run_scene(
        scene,
        outputs,
        config,
        options=run_options(options),
        cluster=cluster_options(options),
        progress=progress,
    )


def _check(
    scene: str, outputs: Outputs, config: Config, options: dict[str, Any], progress: ProgressCallback
) -> SceneInfo:
    """Call the Python functions behind --dry-run."""
    from geoseg.cli.scene_info import scene_info
    from geoseg.run.budget import check_budget, chosen_workers
    from geoseg.run.plan import check_scene

    task = check_scene(scene, outputs, config, run_options(options))
    cluster = chosen_workers(cluster_options(options), task, options["memory"])
    check_budget(task, cluster, options["memory"])
    return scene_info(task, cluster=cluster, progress=progress)
