"""Ranks: two processes that train as one, of which one dies; other numbers of processes that go on; two machines."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from byol.pretraining.keep import is_finished
from byol.runtime.metrics import read_metrics
from faults.kills import CHECKPOINT_SECONDS, at_call, kill_at_call
from faults.product import FLAGS, WAIT_SECONDS, Ended, Process, byol, toy, training
from faults.trial import Trial, require

OTHERS_SECONDS = 60.0
"""From the death of one process to the end of the others, at most."""
STEP = "byol.pretraining.train:TrainStep.__call__"
ROUNDING = 5e-3
"""Largest relative difference of losses between numbers of processes, over a toy run."""


def trials(count: int, seed: int = 0) -> Iterator[Trial]:
    """Deaths of a rank, a signal to all, other numbers of ranks, and torchrun's own ways."""
    for victim in (0, 1):
        yield Trial("SIGKILL of one of two ranks", f"rank {victim}", lambda f, v=victim: one_dies(f, v))
    yield Trial("SIGTERM to two ranks", "both", lambda f: both_are_asked(f, (0, 1)))
    yield Trial("SIGTERM to two ranks", "one", lambda f: both_are_asked(f, (1,)))
    for world in (1, 4):
        yield Trial("started on 2 ranks, gone on with on others", f"on {world}", lambda f, w=world: other_world(f, w))
    yield Trial("torchrun --max-restarts, a rank killed", "goes on by itself", restarted)
    yield Trial("two torchrun agents on one machine, as two nodes", "a whole run", two_nodes)


def start_ranks(
    arguments: tuple[str, ...], world: int, before: Callable[[int], None] = lambda rank: None
) -> list[Process]:
    """As many processes as torchrun would start, with the variables that it would set."""
    port = _free_port()

    def join(rank: int) -> None:
        about = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in about.items()} | {"MASTER_ADDR": "127.0.0.1"}
        before(rank)

    return [Process(arguments, lambda rank=rank: join(rank)) for rank in range(world)]  # type: ignore[misc]


def one_dies(folder: Path, victim: int) -> str:
    """One rank is killed in its sixth update: the other ends with a sentence, and the run goes on to its end."""
    data, _ = toy()
    out = folder / "run"
    kill = kill_at_call(STEP, 6)
    processes = start_ranks(training(data, out), 2, lambda rank: kill() if rank == victim else None)
    ended = all_ended(processes)
    require(ended[victim].code == -signal.SIGKILL, ended[victim].sentence)
    other, waited = ended[1 - victim], ended[1 - victim].seconds - ended[victim].seconds
    require(waited <= OTHERS_SECONDS, f"the other ended {waited:.0f} s later")
    require(other.code == 2 and "Traceback" not in other.said, f"exit code {other.code}: {other.said[-900:]}")
    gone_on = all_ended(start_ranks(training(data, out), 2))
    require([one.code for one in gone_on] == [0, 0], gone_on[0].said[-600:])
    same_losses(out, _losses_on_two(data))
    return f"the other after {max(0.0, waited):.1f} s: {other.sentence}"


