"""Readers that are our own, on text and bytes that nobody would write: a value or one sentence, never anything else."""

import io
import struct
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byol.data.label_file import GROUP_COLUMNS, LABEL_COLUMNS, LabelFile
from byol.data.sources.table_text import split_rows
from byol.data.sources.tar_index import index_of
from byol.encoders.weights.open import open_weights
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
