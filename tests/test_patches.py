"""`byol embed --patches`: the features of each place, by name, row and column, whatever the file."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

import byol
from byol.cli.main import main
from byol.encoders.load import open_encoder
from byol.encoders.patches import NoPatches, PatchShape, VectorAndPatches, vectors_and_patches
from byol.errors import UserError
from byol.evals.patch_maps import PatchMaps
from byol.explore import embed as embedding
from byol.explore.embed import EmbedConfig, chunk_size, embed
from conftest import picture
from evals_data import CPU

CONVOLUTIONAL, TRANSFORMER = "random:resnet10@small/x0.25/32", "random:vit_tiny_patch16_224@48"
CONFIG = EmbedConfig(batch_size=4, workers=1, precision="float32", patches=True)


@pytest.fixture(autouse=True)
def _features_below_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine pictures and, between them, a file that is no image."""
    (tmp_path / "images").mkdir()
    for number in range(10):
        picture(number, 32, 32).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "images" / "4.png").write_bytes(b"no image")
    return tmp_path / "images"


def normalized(count: int, side: int) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_the_places_of_the_last_map_average_to_the_vector() -> None:
    module, images = open_encoder(CONVOLUTIONAL).module, normalized(2, 32)
    vectors, patches = vectors_and_patches(module, images)
    assert patches.shape == (2, 4, 4, 128)
    torch.testing.assert_close(vectors, module(images))
    torch.testing.assert_close(patches.mean(dim=(1, 2)), vectors, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(patches[1, 2, 3], module.forward_features(images)[1, :, 2, 3])  # type: ignore[operator]


def test_the_tokens_of_a_transformer_are_those_of_its_maps() -> None:
    encoder, images = open_encoder(TRANSFORMER), normalized(2, 48)
    vectors, patches = vectors_and_patches(encoder.module, images)
    assert patches.shape == (2, 3, 3, 192), "48 / 16 patches a side, the class token left out"
    torch.testing.assert_close(vectors, encoder.module(images))
    maps = PatchMaps.of(encoder)
    assert maps is not None
    torch.testing.assert_close(patches.permute(0, 3, 1, 2), maps.forward_features(images), rtol=1e-4, atol=1e-5)


class ChannelsLast(nn.Module):
    """An encoder whose map has channels last, as Swin has it."""

    output_fmt = "NHWC"

    def forward_features(self, images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1)

    def forward_head(self, last: Tensor) -> Tensor:
        return last.amax(dim=(1, 2))


def test_maps_with_channels_last_are_taken_as_they_are() -> None:
    images = normalized(2, 8)[:, :, :5]
    vectors, patches = vectors_and_patches(ChannelsLast(), images)
    torch.testing.assert_close(vectors, images.amax(dim=(2, 3)))
    torch.testing.assert_close(patches[1, 4, 7], images[1, :, 4, 7])
    both = VectorAndPatches(ChannelsLast())
    layout = both.shape(3, 6, "name")
    assert (layout, layout.values) == (PatchShape(3, 6, 6, 3), 3 + 6 * 6 * 3)
    again, split = layout.split(both(normalized(2, 6)))
    torch.testing.assert_close(again, normalized(2, 6).amax(dim=(2, 3)))
    torch.testing.assert_close(split, normalized(2, 6).permute(0, 2, 3, 1))


def test_what_is_no_grid_is_refused() -> None:
    class Flat(ChannelsLast):
        def forward_features(self, images: Tensor) -> Tensor:
            return images.flatten(2)

    with pytest.raises(NoPatches):
        vectors_and_patches(Flat(), normalized(1, 8))
    with pytest.raises(UserError, match="The encoder pixels has no features of patches; leave --patches out"):
        VectorAndPatches(open_encoder("pixels").module).shape(3, 32, "pixels")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def expected(folder: Path) -> tuple[list[Path], Tensor, Tensor]:
    """Paths of the readable images, their vectors (9, 128) and patches (9, 4, 4, 128), each image by itself."""
    paths = [folder / f"{number}.png" for number in (0, 1, 2, 3, 5, 6, 7, 8, 9)]
    source = byol.open_source(folder, 3)
    encoder = embedding.calibrated(open_encoder(CONVOLUTIONAL), source, CPU)
    images = torch.stack([source.image(number) for number in range(10) if number != 4])
    with torch.no_grad():
        last = encoder.module.forward_features(encoder.transform.normalize(images))  # type: ignore[operator]
    return paths, last.mean(dim=(2, 3)), last.permute(0, 2, 3, 1)


def test_every_file_has_the_patches_by_name_row_and_column(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--patches", "--precision", "float32", "--batch-size", "4")
    for name in ("f.parquet", "v.npy", "f.csv"):
        assert run("embed", CONVOLUTIONAL, folder, "--out", tmp_path / name, *common) == 0
    assert (
        f"4 x 4 patches of 128 features of each image, written to {tmp_path}/f.patches.csv" in capsys.readouterr().out
    )
    paths, vectors, patches = expected(folder)
    table = pq.read_table(tmp_path / "f.patches.parquet")
    assert table.column_names == ["index", "path", "row", "column", "embedding"]
    grid = [(row, column) for row in range(4) for column in range(4)]
    assert table["path"].to_pylist() == [str(path) for path in paths for _ in grid]
    assert table["index"].to_pylist() == [number for number in (0, 1, 2, 3, 5, 6, 7, 8, 9) for _ in grid]
    assert list(zip(table["row"].to_pylist(), table["column"].to_pylist(), strict=True)) == grid * 9
    stored = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    np.testing.assert_allclose(stored, patches.reshape(-1, 128), rtol=1e-4, atol=1e-5)
    origin = json.loads(table.schema.metadata[b"byol"])
    assert origin["patches"] == {"rows": 4, "columns": 4, "channels": 128}
    np.testing.assert_array_equal(np.load(tmp_path / "v.patches.npy").reshape(-1, 128), stored)
    rows = list(csv.reader((tmp_path / "f.patches.csv").read_text().splitlines()))
    assert rows[0] == ["index", "path", "row", "column", *(f"f{number}" for number in range(128))]
    assert rows[1 + 16 + 6][:4] == ["1", str(paths[1]), "1", "2"]
    np.testing.assert_array_equal(np.array([row[4:] for row in rows[1:]], dtype=np.float32), stored)
    whole = pq.read_table(tmp_path / "f.parquet")
    assert whole["path"].to_pylist() == [str(path) for path in paths]
    np.testing.assert_allclose(np.array(whole["embedding"].to_pylist()), vectors, rtol=1e-4, atol=1e-5)
    names = [row[1] for row in csv.reader((tmp_path / "v.names.csv").read_text().splitlines())][1:]
    assert names == [str(path) for path in paths], "rows of the arrays"


def test_chunks_with_patches_are_small_and_go_on_after_an_interruption(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = PatchShape(384, 14, 14, 384)
    assert layout.values == 384 * 197
    assert chunk_size(layout) == 2**26 // (4 * 384 * 197), "64 MiB of float32"
    assert chunk_size(None) == chunk_size(PatchShape(3, 1, 1, 3)) == 4096
    assert chunk_size(PatchShape(1, 5000, 5000, 1)) == 1
    monkeypatch.setattr(embedding, "CHUNK_BYTES", 4 * 3 * (128 + 16 * 128))
    encoder = embedding.calibrated(open_encoder(CONVOLUTIONAL), byol.open_source(folder, 3), CPU)
    source = byol.open_source(folder, 3)
    whole = embed(encoder, source, tmp_path / "whole.parquet", CONFIG, CPU)
    assert (whole.rows, whole.features, whole.unreadable, whole.patches) == (9, 128, 1, PatchShape(128, 4, 4, 128))
    assert pq.ParquetFile(tmp_path / "whole.patches.parquet").num_row_groups == 4, "three images at a time"

    def stop(what: str, done: int, total: int) -> None:
        if done > 7:
            raise KeyboardInterrupt

    stopping: Any = stop
    with pytest.raises(KeyboardInterrupt):
        embed(encoder, source, tmp_path / "again.parquet", CONFIG, CPU, stopping)
    assert not list(tmp_path.glob("again*"))
    plain = embed(encoder, source, tmp_path / "again.parquet", EmbedConfig(precision="float32"), CPU)
    assert (plain.resumed, plain.patches) == (0, None), "stored patches are not taken for plain vectors"
    again = embed(encoder, source, tmp_path / "again.parquet", CONFIG, CPU)
    assert again.resumed == 8, "three whole chunks of three images, of which one cannot be read"
    for name in ("", ".patches"):
        first, second = (pq.read_table(tmp_path / f"{which}{name}.parquet") for which in ("whole", "again"))
        assert first.drop_columns("embedding").equals(second.drop_columns("embedding"))
        both = [np.array(table["embedding"].to_pylist()) for table in (first, second)]
        np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-5)  # other batches round otherwise
    assert not list(tmp_path.glob(".again*"))
