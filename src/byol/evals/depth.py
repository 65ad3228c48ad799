"""Depth estimation: fast up-projections, the reverse Huber loss, five measures (arXiv:2006.07733, Appendix D.6)."""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.augment.color import adjust_brightness, adjust_hue, adjust_saturation, to_grayscale
from byol.errors import UserError
from byol.evals.dense import Maps, MapSource, in_threads, order, uniforms
from byol.evals.depths import open_depths
from byol.evals.evaluation import Evaluation, Task
from byol.evals.metrics import depth_errors
from byol.optim.schedules import learning_rate

LEAST_DEPTH = 1e-3
"""Smallest prediction, in meters: ratios need one above 0."""


@dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """The NYU v2 protocol (arXiv:2006.07733, Appendix D.6), after Laina et al. (arXiv:1606.00373)."""

    scale: float = 0.5
    """Factor by which images shrink: 640 x 480 frames are halved (D.6)."""
    crop: tuple[int, int] = (228, 304)
    """Height and width of the central window after that (D.6), in pixels."""
    filters: tuple[int, ...] = (512, 256, 128, 64)
    """Channels of the up-projections (D.6)."""
    steps: int = 7500
    """Updates (D.6)."""
    batch_size: int = 256
    """Images per update (D.6)."""
    lr: float = 0.16
    """Learning rate for 256 images, scaled with the batch size (D.6; Laina et al. have 0.01 for 16)."""
    momentum: float = 0.9
    """Momentum of Laina et al. (Section 4); the paper does not say."""
    weight_decay: float = 5e-4
    """Weight decay (D.6)."""
    flip: float = 0.5
    """Probability of a horizontal flip; D.6 does not give it."""
    gray: float = 0.3
    """Probability of grayscale (D.6)."""
    brightness: float = 0.1255
    """Largest change of the brightness (D.6)."""
    saturation: tuple[float, float] = (0.5, 1.5)
    """Range of the saturation factor (D.6)."""
    hue: float = 0.2
    """Largest shift of the hue, in turns (D.6)."""
    frozen: bool = False
    """Train only the head; the paper fine-tunes the encoder too."""
    seed: int = 0
    """Seed of the order of images, the data augmentation and the initial weights."""

    def __post_init__(self) -> None:
        if (
            min(self.steps, self.batch_size, *self.crop) < 1
            or not self.lr > 0
            or not self.scale > 0
            or not self.filters
        ):
            raise UserError("steps, batch_size and crop must be 1 or more, lr and scale above 0, filters one at least.")

    def quick(self) -> "DepthConfig":
        """A tenth of the steps and a sixteenth of the batch size."""
        return replace(self, steps=max(1, self.steps // 10), batch_size=max(1, self.batch_size // 16))

    def left_out(self) -> str:
        """What differs from the paper, in words; empty if nothing does."""
        full = DepthConfig()
        if (self.steps, self.batch_size, self.crop) == (full.steps, full.batch_size, full.crop):
            return ""
        return (
            f"{self.steps} of {full.steps} steps with {self.batch_size} of {full.batch_size} images, "
            f"crops of {self.crop} instead of {full.crop} px"
        )

    def peak(self) -> float:
        """Peak learning rate for this batch size."""
        return self.lr * self.batch_size / 256


class FastUp(nn.Module):
    """A convolution that doubles the resolution: a 5x5 convolution of the zero-filled map, without the zeros.

    Depending on the position of the output pixel, 9, 6, 6 or 4 of the 25 weights meet pixels of the input (Laina et
    al., Section 3.2): four small convolutions, their outputs interleaved.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            nn.Conv2d(in_channels, out_channels, kernel, bias=False) for kernel in ((3, 3), (3, 2), (2, 3), (2, 2))
        )

    def forward(self, x: Tensor) -> Tensor:
        pads = ((1, 1, 1, 1), (0, 1, 1, 1), (1, 1, 0, 1), (0, 1, 0, 1))
        answers = [part(F.pad(x, pad)) for part, pad in zip(self.parts, pads, strict=True)]
        return F.pixel_shuffle(torch.stack(answers, dim=2).flatten(1, 2), 2)


class UpProjection(nn.Module):
    """A residual block that doubles the resolution: (N, C, h, w) -> (N, D, 2h, 2w) (Laina et al., Figure 2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            FastUp(in_channels, out_channels),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = nn.Sequential(FastUp(in_channels, out_channels), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.main(x) + self.shortcut(x))


class DepthNet(nn.Module):
    """Encoder, up-projections, one 3x3 convolution: (N, C, H, W) -> (N, H, W) in meters, above 0."""

    def __init__(self, maps: Maps, filters: tuple[int, ...], mean: float) -> None:
        super().__init__()
        self.maps = maps
        sizes = (maps.features, *filters)
        self.up = nn.Sequential(*(UpProjection(a, b) for a, b in pairwise(sizes)))
        self.last = nn.Conv2d(sizes[-1], 1, 3, padding=1)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, mean)  # start from the mean depth

    def forward(self, images: Tensor) -> Tensor:
        answer = self.last(self.up(self.maps(images)))
        return F.interpolate(answer, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def berhu(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean reverse Huber loss (Laina et al., Eq. 2) over pixels whose depth is known (above 0).

    The absolute error up to c, a fifth of the largest error in the batch; (error^2 + c^2) / 2c above.
    """
    known = truth > 0
    error = (predicted - truth).abs()[known]
    c = (0.2 * error.detach().max()).clamp_min(1e-6) if len(error) else predicted.new_tensor(1.0)
    return torch.where(error <= c, error, (error.square() + c * c) / (2 * c)).sum() / known.sum().clamp_min(1)


def evaluate(task: Task, config: DepthConfig) -> dict[str, float]:
    """Train on the training images and measure the depth errors on the test images.

    The parts of the task come from `open_depths`.

    Returns:
        `below_1.25`, `below_1.25^2`, `below_1.25^3` in [0, 1], `rms` in meters, `rel`.

    Raises:
        UserError: sources without depths, maps of another size, no known depth, images smaller than the crop, or an
            encoder without feature maps.
    """
    train, test = task.train, task.test
    if not isinstance(train, MapSource) or not isinstance(test, MapSource) or train.classes or test.classes:
        raise UserError(f"{train.name} or {test.name} has no depths; open both with open_depths.")
    task.encoder.check(train)
    train_depths, test_depths = (
        torch.stack([_window(source, index, config)[1] for index in range(len(source))]) for source in (train, test)
    )
    for source, depths in ((train, train_depths), (test, test_depths)):
        if not (depths > 0).any():
            raise UserError(f"{source.name} has no known depth; give maps in meters, above 0 where known.")
    model = _train(task, train, float(train_depths[train_depths > 0].mean()), config)
    predictions = []
    with torch.no_grad():
        for batch in in_threads(lambda index: _window(test, index, config)[0], range(len(test)), config.batch_size):
            images = task.encoder.transform.normalize(torch.stack(batch).to(task.device))
            predictions.append(model(images).cpu())
    predicted = torch.cat(predictions).clamp_min(LEAST_DEPTH)
    return depth_errors(predicted[test_depths > 0], test_depths[test_depths > 0])


EVALUATION = Evaluation(
    name="depth",
    config=DepthConfig,
    evaluate=evaluate,
    percent=("below_*",),
    open_data=open_depths,
    quick=DepthConfig.quick,
    left_out=DepthConfig.left_out,
)


def _train(task: Task, source: MapSource, mean: float, config: DepthConfig) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        maps = Maps(task.encoder, frozen=config.frozen, dilate=False)
        model = DepthNet(maps, config.filters, mean).to(task.device).train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    drawn = order(len(source), config.steps * config.batch_size, config.seed)

    def make(place: int) -> tuple[Tensor, Tensor]:
        image, depth = _window(source, drawn[place], config)
        return _augment(image, depth, config, uniforms(config.seed, place, 5))

    for step, pairs in enumerate(in_threads(make, range(len(drawn)), config.batch_size)):
        for group in optimizer.param_groups:  # cosine decay; the paper does not name the schedule
            group["lr"] = learning_rate(step, peak=config.peak(), warmup_steps=0, total_steps=config.steps)
        images, depths = (torch.stack(part).to(task.device) for part in zip(*pairs, strict=True))
        loss = berhu(model(task.encoder.transform.normalize(images)), depths)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 20 == 0 or step == config.steps - 1:
            task.progress("depth", step + 1, config.steps)
    return model.eval()


def _window(source: MapSource, index: int, config: DepthConfig) -> tuple[Tensor, Tensor]:
    """The central window of a scaled image and of its depths."""
    image, depth = source.pair(index)
    if config.scale != 1:
        size = [max(1, round(side * config.scale)) for side in depth.shape]
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)
        depth = F.interpolate(depth[None, None], size, mode="nearest-exact")[0, 0]
    height, width = config.crop
    top, left = (depth.shape[0] - height) // 2, (depth.shape[1] - width) // 2
    if top < 0 or left < 0:
        raise UserError(
            f"{source.where(index)} is {depth.shape[0]} x {depth.shape[1]} px once scaled by {config.scale:g}, smaller "
            f"than the crop {height} x {width}; give a smaller --crop."
        )
    return image[:, top : top + height, left : left + width], depth[top : top + height, left : left + width]


def _augment(image: Tensor, depth: Tensor, config: DepthConfig, u: list[float]) -> tuple[Tensor, Tensor]:
    """Flip and color of one image, from five uniform numbers."""
    if u[0] < config.flip:
        image, depth = image.flip(2), depth.flip(1)
    x = image[None]
    x = adjust_brightness(x, torch.tensor([config.brightness * (2 * u[1] - 1)])).clamp(0, 1)
    if x.shape[1] == 3:
        low, high = config.saturation
        x = adjust_saturation(x, torch.tensor([low + (high - low) * u[2]])).clamp(0, 1)
        x = adjust_hue(x, torch.tensor([config.hue * (2 * u[3] - 1)])).clamp(0, 1)
        x = to_grayscale(x) if u[4] < config.gray else x
    return x[0], depth
