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
from torch import Tensor, nn

from byol.augment.crop import EVALUATION_SHARE
from byol.config.encoder import EncoderSpec
from byol.config.values import to_json
from byol.data.transform import SMALL_SIDE
from byol.encoders.file import EncoderCard, read_card, read_encoder
from byol.encoders.official import write_official
from byol.errors import UserError, nearest
from byol.runtime.checkpoint import save_tensors, write_atomically

OPSET = 18
"""Version of ONNX's operators: the one that PyTorch's exporter writes without conversion."""


def export(run: str | Path, format: str = "onnx", out: str | Path | None = None, *, from_pixels: bool = False) -> Path:
    """Write a trained encoder in a form that other programs load; returns the file's path.

    Args:
        run: a run's folder, an `encoder.safetensors` with its `encoder.json`, or a file of weights of another program.
        format: one of `FORMATS`. `onnx` is a graph from `images` (N, C, S, S), normalized, N free, to `features`
            (N, D); `timm` and `torchvision` are weights that load strictly into the plain models there, which is
            tried; `safetensors` are the weights as they are; `official` is a checkpoint for the official BYOL code, of
            an encoder that pads as it does. What must be known of the input (size, crop, filter, mean, std) lies in the
            ONNX file's metadata, else in a JSON file beside.
        out: the file; by default `encoder.onnx`, `encoder-timm.safetensors` and so on, beside the run's own.
        from_pixels: whether the ONNX graph takes uint8 pixels (N, C, S, S), 0 to 255, which it normalizes itself.

    Raises:
        UserError: no such encoder or format, an encoder that the library has no plain model for or ONNX no operators
            for, or packages that are not installed.
    """
    if format not in FORMATS:
        raise UserError(f"There is no format {format!r}; there are {', '.join(FORMATS)}.{nearest(format, FORMATS)}")
    if from_pixels and format != "onnx":
        raise UserError(
            f"Weights alone, as {format} has them, normalize no pixels; leave --from-pixels out, or give --format onnx."
        )
    encoder, card = read_encoder(run)
    folder = Path(run) if Path(run).is_dir() else Path(run).parent
    suffix = {"onnx": "onnx", "official": "pkl"}.get(format, "safetensors")
    name = f"encoder.{suffix}" if format == "onnx" else f"encoder-{format}.{suffix}"
    path = Path(out).expanduser() if out is not None else folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if from_pixels:
        _onnx(FromPixels(encoder, card.encoder), card, path)
    else:
        FORMATS[format](encoder, card, path)
    return path


class FromPixels(nn.Module):
    """An encoder behind its normalization: uint8 pixels (N, C, S, S) -> features (N, D)."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, spec: EncoderSpec) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.tensor(spec.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Features of images whose values are 0 to 255."""
        features: Tensor = self.encoder((images.float() / 255 - self.mean) / self.std)
        return features


def _onnx(encoder: nn.Module, card: EncoderCard, path: Path) -> None:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(f"Writing ONNX takes {' and '.join(missing)}; run: pip install 'byol[onnx]'.")
    import onnx

    from_pixels = isinstance(encoder, FromPixels)
    size = (2, card.encoder.channels, card.image_size, card.image_size)  # of 1, N would be taken for fixed
    example = torch.zeros(size, dtype=torch.uint8 if from_pixels else torch.float32)
    for module in encoder.modules():
        if hasattr(module, "fused_attn"):  # the exporter cannot write its strided output (MaxViT, PyTorch 2.14)
            module.fused_attn = False  # type: ignore[assignment]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what the exporter will do differently some day
        file = Path(folder) / "encoder.onnx"
        try:
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
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            reason = " ".join(str(error.__cause__ or error).split())[:120]
            raise UserError(
                f"PyTorch cannot write the encoder {card.encoder.name!r} as ONNX ({reason}); give --format timm or "
                "safetensors."
            ) from error
        graph = onnx.load(file)
    onnx.checker.check_model(graph)
    for key, value in {**_described(card), **_input_described(card, from_pixels)}.items():
        graph.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    write_atomically(path, graph.SerializeToString())


def _timm(encoder: nn.Module, card: EncoderCard, path: Path) -> None:
    spec = card.encoder
    _check_padding(spec, "timm")
    size = {} if spec.native_size is None else {"img_size": spec.native_size}
    if spec.heads is not None:  # the names and shapes would fit all the same
        raise UserError(
            f"timm's {spec.architecture} has another number of attention heads than {spec.heads}, so the weights would "
            f"give other features there; export onnx, or build it by timm.create_model(..., num_heads={spec.heads})."
        )
    try:
        plain = timm.create_model(spec.architecture, pretrained=False, num_classes=0, in_chans=spec.channels, **size)
        plain.load_state_dict(encoder.state_dict(), strict=True)
    except RuntimeError as error:
        raise _no_plain_model(card, "timm") from error
    _weights(encoder, card, path)


def _torchvision(encoder: nn.Module, card: EncoderCard, path: Path) -> None:
    _check_padding(card.encoder, "torchvision")
    try:
        plain = torchvision.models.get_model(card.encoder.name, weights=None)
        plain.fc = nn.Identity()
        plain.load_state_dict(encoder.state_dict(), strict=True)
    except (RuntimeError, ValueError) as error:
        raise _no_plain_model(card, "torchvision") from error
    _weights(encoder, card, path)


def _check_padding(spec: EncoderSpec, library: str) -> None:
    """See that a plain model of a library would give the same features: names and shapes fit with any padding.

    Raises:
        UserError: it would not.
    """
    if spec.padding != "symmetric":
        raise UserError(
            f"{library}'s {spec.architecture} does not pad as TensorFlow does (--encoder.padding same), so the weights "
            "would give other features there; export onnx."
        )


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


def _input_described(card: EncoderCard, from_pixels: bool) -> dict[str, Any]:
    """How images become the graph's input, in the words and numbers of `byol.data.transform`."""
    return {
        "layout": "NCHW",
        "channel_order": "RGB" if card.encoder.channels == 3 else "as in the training images",
        "crop": "central square",
        "crop_share": EVALUATION_SHARE,
        "whole_up_to": SMALL_SIDE,
        "interpolation": "bicubic, antialiased",
        "value_range": [0, 255] if from_pixels else [0, 1],
        "normalization": "inside the graph" if from_pixels else "(value - mean) / std",
    }


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
    "official": write_official,
}
"""How each form is written."""
