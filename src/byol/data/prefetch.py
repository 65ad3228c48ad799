"""Prefetch: work on the next items begins before they are asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import TypeVar

__all__ = ["prefetch", "prefetch_map"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(begin: Callable[[Item], Callable[[], Result]], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """The result of each item, in order.

    Args:
        begin: starts the work on an item and returns a function that waits for its result.
        items: taken one by one, as work on them begins.
        ahead: items beyond the one asked for whose work has begun; 0 begins none before it is asked for.
    """
    waiting: deque[Callable[[], Result]] = deque()
    for item in items:
        waiting.append(begin(item))
        if len(waiting) > ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def prefetch_map(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """`function` of each item, in order, by the threads of a pool; `ahead` as for `prefetch`."""
    return prefetch(lambda item: pool.submit(function, item).result, items, ahead)
