"""Parts whose classes are numbered differently are joined by name; numbers and names are never mixed up."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from byol.data.joined_labels import labels_in_numbers_of
from byol.data.sources.class_names import class_order
from byol.data.sources.open import TensorSource
from byol.encoders.load import open_encoder
from byol.errors import UserError
from byol.evals import knn, transfer
from byol.evals.cache import FeatureConfig
from byol.evals.evaluation import Task
from byol.evals.labels import labeled_parts
from byol.pretraining.monitor import split
from evals_data import colored


def part(labels: list[int], classes: list[str] | None = None, name: str = "part") -> TensorSource:
    return TensorSource(torch.rand(len(labels), 3, 8, 8), labels, classes, name)


TEXT_ORDER = ["0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"]


@pytest.mark.parametrize(
    ("first", "other", "labels"),
    [
        (part([0, 1, 2]), part([2, 0, 1]), [2, 0, 1]),
        (part(list(range(12))), part([2, 4, 11], TEXT_ORDER), [10, 2, 9]),
        (part(list(range(12)), TEXT_ORDER), part([10, 2, 9]), [2, 4, 11]),
        (part([0, 1], ["cat", "dog"]), part([0, 1, 0], ["dog", "cat"]), [1, 0, 1]),
        (part([0, 1], ["01", "02"]), part([0, 1], ["1", "2"]), [0, 1]),
        (part([0, 1], ["02", "10"]), part([2, 10]), [0, 1]),
        (part([1, 2], None), part([0, 1, -1], ["1", "2"]), [1, 2, -1]),
    ],
)
def test_classes_are_joined_by_what_they_are_called(
    first: TensorSource, other: TensorSource, labels: list[int]
) -> None:
    assert labels_in_numbers_of(first, other) == labels


@pytest.mark.parametrize(
    ("first", "other", "words"),
    [
        (
            part([0, 1], ["cat", "dog"], "a"),
            part([0, 1], name="b"),
            "of a have names .'cat', 'dog'. and those of b are",
        ),
        (
            part([0, 1], name="a"),
            part([0, 1], ["cat", "dog"], "b"),
            "of b have names .'cat', 'dog'. and those of a are",
        ),
        (part([0, 1], ["1", "01"], "a"), part([0, 1], name="b"), "have names"),
        (part([0, 1], ["1", "2"], "a"), part([0, 1], name="b"), "class '0' of b is none of a"),
        (part([0, 1], ["cat", "dog"], "a"), part([0, 1], ["cat", "cow"], "b"), "class 'cow' of b is none of a"),
    ],
)
def test_what_cannot_be_told_is_refused(first: TensorSource, other: TensorSource, words: str) -> None:
    with pytest.raises(UserError, match=words):
        labels_in_numbers_of(first, other)


@given(st.lists(st.integers(0, 500), min_size=2, max_size=20, unique=True), st.randoms())
def test_names_that_spell_the_numbers_change_nothing(numbers: list[int], chance: object) -> None:
    names = [str(number) for number in numbers]
    chance.shuffle(names)  # type: ignore[attr-defined]
    named = part([names.index(str(number)) for number in numbers], names)
    bare = part(numbers)
    assert labels_in_numbers_of(bare, named) == numbers
    assert labels_in_numbers_of(named, bare) == named.labels
    assert class_order(names) == [str(number) for number in sorted(numbers)]


def test_evaluations_number_the_classes_that_have_images() -> None:
    train, test = part([12, 1, 7, 7, -1]), part([7, 12, 1])
    parts = labeled_parts(train, test)
    assert (parts.classes, parts.train.labels, parts.test.labels) == (["1", "7", "12"], [2, 0, 1, 1], [1, 2, 0])
    assert parts.like(part([1, 12]), "validation").labels == [0, 2]
    with pytest.raises(UserError, match="class '3' of valid has no image in"):
        parts.like(part([1, 3], name="valid"), "validation")
    names = ["ant", "bee", "cat"]
    parts = labeled_parts(part([0, 2], names), part([2, 0], names))
    assert (parts.classes, parts.train.labels, parts.test.labels) == (["ant", "cat"], [0, 1], [1, 0])


def test_a_part_in_another_order_gives_the_same_result() -> None:
    train, test = colored(16), colored(8, seed=1)
    assert train.classes is not None
    turned = TensorSource(test.images, [2 - label for label in test.labels or ()], train.classes[::-1])
    encoder, kept = open_encoder("pixels@8"), FeatureConfig(cache=False)
    for evaluate in (
        lambda task: knn.evaluate(task, knn.KnnConfig(k=(5,), features=kept)),
        lambda task: transfer.evaluate(task, transfer.TransferConfig(l2=(0.1, 1.0), features=kept)),
    ):
        straight = evaluate(Task(encoder, train, test, valid=colored(6, seed=2)))
        assert evaluate(Task(encoder, train, turned, valid=colored(6, seed=2))) == straight
        assert max(straight.values()) > 0.6


def test_readings_join_the_monitor_by_name() -> None:
    data, monitor = part([0, 1] * 9, ["cat", "dog"]), part([0, 1, 1], ["dog", "cat"])
    _, bank, queries, _ = split(data, monitor, 0)
    assert bank is data, "what votes is what is trained on, and may lie in memory"
    assert queries is not None
    assert (queries.labels, queries.classes) == ([1, 0, 0], ["cat", "dog"])
    _, _, queries, _ = split(part([2, 10] * 9), part([0, 1, 1], ["10", "2"]), 0)
    assert queries is not None
    assert queries.labels == [10, 2, 2]
    _, _, queries, _ = split(part([0, 1] * 9, ["01", "02"]), part([0, 1, 1], ["2", "1"]), 0)
    assert queries is not None
    assert queries.labels == [1, 0, 0]
    with pytest.raises(UserError, match=r"give both parts names.*, or --unlabeled where the first are no classes\."):
        split(data, part([0, 1]), 0)
