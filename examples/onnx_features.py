"""An encoder as an ONNX graph: write it, run it in onnxruntime, and compare with PyTorch's features.

What reads the file needs neither PyTorch nor `byol`: size, mean and standard deviation of the images are in its
metadata. Without `--encoder` the script first trains one on the bundled photographs for a few seconds. It takes the
packages of `pip install 'byol[onnx]'`, and half a minute on two cores:

    python examples/onnx_features.py
    python examples/onnx_features.py --encoder runs/photos-train --out photos.onnx
"""

import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import tyro

import byol
from byol.encoders.export import export


def onnx_features(path: Path, images: np.ndarray) -> np.ndarray:
    """Features (N, D) float32 of uint8 images (N, C, S, S) in onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    about = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert images.shape[2:] == (about["image_size"], about["image_size"]), f"the graph takes {about['image_size']} px"
    mean, std = (np.array(about[name], np.float32).reshape(1, -1, 1, 1) for name in ("mean", "std"))
    (features,) = session.run(["features"], {"images": (images.astype(np.float32) / 255 - mean) / std})
    return features


@torch.no_grad()
def torch_features(run: Path, images: np.ndarray) -> np.ndarray:
    """The same in PyTorch."""
    spec = json.loads((run / "encoder.json").read_text())["encoder"]
    mean, std = (torch.tensor(spec[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    return byol.load_encoder(run)((torch.from_numpy(images) / 255 - mean) / std).numpy()


def main(encoder: Path | None = None, out: Path = Path("encoder.onnx")) -> float:
    """Export an encoder, and compare its features; returns the largest difference over the largest feature.

    Args:
        encoder: folder of a run of 32 px; by default a short one is made.
        out: the ONNX file.

    Raises:
        byol.UserError: the packages of the extra `onnx` are missing.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise byol.UserError(f"This example takes {', '.join(missing)}; run: pip install 'byol[onnx]'.")
    with tempfile.TemporaryDirectory() as folder:
        if encoder is None:
            encoder = byol.pretrain("photos:train", recipe="photos", epochs=1, out=Path(folder) / "run").folder
        path = export(encoder, "onnx", out)
        test = byol.open_source("photos:test")
        images = torch.stack([test.image(i) for i in range(256)]).numpy()
        ours, theirs = torch_features(encoder, images), onnx_features(path, images)
        size = path.stat().st_size
    difference = float(np.abs(ours - theirs).max() / np.abs(ours).max())
    print(
        f"{path}: {size / 1e6:.1f} MB; {len(images)} images, {ours.shape[1]} features; they differ by {difference:.1e}"
    )
    return difference


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except byol.UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
