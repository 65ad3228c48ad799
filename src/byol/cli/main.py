"""The command line: verbs to functions. Heavy imports wait until a verb needs them, so that --help is instant."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from byol.cli.bench import Bench
from byol.cli.parse import given, parse
from byol.config.optim import OptimConfig
from byol.config.run import (
    DataConfig,
    Device,
    LoggingConfig,
    LossConfig,
    Method,
    MoCoConfig,
    NetworkConfig,
    Precision,
    TargetConfig,
)
from byol.config.views import AugmentConfig
from byol.errors import UserError, memory_is_full, nearest

if TYPE_CHECKING:
    from byol.pretraining.run import Outcome

INTERRUPTED = 130
"""Exit code after SIGINT, SIGTERM or SIGHUP, the shell's for an interrupted command."""
UNHEALTHY = 3
"""Exit code of a run that collapsed or diverged."""


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Train an encoder on images: a folder is enough.

    What is not given, the recipe chooses, and says why. The defaults of --data.* to --watch.* below are the paper's;
    recipes have their own.
    """

    images: Annotated[Positional[str | None], given("DATA", "photographs that come along")] = None
    """A folder, a text list, Parquet, or a name such as cifar10."""
    recipe: Annotated[str, given("NAME", "auto")] = "auto"
    """Starting point; see `byol recipes`."""
    encoder: Annotated[str | None, given("NAME")] = None
    """Any timm model name, or resnet10."""
    image_size: Annotated[int | None, given("PIXELS")] = None
    """Side of the square views."""
    eval_size: Annotated[int | None, given("PIXELS", "as the views")] = None
    """Side at which the trained encoder looks at whole images."""
    batch_size: Annotated[int | None, given("IMAGES")] = None
    """Images per update, over all processes."""
    epochs: Annotated[float | None, given("NUMBER")] = None
    """Passes over the images."""
    budget: Annotated[str | None, given("TIME", "none; half an hour for auto on a processor")] = None
    """Time that the whole run may take, such as 20m or 2h: epochs are chosen so that its schedule ends in time."""
    seed: Annotated[int | None, given("NUMBER")] = None
    """Everything random is a function of it and of the step."""
    method: Annotated[Method | None, given("{byol,infonce,simclr,moco,supervised,random}", "byol")] = None
    """What is learned; docs/methods.md describes each."""
    device: Annotated[Device | None, given("{auto,cpu,cuda,mps}", "auto")] = None
    """Where; auto takes cuda, then mps, then cpu."""
    precision: Annotated[Precision | None, given("{auto,bf16,float32}", "auto")] = None
    """bf16 or float32; auto takes bf16 where it is faster."""
    monitor: Annotated[str | None, given("DATA", "a part of labeled DATA, kept aside")] = None
    """Labeled images that training never sees, for k-NN readings."""
    out: Annotated[str | None, given("FOLDER", "runs/ and the data's name")] = None
    """Folder of the run."""
    resume: Annotated[str | None, given("FOLDER", "none")] = None
    """Folder of a run to go on with."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run's folder."""
    wandb: bool = False
    """Report to Weights & Biases."""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    network: NetworkConfig = NetworkConfig()
    optim: OptimConfig = OptimConfig()
    target: TargetConfig = TargetConfig()
    loss: LossConfig = LossConfig()
    moco: MoCoConfig = MoCoConfig()
    watch: LoggingConfig = LoggingConfig()


FLAT = ("encoder", "image_size", "eval_size", "batch_size", "epochs", "seed", "method", "device", "precision")
SECTIONS = ("data", "augment", "network", "optim", "target", "loss", "moco", "watch")


@dataclass(frozen=True, kw_only=True)
class Views:
    """Look at what the augmentations do to your images, before paying for a run."""

    images: Annotated[Positional[str | None], arg(metavar="DATA")] = None
    """As for pretrain."""
    out: str = "views.png"
    """Picture to write: a row per image, first the image, then views of T and of T'."""
    recipe: str = "auto"
    """Whose views."""
    image_size: int | None = None
    """Side of the views, in pixels."""
    count: int = 6
    """Images to show."""
    seed: int = 0
    """Which views are drawn."""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List every recipe with its source, cost and expected result."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Train on embedded photographs for two minutes, and see what it bought."""

    out: str | None = None
    """Folder of the run."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a trained encoder as ONNX, or as weights that plain timm or torchvision models load."""

    encoder: Annotated[Positional[str], arg(metavar="RUN")]
    """A run's folder, or an encoder.safetensors with its encoder.json."""
    format: Annotated[str, arg(metavar="{onnx,timm,torchvision,safetensors}")] = "onnx"
    """onnx takes pip install 'byol[onnx]'; timm and torchvision take encoders of width 1 with the standard stem."""
    out: Annotated[str | None, given("FILE", "beside the run's own encoder")] = None
    """File to write."""


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Measure what an encoder is worth: k-NN, linear, few labels, transfer, fine-tuning, dense tasks."""


@dataclass(frozen=True, kw_only=True)
class JudgeRun:
    """Was it worth it? This run beside pixels, an untrained encoder and training from scratch, on your labels."""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The paper's tables, measured again: list them, run them at a scale, report ours beside the paper's."""


