"""The errors of geoseg.

::

    GeosegError
    ├── ConfigError   (ValueError)   an option or a configuration file is wrong
    ├── RasterError   (ValueError)   a raster cannot be read or segmented
    ├── OutputError   (ValueError)   an output cannot be written to the given path
    ├── ModelError    (ValueError)   a saved model cannot be read, or does not fit the scene
    ├── RunError      (ValueError)   a run folder belongs to another scene, configuration or version
    ├── TileError                    a tile failed; other tiles are not affected
    └── UnavailableError             an input cannot be reached or read at present, whatever it contains
"""

_MAX_MESSAGE = 2000  # characters; a message can quote file names and values, and files come from anywhere


def shorten(text: object, limit: int = 200) -> str:
    r"""Return text from a file or a library as it is quoted in a message: printable, on one line and not too long.

    Parameters
    ----------
    text : object
    limit : int
        Largest number of characters; the middle is left out beyond it.

    Examples
    --------
    >>> shorten("a\nb"), shorten("0123456789", 5)
    ('a b', '01…89')
    """
    line = " ".join(str(text).split())
    if not line.isprintable():  # a terminal would obey some of these characters
        line = "".join(each if each.isprintable() else "?" for each in line)
    return line if len(line) <= limit else f"{line[: limit // 2]}…{line[len(line) - limit // 2 :]}"


class GeosegError(Exception):
    """Base of all errors of geoseg. The message is one line: what was found, what was expected, what to do."""

    def __str__(self) -> str:
        """Return the message, shortened where a file or an option has made it long."""
        message = super().__str__()
        if len(message) <= _MAX_MESSAGE:
            return message
        return f"{message[: _MAX_MESSAGE // 2]}…{message[-_MAX_MESSAGE // 2 :]}"


class ConfigError(GeosegError, ValueError):
    """An option or a configuration file is wrong."""


class RasterError(GeosegError, ValueError):
    """A raster cannot be read or segmented."""


class OutputError(GeosegError, ValueError):
    """An output cannot be written to the given path."""


class ModelError(GeosegError, ValueError):
    """A saved model cannot be read, or does not fit the scene."""


class RunError(GeosegError, ValueError):
    """A run folder belongs to another scene, configuration or version."""


class TileError(GeosegError):
    """A tile failed; other tiles are not affected."""


class UnavailableError(GeosegError):
    """An input cannot be reached or read at present: the disk, the network or the system fails, not the content."""
