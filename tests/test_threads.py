"""Threads that each work alone: how many threads PyTorch has in them, and that they change no pixel."""

import threading
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from byol.augment.draw import draw_view
from byol.augment.views import LARGE_BYTES, make_views
from byol.config.views import IMAGENET_MEAN, IMAGENET_STD, AugmentConfig, Normalization
from byol.runtime.seeds import generator_of
from byol.runtime.threads import parallel_for, single_threaded_pool


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_each_worker_is_alone_and_nobody_else_notices(threads: int) -> None:
    seen: list[int] = []
    with single_threaded_pool(3, "test") as pool:
        inside = [pool.submit(torch.get_num_threads).result() for _ in range(6)]
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
    assert inside == [1] * 6
    assert seen == [threads]
    assert torch.get_num_threads() == threads


def test_every_part_is_done_once(threads: int) -> None:
    done = torch.zeros(10)
    names: set[str] = set()

    def work(part: slice) -> None:
        done[part] += 1
        names.add(threading.current_thread().name)

    parallel_for(work, [slice(i, i + 1) for i in range(10)])
    assert done.tolist() == [1.0] * 10
    assert (threading.current_thread().name in names) == (threads == 1)


def test_what_goes_wrong_in_a_part_is_raised(threads: int) -> None:
    def work(part: slice) -> None:
        if part.start == 2:
            raise ValueError("part 2")

    with pytest.raises(ValueError, match="part 2"):
        parallel_for(work, [slice(i, i + 1) for i in range(4)])


def test_large_views_are_the_same_however_many_threads(threads: int) -> None:
    size = 120
    assert 4 * 3 * size**2 >= LARGE_BYTES, "or images are not taken one by one"
    images = torch.randint(256, (5, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    config = AugmentConfig()
    params = [draw_view(view, 5, partial(generator_of, 1, n)) for n, view in enumerate((config.view1, config.view2))]
    views = make_views((images, images), params, Normalization(IMAGENET_MEAN, IMAGENET_STD))
    torch.set_num_threads(1)
    for view, drawn in zip(views, params, strict=True):
        for i in range(5):
            (alone,) = make_views([images[i : i + 1]], [drawn[i : i + 1]], Normalization(IMAGENET_MEAN, IMAGENET_STD))
            torch.testing.assert_close(view[i : i + 1], alone, rtol=0, atol=1e-6)
