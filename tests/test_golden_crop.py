"""Crop windows and the bicubic resize against the official code on real TensorFlow."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import golden_names as golden
from byol.augment.crop import center_window, crop_resize, crop_size, crop_views, crop_window, resize_matrix
from byol.augment.params import ViewParams
from byol.config.views import AugmentConfig
from drawn import changed, draw, number

ARRAYS = golden.load("crop")
RESIZES = sorted({key.partition("/")[0] for key in ARRAYS if key.startswith("resize")})
RESIZED = 1e-5
SIGMAS = 4.5
"""Standard errors allowed to a statistic."""


def column(key: str, number: int) -> Tensor:
    return torch.from_numpy(ARRAYS[key][:, number].astype(np.int64))


def windows_drawn(count: int) -> ViewParams:
    return draw(AugmentConfig().view1, count, 7)


def test_size_of_every_window() -> None:
    """600 images of different sizes at once."""
    h, w = crop_size(
        torch.from_numpy(ARRAYS["area_fraction"]),
        torch.from_numpy(ARRAYS["log_aspect"]),
        column("image_height_width", 0),
        column("image_height_width", 1),
    )
    assert torch.equal(h, column("crop_height_width", 0))
    assert torch.equal(w, column("crop_height_width", 1))


def test_size_of_every_window_one_by_one() -> None:
    for i, (height, width) in enumerate(ARRAYS["image_height_width"].tolist()):
        part = slice(i, i + 1)
        area, log_aspect = (torch.from_numpy(ARRAYS[key][part]) for key in ("area_fraction", "log_aspect"))
        h, w = crop_size(area, log_aspect, height, width)
        assert [h.item(), w.item()] == ARRAYS["crop_height_width"][i].tolist()


def test_offsets_reach_both_ends_and_no_further() -> None:
    count = len(ARRAYS["area_fraction"])
    height, width = column("image_height_width", 0), column("image_height_width", 1)
    params = changed(
        windows_drawn(count),
        area=torch.from_numpy(ARRAYS["area_fraction"]),
        log_aspect=torch.from_numpy(ARRAYS["log_aspect"]),
    )
    for u, last in ((0.0, False), (1 - 2**-24, True)):
        top, left, h, w = crop_window(changed(params, offset=torch.full((count, 2), u)).numbers["crop"], height, width)
        assert torch.equal(top, (column("offset_range_exclusive_h_w", 0) - 1) * last)
        assert torch.equal(left, (column("offset_range_exclusive_h_w", 1) - 1) * last)
        assert torch.equal(h, column("crop_height_width", 0))
        assert torch.equal(w, column("crop_height_width", 1))


def test_every_central_window() -> None:
    for (height, width), official in zip(
        ARRAYS["image_height_width"].tolist(), ARRAYS["center_crop_offset_h_offset_w_h_w"].tolist(), strict=True
    ):
        top, left, side = center_window(height, width)
        assert [top, left, side, side] == official, f"{height} x {width}"


def test_windows_are_drawn_uniformly() -> None:
    """Area, logarithm of the aspect and both offsets, by the Kolmogorov-Smirnov distance to the uniform law."""
    count = 20_000
    params = windows_drawn(count)
    columns = [
        (number(params, "area"), 0.08, 1.0),
        (number(params, "log_aspect"), math.log(3 / 4), math.log(4 / 3)),
        (number(params, "offset")[:, 0], 0.0, 1.0),
        (number(params, "offset")[:, 1], 0.0, 1.0),
    ]
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    for values, low, high in columns:
        u = (values.double().sort().values - low) / (high - low)
        distance = torch.maximum((u - steps[:-1]).abs().max(), (u - steps[1:]).abs().max())
        assert distance < 1.95 / math.sqrt(count)  # exceeded once in a thousand
    assert torch.corrcoef(torch.stack([values.double() for values, _, _ in columns])).fill_diagonal_(0).abs().max() < (
        SIGMAS / math.sqrt(count)
    )


@pytest.mark.parametrize("case", ["window_stats0", "window_stats1"])
def test_statistics_of_windows(case: str) -> None:
    arrays = golden.section(ARRAYS, case)
    height, width = arrays["image_height_width"].tolist()
    count, official_count = 20_000, int(arrays["num_windows"])
    windows = torch.stack(crop_window(windows_drawn(count).numbers["crop"], height, width), dim=1).double()
    top, left, h, w = windows.unbind(dim=1)
    assert (top + h <= height).all()
    assert (left + w <= width).all()
    errors = math.sqrt(1 / count + 1 / official_count)
    std = arrays["std_offset_h_offset_w_h_w"]
    assert (np.abs(windows.mean(dim=0).numpy() - arrays["mean_offset_h_offset_w_h_w"]) <= SIGMAS * errors * std).all()
    squares = (windows - windows.mean(dim=0)).square()
    variance_error = SIGMAS * errors * squares.std(dim=0).numpy()
    assert (np.abs(squares.mean(dim=0).numpy() - std**2) <= variance_error).all()
    area = h * w / (height * width)
    error = SIGMAS * errors * area.std().item()
    assert area.mean().item() == pytest.approx(float(arrays["mean_area_fraction"]), abs=error)
    touching = ((h == height) | (w == width)).double().mean().item()
    official = float(arrays["fraction_touching_full_height_or_width"])
    error = SIGMAS * errors * math.sqrt(official * (1 - official))
    assert touching == pytest.approx(official, abs=error)


def assert_resized_close(ours: Tensor, case: str) -> None:
    index = ARRAYS["index224"]
    image = golden.as_images(ours)
    golden.assert_close(image[np.ix_(index, index)], ARRAYS[f"{case}/out"], RESIZED, case)
    golden.assert_close(image.mean(axis=(0, 1)), ARRAYS[f"{case}/out_channel_mean"], RESIZED, case)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", RESIZES)
def test_resize(case: str, dtype: torch.dtype) -> None:
    crop = golden.images(ARRAYS[f"{case}/crop_uint8"], dtype).unsqueeze(0) / 255
    height, width = crop.shape[2:]
    zero = torch.tensor([0])
    ours = crop_resize(crop, (zero, zero, torch.tensor([height]), torch.tensor([width])), 224)
    assert ours.dtype == dtype
    assert_resized_close(ours[0], case)


@pytest.mark.parametrize("case", RESIZES)
def test_share_of_values_clipped(case: str) -> None:
    """The cubic overshoots, and the overshoot is cut off rather than scaled away."""
    crop = golden.images(ARRAYS[f"{case}/crop_uint8"], torch.float64) / 255
    height, width = crop.shape[1:]
    rows, columns = (
        resize_matrix(torch.tensor([0]), torch.tensor([size]), size, 224)[0].double() for size in (height, width)
    )
    raw = rows @ crop @ columns.T
    # a handful of values lie at the borders themselves, where rounding decides
    share = ((raw < -1e-9) | (raw > 1 + 1e-9)).double().mean().item()
    at_border = ((raw.abs() < 1e-6) | ((raw - 1).abs() < 1e-6)).double().mean().item()
    assert share == pytest.approx(float(ARRAYS[f"{case}/fraction_clipped"]), abs=at_border + 1e-5)


def test_resize_sees_nothing_outside_the_window() -> None:
    """Crops first, resizes then: three windows of different sizes, each inside an image of noise."""
    generator = torch.Generator().manual_seed(0)
    canvas = torch.rand(len(RESIZES), 3, 200, 320, generator=generator)
    places = [(17, 41), (0, 237), (176, 20)]  # one inside, one at the right border, one at the bottom
    sizes = []
    for image, case, (top, left) in zip(canvas, RESIZES, places, strict=True):
        crop = golden.images(ARRAYS[f"{case}/crop_uint8"]) / 255
        height, width = crop.shape[1:]
        image[:, top : top + height, left : left + width] = crop
        sizes.append((height, width))
    top, left = (torch.tensor(column) for column in zip(*places, strict=True))
    height, width = (torch.tensor(column) for column in zip(*sizes, strict=True))
    for ours, case in zip(crop_resize(canvas, (top, left, height, width), 224), RESIZES, strict=True):
        assert_resized_close(ours, case)


@pytest.mark.parametrize("case", RESIZES)
def test_resize_of_stored_bytes(case: str) -> None:
    """A whole image in memory, through the window that was drawn for it."""
    image = torch.from_numpy(ARRAYS[f"{case}/crop_uint8"].copy()).permute(2, 0, 1).unsqueeze(0)
    height, width = image.shape[2:]
    unflipped = torch.zeros(1, dtype=torch.bool)
    whole = changed(
        windows_drawn(1),
        area=torch.ones(1),
        log_aspect=torch.tensor([math.log(width / height)]),
        flip=unflipped,
        vertical_flip=unflipped,
    )
    assert [t.item() for t in crop_window(whole.numbers["crop"], height, width)] == [0, 0, height, width]
    assert_resized_close(crop_views(image, whole, 224)[0], case)
