"""The workers of a Dask cluster: how many there are, and what is done when they are lost, hang or join late."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from geoseg.errors import GeosegError

_REFRESH_SECONDS = 1.0  # between two questions to the scheduler
_RESTART_SECONDS = 30.0


class Workers:
    """The workers of a cluster, which join, leave and die.

    Parameters
    ----------
    client : distributed.Client
    replace : callable or None
        Starts new workers for those that are lost, where geoseg has started them.
    patience : float
        Seconds without any worker after which the run fails.
    """

    def __init__(
        self,
        client: Any,
        *,
        replace: Callable[[], None] | None = None,
        patience: float,
    ) -> None:
        self._client, self._replace, self._patience = client, replace, patience
        self._threads: dict[str, int] = {}
        self._refreshed = self._seen = float("-inf")

    @property
    def threads(self) -> dict[str, int]:
        """Number of threads of each worker by address, as of the latest `count_slots`."""
        return self._threads

    def begin(self) -> None:
        """Start to wait for a worker anew."""
        self._refreshed, self._seen = float("-inf"), time.monotonic()

    def count_slots(self) -> int:
        """Return how many keys the cluster computes at the same time, at least 1.

        Raises
        ------
        GeosegError
            If the cluster has had no worker for too long.
        """
        if time.monotonic() - self._refreshed > _REFRESH_SECONDS:
            self._refresh()
        return max(sum(self._threads.values()), 1)

    def processing(self) -> dict[str, list[str]]:
        """Return the keys of the tasks that each worker has, by address."""
        return {address: list(map(str, tasks)) for address, tasks in self._client.processing().items()}

    def holders(self, future: Any) -> list[str]:
        """Return the addresses of the workers that have the result of a task."""
        return [address for found in self._client.who_has([future]).values() for address in found]

    def restart(self, address: str) -> None:
        """End the process of a worker that hangs; its nanny starts another."""
        with suppress(Exception):  # it may be gone already
            try:
                self._client.restart_workers([address], timeout=_RESTART_SECONDS, raise_for_error=False)
            except ValueError:  # it has no nanny
                self._client.retire_workers([address], close_workers=True, remove=True)
        self._refreshed = float("-inf")

    def _refresh(self) -> None:
        self._threads = dict(self._client.nthreads())
        self._refreshed = time.monotonic()
        if self._replace is not None:
            self._replace()
        if self._threads:
            self._seen = self._refreshed
        elif self._refreshed - self._seen > self._patience:
            raise GeosegError(
                f"the Dask cluster has had no worker for {self._patience:.0f} s; start workers and continue with "
                "--resume."
            )
