"""AMDIM: the bound against a computation by hand, its corners, and which views are compared."""

import math

import pytest
import torch
from torch import Tensor, nn

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.errors import UserError
from byol.methods import amdim
from byol.methods.amdim import AMDIM
from byol.methods.base import TrainingSet


class Stages(nn.Module):
    """An encoder whose early map is the image, and whose features are its mean."""

    num_features = 3

    def forward_intermediates(self, x: Tensor, indices: list[int]) -> tuple[Tensor, list[Tensor]]:
        assert indices == [-2]
        return x, [x]

    def forward_head(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def method(across: bool = True, penalty: float = 0.0, clip: float = 20.0) -> AMDIM:
    return AMDIM(Stages(), nn.Identity(), nn.Identity(), across=across, penalty=penalty, clip=clip)


def test_the_bound_agrees_with_a_computation_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    wholes, places = 5 * torch.randn(3, 4, generator=generator), torch.randn(3, 2, 4, generator=generator)

    def score(image: int, other: int, place: int) -> float:
        return 3 * math.tanh(float(wholes[image] @ places[other, place]) / 2 / 3)  # the root of 4, clipped at 3

    total, squares = 0.0, 0.0
    for image in range(3):
        rest = sum(math.exp(score(image, other, place)) for other in range(3) if other != image for place in range(2))
        for place in range(2):
            own = math.exp(score(image, image, place))
            total -= math.log(own / (own + rest)) / 6
        squares += sum(float(wholes[image] @ places[o, k] / 2) ** 2 for o in range(3) for k in range(2)) / 18
    assert method(penalty=0.1, clip=3.0).bound(wholes, places).item() == pytest.approx(total + 0.1 * squares, rel=1e-5)


def test_the_bound_is_ln_of_the_others_without_knowledge() -> None:
    places = torch.zeros(5, 4, 3)
    assert method().bound(torch.randn(5, 3), places).item() == pytest.approx(math.log(1 + 4 * 4), rel=1e-6)


def test_places_are_those_of_the_other_view_or_of_the_same_one() -> None:
    view1, view2 = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 2, 2)
    wholes = [view.mean((2, 3)) for view in (view1, view2)]
    places = [view.flatten(2).transpose(1, 2) for view in (view1, view2)]
    learner = method()
    crossed = (learner.bound(wholes[0], places[1]) + learner.bound(wholes[1], places[0])) / 2
    torch.testing.assert_close(learner(view1, view2), crossed)
    within = method(across=False)
    same = (within.bound(wholes[0], places[0]) + within.bound(wholes[1], places[1])) / 2
    torch.testing.assert_close(within(view1, view2), same)


def test_an_encoder_without_stages_is_refused_and_a_transformer_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(PretrainConfig(), method="amdim", encoder="vit_tiny_patch16_224", image_size=224)
    AMDIM.check(config, TrainingSet(64))
    monkeypatch.setattr(amdim, "early_map_shape", lambda spec, size: None)
    with pytest.raises(UserError, match="needs an encoder with feature maps, but 'vit_tiny_patch16_224' has none"):
        AMDIM.check(config, TrainingSet(64))
