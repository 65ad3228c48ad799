"""One reader of ours under atheris, in a process of its own: bytes that coverage leads on, until the time is over.

    python benchmarks/faults/fuzzed.py npy FOLDER 600

FOLDER holds the bytes to begin with and receives what was interesting. An error that is not one of ours ends the
process with a code other than 0, and what libFuzzer says of it.
"""

import io
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])
SECONDS_EACH, MEBIBYTES, LONGEST = 20, 4096, 4096
"""What one input may take, and its largest length in bytes."""

Reader = Callable[[Path, bytes], object]


def readers() -> dict[str, Reader]:
    """By name: what reads a file whose bytes are given, too."""
    from byol.config.axes import Axes
    from byol.data.formats import jpeg, npy, png, pnm
    from byol.data.formats.decode import decode, read_header
    from byol.data.label_file import GROUP_COLUMNS, LABEL_COLUMNS, LabelFile
    from byol.data.sources.table_text import split_rows
    from byol.data.sources.tar_index import index_of
    from byol.encoders.file import read_card
    from byol.encoders.weights.open import forget, recognize
    from byol.pretraining.plan_file import read_plan
    from byol.pretraining.run_folder import load_plan
    from byol.runtime.checkpoint import load_checkpoint
    from byol.runtime.metrics import read_metrics

    every: tuple[Axes, ...] = ("auto", "hwc", "chw", "dhw")

    def array(path: Path, content: bytes) -> None:
        if npy.sniff(content):
            decode(content, axes=every[len(content) % len(every)])

    def portable(path: Path, content: bytes) -> None:
        if pnm.sniff(content):
            read_header(content)
            decode(content)

    def weights(path: Path, content: bytes) -> None:
        forget()
        recognize(path)

    def checkpoint(path: Path, content: bytes) -> None:
        text, _, tensors = content.partition(b"\0")
        path.with_name("step-000000007.json").write_bytes(text)
        path.with_name("step-000000007.safetensors").write_bytes(tensors)
        load_checkpoint(path.parent)

    return {
        "NumPy arrays": array,
        "PGM and PPM images": portable,
        "turns of PNG images": lambda path, content: png.png_orientation(content),
        "sizes of JPEG images": lambda path, content: jpeg.plain_size(content),
        "tar archives": lambda path, content: index_of(path.rename(path.with_suffix(".tar"))),
        "rows of text": lambda path, content: split_rows(
            content.decode("latin1").splitlines(), lambda name: "a" in name
        ),
        "labels": lambda path, content: LabelFile.read(path, LABEL_COLUMNS),
        "groups": lambda path, content: LabelFile.read(path, GROUP_COLUMNS),
        "plans": lambda path, content: read_plan(path.rename(path.with_suffix(".toml"))),
        "settings of a run": lambda path, content: load_plan(path.rename(path.with_name("config.json")).parent),
        "cards of an encoder": lambda path, content: read_card(path),
        "weights": weights,
        "checkpoints": checkpoint,
        "metrics": lambda path, content: read_metrics(path),
    }


def begin(name: str) -> list[bytes]:
    """Valid bytes of a kind, from which others are made."""
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import save

    def written(write: Callable[[io.BytesIO], object]) -> bytes:
        held = io.BytesIO()
        write(held)
        return held.getvalue()

    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    tensors = {"conv1.weight": torch.ones(2, 3, 1, 1), "bn1.bias": torch.zeros(2)}

    def archive(held: io.BytesIO) -> None:
        with tarfile.open(fileobj=held, mode="w") as tar:
            for file, content in (("a.png", b"image"), ("a.cls", b"1")):
                member = tarfile.TarInfo(file)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))

    return {
        "NumPy arrays": [
            written(lambda held, values=values: np.save(held, values))
            for values in (pixels, pixels.astype(">u2"), pixels.astype("f4") / 48, pixels[..., 0])
        ],
        "PGM and PPM images": [b"P5 2 2 255\n1234", b"P6\n# a comment\n1 1\n65535\n123456", b"P2 2 1 9 3 4"],
        "turns of PNG images": [written(lambda held: Image.fromarray(pixels).save(held, "PNG"))],
        "sizes of JPEG images": [written(lambda held: Image.fromarray(pixels).save(held, "JPEG"))],
        "tar archives": [written(archive)],
        "rows of text": [b"a.png\tcat\nb.png,dog\n", b'"a b.png" 3\n'],
        "labels": [b"path,label\na.png,cat\n", b"image;class\na.png;1\n"],
        "groups": [b"path,group\na.png,p1\n", b"path,patient\na.png,7\n"],
        "plans": [b"epochs = 3\n[optim]\nlr = 0.1\n", b'[encoder]\nname = "resnet18"\n'],
        "settings of a run": [b'{"draws": 2, "recipe": "auto", "data": "a", "images": 3, "config": {"epochs": 3.0}}'],
        "cards of an encoder": [b'{"encoder": {"name": "resnet18", "width": 1.0}, "format": 1}'],
        "weights": [
            save(tensors),
            written(lambda held: torch.save(tensors, held)),
            written(lambda held: torch.save(tensors, held, _use_new_zipfile_serialization=False)),
        ],
        "checkpoints": [b'{"step": 7}\0' + save(tensors)],
        "metrics": [b'{"step": 3, "loss": 1.5}\n'],
    }[name]


def main(name: str, folder: Path, seconds: int) -> None:
    """Give the reader bytes for so many seconds."""
    import atheris

    with atheris.instrument_imports(include=["byol"]):
        read = readers()[name]
    from byol.errors import BadImage, UserError

    for number, content in enumerate(begin(name)):
        (folder / f"begin-{number}").write_bytes(content)
    place = Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
    os.environ["BYOL_HOME"] = str(place / "home")

    def once(content: bytes) -> None:
        path = place / "file"
        path.write_bytes(content)
        with suppress(UserError, BadImage):
            read(path, content)

    limits = [f"-timeout={SECONDS_EACH}", f"-rss_limit_mb={MEBIBYTES}", f"-max_len={LONGEST}"]
    quiet = ["-print_final_stats=1", f"-artifact_prefix={place}/", "-verbosity=1"]
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", *limits, *quiet, str(folder)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
