"""The contents of files that this process has read last: a tile reads files of its neighbours too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock

MOST_BYTES = 32 * 2**20  # of the contents that a process keeps; part of the estimate of its memory


class ContentCache:
    """Contents by file and state of the file; those that were not used for longest are removed first.

    Parameters
    ----------
    most_bytes : int
        Sum of the lengths of the contents. A longer content is not kept.

    Examples
    --------
    >>> cache = ContentCache(10)
    >>> cache.add("a", b"12345"), cache.add("b", b"6789"), cache.get("a"), cache.add("c", b"0")
    (None, None, b'12345', None)
    >>> cache.add("d", b"12"), cache.get("a"), cache.get("b")
    (None, b'12345', None)
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._n_bytes = most_bytes, 0
        self._contents: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = Lock()  # tiles are read in several threads

    def get(self, key: Hashable) -> bytes | None:
        """Return a content, or None if it is not kept."""
        with self._lock:
            content = self._contents.get(key)
            if content is not None:
                self._contents.move_to_end(key)
            return content

    def add(self, key: Hashable, content: bytes) -> None:
        """Keep a content, unless it is too long."""
        if len(content) > self._most_bytes:
            return
        with self._lock:
            self._n_bytes += len(content) - len(self._contents.pop(key, b""))
            self._contents[key] = content
            while self._n_bytes > self._most_bytes:
                self._n_bytes -= len(self._contents.popitem(last=False)[1])


CONTENTS = ContentCache(MOST_BYTES)
