"""The written out passes against automatic differentiation."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.config import Network
from geoseg.segment import elementwise, strips
from geoseg.segment.elementwise import Norm
from geoseg.segment.network import new_network
from geoseg.segment.passes import Passes
from geoseg.segment.strips import strips_of

KERNELS = [(3, 1, 3, 1), (5, 3, 1), (1,), (1, 5)]
SMALL, LARGE = 40, 10**6  # px of a strip: an image is cut, all images are one strip


def network_of(kernels, order, *, train=True):
    """Return a network whose batch norms are not those of the start."""
    network = new_network(3, Network(kernels=kernels, channels=tuple(range(6, 6 + len(kernels))), order=order), seed=1)
    torch.manual_seed(2)
    for norm in norms_of(network):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, std=0.3)
        norm.running_mean.normal_(std=0.3)
        norm.running_var.uniform_(0.5, 2)
    return network.train(train)


def norms_of(network):
    return [layer for layer in network.layers if isinstance(layer, torch.nn.BatchNorm2d)]


def images_of(n, shape=(33, 11)):
    return list(np.random.default_rng(0).normal(1, 2, (n, 3, *shape)).astype(np.float32))


def gradient_of(passes, by_responses):
    return passes.backward([part.to(passes.dtype) for part in by_responses.split([s.pixels for s in passes.strips])])


def differentiated(network, images, dtype):
    """Return responses, and the gradient of a fixed random sum of them by the parameters, by the written out passes."""
    passes = Passes(network, images, dtype)
    passes.forward()
    responses = torch.cat([passes.responses(i) for i in range(len(passes.strips))])
    return responses, gradient_of(passes, weights_of(responses.shape))


def by_torch(network, images, *, in_bfloat16=False):
    """Return the same by automatic differentiation, in float32 unless `in_bfloat16`."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_bfloat16):
        responses = network(torch.from_numpy(np.stack(images)))
    responses = responses.float().permute(0, 2, 3, 1).flatten(0, 2)
    responses.backward(weights_of(responses.shape))
    return responses.detach(), [parameter.grad for parameter in network.parameters()]


def weights_of(shape):
    return torch.from_numpy(np.random.default_rng(3).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("kernels", KERNELS, ids=str)
@pytest.mark.parametrize("order", ["bn-relu", "relu-bn"])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_gradients_and_running_statistics_are_those_of_automatic_differentiation(
    monkeypatch, kernels, order, train, size
):
    monkeypatch.setattr(strips, "_PIXELS", size)
    network = network_of(kernels, order, train=train)
    expected = copy.deepcopy(network)

    responses, gradients = differentiated(network, images_of(2), torch.float32)

    by_responses, by_parameters = by_torch(expected, images_of(2))
    torch.testing.assert_close(responses, by_responses, rtol=1e-4, atol=1e-4)
    for (name, parameter), gradient in zip(network.named_parameters(), gradients, strict=True):
        assert gradient.shape == parameter.shape
        torch.testing.assert_close(gradient, by_parameters.pop(0), rtol=1e-3, atol=1e-2, msg=name)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("order", ["bn-relu", "relu-bn"])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_gradients_in_bfloat16_are_as_exact_as_those_of_torch(monkeypatch, order, train, size):
    monkeypatch.setattr(strips, "_PIXELS", size)
    network, images = network_of((3, 1, 3, 1), order, train=train), images_of(4, (64, 64))
    _, exact = by_torch(copy.deepcopy(network), images)
    _, of_torch = by_torch(copy.deepcopy(network), images, in_bfloat16=True)

    _, gradients = differentiated(network, images, torch.bfloat16)

    for (name, _), gradient, other, right in zip(network.named_parameters(), gradients, of_torch, exact, strict=True):
        if right.norm() > 1:  # a bias before a batch norm has no gradient
            assert (gradient - right).norm() < 2 * (other - right).norm() + 0.03 * right.norm(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_size_of_strips_changes_the_gradients_by_rounding_only_and_the_same_size_by_nothing(monkeypatch, dtype):
    found = {}
    for size, repeat in itertools.product((400, 1500, LARGE), range(2)):
        monkeypatch.setattr(strips, "_PIXELS", size)
        network = network_of((3, 1, 5, 1), "bn-relu", train=False)
        found[size, repeat] = differentiated(network, images_of(2, (64, 50)), dtype)[1]

    tolerance = 1e-4 if dtype == torch.float32 else 3e-2
    for size in (400, 1500, LARGE):
        for one, other, whole in zip(found[size, 0], found[size, 1], found[LARGE, 0], strict=True):
            assert torch.equal(one, other)
            assert (one - whole).norm() <= tolerance * whole.norm()


def test_forward_pass_with_a_momentum_moves_the_running_statistics_by_it():
    network, images = network_of((3, 1), "bn-relu"), images_of(2)
    expected = copy.deepcopy(network)
    for norm in norms_of(expected):
        norm.momentum = 0.3
    expected(torch.from_numpy(np.stack(images)))

    Passes(network, images, torch.float32).forward(keep=False, momentum=0.3)

    for one, other in zip(norms_of(network), norms_of(expected), strict=True):
        torch.testing.assert_close(one.running_mean, other.running_mean)
        torch.testing.assert_close(one.running_var, other.running_var)
        assert one.momentum == 0.1


def test_images_of_different_shapes_are_normalised_together():
    network = network_of((1, 1), "bn-relu")
    whole = images_of(1, (12, 10))[0]

    parts, _ = differentiated(copy.deepcopy(network), [whole[:, :7], whole[:, 7:]], torch.float32)

    torch.testing.assert_close(parts, differentiated(network, [whole], torch.float32)[0])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=6),
    st.integers(0, 12),
    st.integers(1, 2000),
)
def test_strips_contain_every_pixel_once_and_reach_into_adjacent_strips_only(shapes, reach, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "_PIXELS", size)
        found = strips_of(shapes, reach)

    pixels = [np.arange(rows * cols) + 10_000 * i for i, (rows, cols) in enumerate(shapes)]
    seen = np.concatenate([np.concatenate(pixels[strip.images])[strip.part] for strip in found])
    np.testing.assert_array_equal(seen, np.concatenate(pixels))
    assert all(strip.is_whole or strip.end - strip.begin >= reach for strip in found)
    assert all(len({shapes[i] for i in range(strip.images.start, strip.images.stop)}) == 1 for strip in found)


def test_bfloat16_is_rounded_as_torch_does():
    values = torch.from_numpy(np.random.default_rng(0).normal(0, 10, (4000, 3)).astype(np.float32)).bfloat16()
    scale = np.array([1 + 2**-8, 1 / 3, -7.77], np.float32)  # the first gives ties
    zero, nothing = np.zeros(3, np.float32), np.float32(-np.inf)
    found = torch.empty_like(values)

    elementwise.activate(
        values.view(torch.uint16).numpy(),
        Norm(scale, zero, zero, nothing, nothing, zero, zero),
        found.view(torch.uint16).numpy(),
    )

    assert torch.equal(found, (values.float() * torch.from_numpy(scale)).bfloat16())
