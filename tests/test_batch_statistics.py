import copy

import numpy as np
import pytest
import torch

from geoseg.config import Network
from geoseg.segment.batch_statistics import with_statistics_of_all
from geoseg.segment.network import new_network

YONV = Network(kernels=(3, 1, 3, 1), channels=(12, 8, 12, 8), order="bn-relu")
KANEZAKI = Network(kernels=(3, 3, 1), channels=(10, 10, 10), order="relu-bn")


@pytest.mark.parametrize("options", [YONV, KANEZAKI], ids=["yonv", "kanezaki"])
@pytest.mark.parametrize("n_images", [1, 16, 21])
def test_statistics_are_those_of_batch_norms_in_training_mode(monkeypatch, options, n_images):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    images = np.random.default_rng(0).normal(100, 3, (n_images, 3, 9, 11)).astype(np.float32)
    network = new_network(3, options, seed=1).train()
    expected = copy.deepcopy(network)
    norms = [layer for layer in expected.layers if isinstance(layer, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for done, begin in enumerate(range(0, n_images, 16)):
            batch = torch.from_numpy(images[begin : begin + 16])
            for norm in norms:
                if done == 0:
                    norm.reset_running_stats()
                norm.momentum = len(batch) / (begin + len(batch))
            expected(batch)

    found = with_statistics_of_all(network, list(images))

    assert not found.training
    for name, value in found.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-4, atol=1e-4, msg=name)
