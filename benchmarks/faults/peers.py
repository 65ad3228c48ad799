"""What LightlyTrain does on faults of this campaign: a kill, a broken image, a torn checkpoint, a folder in use.

Needs `pip install lightly-train`; where it is missing nothing is tried. What is seen is told, not judged. lightly and
byol-pytorch have no command and no checkpoint of their own: there each of these is the user's to program.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from faults.product import draw_images
from faults.trial import Trial, require

EPOCHS, SECONDS = 12, 600.0
SCRIPT = """
import sys
import lightly_train
if __name__ == "__main__":
    lightly_train.pretrain(
        out=sys.argv[1], data=sys.argv[2], model="torchvision/resnet18", method="simclr", epochs=int(sys.argv[3]),
        batch_size=16, num_workers=0, accelerator="cpu", devices=1, precision="32-true", seed=0,
        transform_args={"image_size": (32, 32)}, resume_interrupted=sys.argv[4:] == ["resume"],
    )
"""
"""A toy run, by its own command; `resume` goes on with it."""


def trials(count: int, seed: int = 0) -> Iterator[Trial]:
    """Each fault once."""
    if find_spec("lightly_train") is None:
        print("what LightlyTrain does can be tried where it is installed; run: pip install lightly-train")
        return
    program = f"LightlyTrain {version('lightly-train')}"
    yield Trial("SIGKILL after a checkpoint, then its own way to go on", program, killed)
    yield Trial("one image of 64 cut short", program, broken_image)
    yield Trial("its last checkpoint cut to half, then its own way to go on", program, torn)
    yield Trial("a second process with the same folder", program, twice)


def start(folder: Path, out: str, *more: str) -> "subprocess.Popen[str]":
    """A run on the images of the folder `data`."""
    script, data = folder / "peer.py", folder / "data"
    script.write_text(SCRIPT)
    if not data.exists():
        draw_images(data)
    return subprocess.Popen(
        [sys.executable, str(script), str(folder / out), str(data), str(EPOCHS), *more],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@dataclass(frozen=True)
class Told:
    """How a run of a peer ended."""

    code: int
    said: str

    @property
    def line(self) -> str:
        """The last line that says anything, without what a terminal makes colors of."""
        plain = re.sub(r"\x1b\[[0-9;]*m", "", self.said)
        lines = [line.strip() for line in plain.splitlines() if any(sign.isalpha() for sign in line)]
        return re.sub(r"/\S*/byol-fault-\w+/", "", lines[-1])[:160] if lines else ""


def ended(process: "subprocess.Popen[str]") -> Told:
    """Wait for its end."""
    said = process.communicate(timeout=SECONDS)[0]
    return Told(process.returncode, said)


def until_checkpoint(process: "subprocess.Popen[str]", out: Path) -> None:
    """Wait for the first checkpoint."""
    began = time.perf_counter()
    while not (out / "checkpoints" / "last.ckpt").is_file():
        require(
            process.poll() is None and time.perf_counter() - began < SECONDS, "there was no checkpoint to kill after"
        )
        time.sleep(0.02)
    time.sleep(0.3)


def weights(out: Path) -> dict[str, torch.Tensor]:
    """The encoder that it exports."""
    found: dict[str, torch.Tensor] = torch.load(out / "exported_models" / "exported_last.pt", weights_only=True)
    return found


def killed(folder: Path) -> str:
    """Whether the encoder is that of a run that nothing disturbed."""
    require(ended(start(folder, "whole")).code == 0, "the run that nothing disturbs fails")
    process = start(folder, "run")
    until_checkpoint(process, folder / "run")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    checkpoint = torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=False)
    resumed = ended(start(folder, "run", "resume"))
    if resumed.code != 0:
        return f"exit code {resumed.code}: {resumed.line}"
    one, other = (torch.cat([w.double().flatten() for w in weights(folder / out).values()]) for out in ("whole", "run"))
    apart = float((one - other).norm() / one.norm())
    same = "the same encoder, bit for bit" if apart == 0 else f"another encoder, {apart:.0%} of its length away"
    return f"goes on after epoch {checkpoint['epoch'] + 1} of {EPOCHS}; {same}"


def broken_image(folder: Path) -> str:
    """Whether the run goes on without it, and says so."""
    data = draw_images(folder / "data")
    path = sorted(data.rglob("*.png"))[3]
    path.write_bytes(path.read_bytes()[:200])
    run = ended(start(folder, "run"))
    named = "names the image" if path.name in run.said else "says nothing of the image"
    return f"exit code {run.code}, {named}"


def torn(folder: Path) -> str:
    """Whether the checkpoint before it is taken."""
    process = start(folder, "run")
    until_checkpoint(process, folder / "run")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    path = folder / "run" / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    resumed = ended(start(folder, "run", "resume"))
    return f"exit code {resumed.code}: {resumed.line}"


def twice(folder: Path) -> str:
    """Whether the second is refused, and the first goes on."""
    first = start(folder, "run")
    while not (folder / "run" / "train.log").exists():
        require(first.poll() is None, "the first ended")
        time.sleep(0.05)
    second = ended(start(folder, "run"))
    return f"the second: exit code {second.code}: {second.line}; the first: exit code {ended(first).code}"
