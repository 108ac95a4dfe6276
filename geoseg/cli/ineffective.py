"""Refusal of command-line options that would have no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


def check_cluster(options: Mapping[str, Any]) -> None:
    """Check that --workers and --dashboard have an effect together with the other options of the cluster."""
    scheduler = options["scheduler"] or options["scheduler_file"]
    if options["dashboard"] and scheduler:
        raise click.UsageError(
            "--dashboard has no effect with --scheduler: the scheduler serves its own dashboard. Leave out --dashboard."
        )
    if options["dashboard"] and options["workers"] == 0:
        raise click.UsageError(
            "--dashboard has no effect with --workers 0: without worker processes there is no Dask scheduler. "
            "Leave out --dashboard, or use --workers 1 or more."
        )


def check_animation(options: Mapping[str, Any]) -> None:
    """Check that --steps has an animation to limit."""
    if options["steps"] is not None and options["animation"] is None:
        raise click.UsageError(
            "--steps has no effect without --animation; add --animation FILE.gif, or leave out --steps."
        )


def check_halo(options: Mapping[str, Any], *, steps: int) -> None:
    """Check that --halo has an effect: only training on each tile reads a halo.

    Parameters
    ----------
    options : mapping of str to object
        The options of the command.
    steps : int
        Training steps on each tile in the resulting configuration.
    """
    if options["halo"] is not None and steps == 0:
        raise click.UsageError(
            "--halo has no effect without training on each tile; add --tile-steps N, or leave out --halo."
        )


def refuse_prior(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    """Refuse the former name of --training."""
    if value is not None:
        new = "tile" if value == "none" else "scene"
        raise click.UsageError(f"--prior is now --training scene|tile; write --training {new} for --prior {value}.")
