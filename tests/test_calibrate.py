"""Untrained encoders whose batch norm has seen images: the baseline of every reading."""

import pytest
import torch
from torch import Tensor, nn

from byol.data.sources.open import TensorSource
from byol.encoders.build import make_encoder
from byol.encoders.calibrate import CALIBRATION_IMAGES, calibrate_batch_norm
from byol.encoders.load import open_encoder
from byol.evals.calibration import calibrated
from byol.evals.evaluation import Task
from byol.runtime.seeds import generator_of


def test_averages_are_means_over_the_batches() -> None:
    batches = [torch.randn(6, 3, 4, 4, generator=generator_of(n)) * (n + 1) + n for n in range(3)]
    layer = nn.BatchNorm2d(3)
    layer.running_mean = torch.full((3,), 99.0)
    calibrate_batch_norm(layer, batches)
    torch.testing.assert_close(layer.running_mean, torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0))
    torch.testing.assert_close(layer.running_var, torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0))
    assert layer.momentum == 0.1
    assert layer.training, "as it came"


def test_a_deeper_layer_sees_what_the_first_one_normalizes() -> None:
    """After calibration on one batch, evaluation and training mode agree on that batch."""
    torch.manual_seed(0)
    encoder = make_encoder("resnet10", width=0.125, stem="small").eval()
    images = 3 + 2 * torch.randn(64, 3, 16, 16)
    before = {name: p.clone() for name, p in encoder.named_parameters()}
    calibrate_batch_norm(encoder, [images])
    assert not encoder.training
    assert all(torch.equal(p, before[name]) for name, p in encoder.named_parameters()), "no weight is changed"
    evaluated = encoder(images)
    encoder.train()
    torch.testing.assert_close(evaluated, encoder(images), rtol=0.02, atol=0.02)  # unbiased and biased variances


def test_nothing_is_dropped_meanwhile() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4))
    x = torch.randn(32, 4)
    calibrate_batch_norm(network, [x])
    torch.testing.assert_close(network[1].running_mean, x.mean(0))
    assert network[0].training


def test_networks_without_averages_pass() -> None:
    def broken() -> Tensor:
        raise AssertionError("no batch is asked for")

    calibrate_batch_norm(nn.Linear(2, 2), (broken() for _ in range(1)))


def bright(count: int) -> TensorSource:
    """Images whose values are all in a tenth of the range: far from the statistics that a fresh network assumes."""
    images = 200 + torch.randint(0, 25, (count, 3, 16, 16), dtype=torch.uint8, generator=generator_of(1))
    return TensorSource(images, [n % 2 for n in range(count)])


def test_every_evaluation_of_an_untrained_encoder_sees_images_first() -> None:
    data, encoder = bright(40), open_encoder("random:resnet10@x0.125/small/16")
    task = Task(encoder, data, data)
    assert task.encoder.fingerprint != encoder.fingerprint, "stored features belong to the calibrated one"
    again = calibrated(encoder, data, torch.device("cpu"))
    assert task.encoder.fingerprint == again.fingerprint
    assert not task.encoder.fresh
    assert Task(task.encoder, data, data).encoder is task.encoder, "once"
    first = next(m for m in task.encoder.module.modules() if isinstance(m, nn.BatchNorm2d))
    assert first.running_mean.abs().max() > 0.1


@pytest.mark.parametrize("name", ["pixels"])
def test_others_are_left_alone(name: str) -> None:
    encoder = open_encoder(name)
    assert Task(encoder, bright(8), bright(8)).encoder is encoder


def test_no_more_images_than_needed_are_read() -> None:
    class Counting(TensorSource):
        def subset(self, indices: object) -> TensorSource:
            assert len(indices) == CALIBRATION_IMAGES  # type: ignore[arg-type]
            return super().subset(indices)  # type: ignore[arg-type]

    data = bright(CALIBRATION_IMAGES + 50)
    calibrated(open_encoder("random:resnet10@x0.125/small/16"), Counting(data.images, data.labels), torch.device("cpu"))
