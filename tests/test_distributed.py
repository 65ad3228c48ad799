"""Two processes against one: the same batch norm, the same losses."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

import byol
from byol.errors import UserError
from byol.methods.moco import MoCo
from byol.runtime import distributed
from byol.runtime.distributed import BatchNormAcrossProcesses, BatchNormActAcrossProcesses
from byol.runtime.metrics import read_metrics
from conftest import TINY, flags, picture
from small_networks import online, views
from two_processes import METHODS, RUN, SHAPES, batch, method_values, norm, shuffled_keys, through

HERE = Path(__file__).parent
BAD_EVERY = 10


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def together(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Tensor]], Path]:
    """What two processes found, and the folder of the run they made."""
    out = tmp_path_factory.mktemp("two")
    (out / "bad").mkdir()
    for number in range(400):  # more than the 256 that every process looks at for its health
        if number % BAD_EVERY == 0:
            (out / "bad" / f"{number}.png").write_bytes(b"no image")
        else:
            picture(number, 18, 18).save(out / "bad" / f"{number}.png")
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, str(HERE / "two_processes.py"), str(image_folder), str(out)],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    return [load_file(out / f"values-{rank}.safetensors") for rank in range(2)], out / "run"


@pytest.mark.parametrize("kind", SHAPES)
def test_batch_norm_is_that_of_the_joined_batch(kind: str, together: tuple[list[dict[str, Tensor]], Path]) -> None:
    x, weight = batch(kind)
    expected = through(norm(kind), x, weight)
    first, second = ({k.removeprefix(f"{kind}/"): v for k, v in found.items()} for found in together[0])
    assert expected["0.running_var"].dtype == torch.float64
    for name, value in expected.items():
        if name in ("out", "evaluated"):
            found = torch.cat([first[name], second[name]])
        elif name == "x.grad":
            # each process's loss is a mean over its half, and the gradients of both are averaged later
            found = torch.cat([first[name], second[name]]) / 2
        elif name.endswith("grad"):
            found = (first[name] + second[name]) / 2
        else:
            torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
            found = first[name]
        torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", METHODS)
def test_negatives_and_statistics_are_those_of_the_joined_batch(
    name: str, together: tuple[list[dict[str, Tensor]], Path]
) -> None:
    """The mean over the processes, as DistributedDataParallel takes it, is what one process finds on all images."""
    expected = method_values(METHODS[name], slice(0, 8))
    assert max(value.abs().max() for key, value in expected.items() if key.endswith("grad")) > 1e-3
    first, second = ({k.removeprefix(f"{name}/"): v for k, v in found.items()} for found in together[0])
    for key, value in expected.items():
        if key == "loss" or key.endswith("grad"):
            found = (first[key] + second[key]) / 2
        else:
            assert torch.equal(first[key], second[key]), "the queue is the same everywhere"
            found = first[key]
        torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-12, msg=lambda text, key=key: f"{key}: {text}")


def test_keys_are_shuffled_over_the_processes(together: tuple[list[dict[str, Tensor]], Path]) -> None:
    """Two processes with batch norm of their own make the keys that one process makes of a batch split in two."""
    expected = shuffled_keys(0, 1)
    unshuffled = MoCo(*online(norm=True), queue=20, shuffle=False).double()
    unshuffled(*views(8))
    assert (expected - unshuffled.queue[:8]).abs().max() > 1e-2
    for values in together[0]:
        torch.testing.assert_close(values["shuffled keys"], expected, rtol=1e-9, atol=1e-12)


def test_reductions(together: tuple[list[dict[str, Tensor]], Path]) -> None:
    for rank, values in enumerate(together[0]):
        assert values["mean"].tolist() == [1.5, 5.0]
        assert values["agree"].tolist() == [True, False, True]
        assert values["least"] == 6
        assert values["found what the first fetched"].tolist() == [rank == 1]
        assert values["who"].tolist() == [rank, 2, rank == 0]


def test_two_processes_train_as_one(
    image_folder: Path, tmp_path: Path, together: tuple[list[dict[str, Tensor]], Path]
) -> None:
    byol.pretrain(image_folder, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **RUN)
    one, two = read_metrics(tmp_path / "run" / "metrics.jsonl"), read_metrics(together[1] / "metrics.jsonl")
    assert [line.keys() for line in one] == [line.keys() for line in two]
    losses = [line["loss"] for line in one if "loss" in line]
    assert len(losses) == 4
    assert max(losses) - min(losses) > 0.01, "it moves"
    for a, b in zip(one, two, strict=True):
        # small batches amplify rounding from step to step
        close = 1e-5 if a["step"] == 1 else 2e-2 if "gradient_norm" in a else 1e-2
        for key, value in a.items():
            if key == "health/match":
                assert b[key] == pytest.approx(value, abs=2.5 / 64)
            elif key == "health/separation":  # in deviations of cosines, which are nearly equal here
                assert b[key] == pytest.approx(value, abs=0.02)
            elif key == "loss":
                assert b[key] == pytest.approx(value, rel=min(close, 2e-4)), a["step"]
            elif key == "gradient_norm" and a["step"] == 1:
                # a backward pass through batch norm amplifies rounding at once: four parts in 100,000 were seen
                assert b[key] == pytest.approx(value, rel=1e-4)
            elif key != "images_per_second":
                assert b[key] == pytest.approx(value, rel=close), (a["step"], key)
    ours, theirs = (load_file(folder / "encoder.safetensors") for folder in (tmp_path / "run", together[1]))
    for name, value in ours.items():
        torch.testing.assert_close(
            theirs[name], value, rtol=1e-2, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_recomputing_in_two_processes_changes_nothing(together: tuple[list[dict[str, Tensor]], Path]) -> None:
    """Activations are made again while gradients and batch-norm statistics travel; running statistics count once."""
    plain, again = (read_metrics(together[1].with_name(name) / "metrics.jsonl") for name in ("run", "recomputed"))
    losses = [[line["loss"] for line in lines if "loss" in line] for lines in (plain, again)]
    assert len(losses[0]) == 4
    assert losses[1] == losses[0]
    one, two = (load_file(together[1].with_name(name) / "encoder.safetensors") for name in ("run", "recomputed"))
    assert all(torch.equal(two[name], value) for name, value in one.items())


def test_bad_images_that_any_process_meets_are_listed_once(
    together: tuple[list[dict[str, Tensor]], Path],
) -> None:
    lines = (together[1].parent / "bad-run" / "bad_images.txt").read_text().splitlines()
    listed = [int(Path(line.split("\t")[0]).stem) for line in lines]
    assert sorted(listed) == list(range(0, 400, BAD_EVERY))


def test_one_process_is_left_alone() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    assert distributed.synchronize_batch_norm(network, torch.device("cpu")) is network
    assert type(network[1]) is nn.BatchNorm1d
    assert (distributed.rank(), distributed.world_size(), distributed.is_first()) == (0, 1, True)
    value = torch.tensor([1.0, 2.0])
    assert torch.equal(distributed.mean(value), value)
    assert distributed.any_rank(True, torch.device("cpu"))
    assert not distributed.any_rank(False, torch.device("cpu"))
    assert distributed.gather_lines({"a"}) == ["a"]


def test_own_batch_norm_alone_equals_pytorchs() -> None:
    theirs = nn.BatchNorm2d(4, eps=1e-3, momentum=0.3)
    nn.init.uniform_(theirs.weight)
    nn.init.uniform_(theirs.bias)
    ours = BatchNormAcrossProcesses.like(nn.BatchNorm2d(4, eps=1e-3, momentum=0.3))
    ours.load_state_dict(theirs.state_dict())
    for _ in range(3):
        x = 5 + 2 * torch.randn(6, 4, 3, 3)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, msg=lambda text, key=key: f"{key}: {text}")
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


class Doubled(nn.BatchNorm2d):
    """A batch norm with a forward pass of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_norms_of_a_kind_that_is_not_known_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(UserError, match="Doubled cannot share its statistics between CPU processes"):
        distributed.synchronize_batch_norm(nn.Sequential(Doubled(4)), torch.device("cpu"))
    layers = nn.Sequential(nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm1d(3), BatchNormAct2d(5)))
    names = list(layers.state_dict())
    converted = distributed.synchronize_batch_norm(layers, torch.device("cpu"))
    assert list(converted.state_dict()) == names
    assert [type(m) for m in converted.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)] == [
        BatchNormAcrossProcesses,
        BatchNormAcrossProcesses,
        BatchNormActAcrossProcesses,
    ]


@pytest.mark.slow
def test_torchrun(image_folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    command += ["-m", "byol", "pretrain", str(image_folder), "--recipe", "cifar10-cpu", "--out", str(tmp_path / "run")]
    done = subprocess.run([*command, *flags(TINY)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("64 images, 36 x 40 px") == 1, "one process talks"
    assert (tmp_path / "run" / "encoder.safetensors").is_file()
