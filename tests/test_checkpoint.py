"""Checkpoints: whole or not at all, strict, and never unpickled."""

import errno
import json
import os
import pickle
import stat
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from byol.config.optim import OptimConfig
from byol.errors import UserError
from byol.methods.heads import MLP
from byol.pretraining.state import build_optimizer
from byol.runtime.checkpoint import (
    gather_state,
    load_checkpoint,
    restore_state,
    save_checkpoint,
    save_tensors,
    write_atomically,
)


def tensors(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"a": torch.randn(3, 4, generator=generator), "b": torch.arange(seed, seed + 5)}


def optimizer_of(network: Any, name: Any) -> torch.optim.Optimizer:
    """The optimizer of a run, over a network that stands in for a method."""
    network.lr_factors = {}
    return build_optimizer(network, OptimConfig(name=name))


def saved(folder: Path, *steps: int) -> None:
    for step in steps:
        save_checkpoint(folder, step, tensors(step), {"losses": [float(step)]})


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    values = {**tensors(1), "c": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)}
    values["d"] = torch.tensor([float("nan"), float("inf")], dtype=torch.bfloat16)
    save_checkpoint(tmp_path / "new", 7, values, {"losses": [1.0, 2.5], "counted": 3})
    found, messages = load_checkpoint(tmp_path / "new")
    assert found is not None
    assert (found.step, found.extra, messages) == (7, {"losses": [1.0, 2.5], "counted": 3}, [])
    assert set(found.tensors) == set(values)
    for name, value in values.items():
        assert found.tensors[name].dtype == value.dtype
        torch.testing.assert_close(found.tensors[name], value, rtol=0, atol=0, equal_nan=True)


def test_nothing_there(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) == (None, [])
    assert load_checkpoint(tmp_path / "nowhere") == (None, [])


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20, 5000, 100_000_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000005000.json",
        "step-000005000.safetensors",
        "step-100000000.json",
        "step-100000000.safetensors",
    ]
    found, _ = load_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 100_000_000


def test_moments_come_back_in_the_layout_of_their_weights() -> None:
    """A fused step goes through memory: moments in another layout would move the wrong weights."""
    steps = []
    for again in (False, True):
        torch.manual_seed(0)
        net = nn.Conv2d(3, 4, 3, bias=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = optimizer_of(net, "adamw")
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        for number in range(2):
            if again and number == 1:
                kept = {name: value.contiguous() for name, value in gather_state(net, optimizer).items()}
                restore_state(net, optimizer, kept)
            net(torch.ones(2, 3, 5, 5)).square().sum().backward()
            optimizer.step()
        assert net.weight.is_contiguous(memory_format=torch.channels_last)
        steps.append(net.weight.detach().clone())
    assert torch.equal(*steps)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x10
    path.write_bytes(bytes(content))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("damage", [cut, flip, empty, remove])
def test_a_torn_one_is_told_and_the_one_before_taken(tmp_path: Path, suffix: str, damage: Any) -> None:
    saved(tmp_path, 10, 20)
    victim = tmp_path / f"step-000000020{suffix}"
    if damage is flip and suffix == ".json":
        victim.write_text(victim.read_text().replace('"crc32": ', '"crc32": 1'))
    else:
        damage(victim)
    found, messages = load_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 10
    assert torch.equal(found.tensors["a"], tensors(10)["a"])
    assert len(messages) == 1
    assert "step-000000020" in messages[0]
    assert "torn" in messages[0]


def test_all_torn(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    for path in tmp_path.glob("*.safetensors"):
        flip(path)
    found, messages = load_checkpoint(tmp_path)
    assert found is None
    assert len(messages) == 2


def test_torn_ones_never_push_a_whole_one_out(tmp_path: Path) -> None:
    saved(tmp_path, 10, 30, 40)
    for path in tmp_path.glob("*.safetensors"):
        flip(path)
    saved(tmp_path, 20)  # a run that went on from the start
    found, messages = load_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, messages) == (20, [])


def test_a_file_that_was_never_renamed_does_no_harm(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    (tmp_path / "step-000000020.safetensors.tmp").write_bytes(b"half")
    (tmp_path / "step-000000020.json.tmp").write_bytes(b"half")
    found, messages = load_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, messages) == (10, [])


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    mark = tmp_path / "was unpickled"
    saved(tmp_path, 10)
    path = tmp_path / "step-000000010.safetensors"
    for content in (pickle.dumps(Trap(mark)), None):
        if content is None:
            torch.save({"a": Trap(mark)}, path)
        else:
            path.write_bytes(content)
        card = json.loads(path.with_suffix(".json").read_text())
        card["crc32"] = zlib.crc32(path.read_bytes())  # as if someone had meant it
        path.with_suffix(".json").write_text(json.dumps(card))
        found, messages = load_checkpoint(tmp_path)
        assert found is None
        assert len(messages) == 1
    assert not mark.exists()
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists(), "the trap works"


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = tmp_path / "encoder.json"
    write_atomically(path, "old")
    with monkeypatch.context() as patched:
        if moment == "fsync":
            patched.setattr(os, "fsync", full)
        else:
            patched.setattr(Path, "replace", full)
        with pytest.raises(UserError, match=r"Cannot write .*encoder\.json: No space left on device"):
            write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["encoder.json"]


def test_a_file_system_that_syncs_no_folders_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def of_files_only(number: int) -> None:
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(number)

    monkeypatch.setattr(os, "fsync", of_files_only)
    write_atomically(tmp_path / "encoder.json", "new")
    assert (tmp_path / "encoder.json").read_text() == "new"


def test_full_disk_in_a_checkpoint_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, 10, 20)
    real, calls = os.fsync, []

    def fails_at_the_json(file: int) -> None:
        calls.append(file)
        if len(calls) == 3:  # tensors, their folder, then the JSON
            full()
        real(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails_at_the_json)
        with pytest.raises(UserError, match="No space left"):
            saved(tmp_path, 30)
    found, messages = load_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 20
    assert len(messages) == 1


