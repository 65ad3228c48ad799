"""A survey tells sizes, depth and brightness, and copes with bad images."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from byol.data.formats.decode import decode
from byol.data.sources.open import TensorSource, open_source
from byol.data.survey import survey
from byol.errors import UserError

DATA = Path(os.environ.get("BYOL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def save(path: Path, width: int, height: int, value: int = 100) -> None:
    Image.new("RGB", (width, height), (value, 2 * value, 0)).save(path)


def test_sizes_brightness_and_count(tmp_path: Path) -> None:
    for number, (width, height) in enumerate([(10, 20), (30, 40), (50, 24)]):
        save(tmp_path / f"{number}.png", width, height, 50 * number)
    found = survey(open_source(tmp_path))
    assert (found.count, found.sampled, found.bad, found.channels) == (3, 3, 0, 3)
    assert (found.height_median, found.width_median, found.short_side_median) == (24, 30, 24)
    assert not found.same_size
    assert found.depth == "8-bit"
    np.testing.assert_allclose(found.mean, [50 / 255, 100 / 255, 0])
    np.testing.assert_allclose(found.std, [np.std([0, 50, 100]) / 255, np.std([0, 100, 200]) / 255, 0], atol=1e-12)


def test_tensor() -> None:
    images = torch.rand(100, 2, 8, 9)
    found = survey(TensorSource(images), sample=200)
    assert (found.count, found.sampled, found.channels, found.same_size) == (100, 100, 2, True)
    assert (found.height_median, found.width_median, found.depth) == (8, 9, "float")
    np.testing.assert_allclose(found.mean, images.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.std, images.std((0, 2, 3), correction=0), rtol=1e-5)


def test_sample_is_spread_over_the_source() -> None:
    images = torch.zeros(1000, 1, 2, 2, dtype=torch.uint8)
    images[500:] = 255
    found = survey(TensorSource(images), sample=10)
    assert found.sampled == 10
    assert found.mean == (0.5,)


def test_depth_is_the_deepest(tmp_path: Path) -> None:
    save(tmp_path / "1.png", 8, 8)
    Image.fromarray(np.full((8, 8), 30000, np.uint16)).save(tmp_path / "2.png")
    assert survey(open_source(tmp_path)).depth == "16-bit"
    np.save(tmp_path / "3.npy", np.full((8, 8), 0.5, np.float32))
    assert survey(open_source(tmp_path)).depth == "float"


def test_some_bad_images_are_counted(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"{number}.png", 8, 8)
    (tmp_path / "4.png").write_bytes(b"")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "5.png").write_bytes(whole[: whole.index(b"IDAT") + 8])  # the header is fine, the pixels are not
    found = survey(open_source(tmp_path))
    assert (found.count, found.bad, found.sampled) == (6, 2, 6)


def test_half_bad_passes_and_more_does_not(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / f"good{number}.png", 8, 8)
        (tmp_path / f"bad{number}.png").write_bytes(b"junk")
    assert survey(open_source(tmp_path)).bad == 5
    (tmp_path / "bad5.png").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        survey(open_source(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"6 of 11 images looked at in {str(tmp_path)!r} cannot be read, such as ")
    assert message.count("known format") == 3
    assert "bad0.png" in message
    assert "check the path and the files" in message


def test_size_is_that_of_the_whole_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1200, 800)).save(tmp_path / "1.jpg", exif=exif)
    found = survey(open_source(tmp_path))
    assert (found.height_median, found.width_median) == (1200, 800)


@pytest.mark.skipif(not (DATA / "imagenet-samples").is_dir(), reason="needs the folder imagenet-samples in $BYOL_DATA")
def test_shrunk_reading_hardly_changes_the_averages() -> None:
    source = open_source(DATA / "imagenet-samples").subset(range(0, 200, 10))
    found = survey(source)
    whole = [decode(source.read(index), 3).double().div(255).mean((1, 2)) for index in range(len(source))]
    np.testing.assert_allclose(found.mean, torch.stack(whole).mean(0), atol=0.005)
    assert all(0.2 < spread < 0.35 for spread in found.std)


def test_gray_jpegs(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 51).save(buffer, "JPEG")
    (tmp_path / "1.jpg").write_bytes(buffer.getvalue())
    found = survey(open_source(tmp_path))
    assert found.channels == 1
    np.testing.assert_allclose(found.mean, [0.2], atol=0.005)
