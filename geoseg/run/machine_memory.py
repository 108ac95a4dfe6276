"""The memory of the machine, as far as this process may use it, and sizes that are written with their unit."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from geoseg.config_parser import shown
from geoseg.errors import ConfigError
from geoseg.output.system import address_space_limit

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})\s*([kmgtp]?)(i?)b?", re.IGNORECASE)
_EXPONENTS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_UNLIMITED = 2**60  # bytes; version 1 of control groups states a number above this where there is no limit
_GROUPS = Path("/sys/fs/cgroup")


def n_bytes(size: str) -> int:
    """Return a size in bytes.

    Parameters
    ----------
    size : str
        A number with a unit such as GiB (2³⁰ bytes), GB (10⁹ bytes) or G; without one, bytes.

    Raises
    ------
    ConfigError
        If it is no size, or less than one byte.

    Examples
    --------
    >>> n_bytes("2GiB"), n_bytes("1.5 GB"), n_bytes("512m")
    (2147483648, 1500000000, 512000000)
    """
    found = _SIZE.fullmatch(size.strip())
    number = float(found[1]) * (1024 if found[3] else 1000) ** _EXPONENTS[found[2].lower()] if found else 0.0
    if number < 1:
        raise ConfigError(f"memory is {shown(size)}; expected a size such as 2GiB.")
    return int(number)


def machine_memory(groups: Path = _GROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes that the processes of a run can have together: those of the machine, or of its control group.

    Parameters
    ----------
    groups : Path
        Where the control groups of Linux are mounted.
    own : Path
        File with the groups of this process.
    """
    import psutil  # here, because few commands need it

    limits = [int(psutil.virtual_memory().total), address_space_limit(), *_group_limits(groups, own)]
    return min(limit for limit in limits if limit is not None)


def _group_limits(groups: Path, own: Path) -> list[int]:
    """Return the limits of the control groups of this process, of both versions, and of those that contain them."""
    try:
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):  # not Linux
        return []
    found = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "":
            folder, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        place = PurePosixPath(path.lstrip("/"))
        # In a container the mounted folder is the group itself, and the path that of the host.
        found += [_limit(folder / group / name) for group in (place, *place.parents)]
    return [limit for limit in found if limit is not None]


def _limit(path: Path) -> int | None:
    try:
        limit = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # absent, or "max"
        return None
    return limit if 0 < limit < _UNLIMITED else None
