"""The product in processes of its own, on toy work of a second: what is started, how it ends, and what it leaves.

Processes are forked from this one, which has imported PyTorch: a campaign of hundreds of runs is over in minutes.
"""

import atexit
import functools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from byol.pretraining.keep import is_finished
from byol.runtime.metrics import read_metrics
from faults.trial import require

FLAGS = (
    *("--recipe", "cifar10-cpu", "--device", "cpu", "--precision", "float32", "--encoder", "resnet18"),
    *("--encoder.width", "0.125", "--encoder.stem", "stride2", "--image-size", "16", "--batch-size", "16"),
    *("--epochs", "2", "--method.hidden", "32", "--method.output", "16", "--data.workers", "1", "--keep", "best"),
    *("--logging.log-every", "2", "--logging.health-every", "4", "--logging.checkpoint-minutes", "1e-6"),
    "--logging.no-stop-on-collapse",
)
"""A run of 8 updates that writes a checkpoint after each, reads labels, and puts the best encoder aside."""
UPDATES = 8
WAIT_SECONDS = 300.0
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    """Its exit code; minus the signal that ended it."""
    said: str
    """Standard output and standard error."""
    seconds: float

    @property
    def sentence(self) -> str:
        """The last line that it wrote."""
        return self.said.strip().splitlines()[-1] if self.said.strip() else ""


CLASSES = {"red": 0, "blue": 2}
"""Of the pictures, and the channel that is bright in each."""


def draw_images(folder: Path, count: int = 32) -> Path:
    """Two classes of small pictures, reddish and bluish."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture(name, number).save(folder / name / f"{number:02d}.png")
    return folder


def picture(name: str, number: int) -> Image.Image:
    """One picture of a class."""
    channel = CLASSES[name]
    pixels = np.random.default_rng(number + 1000 * channel).integers(0, 120, (20, 20, 3), dtype=np.uint8)
    pixels[..., channel] += 120
    return Image.fromarray(pixels)


class Process:
    """A process that runs `byol` with some arguments."""

    def __init__(self, arguments: tuple[str, ...], before: Callable[[], None] = lambda: None) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in `wait`)
        self._began, self._ended = time.perf_counter(), 0.0
        self._status: int | None = None
        sys.stdout.flush()
        with warnings.catch_warnings():  # of threads: none of this process holds a lock that the child needs
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                code = self._child(arguments, before)
            finally:  # whatever happens, it must not go on with the campaign
                os._exit(code)

    def _child(self, arguments: tuple[str, ...], before: Callable[[], None]) -> int:
        from byol.cli.main import main

        for descriptor in (1, 2):
            os.dup2(self._said.fileno(), descriptor)
        sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2))
        for name in SIGNALS[1:]:
            usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
            signal.signal(getattr(signal, name), usual)
        code = 1
        try:
            before()
            main(list(arguments))
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        return code

    def age(self) -> float:
        """Seconds since it was started."""
        return time.perf_counter() - self._began

    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self._status is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done == 0:
                return True
            self._status, self._ended = status, time.perf_counter()
        return False

    def wait(self) -> Ended:
        """Wait for its end; a process that never ends is killed, which counts as lost."""
        while self.running():
            if self.age() > WAIT_SECONDS:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self._said.close()
                require(False, f"it did not end within {WAIT_SECONDS:.0f} s")
            time.sleep(0.005)
        self._said.seek(0)
        said = self._said.read()
        self._said.close()
        assert self._status is not None, "it has ended"
        return Ended(os.waitstatus_to_exitcode(self._status), said, self._ended - self._began)


def byol(*arguments: str | Path, before: Callable[[], None] = lambda: None) -> Ended:
    """Run a command to its end."""
    return Process(tuple(map(str, arguments)), before).wait()


def training(data: Path, out: Path, *more: str) -> tuple[str, ...]:
    """The arguments that start the toy run, or go on with it where it has begun."""
    if (out / "config.json").is_file():
        return "pretrain", "--resume", str(out)
    return "pretrain", str(data), "--out", str(out), *FLAGS, *more


def left_by(out: Path) -> dict[str, Any]:
    """What a finished run leaves and must not depend on how it came there."""
    metrics = [
        {k: v for k, v in line.items() if k != "images_per_second"} for line in read_metrics(out / "metrics.jsonl")
    ]
    files = ("encoder.safetensors", "encoder.json", "verdict.json")
    return {
        "metrics.jsonl": metrics,
        **{name: (out / name).read_bytes() if (out / name).is_file() else None for name in files},
        "files": sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.name != ".lock"),
    }


@functools.cache
def toy() -> tuple[Path, dict[str, Any]]:
    """The images, and what a run on them leaves that nothing disturbs."""
    folder = Path(tempfile.mkdtemp(prefix="byol-faults-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # forked processes leave without it
    data = draw_images(folder / "images")
    ended = byol(*training(data, folder / "run"))
    require(ended.code == 0, ended.said)
    return data, left_by(folder / "run")


def go_on_to_the_end(data: Path, out: Path) -> list[Ended]:
    """Type the command that goes on until the run is finished."""
    goes = []
    while not is_finished(out):
        goes.append(byol(*training(data, out)))
        require(goes[-1].code == 0, f"going on ended with {goes[-1].code}: {goes[-1].said[-800:]}")
        require(len(goes) < 3, "going on does not end")
    if not (out / "report.html").is_file():  # killed after its encoder: the page is made, and nothing else
        goes.append(byol(*training(data, out)))
        require(goes[-1].code == 2 and "is finished" in goes[-1].said, goes[-1].said[-800:])
    return goes


def require_the_same(out: Path, expected: dict[str, Any]) -> None:
    """The files of the run that nothing disturbed, byte for byte; of metrics all but the speed."""
    found = left_by(out)
    different = [name for name in expected if found[name] != expected[name]]
    detail = ""
    if "files" in different:
        detail = f"; more or fewer files: {sorted(set(found['files']) ^ set(expected['files']))}"
    if "verdict.json" in different and found["verdict.json"]:
        detail += f"; {json.loads(found['verdict.json'])}"
    require(not different, f"differs from the run that nothing disturbed: {', '.join(different)}{detail}")
