"""`byol export`: a trained encoder as ONNX, or for plain timm and torchvision models."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from byol.cli.parse import given, parse


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a trained encoder as ONNX, or as weights that plain timm or torchvision models load."""

    encoder: Annotated[Positional[str], arg(metavar="RUN")]
    """A run's folder, an encoder.safetensors with its encoder.json, or a file of weights of another program."""
    format: Annotated[str, arg(metavar="{onnx,timm,torchvision,safetensors,official}")] = "onnx"
    """onnx takes pip install 'byol[onnx]'; timm and torchvision take encoders of width 1 with the standard stem;
    official is a checkpoint for the official BYOL code and takes pip install 'byol[official]'."""
    out: Annotated[str | None, given("FILE", "beside the run's own encoder")] = None
    """File to write."""
    from_pixels: bool = False
    """Let the ONNX graph take uint8 pixels, 0 to 255, and normalize them itself."""


def run(arguments: list[str]) -> int:
    """Write the file; the exit code."""
    command = parse(Export, arguments, "byol export", Export.__doc__ or "")
    from byol.encoders.export import export

    print(f"encoder {export(command.encoder, command.format, command.out, from_pixels=command.from_pixels)}")
    return 0
