"""The page of a run that goes on: written now and then, and at rest when the run has ended, for whatever reason."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from byol.errors import UserError
from byol.pretraining.pictures import views_of
from byol.pretraining.run_folder import RunFolder
from byol.pretraining.run_page import write_run_page
from byol.pretraining.setup import Run

log = logging.getLogger(__name__)

EVERY = 15
"""Seconds between two pages at least, and after which a browser loads the page again."""
COST = 100
"""Times that writing a page took which pass before the next one: a hundredth of the run at most."""


class LivePage:
    """Writes the page of a run that goes on, where `--logging.page` asks for it."""

    def __init__(self, folder: RunFolder | None) -> None:
        self._folder = folder
        self._due = -math.inf

    @classmethod
    def of(cls, run: Run) -> "LivePage":
        """That of a run; it writes nothing where none is wanted, or in processes that write nothing."""
        return cls(run.folder if run.config.logging.page else None)

    def renew(self) -> None:
        """Write the page, if the last one is old enough. A disk that is full ends the pages, not the run."""
        if self._folder is None or time.monotonic() < self._due:
            return
        began = time.monotonic()
        try:
            write_run_page(self._folder.path, EVERY)
        except OSError as error:
            log.warning(f"the page is not kept up to date: {error.strerror or error}")
            self._folder = None
            return
        ended = time.monotonic()
        self._due = ended + max(EVERY, COST * (ended - began))


@contextmanager
def page_kept(run: Run) -> Iterator[LivePage]:
    """The page of a run for the time of a `with`, with its views; afterwards it no longer reloads itself."""
    page = LivePage.of(run)
    if run.config.logging.page and run.config.logging.pictures:
        views = views_of(run)
        if run.folder is not None:
            views.save(run.folder)
    page.renew()
    try:
        yield page
    finally:
        if run.config.logging.page and run.folder is not None:
            with suppress(OSError, UserError):
                write_run_page(run.folder.path)
