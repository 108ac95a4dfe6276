"""The command ``geoseg info``, and the text of its facts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from cloup import command, option_group

from geoseg.cli import options as shared
from geoseg.cli.ineffective import JSON_RULES, refuse_ineffective
from geoseg.cli.json_output import JsonOutput, json_option
from geoseg.cli.parsing import EXIT_DONE, config_from, display_mode, start_log
from geoseg.progress import duration_text

if TYPE_CHECKING:
    from geoseg.cli.scene_info import Estimate, SceneInfo
    from geoseg.config import Config
    from geoseg.progress import ProgressCallback


@command()
@shared.SCENE
@option_group("Output", json_option("the facts"), shared.OVERWRITE)
@option_group(
    "Segmentation",
    shared.CONFIG,
    shared.BANDS,
    shared.RGB,
    shared.NODATA_MODE,
    shared.COLLAR,
    shared.ALLOW_NO_CRS,
    shared.AOI,
    shared.METHOD,
    shared.TRAINING,
    shared.TILE_STEPS,
    shared.SUPERPIXELS,
    shared.FEATURES,
    shared.FEATURE_WEIGHT,
    shared.MODEL,
)
@option_group("Tiling and run", shared.TILE_SIZE)
@option_group("Where to compute", shared.WORKERS, shared.THREADS, shared.DEVICE, shared.MEMORY)
@shared.DISPLAY
def info(scene: str, **options: Any) -> int:
    """Show the bands, nodata and survey of SCENE, and the tiles, memory, disk and time that a run needs.

    Segments one tile as a sample for the time estimate. Nothing but the file of --json is written.
    """
    from geoseg.cli.progress_bars import progress_display

    with progress_display(display_mode(options)) as progress:
        start_log(options)
        refuse_ineffective(JSON_RULES, options)
        output = JsonOutput.of(options["json"], (scene,), overwrite=options["overwrite"])
        facts = _run(scene, config_from(options), options, progress)
    show_facts(facts, output)
    return EXIT_DONE


def show_facts(facts: SceneInfo, output: JsonOutput) -> None:
    """Print the facts, and write them to the file that was asked for."""
    output.write(lambda: to_json(facts))
    output.show(lambda: to_json(facts), lambda: click.echo(to_text(facts)))


def to_json(facts: SceneInfo) -> str:
    """Return the facts as JSON."""
    return json.dumps(facts.to_dict(), indent=2)


def to_text(facts: SceneInfo) -> str:
    """Return the facts as lines of text."""
    from geoseg.run.budget import shown_bytes

    rows = [
        ("scene", facts.path),
        ("size", f"{facts.n_cols} x {facts.n_rows} px, {facts.n_cols * facts.n_rows / 1e6:.1f} Mpx"),
        ("resolution", f"{facts.resolution:.4g} m" if facts.resolution else "unknown"),
        ("CRS", _crs_name(facts.crs)),
        *(_band_row(band) for band in facts.bands),
        ("colours", f"bands {_joined(facts.rgb)} as red, green, blue ({facts.rgb_rule})"),
        *([("NDVI", f"bands {_joined(facts.red_and_nir)} as red, near infrared")] if facts.red_and_nir else []),
        ("valid", f"{facts.valid_share:.0%} of the pixels in {facts.n_windows} windows"),
        ("superpixels", ", ".join(f"{name} {_number(value)}" for name, value in facts.superpixels.items())),
        ("tiles", f"{facts.n_tiles} of {facts.tile_size} px; {facts.n_blocks} blocks of superpixels"),
        ("workers", str(facts.workers) if facts.workers else f"0; {_tiles(facts.threads)} at once in this process"),
        ("disk", f"about {shown_bytes(facts.disk_needed)} for the run folder and the outputs"),
        ("memory", _memory(facts)),
        *_estimate_rows(facts.estimate),
    ]
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def _run(scene: str, config: Config, options: dict[str, Any], progress: ProgressCallback) -> SceneInfo:
    """Call the Python function behind the command."""
    from geoseg.cli.scene_info import scene_info, task_of
    from geoseg.output.model import load_model
    from geoseg.output.model_checks import check_config, check_fits
    from geoseg.run.budget import check_budget, chosen_workers
    from geoseg.run.executors import ClusterOptions
    from geoseg.run.features_option import open_features_of
    from geoseg.run.plan import open_configured
    from geoseg.run.resources import check_memory, pick_device

    model = None if options["model"] is None else load_model(Path(options["model"]))
    source = open_configured(scene, config, aoi=options["aoi"])
    features = open_features_of(options["features"], source, config)
    check_memory(source, config)
    if model is not None:
        check_config(model, config)
        check_fits(model, source, features)
    device = pick_device(options["device"], config)
    task = replace(task_of(source, config, device=device, model=model), features=features)
    given = ClusterOptions(workers=options["workers"], threads=options["threads"])
    cluster = chosen_workers(given, task, options["memory"])
    check_budget(task, cluster, options["memory"])
    return scene_info(task, cluster=cluster, progress=progress)


def _band_row(band: Any) -> tuple[str, str]:
    name = f" {band.name}" if band.name else ""
    stretch = f"stretch {_number(band.low)} to {_number(band.high)}"
    return (f"band {band.number}", f"{band.dtype}{name}, {band.treatment}, {stretch}")


def _estimate_rows(estimate: Estimate | None) -> list[tuple[str, str]]:
    if estimate is None:
        return [("time", "no estimate: the sample tile could not be segmented")]
    return [
        ("time", f"about {duration_text(estimate.seconds)} (an estimate, scaled from one tile)"),
    ]


def _tiles(n: int) -> str:
    return "1 tile" if n == 1 else f"{n} tiles"


def _memory(facts: SceneInfo) -> str:
    from geoseg.run.budget import shown_bytes

    memory = facts.memory
    if not facts.workers:
        return f"about {shown_bytes(memory.of_threads(facts.threads))}"
    return f"about {shown_bytes(memory.worker)} per worker and {shown_bytes(memory.main)} in the main process"


def _crs_name(crs: str) -> str:
    from pyproj import CRS

    return str(CRS.from_wkt(crs).name) if crs else "none"


def _joined(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
