"""Where time goes: a watch that is laid on the functions of the product while they run, and taken off again."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopwatch:
    """Seconds by part. Parts may lie within one another; each moment counts for the innermost.

    What other threads do is kept apart, since it happens beside the rest.

    Args:
        settle: called before each look at the clock, to wait for a device.
        clock: seconds.
    """

    def __init__(
        self, settle: Callable[[], object] = lambda: None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Of the thread that made this watch."""
        self.beside: defaultdict[str, float] = defaultdict(float)
        """Of all other threads together."""
        self._settle, self._clock = settle, clock
        self._owner = threading.get_ident()
        self._lock = threading.Lock()
        self._local = threading.local()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens within counts for `name`."""
        mine = threading.get_ident() == self._owner
        if mine:
            self._settle()
        open_parts: list[str] = self._local.__dict__.setdefault("open_parts", [])
        self._look(open_parts)
        open_parts.append(name)
        try:
            yield
        finally:
            if mine:
                self._settle()
            self._look(open_parts)
            open_parts.pop()

    @contextmanager
    def on(self, owner: Any, attribute: str, name: str) -> Iterator[None]:
        """Calls of `owner.attribute`, of an object, a class or a module, count for `name` until the end."""
        original = getattr(owner, attribute)
        own = vars(owner).get(attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return original(*args, **kwargs)

        setattr(owner, attribute, timed)
        try:
            yield
        finally:
            if own is None:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, own)

    def _look(self, open_parts: list[str]) -> None:
        """Give the time since the last look to the innermost part."""
        now = self._clock()
        if open_parts:
            with self._lock:
                kept = self.seconds if threading.get_ident() == self._owner else self.beside
                kept[open_parts[-1]] += now - self._local.last
        self._local.last = now
