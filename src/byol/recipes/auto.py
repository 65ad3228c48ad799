"""The chooser behind `--recipe auto`: looks at the images and the machine, chooses, and says why."""

import itertools
import math
import re

from byol.config.adapt import AdaptConfig
from byol.config.encoder import EncoderSpec
from byol.config.methods import BYOLConfig, MethodConfig
from byol.config.optim import OptimConfig
from byol.config.run import DataConfig, LoggingConfig, PretrainConfig
from byol.config.values import replace
from byol.config.views import IMAGENET_MEAN, IMAGENET_STD, AugmentConfig
from byol.data.memory import SHARE_OF_FREE, human_bytes
from byol.data.survey import Survey
from byol.encoders.layers import has_batch_norm
from byol.encoders.sizes import fitted, nearest_size
from byol.encoders.start import start_size
from byol.recipes.continued import LEAST_TAU, continued, continued_reasons, for_weights
from byol.recipes.facts import Facts
from byol.recipes.plan import Plan
from byol.recipes.small import small_on_cpu, small_views
from byol.recipes.transformers import for_transformers


def auto(facts: Facts) -> Plan:
    """Look at the images and the machine, choose, and say why."""
    given, asked = facts.given, facts.values
    on_gpu = facts.device == "cuda"
    reasons: list[str] = []
    limits = asked.data.range if "data__range" in given else _used_range(facts.survey, reasons)
    seen = facts.survey if limits is None else facts.survey.stretched(limits)

    def choose(name: str, value: object, why: str) -> object:
        if name in given:
            return asked.encoder.name if name == "encoder" else getattr(asked, name)
        reasons.append(f"{name.replace('_', ' ')} {value}: {why}")
        return value

    started = "encoder__weights" in given
    size = _image_size(seen.short_side_median, on_gpu)
    usual = size[0]
    if started:
        size = for_weights(size, start_size(asked.encoder), on_gpu)
    own = EncoderSpec.of(asked.encoder.name, seen.channels).untrained() if "encoder" in given else None
    if own is not None and (taken := nearest_size(own, size[0])) != size[0]:
        size = taken, f"{own.name} takes no {size[0]} px"
    image_size = int(choose("image_size", *size))  # type: ignore[call-overload]
    input_size = None
    smaller = (HURRIED_VIEWS if facts.hurried else SMALLER_VIEWS) * image_size // 4
    if own is not None and not on_gpu:
        smaller = nearest_size(own, smaller) if fitted(own, image_size).native_size is None else image_size
    if (
        not on_gpu
        and smaller < image_size
        and (image_size <= 64 or started)
        and not {"image_size", "encoder__input_size"} & given
    ):
        input_size, image_size = image_size, smaller
        reasons.append(
            f"views of {image_size} px, whole images of {input_size} px when trained: so short a run learns more from "
            "more updates of smaller views (docs/recipes.md)"
            if facts.hurried
            else f"views of {image_size} px: crops show objects larger than whole images do, which the trained encoder "
            f"takes in {input_size} px; and smaller views cost less"
        )
    name = str(choose("encoder", *_encoder(seen.count, image_size, on_gpu, started)))
    encoder, method = _networks(name, image_size, on_gpu, [] if started else reasons)
    if started:  # the weights decide width and stem
        encoder = EncoderSpec(name=name)
    stem = asked.encoder.stem if "encoder__stem" in given else encoder.stem
    batch_size = int(choose("batch_size", *_batch_size(seen.count, replace(encoder, stem=stem), image_size, facts)))  # type: ignore[call-overload]
    epochs = float(choose("epochs", *_epochs(seen.count, batch_size, on_gpu)))  # type: ignore[arg-type]
    steps = max(1, int(epochs * seen.count) // batch_size)
    without_batch_norm = "encoder" in given and not has_batch_norm(
        EncoderSpec(name=EncoderSpec(name=name).architecture)
    )
    if without_batch_norm:
        optim = for_transformers(batch_size, epochs, reasons)
    else:
        optim, method = _optim(batch_size, epochs, on_gpu, method, reasons)
    method = replace(method, tau=tau_for(steps))
    if started:
        method = replace(method, tau=max(method.tau, LEAST_TAU), predictor_lr=1.0)
    reasons += _method_reasons(method, asked.method, steps)
    augment, normalization = _augment(min(image_size, usual), seen, on_gpu, given, reasons)
    adapt = continued(not without_batch_norm) if started else AdaptConfig()
    typed = {name.removeprefix("adapt__") for name in given if name.startswith("adapt__")}
    reasons += continued_reasons(replace(adapt, **{name: getattr(asked.adapt, name) for name in typed}))
    config = PretrainConfig(
        encoder=replace(encoder, input_size=input_size, **normalization),
        image_size=image_size,
        batch_size=batch_size,
        epochs=epochs,
        method=method,
        data=DataConfig(range=limits),
        optim=optim,
        adapt=adapt,
        augment=augment,
        logging=LoggingConfig(health_every=max(10, min(200, steps // 20))),
    )
    budget = None if on_gpu or "epochs" in given else 30.0
    return Plan(config, tuple(reasons), budget)


NARROW = 0.5
"""Share of the range below which images are stretched: 8-bit photographs use 0.9 and more of theirs."""
LEAST_LEVELS = 16
"""Values that 16 bits must tell apart within it; what is narrower is all of one shade."""


def _used_range(seen: Survey, reasons: list[str]) -> tuple[float, float] | None:
    """The values that are stretched to [0, 1], where the images use a small part of it."""
    low, high = float(f"{seen.low:.3g}"), min(1.0, float(f"{seen.high:.3g}"))
    least = LEAST_LEVELS / (255 if seen.depth == "8-bit" else 65535)
    if not least < high - low < NARROW:
        return None
    reasons.append(
        f"data range {low:g} to {high:g}, which become 0 and 1: all but a thousandth of the values at either end are "
        f"there, {high - low:.2g} of the range; brightness and solarizing then act on what the images use"
    )
    return low, high


SMALLER_VIEWS = 3
"""Quarters of a small image's side that a view has on a processor, as in the recipe cifar10-cpu."""
HURRIED_VIEWS = 2
"""The same of a run that would have fewer than `FEW_UPDATES` of the usual views (benchmarks/short_runs.py)."""
FEW_UPDATES = 1000
"""Measured at some 440 updates of batch 64; longer runs keep the views that 20 minutes were measured with."""


def _image_size(short_side: int, on_gpu: bool) -> tuple[int, str]:
    for size, limit in ((32, 40), (64, 80)):
        if short_side <= limit:
            return size, f"the images' shorter side is {short_side} px"
    if short_side <= 160:
        return 96, f"the images' shorter side is {short_side} px"
    if on_gpu:
        return 224, f"the paper's, and the images' shorter side is {short_side} px"
    return 96, f"the images are larger ({short_side} px), but a processor affords 96 px at most; a GPU would take 224"


def _encoder(count: int, image_size: int, on_gpu: bool, started: bool) -> tuple[str, str]:
    if on_gpu and count >= 20_000 and image_size >= 96:
        return "resnet50", f"the paper's, for {count} images on a GPU"
    if not on_gpu and image_size <= 64 and not started:  # nobody publishes weights of it
        return "resnet10", "no GPU: a shallow network learns more from the same time (docs/recipes.md)"
    why = f"{count} images" if on_gpu else "no GPU"
    return "resnet18", f"{why}: a small network learns more from the same time"


PLAIN_RESNET = re.compile("resnet(10|18|34|50|101|152|200)")
"""Encoders that have a width and a stem to choose."""


def _networks(name: str, image_size: int, on_gpu: bool, reasons: list[str]) -> tuple[EncoderSpec, BYOLConfig]:
    """The encoder's width and stem, and the heads."""
    if not PLAIN_RESNET.fullmatch(name.partition(".")[0]):
        reasons.append(f"stem and width as timm has them: {name} is no plain ResNet")
        return EncoderSpec(name=name), BYOLConfig()
    if on_gpu:
        if image_size <= 64:
            reasons.append(
                "stem small (3x3, stride 1, no max-pool): the standard one would leave little of such images"
            )
            return EncoderSpec(name=name, stem="small"), BYOLConfig(hidden=2048)
        return EncoderSpec(name=name), BYOLConfig()
    heads = BYOLConfig(hidden=1024, output=128)
    if image_size <= 64:
        reasons.append("stem stride2 and half width: sixteen times less work for a processor than the small stem")
        return EncoderSpec(name=name, width=0.5, stem="stride2"), heads
    reasons.append("half width: four times less work for a processor")
    return EncoderSpec(name=name, width=0.5), heads


GPU_BYTES_PER_PIXEL = {"resnet50": 1400, "resnet18": 380}
"""Memory of BYOL's bf16 training step per pixel of a batch, with the standard stem: the tensors of one view that are
kept for its backward pass (counted: 875 and 240), and what lives beside them."""
SMALL_STEM_COST = 10
"""Times as much with the small stem, whose first stage has sixteen times the pixels (counted: 10 and 14)."""


LEAST_UPDATES = 5000
"""Updates that a run on a processor should have: seeing every image equally often, many updates of few images teach
more than few of many (docs/recipes.md; benchmarks/choose_cifar10_cpu.py, benchmarks/short_runs.py)."""
SMALLEST_BATCH = 64
"""What a run that would have fewer takes; smaller batches were not found to pay for their cost per image."""


def _batch_size(count: int, encoder: EncoderSpec, image_size: int, facts: Facts) -> tuple[int, str]:
    wanted = 512 if facts.device == "cuda" else 256
    why = "what small recipes train with"
    per_epoch = 2 ** math.floor(math.log2(max(2, count // 8)))
    if per_epoch < wanted:
        wanted = max(2, per_epoch)
        why = f"{max(1, count // wanted)} updates or more per pass over {count} images"
    if facts.device == "cpu" and "epochs" in facts.given:
        visits = facts.values.epochs * count
        enough = next((size for size in (256, 128) if visits / size >= LEAST_UPDATES), SMALLEST_BATCH)
        if enough < wanted:
            wanted, why = enough, "so short a run learns more from more updates (docs/recipes.md)"
    if facts.device == "cuda":
        per_image = GPU_BYTES_PER_PIXEL.get(encoder.name, GPU_BYTES_PER_PIXEL["resnet50"]) * image_size**2
        per_image *= facts.values.method.views_in_memory
        per_image *= SMALL_STEM_COST if encoder.stem == "small" else 1
        free = (0.9 - SHARE_OF_FREE) * facts.free_memory  # images may be held there too
        fitting = 2 ** math.floor(math.log2(max(2, free / per_image)))
        if fitting < wanted:
            wanted, why = fitting, f"what fits in {human_bytes(facts.free_memory)} of memory"
    return wanted, why


WANTED_STEPS = 100_000
"""Updates after which a small set has given what it has: 200 epochs of CIFAR-10 at batch 256 are 39,000."""


def _epochs(count: int, batch_size: int, on_gpu: bool) -> tuple[int, str]:
    most, least = (1000, 40) if on_gpu else (300, 20)
    epochs = WANTED_STEPS // 2 * batch_size // count if on_gpu else WANTED_STEPS // 8 * batch_size // count
    bounded = max(least, min(most, epochs))
    return bounded, f"about {max(1, bounded * count // batch_size)} updates, between {least} and {most} passes"


def _optim(
    batch_size: int, epochs: float, on_gpu: bool, method: BYOLConfig, reasons: list[str]
) -> tuple[OptimConfig, BYOLConfig]:
    """The optimizer, and the method with its predictor's rate."""
    if batch_size >= 1024:
        lr, decay = next((lr, wd) for limit, lr, wd in PRESET_RATES if epochs >= limit)
        reasons.append(f"LARS, lr {lr} per 256: the longest official preset that is not longer than {epochs:g} epochs")
        return OptimConfig(lr=lr, weight_decay=decay), method
    reasons.append("AdamW: LARS is made for batches of thousands; this is what the small recipes were measured with")
    small = small_on_cpu(1)
    # AdamW's rate goes with the square root of the batch (arXiv:2205.10287), and this one is per 256 images
    lr = small.optim.lr * math.sqrt(small.batch_size / batch_size)
    if not on_gpu:
        assert isinstance(small.method, BYOLConfig)
        method = replace(method, predictor_lr=small.method.predictor_lr)
    return replace(small.optim, lr=float(f"{lr:.3g}"), warmup_epochs=min(10.0, epochs / 20)), method


PRESET_RATES = ((1000.0, 0.2, 1.5e-6), (300.0, 0.3, 1e-6), (0.0, 0.45, 1e-6))
"""From how many epochs on, learning rate and weight decay (configs/byol.py:21)."""


def _method_reasons(method: BYOLConfig, asked: MethodConfig, steps: int) -> list[str]:
    """Why the predictor's rate and tau are as they are, where the method that was asked for has them."""
    reasons = []
    if method.predictor_lr != 1 and hasattr(asked, "predictor_lr"):
        reasons.append(f"the predictor's rate times {method.predictor_lr:g}: short runs learn more (docs/recipes.md)")
    if hasattr(asked, "tau"):
        memory = 1 / (1 - method.tau)
        average = f"an average over {memory:.0f} of about {steps} updates"
        if steps < memory:
            average = f"an average over {memory:.0f} updates, more than there will be"
        why = "in the presets' proportion" if method.tau == tau_for(steps) else "as the target has weights to keep"
        reasons.append(f"tau from {method.tau:g}: {average}, {why}")
    return reasons


def tau_for(steps: int) -> float:
    """Base tau for a number of updates, interpolated between the presets in the logarithm of both.

    40 epochs at batch 4096 are 12,500 updates with 0.97; 300 are 94,000 with 0.99; 1000 are 313,000 with 0.996; 1000
    at batch 512 are 2.5 million with 0.9995 (configs/byol.py:21; Appendix G). The memory 1 / (1 - tau) is what is
    interpolated; shorter runs keep the shortest memory.
    """
    points = [(12_510, 0.97), (93_835, 0.99), (312_784, 0.996), (2_502_267, 0.9995)]
    x = math.log(max(steps, 1))
    logs = [(math.log(s), math.log(1 / (1 - tau))) for s, tau in points]
    if x <= logs[0][0]:
        memory = logs[0][1]
    elif x >= logs[-1][0]:
        memory = logs[-1][1]
    else:
        (x0, y0), (x1, y1) = next((a, b) for a, b in itertools.pairwise(logs) if x <= b[0])
        memory = y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return round(1 - math.exp(-memory), 4)


USUAL_SPREAD = sum(IMAGENET_STD) / len(IMAGENET_STD)
"""Standard deviation of the values of photographs, for which the brightness changes of the recipes are made."""
NARROW_RANGE = 0.5
"""Part of it below which images count as using a small part of their range, as 12 bits in files of 16 do."""


BRIGHTNESS = ("view1__brightness", "view2__brightness")
"""What goes with the range that images use, of both views."""


def _augment(
    image_size: int, seen: Survey, on_gpu: bool, given: frozenset[str], reasons: list[str]
) -> tuple[AugmentConfig, dict[str, tuple[float, ...]]]:
    """The views, and the mean and deviation that they are normalized by."""
    if image_size <= 64:
        augment = small_views(color=1.0 if on_gpu else 0.5)
        reasons.append("crops of a fifth of the area and more, no blur: small images hold too little for the paper's")
        if not on_gpu:
            reasons.append("color changes half as strong as the paper's: short runs learn more (docs/recipes.md)")
    else:
        augment = AugmentConfig()
        reasons.append("views T and T' of the paper (Table 6)")
    spread = sum(seen.std) / len(seen.std)
    if spread < NARROW_RANGE * USUAL_SPREAD and not given & {f"augment__{name}" for name in BRIGHTNESS}:
        factor = float(f"{spread / USUAL_SPREAD:.2g}")
        augment = replace(augment, **dict.fromkeys(BRIGHTNESS, factor * augment.view1.brightness))
        reasons.append(
            f"brightness changes times {factor:g}: these images use a small part of their range (their values spread "
            f"by {spread:.2g} of it), which the usual change would leave"
        )
    if seen.channels == 3:
        return augment, {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    reasons.append(
        f"{seen.channels} channel{'s' if seen.channels > 1 else ''}: no saturation, hue or gray, which need color; "
        "normalized by the mean and spread of these images"
    )
    return augment, {"mean": rounded(seen.mean), "std": rounded(seen.std, least=0.01)}


def rounded(values: tuple[float, ...], least: float = 0.0) -> tuple[float, ...]:
    """Three digits are enough for a normalization."""
    return tuple(max(least, round(v, 3)) for v in values)
