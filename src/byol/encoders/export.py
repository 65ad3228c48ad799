"""An encoder as a file for others: timm, torchvision, safetensors, or an ONNX graph."""

import json
import logging
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from byol.config.values import to_json
from byol.encoders.file import EncoderCard, read_card, read_encoder
from byol.errors import UserError, nearest
from byol.runtime.checkpoint import save_tensors, write_atomically

OPSET = 18
"""Version of ONNX's operators: the one that PyTorch's exporter writes without conversion."""


def export(run: str | Path, format: str = "onnx", out: str | Path | None = None) -> Path:
    """Write a trained encoder in a form that other programs load; returns the file's path.

    Args:
        run: a run's folder, or an `encoder.safetensors` with its `encoder.json`.
        format: one of `FORMATS`. `onnx` is a graph from `images` (N, C, S, S), normalized, N free, to `features`
            (N, D); `timm` and `torchvision` are weights that load strictly into the plain models there, which is
            tried; `safetensors` are the weights as they are. What must be known of the input (size, mean, std) lies in
            the ONNX file's metadata, else in a JSON file beside.
        out: the file; by default `encoder.onnx`, `encoder-timm.safetensors` and so on, beside the run's own.

    Raises:
        UserError: no such encoder or format, an encoder that the library has no plain model for, or packages that are
            not installed.
    """
    if format not in FORMATS:
        raise UserError(f"There is no format {format!r}; there are {', '.join(FORMATS)}.{nearest(format, FORMATS)}")
    encoder, card = read_encoder(run)
    folder = Path(run) if Path(run).is_dir() else Path(run).parent
    suffix = "onnx" if format == "onnx" else "safetensors"
    name = f"encoder.{suffix}" if format == "onnx" else f"encoder-{format}.{suffix}"
    path = Path(out).expanduser() if out is not None else folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    FORMATS[format](encoder, card, path)
    return path


def _onnx(encoder: nn.Module, card: EncoderCard, path: Path) -> None:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(f"Writing ONNX takes {' and '.join(missing)}; run: pip install 'byol[onnx]'.")
    import onnx

    example = torch.zeros(
        2, card.encoder.channels, card.image_size, card.image_size
    )  # of 1, N would be taken for fixed
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what the exporter will do differently some day
        file = Path(folder) / "encoder.onnx"
        torch.onnx.export(
            encoder.eval(),
            (example,),
            file,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        graph = onnx.load(file)
    onnx.checker.check_model(graph)
    for key, value in _described(card).items():
        graph.metadata_props.add(key=key, value=json.dumps(value))
    write_atomically(path, graph.SerializeToString())


def _timm(encoder: nn.Module, card: EncoderCard, path: Path) -> None:
    spec = card.encoder
    size = {} if spec.native_size is None else {"img_size": spec.native_size}
    try:
        plain = timm.create_model(spec.architecture, pretrained=False, num_classes=0, in_chans=spec.channels, **size)
        plain.load_state_dict(encoder.state_dict(), strict=True)
    except RuntimeError as error:
        raise _no_plain_model(card, "timm") from error
    _weights(encoder, card, path)


def _torchvision(encoder: nn.Module, card: EncoderCard, path: Path) -> None:
    try:
        plain = torchvision.models.get_model(card.encoder.name, weights=None)
        plain.fc = nn.Identity()
        plain.load_state_dict(encoder.state_dict(), strict=True)
    except (RuntimeError, ValueError) as error:
        raise _no_plain_model(card, "torchvision") from error
    _weights(encoder, card, path)


def _weights(encoder: nn.Module, card: EncoderCard, path: Path) -> None:
    beside = path.with_suffix(".json")
    if beside.exists():
        try:
            read_card(beside)
        except UserError:
            raise UserError(
                f"{beside}, where the encoder's description would stand, is another file; choose another --out."
            ) from None
    write_atomically(beside, json.dumps(to_json(card), indent=2) + "\n")
    save_tensors(path, dict(encoder.state_dict()), {"format": "pt"})


def _described(card: EncoderCard) -> dict[str, Any]:
    """The card without its levels: metadata of an ONNX file are pairs of strings."""
    spec = to_json(card.encoder)
    size = {"encoder": spec.pop("name"), "image_size": spec.pop("input_size"), "channels": card.encoder.channels}
    return {**size, **spec, **{key: value for key, value in to_json(card).items() if key != "encoder"}}


def _no_plain_model(card: EncoderCard, library: str) -> UserError:
    spec = card.encoder
    return UserError(
        f"{library} has no plain model for {spec.name} with width {spec.width:g}, the {spec.stem} stem and "
        f"{spec.channels} channels; export onnx, or train with --encoder.width 1 --encoder.stem standard."
    )


FORMATS: dict[str, Callable[[nn.Module, EncoderCard, Path], None]] = {
    "onnx": _onnx,
    "timm": _timm,
    "torchvision": _torchvision,
    "safetensors": _weights,
}
"""How each form is written."""
