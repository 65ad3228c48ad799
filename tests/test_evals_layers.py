"""Every stage of an encoder judged: what a stage gives, which is best, and encoders that have none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from byol.data.transform import Transform
from byol.encoders.load import LoadedEncoder, open_encoder
from byol.errors import UserError
from byol.evals import layers
from byol.evals.cache import FeatureConfig
from byol.evals.evaluation import Task
from byol.evals.fewshot import standardize
from byol.evals.layers import LayersConfig, averaged, maps_of, stages_of
from evals_data import TINY, colored

PLAIN = FeatureConfig(cache=False)


class Forgetting(nn.Module):
    """An encoder whose first stage has the colors, and whose last has nothing."""

    feature_info = ({"module": "colors"}, {"module": "nothing"})

    def forward(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 4)

    def forward_intermediates(self, images: Tensor, intermediates_only: bool) -> list[Tensor]:
        assert intermediates_only
        return [images, torch.zeros(len(images), 4, 2, 2)]


def loaded(module: nn.Module) -> LoadedEncoder:
    transform = Transform(image_size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    return LoadedEncoder(module.eval(), transform, "made up", "0" * 16, None)


def test_a_map_is_averaged_over_the_largest_grid_that_gives_no_more_values() -> None:
    found = torch.arange(32.0).view(1, 2, 4, 4)
    assert averaged(found, 1).tolist() == averaged(found, 7).tolist() == [[7.5, 23.5]]
    by_hand = [[2.5, 4.5, 10.5, 12.5, 18.5, 20.5, 26.5, 28.5]]
    assert averaged(found, 8).tolist() == averaged(found, 17).tolist() == by_hand
    assert torch.equal(averaged(found, 1000), found.flatten(1)), "no finer than the map"
    assert averaged(found[:, :, :1], 1000).tolist() == [[1.5, 17.5]], "a square grid"


def test_the_last_stage_of_a_resnet_has_the_encoders_features() -> None:
    encoder = open_encoder(TINY)
    everything, stages = stages_of(encoder, None)
    assert [stage.name for stage in stages] == ["act1", "layer1", "layer2", "layer3", "layer4"]
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        features, vector, maps = encoder.module(images), everything.module(images), maps_of(encoder.module, images)
    assert stages[-1].end - stages[-1].begin == features.shape[1] == 64
    assert torch.allclose(vector[:, stages[-1].begin :], features, atol=1e-6)
    assert vector.shape[1] == stages[-1].end
    assert all(stage.end - stage.begin <= 64 for stage in stages)
    first = vector[:, : stages[0].end]
    assert torch.allclose(first, averaged(maps[0], 64))
    assert everything.fingerprint != encoder.fingerprint, "features that are stored are told apart"


def test_an_early_stage_may_be_the_best() -> None:
    task = Task(loaded(Forgetting()), colored(16), colored(8, seed=1))
    found = layers.evaluate(task, LayersConfig(features=PLAIN))
    assert found == {"top1": 1.0, "best": 1, "top1_colors": 1.0, "top1_nothing": pytest.approx(1 / 3)}


def test_a_stage_is_judged_by_scikit_learns_classifier() -> None:
    train, test = colored(16), colored(30, seed=1)
    noise = torch.Generator().manual_seed(0)
    for source in (train, test):
        drawn = torch.randint(-150, 150, (len(source), 3, 1, 1), generator=noise)
        source.images = (source.images + drawn).clamp(0, 255).to(torch.uint8)
    encoder = loaded(Forgetting())
    found = layers.evaluate(Task(encoder, train, test), LayersConfig(l2=(2.0,), values=3, features=PLAIN))
    means = [encoder.transform.normalize(source.images).mean(dim=(2, 3)) for source in (train, test)]
    x, queries = (values.numpy() for values in standardize(*means))
    fitted = LogisticRegression(C=1 / 2.0, max_iter=1000).fit(x, train.labels)
    assert 0.34 < fitted.score(queries, test.labels) < 0.99
    assert found["top1_colors"] == pytest.approx(fitted.score(queries, test.labels))


def test_transformers_have_a_stage_for_each_block() -> None:
    encoder = open_encoder("random:vit_tiny_patch16_224@32")
    _, stages = stages_of(encoder, None)
    assert [stage.name for stage in stages] == [f"blocks.{number}" for number in range(12)]
    assert {stage.end - stage.begin for stage in stages} == {192}


@pytest.mark.parametrize(
    ("encoder", "config", "words"),
    [
        ("pixels@4", {}, "gives no feature maps of its stages"),
        (TINY, {"l2": ()}, "l2 is (), but must be one number or more"),
        (TINY, {"l2": (0.0,)}, "each above 0"),
        (TINY, {"values": 0}, "values is 0, but must be 1 or more"),
        (TINY, {"held_out": 1.0}, "held_out is 1.0, but must be a share"),
    ],
)
def test_what_cannot_be_is_one_sentence(encoder: str, config: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        layers.evaluate(Task(open_encoder(encoder), colored(6), colored(3, seed=1)), LayersConfig(**config))
    assert words in str(caught.value)


def test_features_are_stored_once_for_all_stages(tmp_path: Path) -> None:
    task = Task(open_encoder(TINY), colored(8), colored(4, seed=1))
    config = LayersConfig(l2=(1.0,), features=FeatureConfig(folder=str(tmp_path)))
    once = layers.evaluate(task, config)
    assert len(list(tmp_path.iterdir())) == 2
    again = layers.evaluate(replace(task), config)
    assert again == once
    assert {np.load(path / "values.npy").shape[0] for path in tmp_path.iterdir()} == {12, 24}