VERBS: dict[str, type[Any]] = {
    "pretrain": Pretrain,
    "views": Views,
    "recipes": Recipes,
    "demo": Demo,
    "export": Export,
    "eval": Eval,
    "verdict": JudgeRun,
    "bench": Bench,
    "paper": Paper,
}


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `byol`: runs a verb and exits with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        sys.exit(_dispatch(arguments))
    except UserError as error:
        print(f"byol: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever read our words has gone, `head` for example
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        print(
            f"byol: {error.strerror or error}: {error.filename or 'a file'}; check the path and the disk.",
            file=sys.stderr,
        )
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not memory_is_full(error):
            raise
        print(
            "byol: Memory is full; end what else takes it, or give smaller or fewer images at once.",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("byol: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"byol {version('byol')}")
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        raise UserError(f"There is no command {verb!r}.{nearest(verb, VERBS)} The commands are: {', '.join(VERBS)}.")
    if verb == "eval":  # its flags depend on the evaluation
        from byol.cli import evaluate as cli_evaluate

        return cli_evaluate.evaluate(rest)
    if verb == "verdict":
        from byol.cli import verdict as cli_verdict

        return cli_verdict.verdict(rest)
    if verb == "paper":
        from byol.cli import paper as cli_paper

        return cli_paper.paper(rest)
    words = inspect.cleandoc(VERBS[verb].__doc__ or "")
    command = parse(VERBS[verb], rest, f"byol {verb}", words)
    settings = explicit(command, rest)
    if verb == "bench":
        from byol.cli import bench as cli_bench

        return cli_bench.run(command, settings, rest)
    return ACTIONS[verb](command, settings)


def _overview() -> str:
    lines = ["byol: from a folder of images to a trained encoder", ""]
    lines += [f"  byol {verb:10s} {(kind.__doc__ or '').splitlines()[0]}" for verb, kind in VERBS.items()]
    return "\n".join([*lines, "", "byol COMMAND --help tells more; https://arxiv.org/abs/2006.07733 is the paper."])


def explicit(command: object, arguments: list[str]) -> dict[str, Any]:
    """The settings that were typed, in the form `optim__lr=0.3`: what a recipe must not overrule.

    A value that equals a default is still the user's, so what counts is that its flag was typed.
    """
    settings: dict[str, Any] = {
        name: getattr(command, name) for name in FLAT if getattr(command, name, None) is not None
    }
    for name in ("tensorboard", "wandb"):
        if getattr(command, name, False):
            settings[f"watch__{name}"] = True
    for argument in arguments:
        head, dot, _ = argument.partition(".")
        if not dot or head.removeprefix("--") not in SECTIONS or not argument.startswith("--"):
            continue
        path = argument[2:].partition("=")[0].replace("-", "_").split(".")
        value: Any = command
        for number, name in enumerate(path):
            if not hasattr(value, name):  # --watch.no-tensorboard
                name = path[number] = name.removeprefix("no_")
            value = getattr(value, name)
        settings["__".join(path)] = value
    return settings


def _pretrain(command: Pretrain, settings: dict[str, Any]) -> int:
    from byol.pretraining.run import pretrain, resume

    if command.resume is not None:
        typed = {"--out": command.out, "--budget": command.budget}
        given = [name for name, value in typed.items() if value is not None] + sorted(settings)
        given += ["--recipe"] if command.recipe != "auto" else []
        if given:
            raise UserError(
                f"--resume goes on with a run as it was started, so {', '.join(given)} cannot be given with it; leave "
                "that out, or start a new run. Only a new place of the same images can be given."
            )
        outcome = resume(command.resume, data=command.images, monitor=command.monitor)
    else:
        outcome = pretrain(
            command.images or "photos:train",
            recipe=command.recipe,
            out=command.out,
            monitor=command.monitor,
            budget=command.budget,
            **settings,
        )
    return _code(outcome)


def _views(command: Views, settings: dict[str, Any]) -> int:
    from byol.cli.views import write_views

    sentence = write_views(
        command.images or "photos:train",
        command.out,
        recipe=command.recipe,
        count=command.count,
        seed=command.seed,
        **{name: value for name, value in settings.items() if name != "seed"},
    )
    print(sentence)
    return 0


def _recipes(command: Recipes, settings: dict[str, Any]) -> int:
    from rich.console import Console
    from rich.table import Table

    from byol.recipes.presets import RECIPES

    table = Table("recipe", "what it is", show_lines=True)
    for name, recipe in RECIPES.items():
        more = {"source": recipe.source, "cost": recipe.cost, "expected": recipe.expected}
        table.add_row(name, "\n".join([recipe.what, *(f"{key}: {words}" for key, words in more.items())]))
    Console().print(table)
    return 0


def _demo(command: Demo, settings: dict[str, Any]) -> int:
    from byol.cli.demo import demo

    return _code(demo(command.out))


def _export(command: Export, settings: dict[str, Any]) -> int:
    from byol.encoders.export import export

    print(f"encoder {export(command.encoder, command.format, command.out)}")
    return 0


def _code(outcome: "Outcome") -> int:
    if outcome.interrupted:
        return INTERRUPTED
    return UNHEALTHY if outcome.stopped else 0


ACTIONS: dict[str, Callable[[Any, dict[str, Any]], int]] = {
    "pretrain": _pretrain,
    "views": _views,
    "recipes": _recipes,
    "demo": _demo,
    "export": _export,
}
