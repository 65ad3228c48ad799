"""Many GPUs on paper: what is sent, counted by hand, and the times that follow."""

import math

import pytest
import torch
from torch import nn

from byol.bench.dry_run import batch_on_meta, build_on_meta, dry_step
from byol.bench.limits import Limit, Work
from byol.bench.scaling import OVERLAP, Cluster, Traffic, scaled, traffic_of
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.batch import Batch
from byol.methods.base import TrainingSet
from byol.methods.byol import BYOL
from byol.methods.heads import MLP


def tiny() -> BYOL:
    """Batch norms of 4 and 7 channels online and in the target, and one more of 9 in the predictor."""
    encoder = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Flatten())
    return BYOL(encoder, MLP(4, 7, 2), MLP(2, 9, 2))


def traffic(micro_batches: int = 1, joined: bool = False) -> Traffic:
    """Of the tiny network; its encoder gives the four channels of one pixel."""
    method = tiny()
    return traffic_of(method, dry_step(method, Batch((torch.rand(2, 3, 1, 1),) * 2)), micro_batches, joined)


def test_traffic_is_counted_as_by_hand() -> None:
    weights = 12 + 8 + (4 * 7 + 7) + 14 + 7 * 2 + (2 * 9 + 9) + 18 + 9 * 2
    online, target = 4 + 7 + 9, 4 + 7
    values = 2 * 2 * (2 * online + target)  # views; mean and variance; forward and back, of the target forward only
    assert traffic() == Traffic(4 * weights, 4 * values, 2 * 2 * (2 * 3 + 2))
    back, gathered = 2 * 2 * online, 2 * (2 * (online + target) + 3 + 2)  # means, deviations, a count a layer
    assert traffic(joined=True) == Traffic(4 * weights, 4 * back, 2 * (2 * 3 + 2), 4 * gathered)
    assert traffic(micro_batches=3) == Traffic(4 * weights, 3 * 4 * values, 3 * 2 * 2 * (2 * 3 + 2))
    assert traffic().bytes == 4 * (weights + values)


def test_the_papers_network_sends_its_35_million_weights() -> None:
    config = PretrainConfig(batch_size=2)
    method = build_on_meta(config, TrainingSet(images=2))
    traffic = traffic_of(method, dry_step(method, batch_on_meta(config)))
    resnet50 = 25_557_032 - 2049 * 1000  # torchvision's count, without the classifier
    projector = 2048 * 4096 + 4096 + 2 * 4096 + 4096 * 256
    predictor = 256 * 4096 + 4096 + 2 * 4096 + 4096 * 256
    assert traffic.gradients == 4 * (resnet50 + projector + predictor)


@pytest.mark.parametrize(("shuffle", "calls"), [(True, 0), (False, 2 * (2 * 21 + 21))])
def test_moco_sends_statistics_only_where_they_are_shared(shuffle: bool, calls: int) -> None:
    """A ResNet-18 has 20 batch norms and the projector one; queries have a backward pass, keys have none."""
    config = replace(PretrainConfig(), encoder="resnet18", method="moco", method__queue=16)
    config = replace(config, method__shuffle=shuffle, method__splits=2, batch_size=8, image_size=32)
    method = build_on_meta(config, TrainingSet(images=100))
    found = traffic_of(method, dry_step(method, batch_on_meta(config)))
    assert found.calls == calls
    assert (found.statistics > 0) == (calls > 0)
    assert found.gradients > 0


CLUSTER = Cluster(peak=100.0, memory=10.0, reached=0.5, per_node=4, inside=8.0, between=2.0, hop=0.25)


def test_time_to_reduce() -> None:
    assert CLUSTER.reduce_seconds(1e9, 1) == 0
    assert CLUSTER.small_reduce_seconds(8) == 0.75
    # two of a node: each sends half to the other, gets half of the sum back
    assert CLUSTER.reduce_seconds(16, 2) == 16 / 8.0 + 0.25
    assert CLUSTER.reduce_seconds(16, 4) == 2 * 3 / 4 * 16 / 8.0 + 0.5
    # four nodes of four: each GPU exchanges a quarter with three others
    assert CLUSTER.reduce_seconds(16, 16) == 2 * 3 / 4 * 16 / 8.0 + 2 * 3 / 4 * 4 / 2.0 + 1.0


def test_time_to_gather() -> None:
    assert CLUSTER.gather_seconds(1e9, 1) == 0
    assert CLUSTER.gather_seconds(16, 2) == 16 / 8.0
    # four nodes of four: three others' from outside, and each of the three beside brings four
    assert CLUSTER.gather_seconds(16, 16) == 3 * 16 / 2.0 + 3 * 4 * 16 / 8.0


def test_statistics_that_are_gathered_are_waited_for() -> None:
    limit = Limit({"backward": Work(100, 1)}, images=4, precision="bf16")
    less, more = (scaled(limit, Traffic(0, 10, 3, gathered), CLUSTER, 16).statistics for gathered in (0, 16))
    assert more - less == pytest.approx(CLUSTER.gather_seconds(16, 16))


def test_an_update_waits_for_what_cannot_be_hidden() -> None:
    limit = Limit({"online forward": Work(100, 1), "backward": Work(1, 20)}, images=3, precision="bf16")
    traffic = Traffic(gradients=16, statistics=0, calls=2)
    alone = scaled(limit, traffic, CLUSTER, 1)
    assert (alone.compute, alone.statistics, alone.gradients) == (100 / 50 + 20 / 5, 0, 0)
    assert alone.efficiency == 1
    assert alone.images_per_second == 3 / 6
    two = scaled(limit, traffic, CLUSTER, 2)
    assert two.statistics == 2 * 0.25
    assert two.gradients == pytest.approx(16 / 8.0 + 0.25 - OVERLAP * 4)
    assert two.seconds == pytest.approx(6 + 0.5 + 0.25)
    assert two.images_per_second == pytest.approx(2 * 3 / 6.75)
    assert two.efficiency == pytest.approx(6 / 6.75)


def test_faster_links_never_slow_an_update_down() -> None:
    limit = Limit({"backward": Work(100, 1)}, images=4, precision="bf16")
    traffic = Traffic(gradients=500, statistics=10, calls=3)
    rates = []
    for between in (1.0, 4.0, 16.0, math.inf):
        cluster = Cluster(peak=100.0, memory=10.0, per_node=4, inside=8.0, between=between, hop=0.01)
        rates.append(scaled(limit, traffic, cluster, 64).images_per_second)
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]
