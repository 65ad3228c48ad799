"""A survey tells sizes, depth and brightness, and copes with bad images."""

import io
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from byol.data.formats.decode import decode
from byol.data.sources.open import TensorSource, open_source
from byol.data.survey import _moments, _some_values, survey
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


PEAK = r"""
import re, sys
from byol.data.sources.open import open_source
from byol.data.survey import survey
def peak():  # `resource.getrusage` counts what the process that started this one took
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1])
source = open_source(sys.argv[1])
before = peak()
image = source.image(0)
decoded = peak()
del image
survey(source)
print(decoded - before, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux, which tells the peak of a process")
def test_a_survey_takes_about_as_much_memory_as_one_image(tmp_path: Path) -> None:
    side = 4000
    ramp = np.arange(side, dtype=np.uint16)[:, None] + np.arange(side, dtype=np.uint16)
    for number in range(3):
        pixels = np.stack([ramp % 256, ramp // 31, np.full_like(ramp, number)], axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png", compress_level=1)
    # glibc may keep what is freed, more or less of it as it likes; told a threshold, it gives large blocks back at once
    settings = os.environ | {"MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, "-c", PEAK, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=settings)
    one, several = map(int, done.stdout.split())
    image = side * side * 3
    assert one > image
    assert several < one + image / 2


def test_a_survey_keeps_no_image(tmp_path: Path) -> None:
    images = [torch.rand(1, 300, 200) for _ in range(4)]
    held = [weakref.ref(image) for image in images]

    class Fading(TensorSource):
        def image(self, index: int, shrink_to: int | None = None) -> torch.Tensor:
            assert all(held[before]() is None for before in range(index)), "an image before this one is still there"
            return images.pop(0)

    found = survey(Fading(torch.rand(4, 1, 300, 200)))
    assert 0.49 < found.mean[0] < 0.51


@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize("deep", [False, True])
def test_averages_are_those_of_all_pixels_and_tails_those_of_an_even_sample(deep: bool, layout: str) -> None:
    torch.manual_seed(0)
    image = torch.rand(3, 701, 903) if deep else torch.randint(0, 256, (3, 701, 903)).to(torch.uint8)
    laid = image if layout == "channels first" else image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    values = image.double() if deep else image.double() / 255
    np.testing.assert_allclose(_moments(laid), torch.stack([values.mean((1, 2)), (values**2).mean((1, 2))]))
    step = image.numel() // 20_000
    assert torch.equal(_some_values(laid), values.float().flatten()[::step])


def test_gray_jpegs(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 51).save(buffer, "JPEG")
    (tmp_path / "1.jpg").write_bytes(buffer.getvalue())
    found = survey(open_source(tmp_path))
    assert found.channels == 1
    np.testing.assert_allclose(found.mean, [0.2], atol=0.005)
