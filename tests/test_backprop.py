from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import adjusted_rand_score

from geoseg.config import Backprop, Config, Learn, Network
from geoseg.segment import inference
from geoseg.segment.backprop import learn, refine, train
from geoseg.segment.inference import Inference
from geoseg.segment.network import CodeNetwork, new_network, to_arrays
from geoseg.segment.patch import IGNORE, Patch
from geoseg.segment.whole_descent import majority
from tests.reference import backprop as reference

YONV = Network(kernels=(3, 1, 3, 1), channels=(12, 8, 12, 8), order="bn-relu")
KANEZAKI = Network(kernels=(3, 3, 1), channels=(10, 10, 10), order="relu-bn")

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def full_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in float32, also where the processor has bfloat16."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)


def shares(network: CodeNetwork, channels: NDArray[np.float32], **options: bool) -> NDArray[np.uint8]:
    return Inference(network, **options).shares(channels)


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def four_covers(seed: int = 0, size: int = 32, *, noise: float = 0.3) -> tuple[Patch, NDArray[np.int64]]:
    """Return a patch with a different land cover in each quarter and superpixels of 4 × 4 pixels, and the covers."""
    rows, cols = np.indices((size, size))
    covers = 2 * (rows >= size // 2) + (cols >= size // 2)
    colours = np.array([[-1.5, -1, 0.5], [1, -1, -1], [1, 1.5, 0], [-0.5, 0.5, 1.5]])
    draw = np.random.default_rng(seed)
    channels = np.moveaxis(colours[covers], -1, 0) + draw.normal(0, noise, (3, size, size))
    superpixels = rows // 4 * (size // 4) + cols // 4
    return Patch(channels.astype(np.float32), superpixels.astype(np.int32)), covers


def holed(patch: Patch) -> Patch:
    """Return the patch with some whole superpixels and parts of others as nodata."""
    superpixels = patch.superpixels.copy()
    superpixels[5:11, 3:17] = IGNORE
    numbers = np.unique(superpixels[superpixels >= 0], return_inverse=True)[1]
    superpixels[superpixels >= 0] = numbers
    return Patch(np.where(superpixels >= 0, patch.channels, 0).astype(np.float32), superpixels)


def config(backprop: Backprop | None = None, learn: Learn | None = None, *, seed: int = 0) -> Config:
    return Config(backprop=backprop or Backprop(), learn=learn or Learn(), seed=seed)


def assert_same(one: CodeNetwork, other: CodeNetwork, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], msg=name, rtol=rtol, atol=atol)


def codes(network: CodeNetwork, patch: Patch, *, own_statistics: bool = False) -> NDArray[np.int64]:
    return np.asarray(shares(network, patch.channels, own_statistics=own_statistics, hard=True).argmax(axis=2))


def weights(network: CodeNetwork) -> NDArray[np.float32]:
    """Return the weights of the first layer."""
    return np.asarray(to_arrays(network)["layers.0.weight"])


class TestMajority:
    @settings(max_examples=50, deadline=None)
    @given(seeds, st.integers(1, 300), st.integers(1, 9), st.integers(1, 40), st.sampled_from([0.0, 0.3, 1.0]))
    def test_target_is_that_of_the_loop_over_superpixels_in_the_public_scripts(
        self, seed: int, n_pixels: int, n_codes: int, n_superpixels: int, nodata: float
    ) -> None:
        draw = np.random.default_rng(seed)
        of_pixel = draw.integers(0, n_codes, n_pixels)
        superpixels = np.where(draw.random(n_pixels) < nodata, IGNORE, draw.integers(0, n_superpixels, n_pixels))

        target = majority(torch.from_numpy(of_pixel), torch.from_numpy(superpixels), n_codes).numpy()

        expected = np.where(superpixels >= 0, reference.refine(of_pixel, superpixels), IGNORE)
        np.testing.assert_array_equal(target, expected)

    def test_tie_goes_to_the_lower_code(self) -> None:
        target = majority(torch.tensor([5, 2, 2, 5]), torch.tensor([0, 0, 0, 0]), 6)

        assert target.tolist() == [2, 2, 2, 2]


