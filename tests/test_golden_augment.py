"""Color operations, the 24 orders, whole pipelines and their statistics against the official code."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import golden_names as golden
from byol.augment.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    blur_taps,
    gaussian_blur,
    solarize,
    to_grayscale,
)
from byol.augment.normalize import normalize_images
from byol.augment.params import ViewParams
from byol.config.views import IMAGENET_MEAN, IMAGENET_STD, AugmentConfig, Normalization, ViewConfig
from drawn import apply_color, changed, draw, hsv_to_rgb, make_view, number, rgb_to_hsv

ARRAYS = golden.load("augment")
PIXEL = 1e-5
CONFIGS = {"view1": AugmentConfig().view1, "view2": AugmentConfig().view2}
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
OPERATIONS = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}


def tensor(key: str, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(ARRAYS[key].copy()).to(dtype)


def image224(dtype: torch.dtype = torch.float32) -> Tensor:
    return (golden.images(ARRAYS["image224_uint8"]) / 255).to(dtype)


def assert_image224_close(ours: Tensor, key: str) -> None:
    """Outputs at 224 are stored at some rows and columns, with the channels' means over all of them."""
    index = ARRAYS["index224"]
    (image,) = golden.as_images(ours)
    golden.assert_close(image[np.ix_(index, index)], ARRAYS[key], PIXEL, key)
    golden.assert_close(image.mean(axis=(0, 1)), ARRAYS[f"{key}_channel_mean"], PIXEL, key)


def view_params(dtype: torch.dtype = torch.float32, **given: Tensor) -> ViewParams:
    """What the color stage reads of `ViewParams`; whatever is not given is drawn and switched off."""
    count = len(next(iter(given.values())))
    off = dict.fromkeys(("flip", "vertical_flip", "jitter", "gray", "blur", "solarize"), torch.zeros(count).bool())
    values = {name: value.to(dtype) if value.is_floating_point() else value for name, value in given.items()}
    return changed(draw(ViewConfig(), count), **{**off, **values})


def stored_params(prefix: str, dtype: torch.dtype) -> ViewParams:
    """What the official random pipeline drew."""
    drawn = {name: tensor(f"{prefix}/{name}", torch.bool) for name in ("flip", "jitter", "gray", "blur", "solarize")}
    strengths = {name: tensor(f"{prefix}/{name}", dtype) for name in ("factors", "sigma")}
    return view_params(dtype, **drawn, **strengths, order=tensor(f"{prefix}/order", torch.int64))


# Single operations


@DTYPES
def test_rgb_to_hsv(dtype: torch.dtype) -> None:
    ours = golden.as_images(rgb_to_hsv(golden.images(ARRAYS["images"], dtype)))
    off = np.abs(ours - ARRAYS["rgb_to_hsv"])
    off[..., 0] = np.minimum(off[..., 0], 1 - off[..., 0])  # hue 0 is hue 1
    golden.assert_close(off, np.zeros_like(off), PIXEL)


@DTYPES
def test_hsv_to_rgb(dtype: torch.dtype) -> None:
    ours = hsv_to_rgb(golden.images(ARRAYS["hsv_images"], dtype))
    golden.assert_close(golden.as_images(ours), ARRAYS["hsv_to_rgb"], PIXEL)


@DTYPES
@pytest.mark.parametrize("name", OPERATIONS)
def test_jitter_operation(name: str, dtype: torch.dtype) -> None:
    """Four factors, some beyond what is ever drawn, over three images."""
    chosen = golden.images(ARRAYS["images"], dtype)[tensor("op_images_index", torch.int64)]
    clipped = f"adjust_{name}_clipped" in ARRAYS
    official = ARRAYS[f"adjust_{name}_clipped" if clipped else f"adjust_{name}_raw"]
    for factor, expected in zip(tensor(f"{name}_factors", dtype), official, strict=True):
        ours = OPERATIONS[name](chosen, factor.expand(len(chosen)))
        ours = ours.clamp(0, 1) if clipped else ours
        golden.assert_close(golden.as_images(ours), expected, PIXEL, f"{name} {factor:g}")


def test_one_factor_per_image() -> None:
    chosen = golden.images(ARRAYS["images"])[tensor("op_images_index", torch.int64)]
    for name, operation in OPERATIONS.items():
        factors = tensor(f"{name}_factors")[: len(chosen)]
        together = operation(chosen, factors)
        for i, factor in enumerate(factors):
            alone = operation(chosen[i : i + 1], factor.view(1))
            golden.assert_close(together[i : i + 1], golden.as_numpy(alone), 1e-6, name)


@DTYPES
def test_grayscale(dtype: torch.dtype) -> None:
    ours = to_grayscale(golden.images(ARRAYS["images"], dtype))
    golden.assert_close(golden.as_images(ours), ARRAYS["grayscale"], PIXEL)


