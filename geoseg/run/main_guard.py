"""Check that new processes can import the main module, as multiprocessing's start method "spawn" does.

A worker process imports the script that started it. A script that starts workers outside of
``if __name__ == "__main__":`` would start them again in every worker, and a script from standard input is no file that
a worker could import. Interactive sessions, notebooks, ``python -c`` and console scripts need no guard.
"""

from __future__ import annotations

import ast
import multiprocessing
import sys
from pathlib import Path
from types import FrameType

from geoseg.errors import ConfigError


class MainModuleError(ConfigError, SystemExit):
    """Worker processes cannot import the main module.

    Also a SystemExit, so that an uncaught one ends the script with its one line and exit code 1, without a traceback.

    Parameters
    ----------
    message : str
        One line for the user.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = f"geoseg: {message}"


def check_main_module() -> None:
    """Check that worker processes can import the main module without starting workers themselves.

    Raises
    ------
    MainModuleError
        If the script comes from standard input, or calls geoseg outside of ``if __name__ == "__main__":``.
    SystemExit
        In a worker process that is importing such a script, without a message.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself checks it
        sys.exit(1)
    path = imported_by_workers()
    if path is None:
        return
    if not path.is_file():
        raise MainModuleError(
            f"worker processes cannot import the main script {path.name}. Save the script to a file, "
            'with `if __name__ == "__main__":` around its calls, or compute in this process with workers=0.'
        )
    line = _line_in_main_module()
    if line is not None and not _has_guard(path, line):
        raise MainModuleError(
            f"{path.name}, line {line}, starts worker processes while they import the same script. "
            'Put the call under `if __name__ == "__main__":`, or compute in this process with workers=0.'
        )


def imported_by_workers() -> Path | None:
    """Return the file that worker processes import as the main module; None if they import none."""
    main = sys.modules.get("__main__")
    name = getattr(getattr(main, "__spec__", None), "name", None)
    file = getattr(main, "__file__", None)
    if file is None or (name is not None and name.rpartition(".")[2] == "__main__"):  # python -c; python -m package
        return None
    return Path(file)


def _line_in_main_module() -> int | None:
    """Return the line of the main module that is being executed; None in other threads and after its end."""
    namespace = vars(sys.modules["__main__"])
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is namespace and frame.f_code.co_name == "<module>":
            return frame.f_lineno
        frame = frame.f_back
    return None


def _has_guard(path: Path, line: int) -> bool:
    """Return whether the code up to a line tests ``__name__``; True if the file cannot be parsed."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True
    tests = [node.test for node in ast.walk(tree) if isinstance(node, ast.If) and node.lineno <= line]
    names = (node for test in tests for node in ast.walk(test) if isinstance(node, ast.Name))
    return any(node.id == "__name__" for node in names)