@pytest.mark.usefixtures("full_floats")
class TestTrain:
    @pytest.mark.parametrize("options", [YONV, KANEZAKI], ids=["yonv", "kanezaki"])
    @pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
    @pytest.mark.parametrize("entropy_weight", [0.0, 2.0])
    def test_network_after_some_steps_is_that_of_the_public_scripts(
        self, options: Network, optimizer: str, entropy_weight: float
    ) -> None:
        patch, network = holed(four_covers()[0]), new_network(3, options, seed=1)
        rate = 0.05 if optimizer == "sgd" else 0.001
        chosen = Backprop(optimizer, rate, momentum=0.9, min_labels=2, entropy_weight=entropy_weight)  # type: ignore[arg-type]

        trained = train(network, patch, chosen, steps=3)

        expected, _ = reference.train(
            network,
            patch.channels,
            patch.superpixels,
            optimizer=optimizer,
            learning_rate=rate,
            momentum=0.9,
            min_labels=2,
            entropy_weight=entropy_weight,
            steps=3,
        )
        with torch.no_grad():  # responses: biases before a batch norm have no gradient but rounding errors
            image = torch.from_numpy(patch.channels)[None]
            atol = 2e-3 if optimizer == "sgd" else 5e-3  # RMSprop divides small gradients by their size
            torch.testing.assert_close(trained.train()(image), expected.train()(image), rtol=1e-3, atol=atol)

    def test_training_stops_with_fewer_than_min_labels(self) -> None:
        patch, network = four_covers()[0], new_network(3, YONV, seed=1)

        at_once = train(network, patch, Backprop(min_labels=100), steps=50)

        assert_same(at_once, train(network, patch, Backprop(min_labels=100), steps=1))
        assert at_once.layers[1].num_batches_tracked == 1

    def test_training_continues_with_at_least_min_labels(self) -> None:
        trained = train(new_network(3, YONV, seed=1), four_covers()[0], Backprop(min_labels=1), steps=7)

        assert trained.layers[1].num_batches_tracked == 7

    def test_initial_network_is_not_changed(self) -> None:
        network = new_network(3, YONV, seed=1)
        before = to_arrays(new_network(3, YONV, seed=1))

        train(network, four_covers()[0], Backprop(), steps=3)

        for name, value in to_arrays(network).items():
            np.testing.assert_array_equal(value, before[name])

    def test_network_in_evaluation_mode_keeps_its_running_statistics(self) -> None:
        network = new_network(3, YONV, seed=1).eval()

        trained = train(network, four_covers()[0], Backprop(min_labels=1), steps=3)

        assert not trained.training
        assert trained.layers[1].num_batches_tracked == 0
        assert not np.array_equal(weights(trained), weights(network))

    def test_0_steps_leave_the_network_unchanged(self) -> None:
        network = new_network(3, YONV, seed=1)

        assert_same(train(network, four_covers()[0], Backprop(), steps=0), network)

    def test_nodata_pixels_are_no_targets(self) -> None:
        patch = holed(four_covers()[0])
        network = new_network(3, Network(kernels=(1, 1), channels=(8, 8)), seed=1).eval()
        filled = Patch(np.where(patch.superpixels >= 0, patch.channels, np.float32(3)), patch.superpixels)

        one, other = (train(network, item, Backprop(min_labels=1), steps=2) for item in (patch, filled))

        assert_same(one, other, rtol=1e-5, atol=1e-6)  # a 1 × 1 kernel has no neighbours

    def test_patch_without_data_gives_finite_weights(self) -> None:
        empty = Patch(np.zeros((3, 16, 16), np.float32), np.full((16, 16), IGNORE, np.int32))

        trained = train(new_network(3, YONV, seed=1), empty, Backprop(), steps=3)

        assert all(np.isfinite(value).all() for value in to_arrays(trained).values())


@pytest.fixture(scope="module")
def scene_network() -> CodeNetwork:
    patches = [four_covers(seed, noise=0.6)[0] for seed in range(8)]
    return learn(new_network(3, YONV, seed=1), patches, config(learn=Learn(batch=4, steps=30)))


def two_tiles(seed: int) -> tuple[Patch, Patch, int]:
    """Return two overlapping tiles of a strip with different land covers, and the number of common columns.

    The common columns, in the middle, are so noisy that their codes are ambiguous.
    """
    left, _ = four_covers(seed, 48, noise=0.6)
    right, _ = four_covers(seed + 1, 48, noise=0.6)
    middle, _ = four_covers(seed + 2, 16, noise=1.5)
    common = np.tile(middle.channels, (1, 3, 1))
    strip = np.concatenate([left.channels[:, :, :24], common, right.channels[:, :, 24:]], axis=2)
    return Patch(strip[:, :, :40], numbered(40)), Patch(strip[:, :, 24:], numbered(40)), common.shape[2]