def test_written_whole_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(file: int) -> None:
        seen.append("fsync")
        real_fsync(file)

    def replace(self: Path, target: Path) -> Path:
        seen.append("rename")
        assert self.read_bytes() == b"content", "all of it is there before the rename"
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_atomically(tmp_path / "file", "content")
    assert seen == ["fsync", "rename", "fsync"]


def test_checksum_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    assert save_tensors(path, tensors(3)) == zlib.crc32(path.read_bytes())
    assert torch.equal(load_file(path)["a"], tensors(3)["a"])


def trained(name: str, seed: int = 0, hidden: int = 6, steps: int = 3) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = MLP(4, hidden, 2)
    optimizer = optimizer_of(module, name)
    for _ in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        module(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return module, optimizer


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_state_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    module, optimizer = trained(name)
    save_checkpoint(tmp_path, 3, gather_state(module, optimizer), {})
    found, _ = load_checkpoint(tmp_path)
    assert found is not None
    other, its_optimizer = trained(name, seed=1, steps=0)
    restore_state(other, its_optimizer, found.tensors)
    for m, o in ((module, optimizer), (other, its_optimizer)):
        torch.manual_seed(9)
        for _ in range(3):
            for group in o.param_groups:
                group["lr"] = 0.1
            m(torch.randn(8, 4)).square().mean().backward()
            o.step()
            o.zero_grad()
    for (key, a), b in zip(module.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


@pytest.mark.parametrize("change", ["missing", "more", "shape", "memory", "half", "stranger"])
def test_a_state_that_does_not_fit_is_refused(change: str) -> None:
    state = gather_state(*trained("adamw"))
    if change == "missing":
        del state["method.0.weight"]
    elif change == "more":
        state["method.extra"] = torch.ones(1)
    elif change == "shape":
        state = gather_state(*trained("adamw", hidden=7))
    elif change == "memory":
        state["optimizer.0.exp_avg"] = torch.ones(99)
    elif change == "half":
        del state["optimizer.1.exp_avg_sq"]
    else:
        state["something"] = torch.ones(1)
    with pytest.raises(UserError, match="belongs to another network or optimizer"):
        restore_state(*trained("adamw", seed=1, steps=0), state)
