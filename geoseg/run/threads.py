"""Executor on threads of this process: tiles of a scene spend most of their time in code that runs beside Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from threadpoolctl import threadpool_limits

from geoseg.run.outcome import Batched, Context, Outcome, TileFunction, attempt, attempt_alone
from geoseg.run.signals import is_stopping

_AHEAD = 1  # tiles that wait for a free thread, so that none is idle


class Threads:
    """Executor that computes several tiles at once in this process, or those of a `Batched` function together.

    Compared with worker processes there is nothing to start, and memory for libraries is taken once. A tile that ends
    the process ends all of them, though, and threads share the time in which Python itself runs.

    Parameters
    ----------
    n_threads : int
    """

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads, "geoseg-tile")

    def close(self) -> None:
        """Start no further tile; those in hand are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def run(
        self,
        function: TileFunction[Context] | Batched[Context],
        context: Context,
        keys: Sequence[int],
        *,
        note: Callable[[str], None] = lambda _: None,  # noqa: ARG002 # all tiles are in this process
    ) -> Iterator[Outcome]:
        """Yield the outcome of ``function(context, key)`` for every key, in the order in which they finish.

        A tile for which the memory did not suffice is tried again at the end, when no other is in hand.
        """
        if isinstance(function, Batched):
            yield from function.function(context, keys)
            return
        without_memory = []
        # The limit is one of the process: if each tile set and removed it, one would do so for another.
        with threadpool_limits(1, user_api="blas"):
            for outcome in self._outcomes(function, context, deque(keys)):
                if outcome.kind == "memory":
                    without_memory.append(outcome.key)
                else:
                    yield outcome
            for key in without_memory:
                yield attempt_alone(function, context, key)

    def _outcomes(self, function: TileFunction[Context], context: Context, waiting: deque[int]) -> Iterator[Outcome]:
        in_hand: set[Future[Outcome]] = set()
        is_interrupted = False
        try:
            while waiting or in_hand:
                if is_stopping():
                    waiting.clear()
                while waiting and len(in_hand) < self._n_threads + _AHEAD:
                    in_hand.add(self._pool.submit(attempt, function, context, waiting.popleft()))
                done, in_hand = wait(in_hand, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except KeyboardInterrupt:  # a second signal: tiles in hand are not waited for
            is_interrupted = True
            raise
        finally:
            for future in in_hand:
                future.cancel()
            if not is_interrupted:
                wait(in_hand)
