"""The command line: verbs to modules. Heavy imports wait until a verb needs them, so that --help is instant."""

import io
import sys
from importlib import import_module

from byol.errors import UserError, memory_is_full, nearest, visible

INTERRUPTED = 130
"""Exit code after SIGINT, SIGTERM or SIGHUP, the shell's for an interrupted command."""

VERBS: dict[str, tuple[str, str, str]] = {
    "pretrain": ("byol.cli.pretrain", "run", "Train an encoder on images: a folder is enough."),
    "plan": ("byol.cli.plan", "run", "Print the plan of a run as a file to read, edit and pass back."),
    "views": ("byol.cli.views", "run", "Look at what the augmentations do to your images, before paying for a run."),
    "pack": ("byol.cli.pack", "run", "Write images as tar shards that a run opens in seconds."),
    "recipes": ("byol.cli.recipes", "run", "List every recipe with its source, cost and expected result."),
    "demo": ("byol.cli.demo", "run", "Train on bundled photographs for two minutes, and see what it bought."),
    "export": ("byol.cli.export", "run", "Write a trained encoder as ONNX, or for plain timm or torchvision models."),
    "weights": ("byol.cli.weights", "run", "Say what a file of weights is, and which encoder it fits."),
    "eval": (
        "byol.cli.evaluate",
        "evaluate",
        "Measure what an encoder is worth: k-NN, linear, few labels, transfer, fine-tuning, dense tasks.",
    ),
    "verdict": (
        "byol.cli.verdict",
        "verdict",
        "Was it worth it? A run beside pixels, an untrained encoder and training from scratch, on your labels.",
    ),
    "embed": ("byol.cli.embed", "run", "Write every image as a vector: Parquet, .npy or CSV."),
    "search": ("byol.cli.search", "run", "The nearest images of a picture, or of a folder of pictures."),
    "explore": (
        "byol.cli.explore",
        "run",
        "What there is to find in images: near-duplicates, outliers, label suspects, leaks, and a map.",
    ),
    "report": ("byol.cli.report", "run", "A run's page: verdict, course, data, settings, and how to use the encoder."),
    "bench": (
        "byol.cli.bench",
        "run",
        "How fast this machine trains, how fast it could, and what holds it back.",
    ),
    "paper": ("byol.cli.paper", "paper", "The paper's tables, measured again: list, run and report them at a scale."),
}
"""For each verb: its module, the function that takes its arguments and returns the exit code, and what it does."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `byol`: runs a verb and exits with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show ends nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(_dispatch(arguments))
    except UserError as error:
        print(f"byol: {visible(str(error))}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output has gone, `head` for example
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        print(
            visible(f"byol: {error.strerror or error}: {error.filename or 'a file'}; check the path and the disk."),
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
    module, function, _ = VERBS[verb]
    code: int = getattr(import_module(module), function)(rest)
    return code


def _overview() -> str:
    lines = ["byol: from a folder of images to a trained encoder", ""]
    lines += [f"  byol {verb:10s} {what}" for verb, (_, _, what) in VERBS.items()]
    return "\n".join([*lines, "", "byol COMMAND --help tells more; https://arxiv.org/abs/2006.07733 is the paper."])
