"""Object detection: Faster R-CNN with the encoder as its C4 backbone, AP50 (arXiv:2006.07733, Appendix D.5)."""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from byol.encoders.load import LoadedEncoder
from byol.errors import UserError
from byol.evals.boxes import BoxSource, open_boxes, voc_average_precision
from byol.evals.dense import in_threads, order, uniforms
from byol.evals.evaluation import Evaluation, Task, input_channels

LEAST_SCORE = 0.01
"""Smallest score of a box: boxes below it hardly change the average precision, and cost time."""


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """The VOC2007 protocol (arXiv:2006.07733, Appendix D.5), with one worker instead of nine."""

    longest: tuple[int, int] = (480, 1024)
    """Range of the longest edge of an image in pixels (D.5); images outside it are resized."""
    steps: int = 1_500_000
    """Updates (D.5)."""
    drops: tuple[float, ...] = (1 / 1.5, 1.2 / 1.5)
    """Fractions of the run after which the learning rate drops to a tenth: 1 and 1.2 of 1.5 million updates (D.5)."""
    lr: float = 1e-3
    """Initial learning rate (D.5)."""
    batch_size: int = 2
    """Images per update; the paper does not say, torchvision's reference uses 2 per device."""
    momentum: float = 0.9
    """Momentum of torchvision's reference; the paper does not say."""
    weight_decay: float = 1e-4
    """Weight decay of torchvision's reference; the paper does not say."""
    anchors: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Sides of the anchors in pixels, each with aspect ratios 1:2, 1:1, 2:1 (Detectron's C4 model)."""
    proposals: int = 300
    """Region proposals per test image (Faster R-CNN, arXiv:1506.01497, Section 4.1)."""
    regions: int = 512
    """Regions per training image for the box head (torchvision's default, Detectron's C4 model)."""
    pooled: int = 14
    """Side of the pooled regions (Detectron's C4 model)."""
    frozen: bool = False
    """Train all but the encoder. D.5 says that the representation is frozen, Section 4 that it is fine-tuned."""
    flip: float = 0.0
    """Probability of a horizontal flip of a training image; D.5 has scaling only."""
    seed: int = 0
    """Seed of the order of images, the flips and the initial weights."""

    def __post_init__(self) -> None:
        if not 1 <= self.longest[0] <= self.longest[1] or min(self.steps, self.batch_size, self.proposals) < 1:
            raise UserError("longest must be two sizes, low <= high; steps, batch_size and proposals 1 or more.")
        if not self.lr > 0 or not self.anchors or not 0 <= self.flip <= 1:
            raise UserError("lr must be above 0, anchors one side or more, flip a probability.")

    def quick(self) -> "DetectionConfig":
        """The schedule of MoCo (arXiv:1911.05722): 24,000 steps, with a learning rate for the smaller batch."""
        return replace(self, steps=24_000, lr=2.5e-3)

    def left_out(self) -> str:
        """What differs from the paper, in words; empty if nothing does."""
        full = DetectionConfig()
        if (self.steps, self.lr, self.longest) == (full.steps, full.lr, full.longest):
            return ""
        return (
            f"{self.steps:,} of {full.steps:,} steps, rate {self.lr:g} instead of {full.lr:g}, "
            f"longest edge {self.longest} px"
        )


class Trunk(nn.Module):
    """A ResNet up to its third stage ("conv4"): (N, C, H, W) -> (N, out_channels, h, w)."""

    def __init__(self, encoder: ResNet, out_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(encoder.conv1, encoder.bn1, encoder.act1, encoder.maxpool)
        self.stages = nn.Sequential(encoder.layer1, encoder.layer2, encoder.layer3)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.stages(self.stem(images))
        return answer


class BoxHead(nn.Module):
    """A ResNet's last stage ("conv5") and global pooling: (R, C, P, P) -> (R, D)."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, regions: Tensor) -> Tensor:
        answer: Tensor = self.stage(regions).mean(dim=(2, 3))
        return answer


class Normalize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's normalization and batching without its resize: images already have their final size."""

    def __init__(self, encoder: LoadedEncoder) -> None:
        super().__init__(1, 1, list(encoder.transform.mean), list(encoder.transform.std))

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


def evaluate(task: Task, config: DetectionConfig) -> dict[str, float]:
    """Train on the training images and measure AP50 on the test images.

    The parts of the task come from `open_boxes`.

    Returns:
        `ap50`, the mean over classes of the area under the precision-recall curve at an overlap of one half, and
        `ap50_11`, the same by VOC 2007's eleven points; in [0, 1].

    Raises:
        UserError: sources without boxes, boxes outside their image, parts with different classes, or an encoder that is
            no plain ResNet.
    """
    train, test = task.train, task.test
    if not isinstance(train, BoxSource) or not isinstance(test, BoxSource):
        raise UserError(f"{train.name} or {test.name} has no boxes; open both with open_boxes.")
    if train.classes != test.classes or not train.classes:
        raise UserError(f"The classes of {train.name} and {test.name} differ; give parts of one data set.")
    task.encoder.check(train)
    train.check()
    test.check()
    found = _detect(_train(task, train, config), task, test, config)
    labels = torch.cat([objects.labels[~objects.difficult] for objects in test.objects])
    with_objects = torch.unique(labels).tolist()
    if not with_objects:
        raise UserError(f"{test.name} has no object to find; give a test part with boxes.")
    result = {}
    for name, eleven in (("ap50", False), ("ap50_11", True)):
        each = [voc_average_precision(found, test.objects, c, eleven_points=eleven) for c in with_objects]
        result[name] = sum(each) / len(each)
    return result


EVALUATION = Evaluation(
    name="detection",
    config=DetectionConfig,
    evaluate=evaluate,
    percent=("ap50*",),
    open_data=open_boxes,
    quick=DetectionConfig.quick,
    left_out=DetectionConfig.left_out,
)


def faster_rcnn(encoder: LoadedEncoder, classes: int, config: DetectionConfig) -> FasterRCNN:
    """The C4 model: regions are pooled from one feature map and pass through the encoder's last stage.

    Batch norm keeps its running statistics and its weights, as is usual for two images per batch.

    Raises:
        UserError: the encoder is no plain ResNet.
    """
    network = encoder.copy()
    if not isinstance(network, ResNet):
        raise UserError(f"The encoder {encoder.name} is no ResNet, so it cannot be split for C4; give a ResNet.")
    size = encoder.transform.image_size
    trunk = Trunk(network, out_channels=0)
    with torch.no_grad():
        trunk.out_channels = trunk.eval()(torch.zeros(1, input_channels(encoder), size, size)).shape[1]
    head = BoxHead(network.layer4)
    ratios = (0.5, 1.0, 2.0)
    model = FasterRCNN(
        trunk,
        rpn_anchor_generator=AnchorGenerator((config.anchors,), (ratios,)),
        box_roi_pool=MultiScaleRoIAlign(["0"], config.pooled, sampling_ratio=2),
        box_head=head,
        box_predictor=FastRCNNPredictor(network.num_features, classes + 1),
        rpn_post_nms_top_n_test=config.proposals,
        box_score_thresh=LEAST_SCORE,
        box_batch_size_per_image=config.regions,
    )
    model.transform = Normalize(encoder)
    if config.frozen:
        trunk.requires_grad_(False)
        head.requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.requires_grad_(False)
    return model


def _train(task: Task, source: BoxSource, config: DetectionConfig) -> FasterRCNN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # torchvision samples regions with the global generator
        model = faster_rcnn(task.encoder, len(source.classes), config).to(task.device).train()
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.SGD(weights, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
        usable = [i for i, objects in enumerate(source.objects) if len(objects.boxes)]
        if not usable:
            raise UserError(f"{source.name} has no box to learn from.")
        drawn = order(len(usable), config.steps * config.batch_size, config.seed)

        def make(place: int) -> tuple[Tensor, dict[str, Tensor]]:
            index = usable[drawn[place]]
            image, factor = scaled(source.image(index), config.longest)
            boxes = source.objects[index].boxes * factor
            if uniforms(config.seed, place, 1)[0] < config.flip:
                image = image.flip(2)
                boxes = torch.stack(
                    [image.shape[2] - boxes[:, 2], boxes[:, 1], image.shape[2] - boxes[:, 0], boxes[:, 3]], dim=1
                )
            return image, {"boxes": boxes, "labels": source.objects[index].labels + 1}  # 0 is the background

        for step, pairs in enumerate(in_threads(make, range(len(drawn)), config.batch_size)):
            factor = 0.1 ** sum(step >= round(drop * config.steps) for drop in config.drops)
            for group in optimizer.param_groups:
                group["lr"] = config.lr * factor
            images = [image.to(task.device) for image, _ in pairs]
            targets = [{key: value.to(task.device) for key, value in target.items()} for _, target in pairs]
            loss = torch.stack(list(model(images, targets).values())).sum()
            if not torch.isfinite(loss):
                raise UserError(f"Detection diverged at step {step}; give a rate (--lr) below {config.lr:g}.")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step % 20 == 0 or step == config.steps - 1:
                task.progress("detection", step + 1, config.steps)
    return model.eval()


def scaled(image: Tensor, longest: tuple[int, int]) -> tuple[Tensor, float]:
    """Resize an image so that its longest edge lies in a range.

    Returns:
        The image (C, H, W), float32 in [0, 1], and the factor of its size.
    """
    image = image.float() / 255 if image.dtype == torch.uint8 else image.float()
    edge = max(image.shape[1:])
    wanted = min(max(edge, longest[0]), longest[1])
    if wanted == edge:
        return image, 1.0
    factor = wanted / edge
    size = [max(1, math.floor(side * factor + 0.5)) for side in image.shape[1:]]
    return F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0], factor


@torch.no_grad()
def _detect(model: FasterRCNN, task: Task, source: BoxSource, config: DetectionConfig) -> list[dict[str, Tensor]]:
    found: list[dict[str, Tensor]] = []
    batches = in_threads(
        lambda index: scaled(source.image(index), config.longest), range(len(source)), config.batch_size
    )
    for pairs in batches:
        for answer, (_, factor) in zip(model([image.to(task.device) for image, _ in pairs]), pairs, strict=True):
            boxes, labels, scores = (answer[key].cpu() for key in ("boxes", "labels", "scores"))
            found.append({"boxes": boxes / factor, "labels": labels - 1, "scores": scores})
        task.progress("detecting", len(found), len(source))
    return found
