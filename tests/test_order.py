"""Orders of images: every epoch is a permutation, and any step's images follow from the seed and the step alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from byol.data.order import EpochOrder, Shards
from byol.runtime.seeds import generator_of

SHARDS = st.builds(
    Shards,
    st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any).map(tuple),
    st.integers(1, 20),
)


def shuffled(images: int, seed: int, epochs: int) -> Tensor:
    """Permutations of all images, one epoch after the other."""
    return torch.cat([torch.randperm(images, generator=generator_of(seed, "order", epoch)) for epoch in range(epochs)])


@pytest.mark.parametrize(("images", "batch_size"), [(30, 8), (30, 30), (30, 64), (7, 1), (1, 3)])
def test_batches_go_through_one_permutation_after_the_other(images: int, batch_size: int) -> None:
    order = EpochOrder(images, seed=5)
    expected = shuffled(images, 5, 4 + 12 * batch_size // images)
    for step in range(12):
        assert torch.equal(order.indices(step, batch_size), expected[step * batch_size : (step + 1) * batch_size])


def test_a_slice_begins_anywhere() -> None:
    assert torch.equal(EpochOrder(30, seed=5).take(25, 50), shuffled(30, 5, 3)[25:75])
    assert EpochOrder(30, seed=5).take(25, 0).tolist() == []


def test_the_order_depends_on_seed_and_epoch() -> None:
    for shards in (None, Shards((20, 20), 8)):
        orders = [EpochOrder(40, seed, shards).epoch(epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
        assert len({tuple(order) for order in orders}) == 4


@given(SHARDS, st.integers(0, 100), st.integers(0, 5))
@settings(deadline=None, max_examples=100)
def test_an_epoch_of_shards_has_every_image_once(shards: Shards, seed: int, epoch: int) -> None:
    images = sum(shards.sizes)
    assert sorted(EpochOrder(images, seed, shards).epoch(epoch).tolist()) == list(range(images))


@given(SHARDS, st.integers(0, 100), st.integers(1, 30), st.integers(0, 9))
@settings(deadline=None, max_examples=100)
def test_starting_at_a_step_gives_the_order_of_a_whole_run(
    shards: Shards, seed: int, batch_size: int, first: int
) -> None:
    images = sum(shards.sizes)
    whole = EpochOrder(images, seed, shards)
    steps = [whole.indices(step, batch_size).tolist() for step in range(10)]
    resumed = EpochOrder(images, seed, shards)
    assert [resumed.indices(step, batch_size).tolist() for step in range(first, 10)] == steps[first:]
    backwards = EpochOrder(images, seed, shards)
    assert [backwards.indices(step, batch_size).tolist() for step in reversed(range(10))] == steps[::-1]


@given(st.integers(1, 40), st.integers(0, 100))
@settings(deadline=None, max_examples=100)
def test_images_come_out_within_a_window_of_where_they_are_read(window: int, seed: int) -> None:
    places = EpochOrder(100, seed, Shards((100,), window)).epoch(0)
    moved = (places - torch.arange(100)).abs()
    assert int(moved.max()) < window


def test_a_window_shuffles_and_a_window_of_one_does_not() -> None:
    assert EpochOrder(6, 0, Shards((6,), 1)).epoch(0).tolist() == list(range(6))
    places = EpochOrder(1000, 0, Shards((1000,), 100)).epoch(0)
    moved = (places - torch.arange(1000)).abs().double()
    # An image moves by a uniform number in about [-50, 50), whose mean size is 25.
    assert float(moved.mean()) == pytest.approx(25, rel=0.05)


def test_shards_come_one_after_the_other_in_an_order_of_their_own() -> None:
    order = EpochOrder(12, 3, Shards((3, 4, 5), 1))
    whole = {(0, 1, 2), (3, 4, 5, 6), (7, 8, 9, 10, 11)}
    first_shards = set()
    for epoch in range(20):
        rest = order.epoch(epoch).tolist()
        first_shards.add(rest[0])
        seen = set()
        while rest:
            shard = next(shard for shard in whole if shard[0] == rest[0])
            assert tuple(rest[: len(shard)]) == shard
            seen.add(shard)
            rest = rest[len(shard) :]
        assert seen == whole
    assert first_shards == {0, 3, 7}


def test_a_reader_holds_no_more_images_than_the_window() -> None:
    shards = Shards((40, 25, 35), 16)
    images = sum(shards.sizes)
    in_reading_order = EpochOrder(images, 2, Shards(shards.sizes, 1)).epoch(4).tolist()
    read: set[int] = set()
    waiting = iter(in_reading_order)
    for number, image in enumerate(EpochOrder(images, 2, shards).epoch(4).tolist()):
        while image not in read:
            read.add(next(waiting))
        assert len(read) - number <= 16
