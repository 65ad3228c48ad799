"""Holding a set in memory: which ones, in what order, and what happens to the bad ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from byol.data.memory import bytes_decoded, decode_all, fits, human_bytes
from byol.data.sources.open import TensorSource, open_source
from byol.data.survey import Survey, survey
from byol.errors import UserError


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
        "mean": (0.5,) * 3,
        "std": (0.2,) * 3,
    }
    return Survey(**{**values, **changes})


def test_size_once_decoded() -> None:
    assert bytes_decoded(seen()) == 100 * 3 * 10 * 20
    assert bytes_decoded(seen(depth="16-bit", channels=1)) == 100 * 10 * 20 * 4
    assert bytes_decoded(seen(depth="float")) == 4 * bytes_decoded(seen())


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


def test_survey_and_memory_agree() -> None:
    images = torch.zeros(50, 2, 8, 9, dtype=torch.uint8)
    source = TensorSource(images)
    assert bytes_decoded(survey(source)) == images.numel()
