"""Save and load trained models, which segment other scenes into the same classes.

A model is a safetensors file, a format that holds arrays and text but no executable code. The arrays are the weights of
the network and the arrays of the class model; the metadata holds one JSON document with the configuration, the survey
and the bands of the training scene.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from geoseg import __version__
from geoseg.config import Config, load_config
from geoseg.errors import GeosegError, ModelError, shorten
from geoseg.output.files import check_output, write_read_back
from geoseg.output.model_content import check_content
from geoseg.output.publication import Publication
from geoseg.raster.names import shown_name
from geoseg.raster.pixel_size import resolution
from geoseg.raster.scene import Scene
from geoseg.segment.class_model import ClassModel
from geoseg.segment.feature_reduction import FeatureReduction
from geoseg.segment.projection import Projection
from geoseg.segment.survey import Survey

MODEL_SUFFIXES = (".geoseg",)

# Raise it when the arrays, or what geoseg computes from pixels before it uses them, change their meaning.
_FORMAT = 4
_MAX_BYTES = 2**30
_DOCUMENT = "geoseg"  # the only key of the metadata
_NETWORK, _CLASS_MODEL, _FEATURES = "network.", "class_model.", "features."  # prefixes of the arrays
_PROJECTION = "projection.weights"


@dataclass(frozen=True)
class Origin:
    """The scene on which a model was trained.

    Parameters
    ----------
    scene : str
        Name of the file.
    bands : tuple of int
        Band numbers in the file, from 1.
    names : tuple of str
        Descriptions of the bands; "" = none.
    dtypes : tuple of str
    red_green_blue : tuple of int
        Positions in `bands` of the bands that are displayed, as in `Scene`.
    resolution : float
        Side of a pixel in metres; 0 = unknown.
    """

    scene: str
    bands: tuple[int, ...]
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    red_green_blue: tuple[int, ...]
    resolution: float

    @classmethod
    def of(cls, scene: Scene) -> Origin:
        """Return the origin of a model that is trained on `scene`."""
        name = shown_name(scene.path)
        return cls(name, scene.bands, scene.names, scene.dtypes, scene.red_green_blue, resolution(scene.geobox))


@dataclass(frozen=True)
class Model:
    """Everything besides the pixels on which the class of a pixel depends.

    Parameters
    ----------
    config : Config
        Of the run that trained the model.
    survey : Survey
        Stretch, standardisation, projection and superpixel parameters; the windows are not saved.
    network : dict of str to array
        Weights of the scene network, as returned by `network.to_arrays`.
    class_model : ClassModel
    origin : Origin
    features : FeatureReduction or None
        Of the features raster; None = the model uses none.
    """

    config: Config
    survey: Survey
    network: dict[str, NDArray[Any]]
    class_model: ClassModel
    origin: Origin
    features: FeatureReduction | None = None

    @property
    def digest(self) -> str:
        """Checksum of the whole model, 32 hexadecimal digits."""
        return checksum(*_to_document(self))


def save_model(path: Path, model: Model, *, overwrite: bool | Publication = False) -> None:
    """Write a model and check that it reads back.

    Parameters
    ----------
    path : Path
        Ends in .geoseg.
    model : Model
    overwrite : bool or Publication

    Raises
    ------
    ConfigError
        If the suffix is not .geoseg.
    OutputError
        If `check_output` fails, or the file cannot be written or does not read back. No file is left behind.
    """
    publication = check_output(path, overwrite=overwrite, suffixes=MODEL_SUFFIXES)
    document, arrays = _to_document(model)
    text = json.dumps(document | {"digest": checksum(document, arrays)}, ensure_ascii=False)
    write_read_back(path, safetensors.numpy.save(arrays, metadata={_DOCUMENT: text}), publication, load_model)


def load_model(path: Path) -> Model:
    """Return the model in a file of `save_model`.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If the file does not exist, is damaged, or was written by an incompatible version of geoseg.
    """
    document, arrays = _read(path)
    version = shorten(document.get("geoseg"), 40)
    if document.get("format") != _FORMAT:
        raise ModelError(
            f"{path} was written by geoseg {version} in format {shorten(document.get('format'), 40)}, but geoseg "
            f"{__version__} reads format {_FORMAT}. Use geoseg {version}, or train the model again."
        )
    if document.pop("digest", None) != checksum(document, arrays):
        raise ModelError(f"{path} is damaged: its content does not match its checksum. Copy the file again.")
    try:
        model = _from_document(document, arrays)
        check_content(model)
    except (GeosegError, LookupError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as err:
        raise ModelError(  # undamaged, so another program has written it
            f"{path} was written by geoseg {version} and does not fit geoseg {__version__} ({shorten(err)}). Use "
            f"geoseg {version}, or train the model again."
        ) from err
    return model


def checksum(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the checksum of the content of a model file, 32 hexadecimal digits.

    Parameters
    ----------
    document : dict
        The JSON document of the metadata, without its key `digest`.
    arrays : dict of str to array
    """
    digest = hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _to_document(model: Model) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    survey = model.survey.to_dict()
    document = {
        "format": _FORMAT,
        "geoseg": __version__,
        "config": model.config.to_dict(),
        "stretch": survey["stretch"],
        "standard": survey["standard"],
        "superpixels": survey["superpixels"],
        "origin": asdict(model.origin),
    }
    arrays = {f"{_NETWORK}{name}": np.asarray(array, order="C") for name, array in model.network.items()}
    arrays |= {
        f"{_CLASS_MODEL}{name}": np.asarray(array, order="C") for name, array in model.class_model.to_arrays().items()
    }
    if model.survey.projection is not None:
        arrays[_PROJECTION] = model.survey.projection.to_array()
    if model.features is not None:
        arrays |= {f"{_FEATURES}{name}": array for name, array in vars(model.features).items()}
    return json.loads(json.dumps(document)), arrays


