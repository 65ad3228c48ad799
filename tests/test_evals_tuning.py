"""Choices on held-out images: splits, ties, and the penalty that is fitted again on both parts."""

import pytest
import torch

from byol.errors import UserError
from byol.evals.logistic import LogisticPath
from byol.evals.metrics import top_k
from byol.evals.tuning import Examples, choose, hold_out_images, joined, split_off, tune_penalty


def examples(count: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    centers = torch.eye(3, 5)
    return Examples(centers[labels] + 0.8 * torch.randn(count, 5, generator=generator), labels)


def test_of_equal_scores_the_first_setting_is_chosen() -> None:
    assert choose([3.0, 1.0, 2.0], lambda setting: min(setting, 2.0)) == (3.0, 2.0)
    assert choose([1.0, 2.0, 3.0], lambda setting: min(setting, 2.0)) == (2.0, 2.0)


def test_images_without_classes_are_split_at_random() -> None:
    remaining, held_out = hold_out_images(10, 0.2, seed=0)
    assert len(held_out) == 2
    assert sorted(remaining + held_out) == list(range(10))
    assert hold_out_images(10, 0.2, seed=1)[1] != held_out
    assert len(hold_out_images(2, 0.9, seed=0)[0]) == 1
    with pytest.raises(UserError, match="two training images at least"):
        hold_out_images(1, 0.5, seed=0)


def test_the_penalty_with_the_best_held_out_score_is_fitted_again_on_both_parts() -> None:
    train = examples(60, 0)
    split = split_off(train, 0.2, seed=0)
    assert (len(split.fitted.labels), len(split.held_out.labels)) == (48, 12)
    penalties = (0.01, 1e4, 1.0)
    tuned = tune_penalty(split, 3, penalties, top_k)
    scores = {
        fit.l2: split.held_out.score(fit, top_k)
        for fit in LogisticPath(split.fitted.features, split.fitted.labels, 3).path(sorted(penalties, reverse=True))
    }
    assert tuned.held_out_score == max(scores.values())
    assert tuned.fit.l2 == max(l2 for l2, score in scores.items() if score == tuned.held_out_score)
    again = LogisticPath(train.features, train.labels, 3).fit(tuned.fit.l2)
    assert torch.allclose(tuned.fit.weight, again.weight, atol=1e-3)


def test_of_equal_scores_the_strongest_penalty_is_chosen() -> None:
    split = joined(examples(30, 0), examples(30, 1))
    assert tune_penalty(split, 3, (0.1, 10.0, 1.0), lambda scores, labels: 0.5).fit.l2 == 10.0
    assert len(split.both.labels) == 60
