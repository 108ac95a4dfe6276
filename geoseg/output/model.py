"""A network that is kept: what one scene has taught, in a file that segments the next scene into the same classes.

The file is a safetensors file, which holds arrays and text and nothing that could be run: the network and the classes
as arrays, and in its metadata one JSON document with the configuration, the stretch and what the bands were.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from geoseg import __version__
from geoseg.config import Config, load_config
from geoseg.errors import ConfigError, GeosegError, ModelError, OutputError
from geoseg.output.polygons import check_output, staged, writing
from geoseg.raster.pixel_size import resolution
from geoseg.raster.scene import Scene
from geoseg.segment.class_model import ClassModel
from geoseg.segment.features import network_input, pixel_moments
from geoseg.segment.predictors import CentroidPredictor, vote_features
from geoseg.segment.votes import SuperpixelTable
from geoseg.steps.survey import Survey

log = logging.getLogger(__name__)

MODEL_SUFFIXES = (".geoseg",)
_FORMAT = 3  # to be raised when the arrays, or what geoseg computes from pixels before it uses them, change meaning
_DOCUMENT = "geoseg"  # the metadata's one name
_FREE = (
    "bands",
    "red",
    "nir",
    "seed",
    "tile_steps",
    "backprop.distillation_weight",
    "tiles.",
    "polygons.",
    "classify.classes",
)  # left open
_FAR = 2.0  # times larger or smaller pixels show other textures, and other superpixels


@dataclass(frozen=True)
class Origin:
    """What a model knows of the scene that it was learned from.

    Parameters
    ----------
    scene : name of the file
    bands, names, dtypes, red_green_blue : as in `Scene`
    resolution : m, side of a pixel on the ground; 0 = unknown
    """

    scene: str
    bands: tuple[int, ...]
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    red_green_blue: tuple[int, ...]
    resolution: float

    @classmethod
    def of(cls, scene: Scene) -> Origin:
        """Return what a model of `scene` would know of it."""
        name = Path(scene.path).name
        return cls(name, scene.bands, scene.names, scene.dtypes, scene.red_green_blue, resolution(scene.geobox))


@dataclass(frozen=True)
class Model:
    """Everything that decides the class of a pixel, apart from the pixels.

    Parameters
    ----------
    config : of the run that learned it
    survey : stretch and standard; its windows are not kept
    network : the scene network, as `network.to_arrays` gives it
    harmony : the classes and their tree
    origin : the scene that taught it
    """

    config: Config
    survey: Survey
    network: dict[str, NDArray[Any]]
    class_model: ClassModel
    origin: Origin

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that differ where anything in the model does."""
        return _digest(*_take_apart(self))


def save_model(path: Path, model: Model, *, overwrite: bool = False) -> None:
    """Write a model, whole or not at all, and look whether it reads back.

    Raises
    ------
    ConfigError, OutputError : as `check_output`; and where what was written does not read back
    """
    check_output(path, overwrite=overwrite, suffixes=MODEL_SUFFIXES)
    document, arrays = _take_apart(model)
    text = json.dumps(document | {"digest": _digest(document, arrays)}, ensure_ascii=False)
    with staged(path) as folder:
        with writing(path):
            (folder / path.name).write_bytes(safetensors.numpy.save(arrays, metadata={_DOCUMENT: text}))
        try:
            load_model(folder / path.name)
        except ModelError as err:
            raise OutputError(f"{path} does not read back as it was written: {err} Is the disk full?") from err


def load_model(path: Path) -> Model:
    """Return the model that `save_model` has written.

    Raises
    ------
    ModelError : there is none, it is damaged, or it was made by a geoseg that kept its models in another way
    """
    document, arrays = _read(path)
    if document.get("format") != _FORMAT:
        raise ModelError(
            f"{path} was written by geoseg {document.get('geoseg')} in format {document.get('format')}, and geoseg "
            f"{__version__} reads format {_FORMAT}; use that version of geoseg, or learn the model anew."
        )
    if document.pop("digest", None) != _digest(document, arrays):
        raise ModelError(f"{path} is damaged: its content does not fit its checksum; copy it again.")
    try:
        model = _put_together(document, arrays)
        _check_sizes(model)
    except (GeosegError, KeyError, TypeError, ValueError) as err:  # it is whole, so another version made it
        raise ModelError(
            f"{path} was written by geoseg {document.get('geoseg')}, which made its models differently from geoseg "
            f"{__version__} ({err}); use that version of geoseg, or learn the model anew."
        ) from err
    return model


def check_config(model: Model, config: Config) -> None:
    """Refuse a configuration that asks for what the model has settled.

    Raises
    ------
    ConfigError : says which options, and what the model has
    """
    settled, asked = (_leaves(of.to_dict()) for of in (model.config, config))
    differ = [f"{name} is {asked[name]} and there {settled[name]}" for name in settled if settled[name] != asked[name]]
    if differ:
        raise ConfigError(
            f"a model has settled these options when it was learned from {model.origin.scene}: {'; '.join(differ)}. "
            f"Leave them out, or learn anew without --model."
        )
    most, kept = model.class_model.tree.n_clusters, model.config.classify.classes
    if kept != "auto":
        most = max(most, kept)
    if config.classify.classes != "auto" and config.classify.classes > most:
        raise ConfigError(
            f"classify.classes is {config.classify.classes}, and the tree of the model of {model.origin.scene} has "
            f"{model.class_model.tree.n_clusters} fine classes; ask for at most {most}, or learn anew without --model."
        )