@DTYPES
def test_blur(dtype: torch.dtype) -> None:
    chosen = golden.images(ARRAYS["images"], dtype)[tensor("op_images_index", torch.int64)]
    taps = blur_taps(32)
    assert taps == ARRAYS["blur_taps"]
    for sigma, official in zip(tensor("blur_sigmas", dtype), ARRAYS["blur"], strict=True):
        ours = gaussian_blur(chosen, sigma.expand(len(chosen)), taps)
        golden.assert_close(golden.as_images(ours), official, PIXEL, f"sigma {sigma:g}")


@DTYPES
@pytest.mark.parametrize("case", ["blur_other0", "blur_other1", "blur_other2"])
def test_blur_of_oblong_images(case: str, dtype: torch.dtype) -> None:
    image = golden.images(ARRAYS[f"{case}/image"], dtype).unsqueeze(0)
    taps = blur_taps(image.shape[2])
    assert taps == ARRAYS[f"{case}/taps"]
    ours = gaussian_blur(image, tensor(f"{case}/sigma", dtype).view(1), taps)
    golden.assert_close(golden.as_images(ours)[0], ARRAYS[f"{case}/out"], PIXEL)


@pytest.mark.parametrize(("height", "taps"), [(8, 1), (32, 3), (47, 5), (64, 7), (96, 9), (224, 23)])
def test_blur_taps(height: int, taps: int) -> None:
    assert blur_taps(height) == taps


@DTYPES
def test_solarize(dtype: torch.dtype) -> None:
    chosen = golden.images(ARRAYS["solarize_images"], dtype)
    for threshold, official in zip(tensor("solarize_thresholds", dtype), ARRAYS["solarize"], strict=True):
        ours = solarize(chosen, threshold.item())
        golden.assert_close(golden.as_images(ours), official, PIXEL, f"threshold {threshold:g}")


def test_solarize_at_the_threshold() -> None:
    """A value at the threshold is inverted; the vectors' exact 0.5 cannot tell, being its own inverse."""
    ours = solarize(torch.tensor([0.25 - 2**-20, 0.25]), 0.25)
    assert ours.tolist() == [0.25 - 2**-20, 0.75]


@DTYPES
def test_operations_at_224(dtype: torch.dtype) -> None:
    image = image224(dtype)
    factors = tensor("at224/op_factors", dtype)
    for code, name in enumerate(OPERATIONS):
        if name != "brightness":
            ours = OPERATIONS[name](image, factors[code].view(1)).clamp(0, 1)
            assert_image224_close(ours, f"at224/{name}_clipped")
    assert_image224_close(to_grayscale(image), "at224/grayscale")
    taps = blur_taps(224)
    assert taps == ARRAYS["at224/blur_taps"]
    for i, sigma in enumerate(tensor("at224/blur_sigmas", dtype)):
        assert_image224_close(gaussian_blur(image, sigma.view(1), taps), f"at224/blur{i}")


def test_normalization() -> None:
    network = golden.load("network")
    ours = normalize_images(golden.images(network["tiny32/images"][:1]), Normalization(IMAGENET_MEAN, IMAGENET_STD))
    golden.assert_close(golden.as_images(ours), network["tiny32/normalized_images_first"], PIXEL)


# Orders and pipelines


@DTYPES
@pytest.mark.parametrize("factor_set", [0, 1])
def test_the_24_orders(factor_set: int, dtype: torch.dtype) -> None:
    """All orders of the four operations as one batch, and one by one."""
    orders = tensor("jitter_orders", torch.int64)
    images = golden.images(ARRAYS["jitter_images"], dtype)[factor_set].expand(24, -1, -1, -1)
    params = view_params(
        dtype,
        jitter=torch.ones(24, dtype=torch.bool),
        order=orders,
        factors=tensor("jitter_factors")[factor_set].expand(24, -1),
    )
    ours = golden.as_images(apply_color(images, params))
    golden.assert_close(ours, ARRAYS["jitter_out"][factor_set], PIXEL)
    for i in range(24):
        alone = apply_color(images[i : i + 1], params[i : i + 1])
        golden.assert_close(golden.as_images(alone)[0], ARRAYS["jitter_out"][factor_set, i], PIXEL, f"order {i}")


@DTYPES
def test_the_24_orders_then_grayscale(dtype: torch.dtype) -> None:
    everywhere = torch.ones(24, dtype=torch.bool)
    params = view_params(
        dtype,
        jitter=everywhere,
        gray=everywhere,
        order=tensor("jitter_orders", torch.int64),
        factors=tensor("jitter_factors")[0].expand(24, -1),
    )
    images = golden.images(ARRAYS["jitter_images"], dtype)[0].expand(24, -1, -1, -1)
    ours = golden.as_images(apply_color(images, params))
    for channel in range(3):
        golden.assert_close(ours[..., channel], ARRAYS["jitter_then_grayscale_factors0"], PIXEL)


