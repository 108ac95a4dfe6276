"""Storage of products in the memory of this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from geoseg.errors import RunError


@dataclass(frozen=True)
class MemoryFolder:
    """A `Folder` in memory, for arrays and previews: nothing is written and nothing survives the process."""

    arrays: dict[str, dict[int | str, dict[str, NDArray[Any]]]] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def check_is_current(self) -> None:
        """Do nothing: no other run can use the memory of this process."""

    def put(self, step: str, key: int | str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store arrays."""
        self.arrays.setdefault(step, {})[key] = dict(arrays)

    def get(self, step: str, key: int | str) -> dict[str, NDArray[Any]]:
        """Return stored arrays; RunError where they are absent."""
        try:
            return self.arrays[step][key]
        except KeyError as err:
            raise RunError(f"step {step!r} of tile {key} is not finished; run its stage first.") from err

    def has(self, step: str, key: int | str, *, verify: bool = False) -> bool:  # noqa: ARG002 # memory is not damaged
        """Return whether arrays are stored."""
        return key in self.arrays.get(step, {})

    def finished(self, step: str, keys: Iterable[int | str] | None = None) -> set[int | str]:
        """Return the keys of stored arrays, among `keys` or all."""
        found = set(self.arrays.get(step, {}))
        return found if keys is None else found.intersection(keys)

    def remove(self, step: str, key: int | str) -> None:
        """Remove the arrays of one key, if there are any."""
        self.arrays.get(step, {}).pop(key, None)

    def remove_steps(self, *steps: str) -> None:
        """Remove the arrays of all keys."""
        for step in steps:
            self.arrays.pop(step, None)

    def put_json(self, name: str, document: Mapping[str, Any]) -> None:
        """Store a document."""
        self.documents[name] = dict(document)

    def get_json(self, name: str) -> dict[str, Any] | None:
        """Return a stored document, or None if it is absent."""
        return self.documents.get(name)