def check_fits(model: Model, scene: Scene) -> None:
    """Look whether a model can segment a scene; warn where it will do so badly.

    Raises
    ------
    ModelError : the bands or their values are others; says all that differs
    """
    there, here = model.origin, Origin.of(scene)
    if len(there.bands) != len(here.bands):
        bands = "1 band" if len(here.bands) == 1 else f"{len(here.bands)} bands"
        differ = [f"it has {bands}, the model {len(there.bands)} ({_listed(there.bands)})"]
    else:
        differ = [*_other_values(there, here), *_other_bands(there, here)]
    if differ:
        raise ModelError(
            f"{scene.path} does not fit the model, which was learned from {there.scene}: {'; '.join(differ)}. Choose "
            f"the bands and their order with --bands, or learn anew without --model."
        )
    if there.red_green_blue != here.red_green_blue:
        shown = [_listed(origin.bands[i] for i in origin.red_green_blue) for origin in (here, there)]
        log.warning(
            "%s shows bands %s as red, green and blue, %s bands %s.", here.scene, shown[0], there.scene, shown[1]
        )
    if min(here.resolution, there.resolution) > 0 and not 1 / _FAR <= here.resolution / there.resolution <= _FAR:
        log.warning(
            "a pixel of %s is %.3g m wide, one of %s, which taught the model, %.3g m: classes may mean other ground.",
            here.scene, here.resolution, there.scene, there.resolution,
        )  # fmt: skip


def _take_apart(model: Model) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
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
    arrays = {f"network.{name}": np.asarray(array) for name, array in model.network.items()}
    arrays |= {f"class_model.{name}": np.asarray(array) for name, array in model.class_model.to_arrays().items()}
    return json.loads(json.dumps(document)), arrays


def _put_together(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
    def part(of: str) -> dict[str, NDArray[Any]]:
        return {name.removeprefix(of): array for name, array in arrays.items() if name.startswith(of)}

    origin: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document["origin"].items()
    }
    return Model(
        config=load_config(document["config"]),
        survey=Survey.from_dict({**document, "windows": []}),
        network=part("network."),
        class_model=ClassModel.from_arrays(part("class_model.")),
        origin=Origin(**origin),
    )


def _check_sizes(model: Model) -> None:
    """Look whether the arrays have the sizes that this geoseg would give them."""
    n_bands, n_codes = len(model.origin.bands), model.config.network.channels[-1]
    bands = np.zeros((n_bands, 1, 1), np.float32)
    n_channels = len(network_input(bands, np.ones((1, 1), bool), model.config.network.inputs))
    none = np.zeros(0, np.int64)
    superpixel_table = SuperpixelTable(
        none, np.zeros((0, n_codes)), none, np.zeros((0, len(pixel_moments(bands)))), none, none
    )
    sizes = {
        "bands of the stretch": (len(model.survey.stretch.low), n_bands),
        "channels of the network": (len(model.survey.standard.mean), n_channels),
        "looks of the classes": (model.class_model.moments.shape[1], len(pixel_moments(bands))),
    }
    predictor = model.class_model.predictor
    if isinstance(predictor, CentroidPredictor):
        n_features = vote_features(superpixel_table, n_bands).shape[1]
        sizes["features of the clusters"] = (predictor.centroids.shape[1], n_features)
    for name, (found, expected) in sizes.items():
        if found != expected:
            raise ValueError(f"{name}: {found}, expected {expected}")


def _digest(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        there = path.is_file()
    except OSError:  # a folder that may not be looked into
        there = False
    if not there:
        raise ModelError(f"there is no model {path}; --save-model writes one.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            document = json.loads((file.metadata() or {}).get(_DOCUMENT, "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # it is no mapping
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, AttributeError, RecursionError) as err:
        # TypeError, AttributeError: a type of numbers that numpy has not
        reason = " ".join(str(err).split())
        raise ModelError(f"{path} is no model, or a damaged one: {reason}; give a file of --save-model.") from err
    if not isinstance(document, dict):
        raise ModelError(f"{path} holds arrays but is no model of geoseg; give a file of --save-model.")
    return document, arrays


def _leaves(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return the options that a model settles, by path."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        leaves |= _leaves(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return {name: value for name, value in leaves.items() if not name.startswith(_FREE)}


def _other_values(there: Origin, here: Origin) -> list[str]:
    pairs = zip(here.bands, here.dtypes, there.dtypes, strict=True)
    return [f"band {band} holds {own}, the model's {other}" for band, own, other in pairs if _kind(own) != _kind(other)]


def _kind(dtype: str) -> tuple[bool, int]:
    """Return what two types must have in common for their values to mean the same: float32 and float64 have it."""
    kind = np.dtype(dtype)
    return (True, 0) if kind.kind == "f" else (False, kind.itemsize)


def _other_bands(there: Origin, here: Origin) -> list[str]:
    """Say how the bands contradict each other: by name where they have names, else by number."""
    ours, theirs = ([name.lower() for name in origin.names] for origin in (here, there))
    if not (all(ours) and all(theirs)):
        if here.bands == there.bands:
            return []
        return [
            f"its bands {_listed(here.bands)} have no names that show them to be the model's {_listed(there.bands)}"
        ]
    if ours != theirs and set(ours) & set(theirs):
        return [f"its bands are {_listed(here.names)}, the model's {_listed(there.names)}"]
    if ours != theirs:  # names of another vocabulary: nobody knows
        log.warning(
            "the bands of %s are called %s, those of %s, which taught the model, %s; take care that they are the same.",
            here.scene, _listed(here.names), there.scene, _listed(there.names),
        )  # fmt: skip
    return []


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))
