"""Views of a whole batch in a few kernels are the views that are made image by image."""

import shutil
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from byol.augment import fused, ops
from byol.augment.fused import fused_views
from byol.augment.views import make_views
from byol.config.encoder import EncoderSpec
from byol.config.values import replace
from byol.config.views import AugmentConfig, ViewConfig
from drawn import draw

AGREE = {"atol": 2e-5, "rtol": 0.0}
"""In units of a normalized view: a few roundings of values in [0, 1], divided by the smallest deviation."""


@pytest.fixture(scope="module")
def plainly() -> "object":
    """The same functions without a compiler."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "compiled", lambda make, *of: make(*of))
        yield


def config_for(**view: object) -> AugmentConfig:
    plain = replace(AugmentConfig(), **{f"view{n}__{k}": v for n in (1, 2) for k, v in view.items()})
    return replace(plain, view2__solarize=0.5, view2__blur=0.3)


def images_of(count: int, channels: int, side: int, deep: bool, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.rand(count, channels, 5, 5, generator=generator)
    images = torch.nn.functional.interpolate(smooth, size=(side, side), mode="bilinear")
    return images if deep else (images * 255).round().to(torch.uint8)


def both(
    config: AugmentConfig, images: tuple[Tensor, Tensor], size: int | None, seed: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    params = [draw(view, len(images[0]), seed + number) for number, view in enumerate((config.view1, config.view2))]
    normalization = EncoderSpec.of("resnet18", images[0].shape[1]).normalization
    sizes = None if size is None else (size, size)
    made, wanted = (make(images, params, normalization, sizes) for make in (fused_views, make_views))
    return made, wanted  # type: ignore[return-value]


@pytest.mark.usefixtures("plainly")
@settings(max_examples=40, deadline=None)
@given(
    channels=st.sampled_from([1, 3, 4]),
    side=st.sampled_from([8, 24, 48]),
    whole=st.booleans(),
    deep=st.booleans(),
    jitter=st.sampled_from([0.0, 0.8, 1.0]),
    gray=st.sampled_from([0.0, 0.5]),
    flips=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 999),
)
def test_every_image_gets_what_was_drawn_for_it(
    channels: int, side: int, whole: bool, deep: bool, jitter: float, gray: float, flips: float, seed: int
) -> None:
    config = config_for(jitter=jitter, gray=gray, flip=flips, vertical_flip=flips)
    x = images_of(9, channels, side, deep, seed)
    images = (x, x) if whole else (x, images_of(9, channels, side, deep, seed + 1))
    made, wanted = both(config, images, 16 if whole else None, seed)
    for one, other in zip(made, wanted, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, **AGREE)


@pytest.mark.usefixtures("plainly")
@pytest.mark.parametrize("different", ["threshold", "depth"])
def test_views_that_cannot_share_a_call_are_made_apart(different: str) -> None:
    config = config_for()
    images = images_of(6, 3, 24, False, 0), images_of(6, 3, 24, different == "depth", 1)
    if different == "threshold":
        config = replace(config, view2__solarize_threshold=0.3, view2__solarize=1.0)
    for one, other in zip(*both(config, images, None, 5), strict=True):
        torch.testing.assert_close(one, other, **AGREE)


def test_what_was_not_drawn_leaves_the_pixels_alone() -> None:
    """To the bit: factors that change nothing are no rounding of the image."""
    view = ViewConfig(jitter=0.0, gray=0.0, blur=0.0, solarize=0.0, flip=0.0)
    x = images_of(5, 3, 8, True, 3)
    operations = [*ops.geometric()[1:], *(operation for operation in ops.others() if operation.fuses)]
    columns, packed = fused.pack(draw(view, 5), operations)
    assert torch.equal(fused.chain(operations, columns)(x, packed), x)
    assert torch.equal(fused.end(operations, columns)(x, packed, torch.ones(1), torch.zeros(1)), x)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("side", [16, 48])
def test_compiled_they_are_the_same(side: int) -> None:
    """One graph each, without a break: a break would be kernels started one by one again."""
    config = config_for()
    x = images_of(12, 3, side, False, 7)
    for one, other in zip(*both(config, (x, x), None, 11), strict=True):
        torch.testing.assert_close(one, other, **AGREE)
    operations = [*ops.geometric()[1:], *(operation for operation in ops.others() if operation.fuses)]
    columns, packed = fused.pack(draw(config.view1, 12), operations)
    plain = fused.chain(operations, columns)
    whole: Callable[..., Tensor] = torch.compile(plain, dynamic=False, fullgraph=True)
    torch.testing.assert_close(whole(x, packed), plain(x, packed), **AGREE)
