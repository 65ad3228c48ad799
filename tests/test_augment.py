"""Properties of the augmentation; its values are held by test_golden_augment.py and test_golden_crop.py."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from byol.augment import views as view_parts
from byol.augment.color import gaussian_blur, solarize, to_grayscale
from byol.augment.crop import center_window, crop_views, crop_window
from byol.augment.normalize import as_float
from byol.augment.params import ViewParams
from byol.augment.views import make_views
from byol.config.values import replace
from byol.config.views import AugmentConfig, Normalization, ViewConfig
from drawn import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    PLACES,
    SATURATION,
    apply_color,
    changed,
    draw,
    make_view,
    number,
    rgb_to_hsv,
)

T, T_PRIME = AugmentConfig().view1, AugmentConfig().view2
NOTHING = ViewConfig(
    area=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0, vertical_flip=0.0, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0
)
PLAIN = ((0.0,) * 3, (1.0,) * 3)
"""A mean and a standard deviation that change nothing."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 6, channels: int = 3, height: int = 24, width: int = 24, seed: int = 0) -> Tensor:
    return torch.rand(n, channels, height, width, generator=seeded(seed))


def test_a_view_of_nothing_is_the_image() -> None:
    x = pictures()
    params = draw(NOTHING, 6)
    torch.testing.assert_close(make_view(x, params, *PLAIN, size=24), x, atol=1e-6, rtol=0)


def test_bytes_and_floats_give_the_same_view() -> None:
    stored = (pictures() * 255).round().to(torch.uint8)
    params = draw(T, 6)
    from_bytes = make_view(stored, params, *PLAIN, size=16)
    torch.testing.assert_close(make_view(stored.float() / 255, params, *PLAIN, size=16), from_bytes)
    assert from_bytes.dtype == torch.float32
    assert from_bytes.shape == (6, 3, 16, 16)


