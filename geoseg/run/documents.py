"""JSON documents with a checksum: a changed digit is found as surely as a cut file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.output.files import write_file

_CHECKSUM = "checksum"


def write_document(path: Path, document: Mapping[str, Any], *, advice: str) -> None:
    """Write a document atomically, with its checksum as the last entry.

    Parameters
    ----------
    path : Path
        Its name is part of the checksum, so that a document under the name of another is not accepted.
    document : dict
        JSON values, NumPy arrays and numbers, and paths.
    advice : str
        The last sentence of the error message.

    Raises
    ------
    OutputError
        If it cannot be written; what was there before is unchanged.
    """
    plain = plain_values(document)
    text = json.dumps(plain | {_CHECKSUM: _checksum(path.name, plain)}, indent=1, ensure_ascii=False) + "\n"
    write_file(path, text.encode(errors="backslashreplace"), advice=advice)


def parse_document(name: str, content: bytes) -> dict[str, Any]:
    """Return a document of `write_document`, without its checksum.

    Parameters
    ----------
    name : str
        Of the file.
    content : bytes
        Of the file.

    Raises
    ------
    ValueError
        If it is not JSON, or does not match its checksum.
    """
    try:
        document = json.loads(content)
    except RecursionError as err:
        raise ValueError("its content is nested too deeply") from err
    if not isinstance(document, dict) or document.pop(_CHECKSUM, None) != _checksum(name, document):
        raise ValueError("its content does not match its checksum")
    return document


def plain_values(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document as it is after writing and reading it: arrays as lists, paths and all keys as strings."""
    plain: dict[str, Any] = json.loads(json.dumps(document, default=_to_plain))
    return plain


def _checksum(name: str, document: Mapping[str, Any]) -> str:
    content = json.dumps([name, document], sort_keys=True).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _to_plain(value: object) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else os.fspath(value)  # type: ignore[call-overload]
