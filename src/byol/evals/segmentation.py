"""Segmentation: a fully convolutional head on a dilated encoder (arXiv:2006.07733, Appendix D.4)."""

import math
from dataclasses import dataclass, replace
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.errors import UserError
from byol.evals.dense import IGNORE, Maps, in_threads, order, uniforms
from byol.evals.draws import mean_and_std
from byol.evals.evaluation import Evaluation, Task
from byol.evals.masks import MaskSource, open_masks
from byol.evals.metrics import confusion, mean_iou, pixel_accuracy
from byol.evals.tuning import choose, hold_out_images


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig:
    """The VOC2012 protocol (arXiv:2006.07733, Appendix D.4), FCN as in MoCo (arXiv:1911.05722)."""

    crop: int = 513
    """Side of the random training crop and of the central test crop (D.4), in pixels; smaller images are padded with
    pixels that are ignored."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Range of the random scale of a training image (D.4)."""
    batch_size: int = 16
    """Images per update (D.4)."""
    steps: int = 30_000
    """Updates (D.4)."""
    drops: tuple[float, ...] = (0.7, 0.9)
    """Fractions of the run after which the learning rate drops to a tenth (D.4)."""
    lrs: tuple[float, ...] = tuple(10.0 ** (-3 + k / 2) for k in range(5))
    """Learning rates to choose from: 5 from 1e-3 to 1e-1, log-spaced (D.4)."""
    momentum: float = 0.9
    """Momentum of MoCo, whose model this is; the paper does not say."""
    weight_decay: float = 1e-4
    """Weight decay (D.4)."""
    width: int = 256
    """Channels of the two 3x3 convolutions of the head, with dilation 6 (D.4)."""
    dilate: bool = True
    """Stride 1 and dilation 2 in the encoder's last stage (D.4)."""
    frozen: bool = False
    """Train only the head; the paper fine-tunes the encoder too."""
    held_out: float = 0.2
    """Share of the training images held out to choose the rate (D.4 uses 2,119 images beside 10,582)."""
    seeds: int = 5
    """Number of runs, each with its own crops and initial weights (D.4)."""
    seed: int = 0
    """The first seed."""

    def __post_init__(self) -> None:
        if not self.lrs or min(self.lrs) <= 0 or min(self.steps, self.batch_size, self.seeds, self.crop) < 1:
            raise UserError("lrs must be one rate or more above 0; steps, batch_size, seeds and crop 1 or more.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"scale is {self.scale}, but must be two factors, 0 < low <= high.")

    def quick(self) -> "SegmentationConfig":
        """One rate, three seeds and a tenth of the steps."""
        return replace(self, lrs=(1e-2,), seeds=3, steps=max(1, self.steps // 10))

    def left_out(self) -> str:
        """What differs from the paper, in words; empty if nothing does."""
        full = SegmentationConfig()
        same = (self.lrs, self.seeds, self.steps, self.crop) == (full.lrs, full.seeds, full.steps, full.crop)
        return (
            ""
            if same
            else (
                f"{len(self.lrs)} of {len(full.lrs)} rates, {self.seeds} of {full.seeds} seeds, {self.steps} of "
                f"{full.steps} steps, crops of {self.crop} instead of {full.crop} px"
            )
        )


class FCN(nn.Module):
    """Encoder, two dilated 3x3 convolutions, a 1x1 classifier: (N, C, H, W) -> (N, classes, H, W)."""

    def __init__(self, maps: Maps, width: int, classes: int) -> None:
        super().__init__()
        self.maps = maps
        layers: list[nn.Module] = []
        for size in (maps.features, width):
            layers += [
                nn.Conv2d(size, width, 3, padding=6, dilation=6, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(True),
            ]
        self.head = nn.Sequential(*layers, nn.Conv2d(width, classes, 1))

    def forward(self, images: Tensor) -> Tensor:
        return F.interpolate(self.head(self.maps(images)), images.shape[2:], mode="bilinear", align_corners=False)


def evaluate(task: Task, config: SegmentationConfig) -> dict[str, float]:
    """Choose the learning rate on held-out images, train again on all images with several seeds and test.

    The parts of the task come from `open_masks`.

    Returns:
        `miou` and `pixel_accuracy` in [0, 1], means over seeds, with `miou_std`; the chosen `lr`.

    Raises:
        UserError: sources without masks, masks of another size or with numbers that are no class, parts with different
            classes, or an encoder without feature maps.
    """
    train, test = task.train, task.test
    if not isinstance(train, MaskSource) or not isinstance(test, MaskSource):
        raise UserError(f"{train.name} or {test.name} has no masks; open both with open_masks.")
    if train.classes != test.classes or len(train.classes) < 2:
        raise UserError(
            f"{train.name} has {len(train.classes)} classes and {test.name} has {len(test.classes)}; give parts "
            "with the same two classes or more."
        )
    task.encoder.check(train)
    for source in (train, test):
        for _ in in_threads(lambda index, s=source: s.pair(index)[1].shape, range(len(source)), 64):  # type: ignore[misc]
            pass  # check every mask before the work starts
    best = config.lrs[0]
    if len(config.lrs) > 1:
        remaining, held_out = hold_out_images(len(train), config.held_out, config.seed)
        fitted, chosen_on = train.subset(remaining), train.subset(held_out)

        def held_out_iou(lr: float) -> float:
            return mean_iou(_test(_train(task, fitted, Run(lr, config.seed), config), task, chosen_on, config))

        best, _ = choose(sorted(config.lrs, reverse=True), held_out_iou)
    ious, accuracies = [], []
    for seed in range(config.seed, config.seed + config.seeds):
        counts = _test(_train(task, train, Run(best, seed), config), task, test, config)
        ious.append(mean_iou(counts))
        accuracies.append(pixel_accuracy(counts))
    miou, miou_std = mean_and_std(ious)
    return {
        "miou": miou,
        "miou_std": miou_std,
        "pixel_accuracy": fmean(accuracies),
        "lr": best,
    }


EVALUATION = Evaluation(
    name="segmentation",
    config=SegmentationConfig,
    evaluate=evaluate,
    percent=("miou*", "pixel_accuracy"),
    open_data=open_masks,
    quick=SegmentationConfig.quick,
    left_out=SegmentationConfig.left_out,
)


@dataclass(frozen=True)
class Run:
    """One training run."""

    lr: float
    seed: int


def _train(task: Task, source: MaskSource, run: Run, config: SegmentationConfig) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        maps = Maps(task.encoder, frozen=config.frozen, dilate=config.dilate)
        model = FCN(maps, config.width, len(source.classes)).to(task.device).train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=run.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    drawn = order(len(source), config.steps * config.batch_size, run.seed)

    def make(place: int) -> tuple[Tensor, Tensor]:
        image, mask = source.pair(drawn[place])
        return _augment(image, mask, config, uniforms(run.seed, place, 4))

    for step, pairs in enumerate(in_threads(make, range(len(drawn)), config.batch_size)):
        factor = 0.1 ** sum(step >= round(drop * config.steps) for drop in config.drops)
        for group in optimizer.param_groups:
            group["lr"] = run.lr * factor
        images, masks = (torch.stack(part).to(task.device) for part in zip(*pairs, strict=True))
        logits = model(task.encoder.transform.normalize(images))
        known = int((masks != IGNORE).sum())
        loss = F.cross_entropy(logits, masks, ignore_index=IGNORE, reduction="sum") / max(known, 1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 20 == 0 or step == config.steps - 1:
            task.progress(f"segmentation (rate {run.lr:g}, seed {run.seed})", step + 1, config.steps)
    return model.eval()


def _augment(image: Tensor, mask: Tensor, config: SegmentationConfig, u: list[float]) -> tuple[Tensor, Tensor]:
    """Random scale, crop and flip of one image and its mask, from four uniform numbers."""
    low, high = config.scale
    scale = low + (high - low) * u[0]
    size = [max(1, round(side * scale)) for side in mask.shape]
    image = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    mask = F.interpolate(mask[None, None].float(), size, mode="nearest-exact")[0, 0].long()
    image, mask = _crop(image, mask, config.crop, u[1], u[2])
    return (image.flip(2), mask.flip(1)) if u[3] < 0.5 else (image, mask)


def _crop(image: Tensor, mask: Tensor, side: int, down: float, right: float) -> tuple[Tensor, Tensor]:
    """A square window at a relative place in [0, 1); pixels outside the image are ignored."""
    height, width = mask.shape
    top, left = (math.floor(at * (max(0, size - side) + 1)) for at, size in ((down, height), (right, width)))
    image, mask = image[:, top : top + side, left : left + side], mask[top : top + side, left : left + side]
    fill = (0, side - mask.shape[1], 0, side - mask.shape[0])
    return F.pad(image, fill, value=0.5), F.pad(mask, fill, value=IGNORE)


@torch.no_grad()
def _test(model: nn.Module, task: Task, source: MaskSource, config: SegmentationConfig) -> Tensor:
    """Confusion counts over the central crops of the images."""

    def make(number: int) -> tuple[Tensor, Tensor]:
        return _crop(*source.pair(number), config.crop, 0.499, 0.499)

    classes = len(source.classes)
    counts = torch.zeros(classes, classes, dtype=torch.long)
    for pairs in in_threads(make, range(len(source)), config.batch_size):
        images, masks = (torch.stack(part) for part in zip(*pairs, strict=True))
        predicted = model(task.encoder.transform.normalize(images.to(task.device))).argmax(dim=1).cpu()
        counts += confusion(predicted, masks, classes, IGNORE)
    return counts
