"""Refusal of command-line options that have no effect.

Each command has a table of rules. Options that the Python functions refuse too, such as ``restretch`` without a model,
are checked there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from geoseg.config import Config

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """A case in which an option has no effect.

    Parameters
    ----------
    option : str
        Name of the option, such as "--halo".
    when : callable
        Takes the options of the command and the resulting configuration; returns whether the option has no effect.
    because : str
        Follows "has no effect" in the message.
    remedy : str
        What to do instead of omitting the option; "" = only omitting helps.
    """

    option: str
    when: Callable[[Options, Config], bool]
    because: str
    remedy: str = ""

    @property
    def name(self) -> str:
        """Name of the parameter."""
        if self.option == "--no-validation":
            return "validate"
        return self.option.removeprefix("--").replace("-", "_")


def refuse_ineffective(rules: Iterable[Rule], options: Options, config: Config | None = None) -> None:
    """Check that every option on the command line has an effect.

    Parameters
    ----------
    rules : iterable of Rule
        The rules of the command.
    options : mapping of str to object
        The options of the command, by parameter name.
    config : Config or None
        The configuration that results; None = the defaults.

    Raises
    ------
    click.UsageError
        If an option was given and has no effect.
    """
    for rule in rules:
        if _is_given(rule.name) and rule.when(options, config or Config()):
            remedy = f"{rule.remedy}, or leave out" if rule.remedy else "leave out"
            raise click.UsageError(f"{rule.option} has no effect {rule.because}; {remedy} {rule.option}.")


def refuse_prior(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    """Refuse the former name of --training."""
    if value is not None:
        new = "tile" if value == "none" else "scene"
        raise click.UsageError(f"--prior is now --training scene|tile; write --training {new} for --prior {value}.")


def _is_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP)


def _trains_no_tile(_options: Options, config: Config) -> bool:
    return config.method != "backprop" or config.steps == 0


def _has_no_ndvi(_options: Options, config: Config) -> bool:
    from geoseg.output.columns import select_fields  # here, because pyarrow takes a while to import
    from geoseg.output.extra_columns import Field

    return not select_fields([Field("ndvi_mean", None, "")], config.polygons.attributes)


def _shows_no_classes(options: Options, _config: Config) -> bool:
    return options["stage"] in ("scene", "superpixels")


def _uses_no_network(options: Options, config: Config) -> bool:
    return _shows_no_classes(options, config) and options["animation"] is None


def _draws_no_random_numbers(options: Options, config: Config) -> bool:
    return options["window"] is not None and _uses_no_network(options, config)


_NO_TILE_TRAINING = Rule("--halo", _trains_no_tile, "without training on each tile", "add --tile-steps N")
_WORKERS = (
    Rule(
        "--dashboard",
        lambda options, _: bool(options["scheduler"] or options["scheduler_file"] or options["cluster"]),
        "with --scheduler or --cluster, which serve their own dashboard",
    ),
    Rule(
        "--tile-timeout",
        lambda options, _: options["workers"] == 0 or options["threads"] is not None,
        "without worker processes, where no other process can end a tile",
        "use --workers 1 or more",
    ),
    Rule(
        "--dashboard",
        lambda options, _: options["workers"] == 0 or options["threads"] is not None,
        "without worker processes, as no Dask scheduler is started",
        "use --workers 1 or more",
    ),
)
_NO_FEATURES = Rule(
    "--feature-weight", lambda options, _: options["features"] is None, "without --features", "add --features RASTER"
)
PLAN_RULES = (
    _NO_TILE_TRAINING,
    *(
        Rule(name, _has_no_ndvi, "because --attributes selects no ndvi_mean", "add ndvi_mean to --attributes")
        for name in ("--red", "--nir")
    ),
    Rule("--seed", lambda options, _: options["model"] is not None, "with --model, which leaves nothing to draw"),
    _NO_FEATURES,
)
TILE_RULES = (
    *PLAN_RULES,
    *_WORKERS,
    Rule("--json", lambda options, _: not options["dry_run"], "without --dry-run", "add --dry-run"),
)
FINISH_RULES = _WORKERS
JSON_RULES = (
    Rule("--overwrite", lambda options, _: options["json"] in (None, "-"), "without --json FILE", "add --json FILE"),
)
OUTLINE_RULES = (
    *_WORKERS,
    *(
        Rule(name, lambda options, _: not options["values"], "without --values", "add --values RASTER")
        for name in ("--rgb", "--nodata-mode", "--collar")
    ),
)
_ONLY_SUPERPIXELS = "with --stage scene or superpixels"
PREVIEW_RULES = (
    Rule("--steps", lambda options, _: options["animation"] is None, "without --animation", "add --animation FILE.gif"),
    Rule("--window-size", lambda options, _: options["window"] is not None, "with --window"),
    Rule("--classes", lambda options, _: options["levels"] is not None, "with --levels"),
    *(
        Rule(name, _shows_no_classes, _ONLY_SUPERPIXELS, "use --stage classes")
        for name in ("--classes", "--levels", "--min-pixels", "--training", "--tile-steps", "--halo", "--features")
    ),
    _NO_FEATURES,
    Rule("--method", _uses_no_network, f"{_ONLY_SUPERPIXELS} and without --animation", "use --stage classes"),
    Rule(
        "--device",
        lambda options, config: options["device"] in ("cuda", "mps") and _uses_no_network(options, config),
        f"{_ONLY_SUPERPIXELS} and without --animation",
        "use --stage classes",
    ),
    Rule(
        "--superpixels",
        lambda options, _: options["stage"] == "scene" and options["animation"] is None,
        "with --stage scene and without --animation",
    ),
    Rule("--seed", _draws_no_random_numbers, f"{_ONLY_SUPERPIXELS}, with --window and without --animation"),
    _NO_TILE_TRAINING,
    Rule(
        "--tile-size",
        lambda options, config: (
            options["window"] is not None and (_shows_no_classes(options, config) or _trains_no_tile(options, config))
        ),
        "with --window and without training on each tile",
    ),
)
TUNE_RULES = (
    Rule(
        "--overwrite",
        lambda options, _: options["out"] is None and options["report"] in (None, "-"),
        "without --out and --json FILE",
        "add --out FILE",
    ),
    _NO_FEATURES,
    _NO_TILE_TRAINING,
)
EVALUATE_RULES = (
    Rule("--overwrite", lambda options, _: options["report"] in (None, "-"), "without --json FILE", "add --json FILE"),
    *(
        Rule(name, lambda options, _: options["unsupervised"] is not None, "with --unsupervised")
        for name in ("--field", "--layer", "--tolerance", "--tile-size")
    ),
    *(
        Rule(name, lambda options, _: options["unsupervised"] is None, "without --unsupervised")
        for name in ("--numbered", "--bands", "--f-weight")
    ),
)
_SAMPLES_ONLY = "with --model, which needs no samples"
CLASSIFY_RULES = (
    *(
        Rule(name, lambda options, _: options["model"] is not None, _SAMPLES_ONLY)
        for name in ("--samples", "--layer", "--crs", "--save-model", "--no-validation")
    ),
    Rule(
        "--field",
        lambda options, _: options["model"] is not None and not options["suggest"],
        "with --model and without --suggest",
        "add --suggest N",
    ),
)
