"""A device is used only if it agrees with the CPU. No such device is needed: the CPU stands in for it."""

import numpy as np
import pytest

from geoseg.config import load_config
from geoseg.errors import ConfigError
from geoseg.run.resources import pick_device
from geoseg.segment import device_check, network
from geoseg.segment.device_check import LEAST_AGREEMENT, agreement
from geoseg.segment.tile_batches import CodeSums, TileBatches


@pytest.fixture
def mps(monkeypatch):
    """Let torch find a GPU as mps that agrees with the CPU by a share, or raises an error: mps(0.5)."""
    monkeypatch.setattr(network, "gpu_is_available", lambda device: device == "mps")

    def of(share):
        def found(device):
            assert device == "mps"
            if isinstance(share, Exception):
                raise share
            return share

        monkeypatch.setattr(device_check, "agreement", found)

    return of


@pytest.fixture
def fake_device(monkeypatch):
    """Let the device "fake" compute on the CPU, and change its sums: fake_device(function)."""

    def of(change):
        class Fake(TileBatches):
            def __init__(self, networks, config, device, *, size):
                super().__init__(networks, config, "cpu", size=size)
                self._is_fake = device == "fake"

            def start(self, tiles):
                found = super().start(tiles)()
                return lambda: [CodeSums(change(one.votes), one.cells) for one in found] if self._is_fake else found

        monkeypatch.setattr(device_check, "TileBatches", Fake)
        agreement.cache_clear()
        return agreement("fake")

    yield of
    agreement.cache_clear()


def test_device_with_the_same_codes_agrees_entirely(fake_device):
    assert fake_device(lambda votes: votes) == 1


def test_device_that_rounds_in_another_way_agrees(monkeypatch):
    agreement.cache_clear()
    real = device_check._votes
    monkeypatch.setattr(
        device_check,
        "_votes",
        lambda device, changes: real("cpu", changes) if device == "cpu" else _in_float32(real, changes),
    )

    assert agreement("fake") >= LEAST_AGREEMENT
    agreement.cache_clear()


def _in_float32(votes, changes):
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
        return votes("cpu", changes)


@pytest.mark.parametrize(
    "change",
    [lambda votes: np.roll(votes, 1, axis=1), lambda votes: np.roll(votes, 1, axis=0), lambda votes: votes * 0],
    ids=["other codes", "other superpixels", "nothing"],
)
def test_device_with_wrong_codes_does_not_agree(fake_device, change):
    assert fake_device(change) < LEAST_AGREEMENT


def test_device_that_agrees_is_used(mps):
    mps(0.98)

    assert pick_device("mps", load_config()) == "mps"
    assert pick_device("auto", load_config()) == "cpu"  # only where it is asked for


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.42, "gives 42% of the pixels of a small tile the same code as the CPU; expected at least 90%"),
        (float("nan"), "gives nan% of the pixels"),
        (RuntimeError("aten::index_add is not implemented\nfor MPS"), "cannot compute the codes"),
        (TypeError("no float64"), "cannot compute the codes"),
    ],
)
def test_device_that_does_not_agree_is_refused_in_one_line(mps, share, text):
    mps(share)

    with pytest.raises(ConfigError, match=text) as caught:
        pick_device("mps", load_config())

    assert "\n" not in str(caught.value)
    assert "--device cpu" in str(caught.value)


def test_device_that_is_absent_is_refused(monkeypatch):
    monkeypatch.setattr(network, "gpu_is_available", lambda _: False)

    with pytest.raises(ConfigError, match="device is mps, but torch finds no GPU"):
        pick_device("mps", load_config())
    with pytest.raises(ConfigError, match="device is mps, but method kmeans does not use a GPU"):
        pick_device("mps", load_config(method="kmeans"))
