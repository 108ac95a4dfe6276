"""Several networks at once give what each gives alone."""

import numpy as np
import pytest
import torch

from geoseg.config import Backprop, Network
from geoseg.segment.descent import Optimizer
from geoseg.segment.grouped_descent import GroupedDescent, GroupedNetworks, refine_each, train_each
from geoseg.segment.network import computing_dtype, new_network, placed
from geoseg.segment.patch import IGNORE, Patch
from geoseg.segment.whole_descent import WholeDescent

YONV = Network(kernels=(3, 1, 3, 1), channels=(64, 32, 64, 32), order="bn-relu")
KANEZAKI = Network(kernels=(3, 3, 1), channels=(16, 16, 16), order="relu-bn")
# With bfloat16 and these numbers of channels, oneDNN sums those of a group in the same order as those of one network.
IS_EXACT = computing_dtype("cpu") == torch.bfloat16


@pytest.fixture(autouse=True)
def one_thread():
    """Sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def image(seed, size=24):
    """Return a patch of noisy squares, some of its pixels nodata."""
    draw, (rows, cols) = np.random.default_rng(seed), np.indices((size, size))
    covers = draw.normal(0, 1, (3, 6, 6)).repeat(size // 6, axis=1).repeat(size // 6, axis=2)
    superpixels = np.where((rows < 3 + seed) & (cols < 9), IGNORE, rows // 4 * (size // 4) + cols // 4)
    superpixels[superpixels >= 0] = np.unique(superpixels[superpixels >= 0], return_inverse=True)[1]
    channels = np.where(superpixels >= 0, covers + draw.normal(0, 0.2, covers.shape), 0)
    return Patch(channels.astype(np.float32), superpixels.astype(np.int32))


def alone(network, patch, options, steps, *, is_refinement=False):
    """Return a network trained by `WholeDescent`, and the number of steps done."""
    network = placed(network, "cpu")
    optimizer, descent = Optimizer(network.parameters(), options), WholeDescent(network, [patch], "cpu")
    for step in range(steps):
        if is_refinement:
            optimizer.decay(options.learning_rate, step / steps)
            descent.distil(optimizer, options.distillation_weight)
        elif descent.step(optimizer, options) < options.min_labels:
            return network, step + 1
    return network, steps


def assert_same(one, other):
    tolerance = {"rtol": 0, "atol": 0} if IS_EXACT else {"rtol": 1e-3, "atol": 1e-4}
    for (name, value), expected in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(value, expected, msg=name, **tolerance)


@pytest.mark.parametrize("kind", [YONV, KANEZAKI], ids=["yonv", "kanezaki"])
@pytest.mark.parametrize(
    "options", [Backprop(), Backprop("rmsprop", 0.001, entropy_weight=0.0)], ids=["sgd", "rmsprop"]
)
def test_each_network_is_trained_as_alone(kind, options):
    patches = [image(seed) for seed in range(3)]

    found = train_each([new_network(3, kind, seed=i) for i in range(3)], patches, options, steps=4, device="cpu")

    for i, (one, patch) in enumerate(zip(found, patches, strict=True)):
        assert_same(one, alone(new_network(3, kind, seed=i), patch, options, 4)[0])


def test_network_that_has_few_labels_stops_and_the_others_continue():
    patches = [image(seed) for seed in range(6)]
    options, steps = Backprop(min_labels=22, entropy_weight=0.0), 20
    expected = [alone(new_network(3, YONV, seed=i), patch, options, steps) for i, patch in enumerate(patches)]

    found = train_each([new_network(3, YONV, seed=i) for i in range(6)], patches, options, steps=steps, device="cpu")

    assert len({done for _, done in expected}) > 1  # they stop at different steps
    for one, (other, _) in zip(found, expected, strict=True):
        assert_same(one, other)


def test_training_ends_when_all_networks_have_stopped(monkeypatch):
    calls, forward = [], GroupedNetworks.responses
    monkeypatch.setattr(GroupedNetworks, "responses", lambda *args: calls.append(0) or forward(*args))

    train_each([new_network(3, YONV, seed=1)], [image(1)], Backprop(min_labels=100), steps=500, device="cpu")

    assert len(calls) < 20


def test_scene_network_is_refined_on_each_image_as_on_one_alone():
    patches, network = [image(seed) for seed in range(3)], new_network(3, YONV, seed=5).eval()

    found = refine_each(network, patches, Backprop(), steps=3, device="cpu")

    for one, patch in zip(found, patches, strict=True):
        copy = new_network(3, YONV, seed=5).eval()
        assert_same(one, alone(copy, patch, Backprop(), 3, is_refinement=True)[0])
        assert not one.training


def test_image_without_data_changes_no_network():
    nothing = Patch(np.zeros((3, 24, 24), np.float32), np.full((24, 24), IGNORE, np.int32))
    network = new_network(3, YONV, seed=5).eval()

    found = refine_each(network, [image(1), nothing], Backprop(), steps=2, device="cpu")

    assert_same(found[1], network)


@pytest.mark.parametrize("is_training", [True, False])
def test_running_statistics_are_used_in_evaluation_mode_only(is_training):
    networks = [new_network(3, YONV, seed=i).train(is_training) for i in range(2)]
    for i, network in enumerate(networks):
        network.layers[1].running_mean.fill_(i + 1)
    patches = [image(seed) for seed in range(2)]
    images = torch.from_numpy(np.concatenate([patch.channels for patch in patches]))[None]

    found = GroupedNetworks(networks, "cpu").responses(images)

    for one, network, patch in zip(found.unbind(1), networks, patches, strict=True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=IS_EXACT):
            expected = network(torch.from_numpy(patch.channels)[None])
        torch.testing.assert_close(one, expected[0].float().flatten(1).T, rtol=1e-2, atol=1e-2)


def test_labels_are_counted_for_each_network_without_nodata():
    patches = [image(1), image(2)]
    grouped = GroupedNetworks([new_network(3, YONV, seed=i) for i in range(2)], "cpu")
    found = torch.zeros(24 * 24, 2, 32)
    found[::2, 0, 3] = 1  # network 0 has the codes 0 and 3, network 1 the code 5 alone
    found[:, 1, 5] = 1

    target, n_labels = GroupedDescent(grouped, patches, "cpu")._majority(found)

    assert n_labels.tolist() == [len(np.unique(target[:, 0][target[:, 0] >= 0])), 1]
    np.testing.assert_array_equal(target.T < 0, np.stack([patch.superpixels.ravel() < 0 for patch in patches]))