def numbered(cols: int, rows: int = 48) -> NDArray[np.int32]:
    """Return numbers of superpixels of 4 × 4 pixels."""
    y, x = np.indices((rows, cols))
    return (y // 4 * (cols // 4) + x // 4).astype(np.int32)


@pytest.mark.usefixtures("full_floats")
class TestRefine:
    @pytest.mark.parametrize("weight", [0.0, 0.3, 0.9])
    def test_loss_is_cross_entropy_plus_kullback_leibler_divergence(
        self, scene_network: CodeNetwork, weight: float
    ) -> None:
        patch = holed(four_covers(5, noise=1.0)[0])

        refined = refine(scene_network, patch, Backprop(learning_rate=0.2, distillation_weight=weight), steps=3)

        expected = reference.distil(
            scene_network, patch.channels, patch.superpixels, learning_rate=0.2, momentum=0.9, weight=weight, steps=3
        )
        assert_same(refined, expected, rtol=1e-3, atol=1e-4)
        assert not np.allclose(weights(refined), weights(scene_network), rtol=1e-2, atol=1e-3)

    def test_distillation_weight_1_changes_no_code(self, scene_network: CodeNetwork) -> None:
        patch, _ = four_covers(5, noise=1.0)

        distilled = refine(scene_network, patch, Backprop(learning_rate=0.5, distillation_weight=1.0), steps=12)

        np.testing.assert_array_equal(codes(distilled, patch), codes(scene_network, patch))

    def test_distillation_weight_0_changes_codes(self, scene_network: CodeNetwork) -> None:
        patch, _ = four_covers(5, noise=2.0)

        refined = refine(scene_network, patch, Backprop(learning_rate=0.5, distillation_weight=0.0), steps=12)

        assert (codes(refined, patch) != codes(scene_network, patch)).mean() > 0.05

    def test_tile_of_one_land_cover_keeps_one_code(self, scene_network: CodeNetwork) -> None:
        even = np.ascontiguousarray(four_covers(5, 64)[0].channels[:, :32, :32])  # the first quarter
        patch = Patch(even, four_covers()[0].superpixels)

        refined = refine(scene_network, patch, Backprop(learning_rate=0.5, distillation_weight=0.0), steps=24)

        assert len(np.unique(codes(scene_network, patch))) == 1
        np.testing.assert_array_equal(codes(refined, patch), codes(scene_network, patch))

    def test_neighbouring_tiles_agree_better_in_their_overlap_with_distillation(
        self, scene_network: CodeNetwork
    ) -> None:
        apart: dict[float, list[float]] = {0.0: [], 0.8: []}
        for seed in range(0, 12, 3):
            left, right, common = two_tiles(seed)
            for weight, found in apart.items():
                options = Backprop(learning_rate=0.2, distillation_weight=weight)
                one, other = (
                    shares(refine(scene_network, tile, options, steps=8), tile.channels) for tile in (left, right)
                )
                inner = np.abs(one[:, -common + 2 : -2].astype(int) - other[:, 2 : common - 2])
                found.append(float(inner.sum(axis=2).mean() / 510))

        assert np.mean(apart[0.8]) < 0.5 * np.mean(apart[0.0])

    def test_result_does_not_depend_on_the_number_of_threads(self, scene_network: CodeNetwork) -> None:
        patch, found = four_covers(size=48)[0], []
        for n_threads in (1, 2):
            with threads(n_threads):
                found.append(refine(scene_network, patch, Backprop(), steps=4))

        assert_same(found[0], found[1])

    def test_scene_network_and_its_running_statistics_are_not_changed(self, scene_network: CodeNetwork) -> None:
        before = {name: value.copy() for name, value in to_arrays(scene_network).items()}

        refined = refine(scene_network, four_covers()[0], Backprop(distillation_weight=0.0), steps=3)

        assert not refined.training
        for name, value in to_arrays(scene_network).items():
            np.testing.assert_array_equal(value, before[name])
            if "running" in name:
                np.testing.assert_array_equal(to_arrays(refined)[name], before[name])

    def test_nodata_pixels_are_no_targets(self) -> None:
        patch = holed(four_covers()[0])
        network = new_network(3, Network(kernels=(1, 1), channels=(8, 8)), seed=1).eval()
        filled = Patch(np.where(patch.superpixels >= 0, patch.channels, np.float32(3)), patch.superpixels)

        one, other = (refine(network, item, Backprop(), steps=2) for item in (patch, filled))

        assert_same(one, other, rtol=1e-5, atol=1e-6)  # a 1 × 1 kernel has no neighbours

    def test_tile_without_data_leaves_the_network_unchanged(self, scene_network: CodeNetwork) -> None:
        empty = Patch(np.zeros((3, 16, 16), np.float32), np.full((16, 16), IGNORE, np.int32))

        assert_same(refine(scene_network, empty, Backprop(), steps=3), scene_network)


def drifting(seed: int, size: int = 64) -> Patch:
    """Return an image without classes: features vary continuously, so that codes depend on the initial weights."""
    draw = np.random.default_rng(seed)
    layers = np.stack([gaussian_filter(layer, 8, mode="wrap") for layer in draw.normal(size=(3, size, size))])
    rows, cols = np.indices((size, size)) // 4
    labels = (rows * (size // 4) + cols).astype(np.int32)
    return Patch((layers / layers.std()).astype(np.float32), labels)


class TestReproducibility:
    @pytest.mark.parametrize("n_threads", [1, 2])
    def test_trained_network_does_not_depend_on_the_number_of_threads(self, n_threads: int) -> None:
        patch, network = four_covers(size=48)[0], new_network(3, YONV, seed=1)
        with threads(3 - n_threads):
            expected = train(network, patch, Backprop(), steps=4)

        with threads(n_threads):
            assert_same(train(network, patch, Backprop(), steps=4), expected)
            assert torch.get_num_threads() == n_threads

    def test_scene_network_and_shares_do_not_depend_on_the_number_of_threads(self) -> None:
        patches = [four_covers(seed)[0] for seed in range(5)]
        found = []
        for n_threads in (1, 2):
            with threads(n_threads):
                learned = learn(new_network(3, YONV, seed=1), patches, config(learn=Learn(batch=2, steps=5), seed=3))
                found.append((learned, shares(learned, four_covers(9, 48)[0].channels)))

        assert_same(found[0][0], found[1][0])
        np.testing.assert_array_equal(found[0][1], found[1][1])

    def test_seed_changes_the_order_of_patches(self) -> None:
        patches = [four_covers(seed)[0] for seed in range(6)]
        one, other = (
            learn(new_network(3, YONV, seed=1), patches, config(learn=Learn(batch=2, steps=4), seed=seed))
            for seed in (1, 2)
        )

        assert not np.array_equal(weights(one), weights(other))


class TestLearn:
    def test_different_covers_get_different_codes(self) -> None:
        patches = [four_covers(seed)[0] for seed in range(8)]
        options = Backprop(entropy_weight=1.0)

        learned = learn(new_network(3, YONV, seed=1), patches, config(options, Learn(batch=4, steps=40)))

        patch, covers = four_covers(99)
        found = codes(learned, patch)
        most = [np.bincount(found[covers == cover], minlength=8).argmax() for cover in range(4)]
        assert len(set(most)) == 4

    def test_entropy_term_gives_more_codes(self) -> None:
        patches, counts = [four_covers(seed, noise=1.0)[0] for seed in range(8)], []
        for weight in (0.0, 3.0):
            options = Backprop(entropy_weight=weight, learning_rate=0.2)
            learned = learn(
                new_network(3, YONV, seed=1), patches, config(options, Learn(batch=4, steps=60, warmup_fraction=0))
            )
            counts.append(len(np.unique(codes(learned, four_covers(99, noise=1.0)[0]))))

        assert counts[1] >= 4
        assert counts[1] > counts[0]

    @pytest.mark.slow
    def test_warmup_makes_networks_of_different_seeds_more_similar(self) -> None:
        patches, unseen = [drifting(seed) for seed in range(8)], drifting(99)
        agreement = {}
        for warmup_fraction in (0.0, 0.5):
            sample = Learn(steps=32, warmup_fraction=warmup_fraction)
            found = [
                codes(learn(new_network(3, YONV, seed=seed), patches, config(learn=sample, seed=seed)), unseen).ravel()
                for seed in (1, 2, 3, 4)  # the agreement of two networks without a warmup is 0.17 to 0.42
            ]
            agreement[warmup_fraction] = np.mean([adjusted_rand_score(*pair) for pair in combinations(found, 2)])

        assert agreement[0.5] > agreement[0.0] + 0.1

    def test_warmup_throughout_gives_each_land_cover_its_cluster(self) -> None:
        patches = [four_covers(seed)[0] for seed in range(8)]
        network = new_network(3, Network(channels=(16, 8, 16, 4)), seed=1)

        learned = learn(network, patches, config(Backprop(entropy_weight=0.0), Learn(steps=40, warmup_fraction=1.0)))

        patch, covers = four_covers(99)
        assert adjusted_rand_score(covers.ravel(), codes(learned, patch).ravel()) > 0.9

    def test_network_is_in_evaluation_mode_with_the_statistics_of_all_patches(self) -> None:
        patches = [four_covers(seed)[0] for seed in range(5)]

        learned = learn(new_network(3, YONV, seed=1), patches, config(learn=Learn(batch=2, steps=3)))

        first = learned.layers[0](torch.from_numpy(np.stack([patch.channels for patch in patches])))
        assert not learned.training
        torch.testing.assert_close(learned.layers[1].running_mean, first.mean(dim=(0, 2, 3)), rtol=1e-2, atol=5e-3)
        torch.testing.assert_close(learned.layers[1].running_var, first.var(dim=(0, 2, 3)), rtol=1e-2, atol=5e-3)

    def test_patches_have_equal_weights_in_the_statistics(self) -> None:
        patches = [four_covers(seed)[0] for seed in range(17)]
        patches[16] = Patch(patches[16].channels + np.float32(5), patches[16].superpixels)

        learned = learn(new_network(3, YONV, seed=1), patches, config(learn=Learn(batch=2, steps=1)))

        first = learned.layers[0](torch.from_numpy(np.stack([patch.channels for patch in patches])))
        torch.testing.assert_close(learned.layers[1].running_mean, first.mean(dim=(0, 2, 3)), rtol=1e-2, atol=1e-2)

    def test_patches_are_repeated_if_there_are_fewer_than_in_a_batch(self) -> None:
        steps: list[int] = []

        learned = learn(
            new_network(3, YONV, seed=1),
            [four_covers()[0]],
            config(learn=Learn(batch=3, steps=4)),
            progress=steps.append,
        )

        assert steps == [1, 2, 3, 4]
        assert all(np.isfinite(value).all() for value in to_arrays(learned).values())


class TestShares:
    def test_shares_are_the_softmax_of_the_responses(self, full_floats: None) -> None:  # noqa: ARG002 # it changes the module
        network, patch = new_network(3, YONV, seed=1).eval(), four_covers()[0]

        found = shares(network, patch.channels)

        with torch.no_grad():
            soft = network(torch.from_numpy(patch.channels)[None])[0].softmax(dim=0).permute(1, 2, 0).numpy()
        assert found.dtype == np.uint8
        np.testing.assert_allclose(found / 255, soft, atol=0.51 / 255 + 1e-5)

    def test_hard_shares_are_one_hot(self) -> None:
        found = shares(new_network(3, YONV, seed=1).eval(), four_covers()[0].channels, hard=True)

        assert ((found == 255).sum(axis=2) == 1).all()
        assert ((found == 0).sum(axis=2) == YONV.channels[-1] - 1).all()

    @pytest.mark.parametrize("options", [YONV, Network((5, 3, 1), (8, 8, 8), "relu-bn")])
    def test_shares_of_an_image_in_parts_are_those_of_the_whole(
        self, monkeypatch: pytest.MonkeyPatch, options: Network
    ) -> None:
        channels = np.random.default_rng(0).normal(size=(3, 61, 75)).astype(np.float32)
        network = new_network(3, options, seed=1).eval()
        whole = shares(network, channels)
        monkeypatch.setattr(inference, "_CACHE_SIZE", 20)

        parts = shares(network, channels)

        apart = np.abs(parts.astype(int) - whole)
        assert (apart > 3).mean() < 1e-3  # bfloat16 rounds in other places

    def test_shares_of_no_pixel_are_all_rounded_to_0(self) -> None:
        even = new_network(3, Network(kernels=(1,), channels=(256,)), seed=0).eval()
        for parameter in even.parameters():
            torch.nn.init.zeros_(parameter)

        assert (shares(even, np.zeros((3, 4, 4), np.float32)).sum(axis=2) > 0).all()

    def test_own_statistics_remove_the_effect_of_brightness_and_contrast(self) -> None:
        patch, network = four_covers()[0], new_network(3, Network(kernels=(1, 1), channels=(8, 8)), seed=1)

        brighter = Patch(patch.channels * 2 + 1, patch.superpixels)

        same = codes(network, patch, own_statistics=True) == codes(network, brighter, own_statistics=True)
        assert same.mean() > 0.97

    def test_network_is_not_changed(self) -> None:
        network = new_network(3, YONV, seed=1).eval()
        before = {name: value.copy() for name, value in to_arrays(network).items()}

        shares(network, four_covers()[0].channels, own_statistics=True)

        assert not network.training
        for name, value in to_arrays(network).items():
            np.testing.assert_array_equal(value, before[name])
