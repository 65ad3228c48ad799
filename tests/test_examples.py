"""Each script in examples/ does what its first line says."""

import csv
import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_each_is_listed() -> None:
    page = (EXAMPLES / "README.md").read_text()
    assert all(f"({script.name})" in page for script in EXAMPLES.glob("*.py"))


def test_own_loop() -> None:
    torch.manual_seed(0)
    train = runpy.run_path(str(EXAMPLES / "own_loop.py"))["train"]
    images = torch.rand(32, 3, 16, 16)
    encoder, losses = train(images, updates=12, batch_size=16)
    assert losses[-1] < 0.7 * losses[0]
    assert encoder(images).shape == (32, 128)


def test_embeddings_to_table(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, value in enumerate((0, 128, 255)):
        Image.new("RGB", (4, 4), (value,) * 3).save(folder / f"{number}.png")
    write_table = runpy.run_path(str(EXAMPLES / "embeddings_to_table.py"))["write_table"]
    assert write_table("pixels@4", str(folder), tmp_path / "features.csv") == 3
    header, *rows = csv.reader((tmp_path / "features.csv").read_text().splitlines())
    assert header[:2] == ["image", "feature_0"]
    assert [Path(row[0]).name for row in rows] == ["0.png", "1.png", "2.png"]
    values = [float(row[1]) for row in rows]
    assert values[2] - values[1] == pytest.approx((255 - 128) / 128 * (values[1] - values[0]), rel=1e-4)
