"""DeepCluster: labels of parted groups, the weights by hand, the loss in closed form, and another seed each time."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.errors import UserError
from byol.methods.base import TrainingSet
from byol.methods.deepcluster import DeepCluster, balanced, cluster_count


@dataclass
class Known:
    """Features that are given."""

    values: Tensor
    indices: Tensor


class Flat(nn.Module):
    num_features = 2

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def groups() -> Known:
    """Twelve images: 0 to 7 in one group, 8 to 11 in another; image 12 cannot be read."""
    torch.manual_seed(0)
    values = torch.randn(12, 2) * 0.1 + torch.tensor([5.0, 5]) * (torch.arange(12) >= 8)[:, None]
    return Known(values, torch.arange(12))


def test_groups_become_labels_that_weigh_the_same() -> None:
    torch.manual_seed(1)  # k-means may end with part of a group where both centers begin in one
    method = DeepCluster(Flat(), images=13, clusters=2)
    method.before_training(groups)
    labels = method.labels
    assert labels[:8].unique().numel() == labels[8:12].unique().numel() == 1
    assert labels[0] != labels[11]
    assert labels[12] == -1
    # 12 images in 2 clusters: 12 / (2 * 8) and 12 / (2 * 4)
    assert method.weights.tolist() == [0.75] * 8 + [1.5] * 4 + [0]


def test_the_loss_is_the_weighed_cross_entropy() -> None:
    method = DeepCluster(Flat(), images=13, clusters=2)
    method.after_epoch(groups)
    with torch.no_grad():
        method.classifier.weight.zero_()
        method.classifier.bias.copy_(torch.tensor([1.0, 0.0]))
    index = torch.tensor([0, 9, 12])
    losses = {0: math.log(1 + math.exp(-1)), 1: math.log(1 + math.exp(1))}
    expected = 0.75 * losses[int(method.labels[0])] + 1.5 * losses[int(method.labels[9])]  # and nothing for image 12
    assert method(torch.zeros(3, 1, 1, 2), index).item() == pytest.approx(expected / 3, rel=1e-6)
    nn.init.zeros_(method.classifier.bias)
    average = method(torch.zeros(12, 1, 1, 2), torch.arange(12))
    assert average.item() == pytest.approx(math.log(2), rel=1e-6), "weights are 1 on average"


def test_a_cluster_without_images_takes_no_part_in_the_weights() -> None:
    assert balanced(torch.tensor([0, 0, 2]), 4).tolist() == [0.75, 0.75, 1.5]


def test_each_clustering_begins_with_another_classifier_and_a_checkpoint_holds_its_seed() -> None:
    method = DeepCluster(Flat(), images=13, clusters=2)
    method.after_epoch(groups)
    state = {name: value.clone() for name, value in method.state_dict().items()}
    method.after_epoch(groups)
    assert not torch.equal(state["classifier.weight"], method.classifier.weight)
    other = DeepCluster(Flat(), images=13, clusters=2)
    other.load_state_dict(state)
    other.after_epoch(groups)
    assert torch.equal(other.classifier.weight, method.classifier.weight)
    assert torch.equal(other.labels, method.labels)


def test_the_number_of_clusters() -> None:
    assert cluster_count(None, 1_281_167) == 10_000
    assert cluster_count(None, 20_000) == 156
    assert cluster_count(None, 10) == 2
    config = replace(PretrainConfig(), method="deepcluster", method__clusters=100)
    with pytest.raises(UserError, match=r"^method.clusters is 100, but there are 64 images; give 64 or less"):
        DeepCluster.check(config, TrainingSet(64))
    DeepCluster.check(config, TrainingSet(100))
