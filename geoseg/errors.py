"""Every error that geoseg raises on purpose.

::

    GeosegError
    ├── ConfigError   (ValueError)   an option or a configuration file is wrong
    ├── RasterError   (ValueError)   a raster cannot be segmented, or not read
    ├── OutputError   (ValueError)   a result cannot be written where it was asked for
    ├── ModelError    (ValueError)   a kept network cannot be read, or does not fit the scene
    ├── RunError      (ValueError)   a run folder does not belong to this scene, config or version
    └── TileError                    a tile failed; the others go on
"""


class GeosegError(Exception):
    """Base of every error that geoseg raises on purpose; its text is one line for the user."""


class ConfigError(GeosegError, ValueError):
    """An option or a configuration file is wrong."""


class RasterError(GeosegError, ValueError):
    """A raster cannot be segmented, or not read."""


class OutputError(GeosegError, ValueError):
    """A result cannot be written where it was asked for."""


class ModelError(GeosegError, ValueError):
    """A kept network cannot be read, or does not fit the scene."""


class RunError(GeosegError, ValueError):
    """A run folder does not belong to this scene, this config or this version."""


class TileError(GeosegError):
    """A tile failed; the others go on."""