@DTYPES
@pytest.mark.parametrize("view", CONFIGS)
def test_pipeline(view: str, dtype: torch.dtype) -> None:
    """The official random pipeline, made again from what it drew: as one batch, and image by image."""
    prefix = f"pipeline/{view}"
    params = stored_params(prefix, dtype)
    images = golden.images(ARRAYS[f"{prefix}/images"], dtype)
    before = images.clone()
    ours = golden.as_images(apply_color(images, params))
    golden.assert_close(ours, ARRAYS[f"{prefix}/out"], PIXEL)
    assert torch.equal(images, before), "the input was changed"
    for i in range(len(images)):
        alone = apply_color(images[i : i + 1], params[i : i + 1])
        golden.assert_close(golden.as_images(alone)[0], ARRAYS[f"{prefix}/out"][i], PIXEL, f"image {i}")


@DTYPES
@pytest.mark.parametrize("view", CONFIGS)
def test_pipeline_at_224(view: str, dtype: torch.dtype) -> None:
    prefix = f"pipeline224/{view}"
    ours = apply_color(image224(dtype), stored_params(prefix, dtype))
    assert_image224_close(ours, f"{prefix}/out")


@pytest.mark.parametrize("view", CONFIGS)
def test_finished_view_of_a_large_batch(view: str) -> None:
    """The same pipeline through `make_view`, which works in parts and ends with the normalization."""
    prefix = f"pipeline/{view}"
    stored = stored_params(prefix, torch.float32)
    repeats = 101
    many = ViewParams.join(*[stored] * repeats)
    images = golden.images(ARRAYS[f"{prefix}/images"]).repeat(repeats, 1, 1, 1)
    official = normalize_images(golden.images(ARRAYS[f"{prefix}/out"]), Normalization(IMAGENET_MEAN, IMAGENET_STD))
    ours = make_view(images, many, IMAGENET_MEAN, IMAGENET_STD)
    # a difference of one pixel grows by what the normalization divides by
    for part in ours.split(len(official)):
        golden.assert_close(part, golden.as_numpy(official), PIXEL / max(IMAGENET_STD))


@pytest.mark.parametrize("view", CONFIGS)
def test_finished_view_of_bytes(view: str) -> None:
    prefix = f"pipeline224/{view}"
    stored = torch.from_numpy(ARRAYS["image224_uint8"].copy()).permute(0, 3, 1, 2)
    ours = make_view(stored, stored_params(prefix, torch.float32), IMAGENET_MEAN, IMAGENET_STD)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    assert_image224_close(ours * std + mean, f"{prefix}/out")


# Statistics of what is drawn. The official figures are from 20,000 images; so are ours, at the same seed every time.

COUNT = int(ARRAYS["stats8/num_images"])
SIGMAS = 4.5
"""Standard errors allowed; the chance that one figure of a right pipeline lies further off is 7 in a million."""


@pytest.fixture(scope="module", params=list(CONFIGS))
def drawn(request: pytest.FixtureRequest) -> tuple[str, ViewParams]:
    view = str(request.param)
    return view, draw(CONFIGS[view], COUNT, 2006)


@pytest.mark.parametrize("stats", ["stats8", "stats32"])
def test_how_often_each_operation_is_drawn(stats: str, drawn: tuple[str, ViewParams]) -> None:
    view, params = drawn
    for name in ("flip", "jitter", "gray", "blur", "solarize"):
        ours, official = number(params, name).double().mean().item(), float(ARRAYS[f"{stats}/{view}/fraction_{name}"])
        p = getattr(CONFIGS[view], name)
        error = math.sqrt(p * (1 - p) / COUNT)
        assert ours == pytest.approx(p, abs=SIGMAS * error), name
        assert ours == pytest.approx(official, abs=SIGMAS * math.sqrt(2) * error), name


def test_choices_are_independent(drawn: tuple[str, ViewParams]) -> None:
    view, params = drawn
    names = [name for name in ("flip", "jitter", "gray", "blur", "solarize") if 0 < getattr(CONFIGS[view], name) < 1]
    correlation = torch.corrcoef(torch.stack([number(params, name).double() for name in names]))
    beside = correlation - torch.eye(len(names), dtype=torch.float64)
    assert beside.abs().max() < SIGMAS / math.sqrt(COUNT)


