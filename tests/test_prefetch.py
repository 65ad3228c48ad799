"""Prefetch: results come in order, and no more work begins ahead than was asked for."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from byol.data.prefetch import prefetch, prefetch_map


@pytest.mark.parametrize("ahead", [0, 1, 3, 10, 50])
def test_so_many_items_begin_ahead(ahead: int) -> None:
    begun: list[int] = []

    def begin(item: int) -> Callable[[], int]:
        begun.append(item)
        return lambda: item * item

    results = prefetch(begin, range(10), ahead)
    assert begun == []
    for item in range(10):
        assert next(results) == item * item
        assert begun == list(range(min(10, item + ahead + 1)))
    assert next(results, None) is None


def test_nothing_gives_nothing() -> None:
    assert list(prefetch(lambda item: lambda: item, [], 3)) == []


def test_threads_keep_the_order_and_errors_their_place() -> None:
    def inverse(item: int) -> float:
        return 1 / (item - 3)

    with ThreadPoolExecutor(2) as pool:
        results = prefetch_map(pool, inverse, range(6), ahead=2)
        assert [next(results) for _ in range(3)] == [1 / -3, 1 / -2, -1]
        with pytest.raises(ZeroDivisionError):
            next(results)