def _from_document(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
    def part(prefix: str) -> dict[str, NDArray[Any]]:
        return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

    origin: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document["origin"].items()
    }
    survey = Survey.from_dict({**document, "windows": [], "projection": None})
    return Model(
        config=load_config(document["config"]),
        survey=replace(survey, projection=_projection_of(arrays)),
        network=part(_NETWORK),
        class_model=ClassModel.from_arrays(part(_CLASS_MODEL)),
        origin=Origin(**origin),
        features=FeatureReduction(**features) if (features := part(_FEATURES)) else None,
    )


def _projection_of(arrays: Mapping[str, NDArray[Any]]) -> Projection | None:
    """Return the projection of a model; None for one that has none, such as those of geoseg before projections."""
    weights = arrays.get(_PROJECTION)
    if weights is None:
        return None
    if weights.dtype != np.float32 or weights.ndim != 2:
        raise ValueError(f"projection: {weights.dtype} {weights.shape}, expected float32 of two dimensions")
    return Projection.from_array(weights)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        exists = path.is_file()
    except OSError:  # a folder without permission to search it
        exists = False
    if not exists:
        raise ModelError(f"there is no model file {path}; give a file of --save-model.")
    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(
            f"{path} has {path.stat().st_size / 2**30:.1f} GiB; expected at most {_MAX_BYTES / 2**30:.0f} GiB. Give a "
            "file of --save-model."
        )
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            document = json.loads((file.metadata() or {}).get(_DOCUMENT, "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # it is not a mapping
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, AttributeError, RecursionError) as err:
        # TypeError, AttributeError: a dtype that numpy does not have
        raise ModelError(f"{path} is not a model or is damaged: {shorten(err)}; give a file of --save-model.") from err
    if not isinstance(document, dict):
        raise ModelError(f"{path} contains arrays but is not a geoseg model; give a file of --save-model.")
    return document, arrays
