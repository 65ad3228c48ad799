"""Where a run's words go: log.txt, the terminal, whoever listens to the logger; and that nothing stays behind."""

import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import byol
from byol.pretraining import finish as finishing
from byol.runtime.console import ROOT, ProgressBar, words_to
from conftest import TINY

log = logging.getLogger("byol.somewhere.deep")


@pytest.fixture(autouse=True)
def _left_as_it_was() -> Iterator[None]:
    """Whatever a test does, the logger is afterwards as it was before."""
    before = ROOT.level, list(ROOT.handlers), ROOT.propagate
    yield
    assert (ROOT.level, ROOT.handlers, ROOT.propagate) == before


class Listener(logging.Handler):
    """A handler of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append((record.name, record.levelname, record.getMessage()))


@pytest.fixture
def listener() -> Iterator[Listener]:
    handler = Listener()
    ROOT.addHandler(handler)
    yield handler
    ROOT.removeHandler(handler)


def test_words_reach_the_log_and_the_terminal_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with words_to(tmp_path):
        log.info("hello [b]there[/b] :smile: 12%% %s")
        log.warning("%d images", 3, extra={"style": "bold yellow"})
        log.debug("not this")
        said = "hello [b]there[/b] :smile: 12%% %s\n3 images\n"
        assert (tmp_path / "log.txt").read_text() == said, "readable at once, before the end"
    assert capsys.readouterr() == (said, "")
    log.warning("nobody is there any more")
    assert (tmp_path / "log.txt").read_text() == said


def test_quiet_prints_nothing_but_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with words_to(tmp_path, quiet=True) as bar:
        log.info("hello")
        bar.start(10, 0)
        bar.advance(3, "note")
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "log.txt").read_text() == "hello\n"


def test_other_processes_print_and_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with words_to(None) as bar:
        log.warning("hello")
        bar.start(10, 0)
        bar.advance(3, "note")
    assert capsys.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_unicode_are_written_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with words_to(tmp_path):
        log.info("run caf\udce9 é")
    assert capsys.readouterr().out == "run caf\\udce9 é\n"
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "run caf\\udce9 é\n"


def test_a_second_time_nothing_is_said_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "a"):
        (tmp_path / name).mkdir(exist_ok=True)
        with words_to(tmp_path / name):
            log.info(f"in {name}")
    assert capsys.readouterr().out == "in a\nin b\nin a\n"
    assert (tmp_path / "a" / "log.txt").read_text() == "in a\nin a\n", "a run that goes on appends"
    assert (tmp_path / "b" / "log.txt").read_text() == "in b\n"


def _fail_in(folder: Path) -> None:
    with words_to(folder, quiet=True) as bar:
        bar.start(10, 0)
        _ = 1 // 0


@pytest.mark.parametrize("level", [logging.NOTSET, logging.DEBUG, logging.ERROR])
def test_the_users_level_and_handlers_come_back(level: int, tmp_path: Path, listener: Listener) -> None:
    before = ROOT.level
    ROOT.setLevel(level)
    try:
        with words_to(tmp_path, quiet=True):
            assert listener in ROOT.handlers
            assert len(ROOT.handlers) == 3
        assert (ROOT.level, ROOT.handlers) == (level, [listener])
        with pytest.raises(ZeroDivisionError):
            _fail_in(tmp_path)
        assert (ROOT.level, ROOT.handlers) == (level, [listener])
    finally:
        ROOT.setLevel(before)


def test_the_users_own_handler_hears_a_run(
    image_folder: Path, tmp_path: Path, listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "second"):
        listener.heard.clear()
        byol.pretrain(image_folder, recipe="cifar10-cpu", out=tmp_path / name, quiet=name == "second", **TINY)
        written = (tmp_path / name / "log.txt").read_text().splitlines()
        assert "\n".join(words for _, _, words in listener.heard).splitlines() == written
        assert {name.partition(".")[0] for name, _, _ in listener.heard} == {"byol"}
        assert written[0] == f"{image_folder}: 64 images, 36 x 40 px, color, 8-bit"
        assert written[-2] == f"encoder {tmp_path / name / 'encoder.safetensors'}"
        assert written[-1] == f"in Python: import byol; encoder = byol.load_encoder({str(tmp_path / name)!r})"
        assert ROOT.handlers == [listener]
        assert capsys.readouterr().out.splitlines() == (written if name == "first" else [])


def test_a_run_that_fails_leaves_the_logger_as_it_was(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(finishing, "train", fails)
    before = ROOT.level
    with pytest.raises(RuntimeError, match="a defect"):
        byol.pretrain(image_folder, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **TINY)
    assert (ROOT.level, ROOT.handlers) == (before, [listener])


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_bar_shows_both_times_in_full(width: int) -> None:
    console = Console(width=width, force_terminal=True, file=io.StringIO(), color_system=None)
    bar = ProgressBar(console)
    bar.start(8593, 0)
    bar.advance(1234, "loss 0.543  lr 0.00098  tau 0.9705  1092 img/s")
    bar.stop()
    assert isinstance(console.file, io.StringIO)
    last = console.file.getvalue().split("\r")[-1]
    assert re.search(r"1234/8593 .*14% \d:\d\d:\d\d left -:--:-- loss 0.543", last)
