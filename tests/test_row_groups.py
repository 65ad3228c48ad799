"""Parquet beyond memory: read by row group, each once an epoch, in an order that any process and any restart finds."""

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import byol
from building import make_loader
from byol.config.run import PretrainConfig
from byol.data import contents
from byol.data.order import EpochOrder
from byol.data.sources import parquet, row_groups
from byol.data.sources.open import Source, TensorSource, open_source
from byol.data.sources.relabeled import Labels, relabeled
from byol.data.sources.row_groups import RowGroups
from byol.data.sources.stretched import stretched
from byol.errors import BadImage, UserError
from byol.pretraining.callbacks import Callbacks
from conftest import TINY

ROWS, GROUP = 90, 10


def png(number: int, side: int = 20) -> bytes:
    file = io.BytesIO()
    pixels = np.random.RandomState(number).randint(0, 256, (side, side, 3)).astype(np.uint8)
    pixels[0, 0] = number
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def values(source: Source) -> list[int]:
    return [int(source.image(index)[0, 0, 0]) for index in range(len(source))]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two files of 50 and 40 images in row groups of 10, with labels."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number, part in enumerate((range(50), range(50, ROWS))):
        table = pa.table({"image": [{"bytes": png(i), "path": None} for i in part], "label": [i % 3 for i in part]})
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=GROUP, compression="zstd")
    return folder


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Everything is beyond memory, a window has about two row groups; counts the reads of each group."""
    reads: Counter[int] = Counter()
    read = RowGroups._read

    def counted(self: RowGroups, group: Any) -> Any:
        reads[self._groups.index(group)] += 1
        return read(self, group)

    monkeypatch.setattr(parquet, "STREAMED_FROM", 0)
    monkeypatch.setattr(row_groups, "WINDOW_BYTES", 2 * GROUP * len(png(0)))
    monkeypatch.setattr(RowGroups, "_read", counted)
    return reads


def test_what_is_read_is_what_is_held(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = open_source(files)
    monkeypatch.setattr(parquet, "STREAMED_FROM", 0)
    source = open_source(files)
    assert held.shards is None
    assert source.shards is not None
    assert list(source.shards.sizes) == [GROUP] * 9
    assert values(source) == values(held) == list(range(ROWS))
    assert [source.read(index) for index in (0, 49, 50, 89)] == [png(index) for index in (0, 49, 50, 89)]
    assert source.labels == held.labels == [number % 3 for number in range(ROWS)]
    assert [source.where(index) for index in (9, 55)] == [held.where(index) for index in (9, 55)]
    assert source.where(55) == f"{files / '1.parquet'} row 5"


def test_lists_and_paths_in_row_groups(tmp_path: Path, streamed: Counter[int]) -> None:
    for number in (3, 4):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    rows: list[list[dict[str, Any]] | None] = [
        [{"bytes": png(0), "path": None}, {"bytes": png(1), "path": None}],
        None,
        [{"bytes": png(2), "path": None}, {"bytes": None, "path": "3.png"}],
        [{"bytes": None, "path": "4.png"}],
        [{"bytes": None, "path": None}],
    ]
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"images": pa.array(rows, kind), "label": [5, 6, 7, 8, 9]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    source = open_source(tmp_path / "x.parquet")
    assert values(source.subset(range(5))) == [0, 1, 2, 3, 4]
    assert source.labels == [5, 5, 7, 7, 8, 9]
    assert [source.where(index).rpartition(" ")[2] for index in range(6)] == ["0", "0", "2", "2", "3", "4"]
    with pytest.raises(BadImage, match="the row is empty"):
        source.read(5)


def test_an_epoch_reads_each_group_once_and_holds_few(files: Path, streamed: Counter[int]) -> None:
    source = open_source(files, 3)
    order = EpochOrder(len(source), 0, source.shards)
    for epoch in range(3):
        streamed.clear()
        held = source._images  # type: ignore[attr-defined]
        held._kept.clear()
        held._kept_bytes = 0
        taken = order.epoch(epoch).tolist()
        assert sorted(taken) == list(range(ROWS))
        for index in taken:
            source.read(index)
            assert held._kept_bytes == sum(held._groups[number].size for number in held._kept) <= held._keeps
        assert streamed == dict.fromkeys(range(9), 1)
    assert len(held._kept) < 9, "the first groups were given up"


def test_two_processes_and_a_later_start_take_the_images_of_one(files: Path, streamed: Counter[int]) -> None:
    config = PretrainConfig(image_size=12, batch_size=8, epochs=3, seed=5)
    source = open_source(files, 3)
    ranks = [make_loader(open_source(files, 3), config, rank=rank, world_size=2).batches(0, 12) for rank in (0, 1)]
    whole = [batch for (batch,) in make_loader(source, config).batches(0, 12)]
    for expected in whole:
        (first,), (second,) = (next(rank) for rank in ranks)
        for view in (0, 1):
            assert torch.equal(torch.cat([first.images[view], second.images[view]]), expected.images[view])
    for (batch,), expected in zip(make_loader(open_source(files, 3), config).batches(7, 12), whole[7:], strict=True):
        assert torch.equal(batch.images[0], expected.images[0])
    images = torch.stack([source.image(index) for index in range(ROWS)])
    (shuffled,) = next(make_loader(TensorSource(images), config).batches(0, 1))
    assert not torch.equal(shuffled.images[0], whole[0].images[0]), "other sources are shuffled as a whole"


def test_parts_of_a_source_keep_its_groups(files: Path, streamed: Counter[int]) -> None:
    source = open_source(files, 3)
    assert source.shards is not None
    part = source.subset([1, 5, 12, 30, 31, 89])
    assert part.shards is not None
    assert (list(part.shards.sizes), part.shards.window) == ([2, 1, 0, 2, 0, 0, 0, 0, 1], source.shards.window)
    assert part.subset([0, 5]).shards is not None
    assert source.subset([30, 1]).shards is None, "they go back and forth"
    for same in (stretched(source, (0.0, 0.5)), relabeled(source, Labels())):
        assert same.shards == source.shards


def test_a_damaged_group_costs_its_images_alone(files: Path, streamed: Counter[int]) -> None:
    metadata = pq.read_metadata(files / "0.parquet")
    column = metadata.row_group(2).column(0)
    data = bytearray((files / "0.parquet").read_bytes())
    start = column.data_page_offset if column.dictionary_page_offset is None else column.dictionary_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    (files / "0.parquet").write_bytes(data)
    source = open_source(files, 3)
    readable = 0
    for index in range(ROWS):
        if 20 <= index < 30:
            with pytest.raises(BadImage, match="its row group 2 cannot be read"):
                source.image(index)
        else:
            readable += int(source.image(index)[0, 0, 0]) == index
    assert readable == ROWS - GROUP


def test_groups_too_large_for_the_memory_are_refused(
    files: Path, streamed: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_groups, "free_memory", lambda device: 1000)
    with pytest.raises(UserError, match=r"row groups of up to 0.0 GiB, .* write it again with smaller ones"):
        open_source(files)


def test_digests_read_whole_groups_and_notice_changes(
    files: Path, streamed: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(files, 3)
    fingerprint, state = source.fingerprint(), source.state(3)
    streamed.clear()
    monkeypatch.setattr(contents, "READ_MOST", 3 * GROUP * len(png(0)))
    monkeypatch.setattr(contents, "OPENING", 0)
    digest = contents.content_digest(source)
    assert set(streamed) <= {0, 4, 8}, "the first, the one in the middle, the last"
    table = pq.read_table(files / "1.parquet")
    other = [{"bytes": png(number + 100), "path": None} for number in range(40)]
    pq.write_table(table.set_column(0, "image", pa.array(other, table.column(0).type)), files / "1.parquet")
    changed = open_source(files, 3)
    assert changed.fingerprint() != fingerprint
    assert contents.content_digest(changed) != digest
    assert changed.state(3) == state
    assert changed.state(60) != source.state(3)


def test_a_run_that_was_killed_ends_as_one_that_was_not(
    files: Path, tmp_path: Path, streamed: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        **TINY,
        "quiet": True,
        "epochs": 1.2,
        "data__memory": "never",
        "unlabeled": True,
        "logging__checkpoint_minutes": 1e-6,
    }
    byol.pretrain(files, recipe="cifar10-cpu", out=tmp_path / "whole", **settings)
    whole = Callbacks.__call__

    def call(self: Callbacks, *seen: Any) -> bool:
        go_on = whole(self, *seen)
        if self.state.step == 3:
            raise KeyboardInterrupt
        return go_on

    with monkeypatch.context() as patched:
        patched.setattr(Callbacks, "__call__", call)
        with pytest.raises(KeyboardInterrupt):
            byol.pretrain(files, recipe="cifar10-cpu", out=tmp_path / "killed", **settings)
    assert list((tmp_path / "killed").glob("checkpoint*")), "it goes on from there"
    byol.resume(tmp_path / "killed", quiet=True)
    names = [tmp_path / name / "encoder.safetensors" for name in ("whole", "killed")]
    assert names[0].read_bytes() == names[1].read_bytes()
