"""Draw what each system's network sees and must answer: the pictures of docs/systems.md.

    python examples/what_systems_see.py docs/systems              # of photographs of scikit-image (CC0)
    python examples/what_systems_see.py docs/systems photographs/

Every picture is made by the code that trains: the same views, tiles, holes, colors, clusters and neighbors, from the
same draws and the first weights.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from skimage.data import chelsea, coffee, rocket
from torch import Tensor
from torchvision.utils import make_grid, save_image

import byol
from byol.augment.draw import draw_view
from byol.augment.views import make_views
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.config.views import ViewConfig
from byol.evals.features import Features
from byol.methods.base import Ingredients, TrainingSet
from byol.methods.cmc import COLOR_SCALE
from byol.methods.cpc import patches
from byol.methods.lightness import Colors
from byol.methods.maps import early_map_shape
from byol.methods.normalization import normalize
from byol.methods.rotation import rotated
from byol.methods.table import method_class
from byol.runtime.seeds import generator_of

SIZE = 96
SEED = 3
GAP = 3
SEVERAL, CLUSTERS = 24, 3
"""Images of the pictures of clusters and of neighbors, and clusters."""
THUMBNAIL = 48
NORMALIZATION = PretrainConfig().encoder.normalization


def view_of(source: byol.Source, number: int, config: ViewConfig, size: int, view: int = 0) -> Tensor:
    """A normalized view of one image, (1, 3, size, size)."""
    image = source.image(number)[None]
    params = draw_view(config, 1, lambda name: generator_of(SEED, view, name))
    (made,) = make_views((image,), (params,), NORMALIZATION, [size])
    return made


def built(name: str, size: int = SIZE, images: int = 8) -> tuple[torch.nn.Module, PretrainConfig]:
    """A method with a small encoder, and its settings."""
    config = replace(PretrainConfig(), method=name, image_size=size, encoder="resnet10", encoder__width=0.25)
    config = replace(config, augment__view1__area=(0.5, 1.0), augment__view2__area=(0.5, 1.0))
    narrow = {"negatives": 4, "permutations": 20, "width": 16, "queue": 4, "clusters": CLUSTERS, "background": 14}
    known = {f"method__{key}": value for key, value in narrow.items() if hasattr(config.method, key)}
    config = replace(config, **known)
    kind = method_class(config.method)
    sizes = tuple(spec.size for spec in kind.views(config))
    torch.manual_seed(SEED)
    return kind.build(config.method, Ingredients(config.encoder, TrainingSet(images), sizes)), config


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
    _, config = built("amdim")
    specs = method_class(config.method).views(config)
    one, other = (view_of(source, number, spec.config, spec.size, view) for view, spec in enumerate(specs))
    shape = early_map_shape(config.encoder, SIZE)
    assert shape is not None, "a ResNet has maps"
    places = other.unfold(2, SIZE // shape[1], SIZE // shape[1]).unfold(3, SIZE // shape[1], SIZE // shape[1])
    apart = square(pixels(places[0].permute(1, 2, 0, 3, 4).flatten(0, 1)), shape[1])
    found["amdim"] = row([pixels(one)[0], torch.nn.functional.interpolate(apart[None], SIZE, mode="nearest")[0]])
    method, config = built("vae")
    (spec,) = type(method).views(config)
    view = view_of(source, number, spec.config, spec.size)
    with torch.no_grad():
        latent = method.eval().projector(method.encoder(view)).view(1, 1, 16, -1)
    shown = torch.nn.functional.interpolate(0.5 + 0.2 * latent / latent.std(), SIZE, mode="nearest")
    found["vae"] = row([pixels(view)[0], shown[0].expand(3, -1, -1), pixels(view)[0]])
    return found


def windows() -> byol.Source:
    """Squares of three photographs, in turn."""
    photographs = [torch.from_numpy(image().copy()).permute(2, 0, 1) for image in (chelsea, coffee, rocket)]
    generator = generator_of(SEED, "windows")
    squares = []
    for number in range(SEVERAL):
        image = photographs[number % len(photographs)]
        side = 2 * SIZE
        top, left = (int(torch.randint(0, length - side, (), generator=generator)) for length in image.shape[1:])
        squares.append(torch.nn.functional.avg_pool2d(image[:, top : top + side, left : left + side].float(), 2))
    return byol.TensorSource(torch.stack(squares).round().to(torch.uint8))


def thumbnails(images: Tensor) -> Tensor:
    """Normalized images small."""
    return pixels(torch.nn.functional.interpolate(images, THUMBNAIL, mode="bilinear", antialias=True))


def padded(image: Tensor, margins: tuple[int, ...]) -> Tensor:
    """An image with white margins."""
    return torch.nn.functional.pad(image, margins, value=1.0)


def in_rows(groups: Iterable[Tensor]) -> Tensor:
    """Groups of images (n, 3, s, s), a row for each, on white."""
    # a grid of one image would have no gap around it
    rows = [row(group) if len(group) > 1 else padded(group[0], (GAP,) * 4) for group in groups if len(group)]
    width = max(one.shape[2] for one in rows)
    return torch.cat([padded(one, (0, width - one.shape[2])) for one in rows], dim=1)


def pictures_of_several(source: byol.Source) -> dict[str, Tensor]:
    """A picture for each system that compares images: what the first weights make of them."""
    whole = ViewConfig(area=(1.0, 1.0), flip=0.0, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0)
    count = min(SEVERAL, len(source))
    images = torch.cat([view_of(source, number, whole, SIZE) for number in range(count)])
    small, found = thumbnails(images), {}
    for name in ("deepcluster", "selfla", "local-aggregation"):
        method, _ = built(name, images=count)
        with torch.no_grad():
            features = Features(method.eval().encoder(images), torch.arange(count))
        method.before_training(lambda features=features: features)
        if name == "local-aggregation":
            vectors = normalize(method.projector(features.values[:1])).to(method.bank.vectors.dtype)
            scores = vectors @ method.bank.vectors.T
            background, close = (mask[0] for mask in method.neighbors(scores, torch.zeros(1, dtype=torch.long)))
            itself = torch.arange(count) == 0
            found[name] = in_rows(small[mask] for mask in (itself, close & ~itself, background & ~close))
        else:
            labels = method.labels if name == "deepcluster" else method.labels[0]
            found[name] = in_rows(small[labels == label] for label in range(CLUSTERS))
    return found


def main(out: str, data: str | None = None) -> None:
    cat = byol.TensorSource(torch.from_numpy(chelsea()).permute(2, 0, 1)[None])
    one, several = (cat, windows()) if data is None else (byol.open_source(data),) * 2
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in (pictures(one, number=0) | pictures_of_several(several)).items():
        save_image(picture, folder / f"{name}.png")
        print(f"{folder / name}.png: {picture.shape[2]} x {picture.shape[1]} px")


if __name__ == "__main__":
    main(*sys.argv[1:3])