@pytest.mark.parametrize("stats", ["stats8", "stats32"])
def test_every_order_is_as_likely(stats: str, drawn: tuple[str, ViewParams]) -> None:
    view, params = drawn
    codes = tensor("jitter_orders", torch.int64)
    jittered = number(params, "order")[number(params, "jitter")]
    counts = (jittered.unsqueeze(1) == codes).all(dim=2).sum(dim=0).double()
    assert counts.sum() == len(jittered), "an order that is no permutation"
    official = tensor(f"{stats}/{view}/order_counts", torch.float64)
    limit = 52.0  # chi-square with 23 degrees of freedom exceeds it five times in ten thousand
    expected = counts.sum() / 24
    assert ((counts - expected).square() / expected).sum() < limit
    # two samples of different sizes against each other
    ours_total, official_total = counts.sum(), official.sum()
    weighted = counts * (official_total / ours_total).sqrt() - official * (ours_total / official_total).sqrt()
    assert (weighted.square() / (counts + official)).sum() < limit


@pytest.mark.parametrize("stats", ["stats8", "stats32"])
def test_strengths_have_the_official_distribution(stats: str, drawn: tuple[str, ViewParams]) -> None:
    view, params = drawn
    levels = ARRAYS["stats8/quantile_levels"]
    ours = np.quantile(
        golden.as_numpy(torch.cat([number(params, "factors"), number(params, "sigma").unsqueeze(1)], dim=1)),
        levels,
        axis=0,
    )
    official = np.concatenate(
        [ARRAYS[f"{stats}/{view}/factor_quantiles"], ARRAYS[f"{stats}/{view}/sigma_quantiles"][:, None]], axis=1
    )
    widths = np.array([0.8, 0.8, 0.4, 0.2, 1.9])  # of the five uniform distributions
    # A quantile of n uniforms has variance q(1-q)/n; at the ends, what is left is about 1/n itself. Drawn only where
    # the operation was: at least a tenth of the images.
    official_count = COUNT * min(1.0, CONFIGS[view].blur, CONFIGS[view].jitter)
    error = np.sqrt(levels * (1 - levels) * (1 / COUNT + 1 / official_count)) + 2 / official_count
    assert (np.abs(ours - official) <= SIGMAS * error[:, None] * widths).all()


def moments(images: NDArray) -> tuple[NDArray, NDArray]:
    return images.mean(axis=0), images.std(axis=0)


@pytest.mark.parametrize(("stats", "count"), [("stats8", COUNT), ("stats32", 4000)])
@pytest.mark.parametrize("view", CONFIGS)
def test_statistics_of_one_image_many_times(stats: str, count: int, view: str) -> None:
    """Mean, spread and colors of many views of one image."""
    config, arrays = CONFIGS[view], golden.section(ARRAYS, f"{stats}/{view}")
    image = golden.images(ARRAYS[f"{stats}/image"])
    params = draw(config, count, 733)
    step = 500
    parts = [
        apply_color(image.expand(len(params[i : i + step]), -1, -1, -1), params[i : i + step])
        for i in range(0, count, step)
    ]
    views = golden.as_images(torch.cat(parts)).astype(np.float64)

    equal = (views == views[..., :1]).all(axis=(1, 2, 3)).mean()
    p = config.gray
    official_equal = float(arrays["fraction_output_channels_equal"])
    errors = math.sqrt(1 / count + 1 / COUNT)
    assert equal == pytest.approx(official_equal, abs=SIGMAS * errors * math.sqrt(p * (1 - p)))

    mean, std = moments(views)
    assert (np.abs(mean - arrays["mean_image"]) <= SIGMAS * errors * arrays["std_image"]).all()
    # The variance of a variance is at most that of a two-valued variable; its kurtosis is taken from our own sample.
    spread_of_squares = ((views - mean) ** 2).std(axis=0)
    assert (np.abs(std**2 - arrays["std_image"] ** 2) <= SIGMAS * errors * spread_of_squares + 1e-7).all()

    colors = views.mean(axis=(1, 2))
    covariance = np.cov(colors.T)
    centered = colors - colors.mean(axis=0)
    products = centered[:, :, None] * centered[:, None, :]
    assert (np.abs(covariance - arrays["image_mean_rgb_covariance"]) <= SIGMAS * errors * products.std(axis=0)).all()
    for channel in range(3):
        # How far our sample lies below each official quantile is a fraction like any other.
        for level, quantile in zip(
            ARRAYS[f"{stats}/quantile_levels"], arrays["image_mean_rgb_quantiles"][:, channel], strict=True
        ):
            below = (colors[:, channel] < quantile - 1e-6).mean()
            up_to = (colors[:, channel] <= quantile + 1e-6).mean()
            slack = SIGMAS * errors * math.sqrt(level * (1 - level)) + 10 / count
            assert below - slack <= level <= up_to + slack, f"channel {channel}, quantile {level}"
