"""Multi-crop: the views, the loss against BYOL's, a predictor for each kind of view, one run."""

from pathlib import Path

import pytest
import torch
from torch import nn

import byol
from byol.config.methods import BYOLConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.batch import Batch
from byol.errors import UserError
from byol.methods.byol import BYOL, distance
from byol.methods.multicrop import MultiCropBYOL
from small_networks import gradients, online, predictor, views


def method(**options: str) -> MultiCropBYOL:
    return MultiCropBYOL(*online(), predictor(), local_predictor=predictor(seed=9), **options)


def batch(local_views: int = 3) -> Batch:
    several = [view for seed in range(local_views + 2) for view in views(seed=seed)[:1]]
    return Batch(tuple(several))


def total(learner: MultiCropBYOL, of: Batch) -> torch.Tensor:
    return torch.stack([learner(*term) for term in learner.terms(of)]).sum()


def test_the_paper_s_views() -> None:
    config = replace(PretrainConfig(), method="multicrop")
    specs = MultiCropBYOL.views(config)
    assert [spec.size for spec in specs] == [224, 224, 96, 96]
    assert [spec.config.area for spec in specs] == [(0.25, 1.0)] * 2 + [(0.08, 0.25)] * 2
    assert [spec.config.solarize for spec in specs] == [0.0, 0.2, 0.0, 0.2]
    small = replace(config, image_size=24, method__local_views=3, method__local_size=12)
    assert [spec.size for spec in MultiCropBYOL.views(small)] == [24, 24, 12, 12, 12]


def test_the_loss_is_byol_s_and_the_mean_of_the_local_views() -> None:
    learner, of = method(), batch()
    plain = BYOL(learner.encoder, learner.projector, learner.predictor)
    targets = [learner.target_projector(learner.target_encoder(view)) for view in of.views[:2]]
    local = [
        distance(learner.local_predictor(learner.projector(learner.encoder(view))), target).mean()
        for view in of.views[2:]
        for target in targets
    ]
    expected = plain(*of.views[:2]) + torch.stack(local).sum() / 3
    assert total(learner, of).item() == pytest.approx(expected.item(), rel=1e-12)


def test_each_kind_of_view_teaches_its_own_predictor() -> None:
    learner, of = method(), batch()
    first, second = learner.terms(of)
    assert learner(*first).requires_grad
    weights = list(learner.local_predictor.parameters())
    assert torch.autograd.grad(learner(*first), weights, allow_unused=True) == (None,) * len(weights)
    found = gradients(learner, learner(*second))
    assert all(g.abs().sum() > 0 for name, g in found.items()), "the last term has a gradient for every weight"
    alone = BYOL(learner.encoder, learner.projector, learner.predictor)
    expected = gradients(alone, alone(*of.views[:2]))
    both = gradients(learner, total(learner, of))
    torch.testing.assert_close(both["predictor.0.weight"], expected["predictor.0.weight"])


def test_a_stop_gradient_target_is_the_online_network_held_fixed() -> None:
    learner, of = method(target="stop-gradient"), batch()
    ema = method()
    assert total(learner, of).item() == pytest.approx(total(ema, of).item(), rel=1e-12), "a copy at the start"
    with pytest.raises(UserError, match="'ema' or 'stop-gradient'"):
        replace(PretrainConfig(), method="multicrop", method__target="online")


def test_it_keeps_what_a_recipe_changed_for_byol() -> None:
    config = replace(PretrainConfig(method=BYOLConfig(hidden=64, tau=0.97)), method="multicrop")
    assert (config.method.hidden, config.method.tau) == (64, 0.97)


@pytest.mark.parametrize("memory", ["always", "never"])
def test_a_run_trains_on_views_of_two_sizes(tmp_path: Path, memory: str) -> None:
    seen: set[tuple[int, ...]] = set()
    forward = nn.Module.__call__

    def spy(self: nn.Module, *inputs: torch.Tensor) -> object:
        if isinstance(self, MultiCropBYOL):
            seen.update(tuple(x.shape) for x in inputs if x.ndim == 4)
        return forward(self, *inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "__call__", spy)
        outcome = byol.pretrain(
            "photos:train",
            recipe="photos",
            out=tmp_path / "run",
            quiet=True,
            method="multicrop",
            method__local_size=12,
            image_size=24,
            batch_size=32,
            epochs=0.02,
            data__memory=memory,
        )
    assert outcome.verdict is not None
    assert seen == {(32, 3, 24, 24), (32, 3, 12, 12)}
