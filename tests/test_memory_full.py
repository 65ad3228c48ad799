"""Memory that is used up is said in a sentence with a way out, wherever it happens; other errors stay what they are."""

from pathlib import Path
from typing import Any

import pytest
import torch

import byol
from byol.cli import main as cli
from byol.errors import UserError, memory_is_full
from byol.methods.byol import BYOL
from byol.pretraining import finish as finishing
from conftest import TINY

GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 8 GiB")


def too_much(*_: Any, **__: Any) -> None:
    torch.empty(10**15)


def gpu_is_full(*_: Any, **__: Any) -> None:
    raise GPU


@pytest.mark.parametrize("full", [too_much, gpu_is_full])
@pytest.mark.parametrize("budget", [None, "5s"])
def test_a_step_that_does_not_fit(
    full: Any, budget: str | None, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BYOL, "forward", full)
    settings = {**TINY, "optim__accumulate": 2}
    if budget is not None:
        del settings["epochs"]
    with pytest.raises(
        UserError, match="The memory of cpu is full, with 8 images of 16 px at once on resnet18"
    ) as said:
        byol.pretrain(image_folder, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, budget=budget, **settings)
    assert "or start with --optim.activation-checkpointing, --optim.accumulate 4, a smaller --batch-size" in str(
        said.value
    )
    assert "go on with" not in str(said.value), "nothing was learned"


def test_only_what_would_start_is_offered(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No recomputing of an encoder with batch norm that is no ResNet; no micro-batches of one image."""
    monkeypatch.setattr(BYOL, "forward", too_much)
    network = {"encoder": "mobilenetv3_small_050", "encoder__width": 1.0, "encoder__stem": "standard"}
    settings = {**TINY, **network, "batch_size": 4, "optim__accumulate": 2}
    with pytest.raises(UserError, match="end what else takes it, or start with a smaller --batch-size"):
        byol.pretrain(image_folder, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **settings)


def test_other_errors_keep_their_traceback(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(finishing, "train", fails)
    with pytest.raises(RuntimeError, match="a defect"):
        byol.pretrain(image_folder, recipe="cifar10-cpu", out=tmp_path / "run", quiet=True, **TINY)


@pytest.mark.parametrize("full", [too_much, gpu_is_full])
def test_a_command_that_does_not_fit(full: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(cli, "_dispatch", full)
    with pytest.raises(SystemExit) as ended:
        cli.main(["eval"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said == "byol: Memory is full; end what else takes it, or give smaller or fewer images at once.\n"


def test_what_is_full_memory_and_what_is_not() -> None:
    assert memory_is_full(MemoryError())
    assert memory_is_full(RuntimeError("MPS backend out of memory (MPS allocated: 4.00 GB)"))
    assert memory_is_full(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert not memory_is_full(RuntimeError("Storage size calculation overflowed"))
    assert not memory_is_full(OSError("No space left on device"))
    later = RuntimeError("the recording was broken off")
    later.__context__ = GPU
    assert memory_is_full(later)