def test_sixteen_bits_are_not_rounded_to_eight() -> None:
    steps = torch.arange(24 * 24).view(1, 1, 24, 24) / 65535  # neighbors that eight bits cannot tell apart
    view = make_view(steps, draw(NOTHING, 1), (0.0,), (1.0,), size=24)
    assert len(view.unique()) == 24 * 24
    torch.testing.assert_close(view, steps, atol=1e-8, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_other_channels_have_no_color_but_all_else(channels: int) -> None:
    x = pictures(8, channels)
    view = ViewConfig(jitter=1.0, gray=1.0, blur=1.0, solarize=0.5)
    params = draw(view, 8, 3)
    out = apply_color(x, params)
    assert out.shape == x.shape
    # the same with brightness and contrast alone
    without = changed(
        params,
        gray=torch.zeros(8, dtype=torch.bool),
        factors=number(params, "factors") * torch.tensor([1.0, 1.0, 0.0, 0.0]) + torch.tensor([0.0, 0.0, 1.0, 0.0]),
    )
    assert torch.equal(out, apply_color(x, without))
    # channels do not mix: another value in one leaves the others alone
    other = x.clone()
    other[:, 0] = pictures(8, 1, seed=9)[:, 0]
    assert torch.equal(apply_color(other, params)[:, 1:], out[:, 1:])
    assert not torch.equal(apply_color(other, params)[:, 0], out[:, 0])


@pytest.mark.parametrize("view", [T, T_PRIME], ids=["T", "T'"])
@pytest.mark.parametrize("whole", [True, False])
def test_chunks_change_nothing(view: ViewConfig, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x, params = pictures(11), draw(view, 11)

    def make() -> Tensor:
        if whole:
            return make_view(x, params, *PLAIN, size=20)
        return make_view(x, params, *PLAIN)

    monkeypatch.setattr(view_parts, "CHUNK_BYTES", 1 << 30)
    at_once = make()
    for rows in (1, 3, 10):
        monkeypatch.setattr(view_parts, "CHUNK_BYTES", rows * 4 * x[0].numel())
        torch.testing.assert_close(make(), at_once, rtol=0, atol=2e-7)


def test_an_image_does_not_depend_on_its_neighbors() -> None:
    x, params = pictures(9), draw(T_PRIME, 9)
    together = make_view(x, params, *PLAIN)
    for i in range(9):
        alone = make_view(x[i : i + 1], params[i : i + 1], *PLAIN)
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=2e-7)


@given(st.integers(0, 10_000), st.sampled_from([T, T_PRIME]))
@settings(deadline=None, max_examples=20)
def test_same_numbers_same_pixels_in_range(seed: int, view: ViewConfig) -> None:
    x = pictures(4, seed=seed)
    before = x.clone()
    params = draw(view, 4, seed)
    kept = {name: number(params, name).clone() for name in PLACES}
    state = torch.get_rng_state()
    first, again = (apply_color(x, params) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state), "nothing random is drawn while applying"
    assert torch.equal(x, before), "what is given is left alone"
    for name, value in kept.items():
        assert torch.equal(number(params, name), value)
    assert first.min() >= 0
    assert first.max() <= 1
    crops = crop_views(x, params, 12)
    assert torch.equal(crops, crop_views(x, params, 12))
    assert crops.min() >= 0
    assert crops.max() <= 1


def test_flips() -> None:
    x = pictures(6)
    view = replace(NOTHING, flip=0.5, vertical_flip=0.5)
    params = draw(view, 6, 1)
    assert number(params, "flip").any()
    assert number(params, "vertical_flip").any()
    assert not torch.equal(number(params, "flip"), number(params, "vertical_flip"))
    out = apply_color(x, params)
    for i in range(6):
        expected = x[i]
        if number(params, "flip")[i]:
            expected = expected[:, :, range(23, -1, -1)]  # left and right
        if number(params, "vertical_flip")[i]:
            expected = expected[:, range(23, -1, -1)]  # top and bottom
        assert torch.equal(out[i], expected)


def test_vertical_flips_are_off_unless_asked_for() -> None:
    assert not number(draw(T, 2000), "vertical_flip").any()
    assert number(draw(replace(T, vertical_flip=0.3), 20_000), "vertical_flip").float().mean() == pytest.approx(
        0.3, abs=0.015
    )


@pytest.mark.parametrize("name", ["flip", "vertical_flip", "jitter", "gray", "blur", "solarize"])
def test_probabilities_zero_and_one(name: str) -> None:
    assert not number(draw(replace(T, **{name: 0.0}), 500), name).any()
    assert number(draw(replace(T, **{name: 1.0}), 500), name).all()


def test_one_setting_changes_no_other_number() -> None:
    """Probabilities and ranges scale numbers that were drawn; they do not shift the sequence."""
    plain, other = draw(T, 50), draw(replace(T, gray=1.0, area=(0.5, 1.0)), 50)
    for name in set(PLACES) - {"gray", "area"}:
        assert torch.equal(number(plain, name), number(other, name)), name
    u = (number(plain, "area") - 0.08) / 0.92
    torch.testing.assert_close(number(other, "area"), 0.5 + 0.5 * u)


def test_slices_of_numbers() -> None:
    params = draw(T, 10)
    part = params[3:7]
    assert isinstance(part, ViewParams)
    assert len(part) == 4
    for name in PLACES:
        assert torch.equal(number(part, name), number(params, name)[3:7])


def only(code: int, factor: float) -> ViewParams:
    """Jitter by one operation; the other three do nothing."""
    params = draw(replace(NOTHING, jitter=1.0), 1)
    neutral = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    neutral[0, code] = factor
    return changed(params, factors=neutral)


def test_each_operation_in_closed_form() -> None:
    x = pictures(1) * 0.5 + 0.25
    bright = apply_color(x, only(BRIGHTNESS, 0.2))
    torch.testing.assert_close(bright, x + 0.2)
    mean = x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(apply_color(x, only(CONTRAST, 0.5)), mean + 0.5 * (x - mean))
    saturated = rgb_to_hsv(apply_color(x, only(SATURATION, 0.5)))
    hsv = rgb_to_hsv(x)
    torch.testing.assert_close(saturated[:, 1], 0.5 * hsv[:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(saturated[:, 2], hsv[:, 2])
    turned = rgb_to_hsv(apply_color(x, only(HUE, 1 / 3)))
    torch.testing.assert_close(turned[:, 1:], hsv[:, 1:], atol=1e-5, rtol=0)
    # a third of a turn: red goes where green was, green where blue was
    torch.testing.assert_close(apply_color(x, only(HUE, 1 / 3)), x[:, [2, 0, 1]], atol=1e-5, rtol=0)


def test_order_matters_and_is_followed() -> None:
    x = pictures(2) * 0.2 + 0.7
    view = replace(NOTHING, jitter=1.0)
    params = draw(view, 2)
    factors = torch.tensor([[0.25, 0.5, 1.0, 0.0]]).expand(2, 4)
    orders = torch.tensor([[0, 1, 2, 3], [1, 0, 2, 3]])
    out = apply_color(x, changed(params, factors=factors, order=orders))
    bright = (x[0] + 0.25).clamp(0, 1)
    mean = bright.mean((1, 2), keepdim=True)
    torch.testing.assert_close(out[0], mean + 0.5 * (bright - mean))
    mean = x[1].mean((1, 2), keepdim=True)
    torch.testing.assert_close(out[1], (mean + 0.5 * (x[1] - mean) + 0.25).clamp(0, 1))


def test_gray_blur_and_solarize_in_closed_form() -> None:
    x = pictures(2, height=40, width=40)
    gray = apply_color(x, draw(replace(NOTHING, gray=1.0), 2))
    luminance = 0.2989 * x[:, 0] + 0.5870 * x[:, 1] + 0.1140 * x[:, 2]
    for channel in range(3):
        torch.testing.assert_close(gray[:, channel], luminance)
    torch.testing.assert_close(to_grayscale(x), gray)

    dark = apply_color(x, draw(replace(NOTHING, solarize=1.0), 2))
    torch.testing.assert_close(dark, torch.where(x < 0.5, x, 1 - x))
    assert torch.equal(solarize(x, 0.8), torch.where(x < 0.8, x, 1 - x))

    point = torch.zeros(1, 1, 41, 41)
    point[0, 0, 20, 20] = 1.0
    blurred = gaussian_blur(point, torch.tensor([1.5]), 9)[0, 0]
    line = torch.exp(-(torch.arange(-4, 5.0) ** 2) / (2 * 1.5**2))
    line /= line.sum()
    torch.testing.assert_close(blurred[16:25, 16:25], line.outer(line))
    assert blurred.sum().item() == pytest.approx(1, abs=1e-5)
    # outside the image lies black
    assert gaussian_blur(torch.ones(1, 1, 41, 41), torch.tensor([1.5]), 9)[0, 0, 0, 20] < 0.7


@pytest.mark.parametrize(("height", "taps"), [(33, 7), (48, 7), (64, 7), (130, 13), (224, 23)])
def test_the_two_ways_to_blur_agree(height: int, taps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from byol.augment import color

    x, sigma = pictures(3, 2, height, height + 7), torch.tensor([0.1, 0.7, 2.0])
    monkeypatch.setattr(color, "SHORT_KERNEL", 0)
    by_blocks = gaussian_blur(x, sigma, taps)
    monkeypatch.setattr(color, "SHORT_KERNEL", 99)
    torch.testing.assert_close(by_blocks, gaussian_blur(x, sigma, taps), atol=1e-6, rtol=1e-5)


def test_small_images_have_no_blur() -> None:
    x = pictures(2, height=16, width=16)
    view = replace(NOTHING, blur=1.0)
    assert torch.equal(apply_color(x, draw(view, 2)), x)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_windows_lie_within_the_image(height: int, width: int, seed: int) -> None:
    params = draw(T, 16, seed)
    top, left, h, w = crop_window(params.numbers["crop"], height, width)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (h >= 1).all()
    assert (w >= 1).all()
    assert (top + h <= height).all()
    assert (left + w <= width).all()
    inside = (h < height) & (w < width)  # where nothing was clipped, area and aspect are those drawn, to the rounding
    expected_h = (number(params, "area").double() * height * width / number(params, "log_aspect").double().exp()).sqrt()
    expected_w = (number(params, "area").double() * height * width * number(params, "log_aspect").double().exp()).sqrt()
    assert ((h - expected_h).abs()[inside & (h > 1)] <= 0.5 + 1e-6).all()
    assert ((w - expected_w).abs()[inside & (w > 1)] <= 0.5 + 1e-6).all()


def test_windows_of_images_of_many_sizes_at_once() -> None:
    params = draw(T, 3)
    heights, widths = torch.tensor([10, 50, 333]), torch.tensor([20, 50, 100])
    together = crop_window(params.numbers["crop"], heights, widths)
    for i in range(3):
        alone = crop_window(params[i : i + 1].numbers["crop"], int(heights[i]), int(widths[i]))
        assert [int(t[0]) for t in alone] == [int(t[i]) for t in together]


def test_central_window_is_seven_eighths() -> None:
    assert center_window(256, 256) == (16, 16, 224)
    assert center_window(400, 256) == (88, 16, 224)
    assert center_window(1, 5) == (0, 2, 1)


def test_normalization_comes_last() -> None:
    x, params = pictures(4), draw(T, 4)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)
    plain = make_view(x, params, *PLAIN)
    expected = (plain - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    torch.testing.assert_close(make_view(x, params, mean, std), expected, atol=1e-5, rtol=1e-5)


def test_as_float() -> None:
    assert as_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    x = torch.tensor([0.3])
    assert as_float(x) is x


def test_areas_and_aspects_are_drawn_evenly() -> None:
    params = draw(T, 50_000)
    quarters = torch.quantile(number(params, "area"), torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quarters, 0.08 + 0.92 * torch.tensor([0.25, 0.5, 0.75]), atol=0.01, rtol=0)
    assert number(params, "log_aspect").mean().abs() < 0.005
    assert number(params, "log_aspect").abs().max() <= math.log(4 / 3) + 1e-6


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [None, 12])
@pytest.mark.parametrize("thresholds", [(0.5, 0.5), (0.5, 0.3)])
@pytest.mark.parametrize("jitter", [0.0, 0.8])
def test_both_views_together_are_each_view_alone(
    count: int,
    channels: int,
    dtype: torch.dtype,
    size: int | None,
    thresholds: tuple[float, float],
    jitter: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever order the images are brought into for it, and however many parts they are made in."""
    images = torch.rand(2, count, channels, 20, 20, generator=seeded(), dtype=torch.float64)
    images = images.mul(255).to(torch.uint8) if dtype == torch.uint8 else images.to(dtype)
    first, second = (ViewConfig(blur=0.5, solarize=0.5, solarize_threshold=t, jitter=jitter) for t in thresholds)
    normalization = Normalization((0.4,) * channels, (0.3,) * channels)
    params = draw(first, count, 1), draw(second, count, 2)
    sizes = None if size is None else (size, size)
    for chunk in (1 << 30, 4 * channels * 20 * 20 * 6):
        monkeypatch.setattr("byol.augment.views.CHUNK_BYTES", chunk)
        views = make_views((images[0], images[1]), params, normalization, sizes)
        for view, x, drawn in zip(views, images, params, strict=True):
            for i in range(count):
                alone = make_view(x[i : i + 1], drawn[i : i + 1], normalization.mean, normalization.std, size)
                torch.testing.assert_close(view[i : i + 1], alone, rtol=0, atol=1e-5)
