"""Holding a set in memory: which ones, in what order, and what happens to the bad ones."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import byol
from byol.data.memory import TooManyBytes, bytes_decoded, decode_all, fits, human_bytes
from byol.data.sources.open import Source, TensorSource, open_source
from byol.data.survey import Survey, survey
from byol.errors import UserError
from conftest import TINY


def seen(**changes: object) -> Survey:
    values: dict = {
        "count": 100,
        "channels": 3,
        "height_median": 10,
        "width_median": 20,
        "short_side_median": 10,
        "same_size": True,
        "depth": "8-bit",
        "bad": 0,
        "sampled": 64,
        "image_bytes": 600.0,
        "mean": (0.5,) * 3,
        "std": (0.2,) * 3,
    }
    return Survey(**{**values, **changes})


def test_size_once_decoded() -> None:
    assert bytes_decoded(seen()) == 100 * 3 * 10 * 20
    assert bytes_decoded(seen(count=7, image_bytes=10.5)) == 74


def test_a_quarter_of_the_free_memory_may_be_taken() -> None:
    assert fits(seen(), 4 * 60_000) == (True, "60 kB decoded fits in a quarter of the free memory (60 kB)")
    fitting, why = fits(seen(), 4 * 60_000 - 4)
    assert not fitting
    assert "exceeds" in why


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (9, "9 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (153_600_000, "154 MB"),
        (2.5e9, "2.5 GB"),
        (3e12, "3.0 TB"),
    ],
)
def test_bytes_in_words(count: float, text: str) -> None:
    assert human_bytes(count) == text


def test_images_of_one_size_become_one_tensor_in_order(tmp_path: Path) -> None:
    for number in range(150):  # more than two tasks' worth
        Image.new("RGB", (6, 5), (number, 0, 255 - number)).save(tmp_path / f"{number:03d}.png")
    decoded = decode_all(open_source(tmp_path), 3, 64)
    assert isinstance(decoded.images, torch.Tensor)
    assert decoded.images.shape == (150, 3, 5, 6)
    assert decoded.images.dtype == torch.uint8
    assert decoded.images[:, 0, 2, 3].tolist() == list(range(150))
    assert decoded.images[:, 2, 0, 0].tolist() == list(range(255, 105, -1))
    assert decoded.bad == []


def test_images_of_several_sizes_stay_apart(tmp_path: Path) -> None:
    Image.new("RGB", (6, 5), (10, 20, 30)).save(tmp_path / "1.png")
    Image.new("RGB", (7, 9), (40, 50, 60)).save(tmp_path / "2.png")
    decoded = decode_all(open_source(tmp_path), 1, 64)
    assert isinstance(decoded.images, list)
    assert [tuple(image.shape) for image in decoded.images] == [(3, 5, 6), (3, 9, 7)]
    assert [image[1, 0, 0].item() for image in decoded.images] == [20, 50]


def test_deep_among_bytes_stay_apart_too(tmp_path: Path) -> None:
    Image.new("L", (6, 5), 51).save(tmp_path / "1.png")
    Image.fromarray(np.full((5, 6), 13107, np.uint16)).save(tmp_path / "2.png")
    decoded = decode_all(open_source(tmp_path), 1, 64)
    assert [image.dtype for image in decoded.images] == [torch.uint8, torch.float32]
    assert decoded.images[1][0, 0, 0].item() == pytest.approx(0.2)


def test_bad_images_are_left_out_and_listed(tmp_path: Path) -> None:
    for group in ("a", "b"):
        (tmp_path / group).mkdir()
        for number in range(4):
            Image.new("RGB", (6, 5), (number, 0, 0)).save(tmp_path / group / f"{number}.png")
    (tmp_path / "a" / "1.png").write_bytes(b"")
    (tmp_path / "b" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nand nothing more")
    decoded = decode_all(open_source(tmp_path, 3), 2, 64)
    assert [line.split("\t")[0] for line in decoded.bad] == [
        str(tmp_path / "a" / "1.png"),
        str(tmp_path / "b" / "2.png"),
    ]
    assert all(len(line.split("\t")[1]) > 3 for line in decoded.bad)
    # images, their places and their labels still belong together
    assert isinstance(decoded.images, torch.Tensor)
    assert decoded.images[:, 0, 0, 0].tolist() == [0, 2, 3, 0, 1, 3]
    assert decoded.source.labels == [0, 0, 0, 1, 1, 1]
    assert [Path(decoded.source.where(i)).name for i in range(6)] == [
        "0.png",
        "2.png",
        "3.png",
        "0.png",
        "1.png",
        "3.png",
    ]


def test_more_than_half_bad_is_refused(tmp_path: Path) -> None:
    for number in range(6):
        Image.new("RGB", (6, 5)).save(tmp_path / f"{number}.png")
    source = open_source(tmp_path, 3)
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"")
    assert len(decode_all(source, 1, 64).bad) == 3
    (tmp_path / "3.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"4 of 6 images of .* cannot be read"):
        decode_all(source, 1, 64)


def test_large_jpegs_are_decoded_smaller_where_that_is_enough(tmp_path: Path) -> None:
    Image.new("RGB", (400, 320), (200, 100, 50)).save(tmp_path / "1.jpg")
    decoded = decode_all(open_source(tmp_path), 1, 40)
    assert decoded.images[0].shape == (3, 40, 50)
    assert decode_all(open_source(tmp_path), 1, 200).images[0].shape == (3, 320, 400)


def taken(source: Source) -> int:
    """Bytes of all images once decoded."""
    images = decode_all(source, 1, 10_000).images
    return images.nbytes if isinstance(images, torch.Tensor) else sum(image.nbytes for image in images)


def test_a_few_large_images_count_with_what_they_take(tmp_path: Path) -> None:
    for number in range(66):
        Image.new("RGB", (6, 5)).save(tmp_path / f"{number:03d}.png")
    for number in range(66, 120):
        Image.new("RGB", (300, 200), (number, 0, 0)).save(tmp_path / f"{number:03d}.png")
    source = open_source(tmp_path)
    assert survey(source).height_median == 5, "the median image is small"
    assert taken(source) == 66 * 90 + 54 * 180_000
    assert bytes_decoded(survey(source)) == pytest.approx(taken(source), rel=0.1)


@pytest.mark.parametrize("kind", ["folder", "list", "parquet", "subset"])
def test_the_only_large_image_is_found_by_its_file(kind: str, tmp_path: Path) -> None:
    for number in range(300):
        Image.new("RGB", (6, 5)).save(tmp_path / f"{number:03d}.png")
    Image.new("RGB", (900, 700), (1, 2, 3)).save(tmp_path / "101.png")
    source: Source = open_source(tmp_path)
    if kind == "list":
        (tmp_path / "list.txt").write_text("".join(f"{number:03d}.png\n" for number in range(300)))
        source = open_source(tmp_path / "list.txt")
    elif kind == "parquet":
        pq.write_table(pa.table({"image": [source.read(index) for index in range(300)]}), tmp_path / "x.parquet")
        source = open_source(tmp_path / "x.parquet")
    elif kind == "subset":
        source = source.subset(range(299, 0, -1))
    assert bytes_decoded(survey(source)) == taken(source) > 900 * 700 * 3


def test_deep_images_among_others_count_with_their_own_depth(tmp_path: Path) -> None:
    for number in range(20):
        Image.new("L", (6, 5)).save(tmp_path / f"{number}.png")
        Image.fromarray(np.full((50, 60), 13107, np.uint16)).save(tmp_path / f"deep{number}.png")
    source = open_source(tmp_path)
    assert bytes_decoded(survey(source)) == taken(source) == 20 * 30 + 20 * 3000 * 4


def test_of_many_images_the_large_stand_for_their_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol.data.survey.SIZES_SEEN", 100)
    for number in range(300):
        side = 200 if number % 10 == 0 else 5
        Image.new("RGB", (side, side)).save(tmp_path / f"{number:03d}.png")
    source = open_source(tmp_path)
    assert bytes_decoded(survey(source)) == pytest.approx(taken(source), rel=0.25)


def test_decoding_stops_where_images_take_more_than_they_may(tmp_path: Path) -> None:
    for number in range(200):
        Image.new("RGB", (6, 5), (number, 0, 0)).save(tmp_path / f"{number:03d}.png")
    source = open_source(tmp_path)
    assert len(decode_all(source, 2, 64, most_bytes=200 * 90).images) == 200
    with pytest.raises(TooManyBytes, match="decoded images exceed 18 kB, more than a sample could tell"):
        decode_all(source, 2, 64, most_bytes=200 * 90 - 1)


def test_a_run_whose_images_take_more_than_expected_reads_them_from_the_disk(
    tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byol.pretraining.setup.fits", lambda seen, free: (True, "they seem to fit"))
    monkeypatch.setattr("byol.pretraining.setup.machine.free_memory", lambda device: 2 * 64 * 4320 - 2)
    out = tmp_path / "run"
    byol.pretrain(image_folder, recipe="cifar10-cpu", out=out, quiet=True, **{**TINY, "epochs": 1})
    said = (out / "log.txt").read_text()
    assert "images: decoded images exceed 276 kB, more than a sample could tell; decoded anew each epoch" in said
    assert json.loads((out / "config.json").read_text())["config"]["data"]["memory"] == "never"


def test_survey_and_memory_agree() -> None:
    images = torch.zeros(50, 2, 8, 9, dtype=torch.uint8)
    source = TensorSource(images)
    assert bytes_decoded(survey(source)) == images.numel()
