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


class GeosegError(Exception):
    """Base of all errors of geoseg. The message is one line: what was found, what was expected, what to do."""


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
