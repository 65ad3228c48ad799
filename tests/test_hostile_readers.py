"""Readers that are our own, on text and bytes that nobody would write: a value or one sentence, never anything else."""

import io
import pickle
import struct
import tarfile
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from byol.data.label_file import GROUP_COLUMNS, LABEL_COLUMNS, LabelFile
from byol.data.sources.table_text import split_rows
from byol.data.sources.tar_index import index_of
from byol.encoders.weights.contents import read_contents
from byol.encoders.weights.open import open_weights
from byol.encoders.weights.pickles import Reader, Unreadable
from byol.errors import UserError
from byol.pretraining.plan_file import read_plan
from byol.runtime.checkpoint import load_checkpoint, write_atomically
from byol.runtime.metrics import read_metrics
from conftest import picture

SOME = settings(max_examples=60, deadline=None)
TEXT = st.text(st.characters(codec="utf-8"), max_size=80)


def written(content: bytes, name: str = "file") -> Path:
    """A file in a folder of its own: hypothesis runs a test many times with one fixture."""
    path = Path(tempfile.mkdtemp()) / name
    path.write_bytes(content)
    return path


def archive() -> bytes:
    """Three images with a label each."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(3):
            image = io.BytesIO()
            picture(number, 8, 8).save(image, "PNG")
            for name, content in ((f"{number}.png", image.getvalue()), (f"{number}.cls", b"1")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return held.getvalue()


ARCHIVE = archive()


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Indexes of archives are kept apart from the user's."""
    monkeypatch.setenv("BYOL_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@SOME
@given(st.lists(st.tuples(st.integers(0, len(ARCHIVE) - 1), st.integers(0, 255)), max_size=4), st.integers(0, 512))
def test_a_damaged_archive_gives_images_that_lie_in_it_or_a_sentence(
    changes: list[tuple[int, int]], shortened: int
) -> None:
    content = bytearray(ARCHIVE)
    for at, value in changes:
        content[at] = value
    path = written(bytes(content[: len(content) - shortened]), "images.tar")
    try:
        found = index_of(path)
    except UserError:
        return
    assert len(found.names) == len(found.places) <= 6
    for offset, size in found.places.tolist():
        assert offset >= 0
        assert size >= 0
        assert offset + size <= path.stat().st_size


@SOME
@given(st.lists(TEXT.filter(lambda line: "\n" not in line and "\r" not in line), max_size=6))
def test_any_lines_of_a_table_are_rows(lines: list[str]) -> None:
    rows = split_rows(lines, lambda name: name.endswith("a"))
    assert len(rows) == len(lines)
    for line, row in zip(lines, rows, strict=True):
        assert sum(map(len, row)) <= len(line)
        assert all(field == field.strip() for field in row)


@SOME
@given(st.one_of(st.binary(max_size=80), TEXT.map(lambda text: b"path,label\n" + text.encode())))
def test_any_labels_are_values_or_a_sentence(content: bytes) -> None:
    path = written(content, "labels.csv")
    for columns in (LABEL_COLUMNS, GROUP_COLUMNS):
        try:
            rows = LabelFile.read(path, columns).rows
        except UserError:
            pass
        else:
            assert rows
            assert all(rows.values())


@SOME
@given(st.one_of(TEXT, TEXT.map(lambda text: f"epochs = {text}"), TEXT.map(lambda text: f"[optim]\nlr = {text}")))
def test_any_plan_is_settings_or_a_sentence(text: str) -> None:
    path = written(text.encode(), "plan.toml")
    try:
        config = read_plan(path)
    except UserError:
        return
    assert config.epochs >= 0


@SOME
@given(st.integers(0, 2**64 - 1), st.one_of(st.binary(max_size=60), TEXT.map(str.encode)))
def test_any_header_of_safetensors_is_refused_in_a_sentence(length: int, header: bytes) -> None:
    path = written(struct.pack("<Q", length) + header, "weights.safetensors")
    with pytest.raises(UserError, match=r"weights\.safetensors"):
        open_weights(path)


def torch_file(legacy: bool) -> bytes:
    """A state dict as PyTorch writes it now, or wrote it before 1.6."""
    held = io.BytesIO()
    tensors = {"conv1.weight": torch.ones(2, 3, 1, 1), "bn1.bias": torch.zeros(2)}
    torch.save(tensors, held, _use_new_zipfile_serialization=not legacy)
    return held.getvalue()


TORCH_FILES = {legacy: torch_file(legacy) for legacy in (False, True)}


@SOME
@given(st.booleans(), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4))
def test_a_damaged_file_of_pytorch_is_a_tree_or_a_sentence(legacy: bool, changes: list[tuple[float, int]]) -> None:
    content = bytearray(TORCH_FILES[legacy])
    for part, value in changes:
        content[int(part * len(content))] = value
    path = written(bytes(content), "weights.pt")
    try:
        found = read_contents(path)
    except UserError:
        return
    assert isinstance(found.top, dict)


@pytest.mark.parametrize("error", [IndexError, KeyError, RecursionError, MemoryError, AssertionError])
@pytest.mark.parametrize("legacy", [False, True])
def test_whatever_goes_wrong_in_a_pickle_is_told_in_a_sentence(
    error: type[Exception], legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(TORCH_FILES[legacy])

    def fails(*_: object, **__: object) -> None:
        raise error("of the pickle")

    monkeypatch.setattr(torch, "load", fails)
    assert read_contents(path).top["bn1.bias"].shape == (2,)
    monkeypatch.setattr(Reader, "load", fails)
    with pytest.raises(UserError, match=r"weights\.pt cannot be read as weights"):
        read_contents(path)


@pytest.mark.parametrize("number", [0, 3, 2**16, 2**16 + 1])
def test_a_pickle_numbers_no_more_objects_than_it_has(number: int) -> None:
    content = pickle.PROTO + b"\x02" + pickle.EMPTY_LIST + pickle.LONG_BINPUT + struct.pack("<I", number) + pickle.STOP
    reader = Reader(io.BytesIO(content))
    if number <= 2**16:
        assert reader.load() == []
    else:
        with pytest.raises(Unreadable, match=f"object {number} in a pickle of fewer"):
            reader.load()


@SOME
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_are_no_checkpoint(description: bytes, tensors: bytes) -> None:
    path = written(description, "step-000000007.json")
    write_atomically(path.with_suffix(".safetensors"), tensors)
    found, messages = load_checkpoint(path.parent)
    assert found is None
    assert len(messages) == 1
    assert "is torn" in messages[0]


@SOME
@given(st.binary(max_size=120))
def test_any_bytes_are_lines_of_metrics_or_none(content: bytes) -> None:
    for line in read_metrics(written(content + b'\n{"step": 3}\n', "metrics.jsonl")):
        assert isinstance(line["step"], int)
