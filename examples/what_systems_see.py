"""Draw what each system's network sees and must answer: the pictures of docs/systems.md.

    python examples/what_systems_see.py docs/systems              # of the cat of scikit-image (CC0)
    python examples/what_systems_see.py docs/systems photographs/

Every picture is made by the code that trains: the same views, tiles, holes and colors, from the same draws.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from skimage.data import chelsea
from torch import Tensor
from torchvision.utils import make_grid, save_image

import byol
from byol.augment.draw import draw_view
from byol.augment.views import make_views
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.config.views import ViewConfig
from byol.methods.base import Ingredients, TrainingSet
from byol.methods.cmc import COLOR_SCALE
from byol.methods.cpc import patches
from byol.methods.lightness import Colors
from byol.methods.rotation import rotated
from byol.methods.table import method_class
from byol.runtime.seeds import generator_of

SIZE = 96
SEED = 3
GAP = 3
NORMALIZATION = PretrainConfig().encoder.normalization


def view_of(source: byol.Source, number: int, config: ViewConfig, size: int, view: int = 0) -> Tensor:
    """A normalized view of one image, (1, 3, size, size)."""
    image = source.image(number)[None]
    params = draw_view(config, 1, lambda name: generator_of(SEED, view, name))
    (made,) = make_views((image,), (params,), NORMALIZATION, [size])
    return made


def built(name: str, size: int = SIZE) -> tuple[torch.nn.Module, PretrainConfig]:
    """A method with a small encoder, and its settings."""
    config = replace(PretrainConfig(), method=name, image_size=size, encoder="resnet10", encoder__width=0.25)
    config = replace(config, augment__view1__area=(0.5, 1.0), augment__view2__area=(0.5, 1.0))
    narrow = {"negatives": 4, "permutations": 20, "width": 16, "queue": 4}
    known = {f"method__{key}": value for key, value in narrow.items() if hasattr(config.method, key)}
    config = replace(config, **known)
    kind = method_class(config.method)
    sizes = tuple(spec.size for spec in kind.views(config))
    torch.manual_seed(SEED)
    return kind.build(config.method, Ingredients(config.encoder, TrainingSet(8), sizes)), config


def drawn(config: PretrainConfig) -> Tensor:
    """The numbers that a method draws for one image."""
    return torch.rand(1, method_class(config.method).draws(config), generator=generator_of(SEED, "draws"))


def row(images: Iterable[Tensor]) -> Tensor:
    """Images (3, s, s) in [0, 1] side by side on white."""
    return make_grid([image.clamp(0, 1) for image in images], nrow=99, padding=GAP, pad_value=1.0)


def pixels(x: Tensor) -> Tensor:
    """Normalized images as they look."""
    return Colors(NORMALIZATION).rgb(x)


def square(tiles: Tensor, columns: int) -> Tensor:
    """Tiles (T, 3, s, s) in rows."""
    return make_grid(tiles.clamp(0, 1), nrow=columns, padding=GAP, pad_value=1.0)


def stretched(tiles: Tensor) -> Tensor:
    """Standardized tiles as values that can be looked at: mean 0.5, spread 0.2."""
    return 0.5 + 0.2 * tiles


def pictures(source: byol.Source, number: int) -> dict[str, Tensor]:
    """A picture (3, H, W) for each system, of one image."""
    found = {}
    plain = {}
    for name in ("jigsaw", "context", "colorization", "inpainting", "rotation", "pirl", "cmc", "cpc"):
        method, config = built(name)
        specs = type(method).views(config)
        views = [view_of(source, number, spec.config, spec.size, view) for view, spec in enumerate(specs)]
        plain[name] = method, config, views
    method, config, (view,) = plain["jigsaw"]
    tiles, _ = method.puzzle(view, drawn(config))
    found["jigsaw"] = square(stretched(tiles[0]), 3)
    method, config, (view,) = plain["context"]
    both, _ = method.patches(view, drawn(config))
    found["context"] = row(pixels(torch.nn.functional.interpolate(both[0], SIZE, mode="nearest")))
    method, config, (view,) = plain["colorization"]
    found["colorization"] = row([pixels(method.colors.gray(view))[0], pixels(view)[0]])
    method, config, (view,) = plain["inpainting"]
    holes = method.missing(view, drawn(config))
    found["inpainting"] = row([pixels(view.masked_fill(holes, 0))[0], pixels(view)[0]])
    found["rotation"] = row(pixels(rotated(plain["rotation"][2][0])))
    method, config, (view, other) = plain["pirl"]
    shuffled = square(pixels(method.shuffled(other, drawn(config)[:, :27])[0]), 3)
    found["pirl"] = row([pixels(view)[0], torch.nn.functional.interpolate(shuffled[None], SIZE, mode="nearest")[0]])
    method, config, (view,) = plain["cmc"]
    gray, colors = method.light_and_color(view)
    shown = torch.cat([colors[0] * COLOR_SCALE / 220 + 0.5, torch.full((1, SIZE, SIZE), 0.5)])
    found["cmc"] = row([pixels(gray)[0], shown])
    found["cpc"] = square(pixels(patches(plain["cpc"][2][0])[0]), 7)
    for name, kind in (("exemplar", "exemplar"), ("infomin", "infomin")):
        _, config = built(kind)
        specs = method_class(config.method).views(config)
        found[name] = row(pixels(view_of(source, number, specs[0].config, SIZE, view))[0] for view in range(2))
    return found


def main(out: str, data: str | None = None) -> None:
    source = byol.TensorSource(torch.from_numpy(chelsea()).permute(2, 0, 1)[None]) if data is None else None
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures(source or byol.open_source(str(data)), number=0).items():
        save_image(picture, folder / f"{name}.png")
        print(f"{folder / name}.png: {picture.shape[2]} x {picture.shape[1]} px")


if __name__ == "__main__":
    main(*sys.argv[1:3])