def both_are_asked(folder: Path, asked: tuple[int, ...]) -> str:
    """SIGTERM in an update: both write their state, or wait for it, and exit with 130."""
    data, _ = toy()
    out = folder / "run"
    ask = at_call(STEP, 6, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    began = time.perf_counter()
    processes = start_ranks(
        (*training(data, out), "--logging.checkpoint-minutes", "60"),
        2,
        lambda rank: ask() if rank in asked else None,
    )
    ended = all_ended(processes)
    require([one.code for one in ended] == [130, 130], f"exit codes {[one.code for one in ended]}: {ended[0].said}")
    log = (out / "log.txt").stat().st_mtime
    require(time.time() - log <= CHECKPOINT_SECONDS, "too long from the last word to the end")
    require("interrupted after 6 of" in ended[0].said, ended[0].sentence)
    return f"both exit with 130, state of update 6, after {time.perf_counter() - began:.1f} s in all"


def other_world(folder: Path, world: int) -> str:
    """A run on two ranks is stopped, and goes on with one or four: losses are the same within rounding."""
    data, _ = toy()
    out = folder / "run"
    stop = at_call(STEP, 6, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    all_ended(start_ranks(training(data, out), 2, lambda rank: stop()))
    ended = [byol(*training(data, out))] if world == 1 else all_ended(start_ranks(training(data, out), world))
    require(all(one.code == 0 for one in ended), f"{ended[0].code}: {ended[0].said[-600:]}")
    most = same_losses(out, _losses_on_two(data))
    return f"losses differ by {most:.1e} at most"


def restarted(folder: Path) -> str:
    """One rank kills itself once; torchrun starts both again, and the same command goes on."""
    data, _ = toy()
    out, script = folder / "run", folder / "rank.py"
    script.write_text(
        "import os, signal, sys\n"
        "from byol.cli.main import main\n"
        "from byol.pretraining.train import TrainStep\n"
        "whole = TrainStep.__call__\n"
        "def step(self, *arguments):\n"
        "    first = os.environ['TORCHELASTIC_RESTART_COUNT'] == '0'\n"
        "    if self.state.step == 6 and os.environ['RANK'] == '1' and first:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return whole(self, *arguments)\n"
        "TrainStep.__call__ = step\n"
        "main(sys.argv[1:])\n"
    )
    command = [*_torchrun("--nproc-per-node", "2", "--max-restarts", "2", "--master-port", str(_free_port()))]
    done = _run([*command, str(script), "pretrain", str(data), "--out", str(out), *FLAGS])
    require(done.returncode == 0, done.stderr[-900:])
    require(is_finished(out), "there is no encoder")
    words = (out / "log.txt").read_text()
    require("going on with" in words, "it began anew")
    same_losses(out, _losses_on_two(data))
    return next(line for line in words.splitlines() if "going on with" in line).replace(str(out), "the run")


def two_nodes(folder: Path) -> str:
    """Two agents meet on the loopback device, each with one process."""
    data, _ = toy()
    out, port = folder / "run", _free_port()
    rendezvous = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "faults"]
    command = [*_torchrun(*rendezvous, "--rdzv-endpoint", f"127.0.0.1:{port}"), "-m", "byol", "pretrain", str(data)]
    agents = [
        subprocess.Popen([*command, "--out", str(out), *FLAGS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    said = [agent.communicate(timeout=4 * WAIT_SECONDS)[0].decode() for agent in agents]
    require([agent.returncode for agent in agents] == [0, 0], said[0][-600:] + said[1][-600:])
    most = same_losses(out, _losses_on_two(data))
    return f"losses differ by {most:.1e} at most from two ranks of one node"


_LOSSES: dict[int, list[float]] = {}


def _losses_on_two(data: Path) -> list[float]:
    """Losses of a run on two ranks that nothing disturbs."""
    if 2 not in _LOSSES:
        out = data.parent / "on-two"
        ended = all_ended(start_ranks(training(data, out), 2))
        require([one.code for one in ended] == [0, 0], ended[0].said[-600:])
        _LOSSES[2] = losses_of(out)
    return _LOSSES[2]


def losses_of(out: Path) -> list[float]:
    """The losses that a run has written."""
    return [line["loss"] for line in read_metrics(out / "metrics.jsonl") if "loss" in line]


def same_losses(out: Path, expected: list[float]) -> float:
    """Require these losses of a run, within rounding; how far they are off at most."""
    found = losses_of(out)
    require(len(found) == len(expected), f"{len(found)} losses, not {len(expected)}")
    most = max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))
    require(most <= ROUNDING, f"losses differ by {most:.1e}")
    return most


def all_ended(processes: list[Process]) -> list[Ended]:
    """How each ended; all are waited for at once, so that the seconds of each are its own."""
    done: dict[int, Ended] = {}
    while len(done) < len(processes):
        for number, process in enumerate(processes):
            if number not in done and (not process.running() or process.age() > WAIT_SECONDS):
                done[number] = process.wait()
        time.sleep(0.005)
    return [done[number] for number in range(len(processes))]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _torchrun(*flags: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *flags]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=4 * WAIT_SECONDS, check=False)
