"""The flags of a training run: what people type most, then a section for everything else."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from tyro.conf import arg

from byol.cli.parse import given, parse
from byol.config.adapt import AdaptConfig
from byol.config.encoder import EncoderSpec
from byol.config.methods import AnyMethodConfig, BYOLConfig, MethodConfig
from byol.config.optim import OptimConfig
from byol.config.renamed import current_name
from byol.config.run import DataConfig, Device, Keep, LoggingConfig, Precision
from byol.config.views import AugmentConfig
from byol.errors import UserError, nearest

METHODS: dict[str, type[MethodConfig]] = {kind.name: kind for kind in get_args(AnyMethodConfig)}


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """What `pretrain`, `plan` and `bench` take."""

    recipe: Annotated[str, given("NAME", "auto")] = "auto"
    """Starting point; see `byol recipes`."""
    encoder_name: Annotated[str | None, arg(name="encoder"), given("NAME")] = None
    """Any timm model name, or resnet10."""
    image_size: Annotated[int | None, given("PIXELS")] = None
    """Side of the square views."""
    batch_size: Annotated[int | None, given("IMAGES")] = None
    """Images per update, over all processes: the effective batch size."""
    epochs: Annotated[float | None, given("NUMBER")] = None
    """Passes over the images; 0 leaves the encoder untrained."""
    seed: Annotated[int | None, given("NUMBER")] = None
    """Everything random is a function of it and of the step."""
    method_name: Annotated[str | None, arg(name="method"), given("{" + ",".join(METHODS) + "}", "byol")] = None
    """What is learned; docs/methods.md describes each. --help after a method shows its own settings."""
    device: Annotated[Device | None, given("{auto,cpu,cuda,mps}", "auto")] = None
    """Where; auto takes cuda, then mps, then cpu."""
    precision: Annotated[Precision | None, given("{auto,bf16,float32}", "auto")] = None
    """bf16 or float32; auto takes bf16 where it is faster."""
    keep: Annotated[Keep | None, given("{auto,best,last}", "auto")] = None
    """The encoder to keep: the last or the best-read one; auto keeps the best of a run that starts from weights, or has
    a patience."""
    patience: Annotated[int | None, given("READINGS", "none")] = None
    """End the run once so many readings on labels in a row are no better than the best one before them."""
    encoder: EncoderSpec = EncoderSpec()
    method: BYOLConfig = BYOLConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    adapt: AdaptConfig = AdaptConfig()
    logging: LoggingConfig = LoggingConfig()


@dataclass(frozen=True, kw_only=True)
class LabelFlags:
    """What `pretrain` and `plan` take of labels, groups, and images for readings."""

    monitor: Annotated[
        str | None, arg(aliases=["--monitor-data"]), given("DATA", "a held-out part of labeled DATA")
    ] = None
    """Labeled images that training never sees, for k-NN readings. Under torchrun: --monitor-data."""
    labels: Annotated[str | None, given("FILE", "folder names, or what DATA has")] = None
    """A CSV file of path and label: labels for the readings instead of DATA's own."""
    groups: Annotated[str | None, given("FILE|folders", "none")] = None
    """A CSV file of path and group (patient, plate, site), or folders: no neighbor of the same group votes."""
    unlabeled: Annotated[bool, arg(aliases=["--unlabelled"])] = False
    """Folder names, or a column of labels, are no labels."""


@dataclass(frozen=True, kw_only=True)
class WeightsFlags:
    """What `pretrain` and `plan` take of weights to start from."""

    weights: Annotated[str | None, given("WEIGHTS", "none: fresh ones")] = None
    """Weights to start from: imagenet, a name of timm's such as resnet50.a1_in1k, hf-hub:..., a file of another
    program, a run. Without --encoder they decide the encoder."""


FLAT = {
    "encoder_name": "encoder",
    "weights": "encoder__weights",
    "method_name": "method",
    **{
        name: name for name in ("image_size", "batch_size", "epochs", "seed", "device", "precision", "keep", "patience")
    },
}
"""From a field of `RunFlags` to the setting that it gives."""
SECTIONS = ("encoder", "method", "data", "augment", "optim", "adapt", "logging")


def parse_run(kind: type[Any], arguments: list[str], verb: str, description: str) -> tuple[Any, dict[str, Any]]:
    """A command with a run's flags, and the settings that were typed.

    `--method NAME` decides which settings `--method.x` has. Flags that had another name before are accepted.

    Raises:
        UserError: as `parse`; or no method of that name.
    """
    arguments = [_current_flag(argument) for argument in arguments]
    command = parse(_with_method(kind, _method_in(arguments)), arguments, f"byol {verb}", description)
    return command, explicit(command, arguments)


def explicit(command: object, arguments: list[str]) -> dict[str, Any]:
    """The settings that were typed, in the form `optim__lr=0.3`: what a recipe must not override.

    A value that equals a default is still the user's, so what counts is that its flag was typed.
    """
    settings: dict[str, Any] = {
        setting: getattr(command, name) for name, setting in FLAT.items() if getattr(command, name, None) is not None
    }
    for name in ("tensorboard", "wandb"):
        if getattr(command, name, False):
            settings[f"logging__{name}"] = True
    for argument in arguments:
        head, dot, _ = argument.partition(".")
        if not dot or head.removeprefix("--") not in SECTIONS or not argument.startswith("--"):
            continue
        path = argument[2:].partition("=")[0].replace("-", "_").split(".")
        value: Any = command
        for number, name in enumerate(path):
            if not hasattr(value, name):  # --logging.no-tensorboard
                name = path[number] = name.removeprefix("no_")
            value = getattr(value, name)
        settings["__".join(path)] = value
    return settings


def _method_in(arguments: list[str]) -> type[MethodConfig]:
    """The settings of the method that was typed, else BYOL's.

    Raises:
        UserError: there is no method of that name.
    """
    name = BYOLConfig.name
    for number, argument in enumerate(arguments):
        if argument.startswith("--method="):
            name = argument.partition("=")[2]
        elif argument == "--method" and number + 1 < len(arguments):
            name = arguments[number + 1]
    if name == "random":
        raise UserError("There is no method 'random': an untrained encoder is --epochs 0.")
    if name not in METHODS:
        raise UserError(f"--method is {name!r}, but must be one of {', '.join(METHODS)}.{nearest(name, METHODS)}")
    return METHODS[name]


def _with_method(kind: type[Any], method: type[MethodConfig]) -> type[Any]:
    """The command's class with the settings of a method."""
    field = ("method", method, dataclasses.field(default=method()))
    namespace = {"__doc__": kind.__doc__}
    return dataclasses.make_dataclass(
        kind.__name__, [field], bases=(kind,), namespace=namespace, frozen=True, kw_only=True
    )


def _current_flag(argument: str) -> str:
    """A flag by its name of today."""
    flag, equals, value = argument.partition("=")
    section, _, field = flag.removeprefix("--").replace("-", "_").replace(".", "__").partition("__")
    off = "no_" if field.startswith("no_") else ""
    name = f"{section}__{field.removeprefix(off)}" if field else section
    current = current_name(name)
    if not flag.startswith("--") or current == name:
        return argument
    head, _, rest = current.partition("__")
    return "--" + ".".join([head, off + rest] if rest else [head]).replace("_", "-") + equals + value
