"""What others load: the same features come out of it."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

import byol
from byol.config.encoder import EncoderSpec, Stem
from byol.encoders.build import make_encoder
from byol.encoders.export import FORMATS, export
from byol.encoders.file import EncoderCard, save_encoder
from byol.errors import UserError


def trained(folder: Path, encoder: str = "resnet18", width: float = 1.0, stem: Stem = "standard") -> Path:
    """A folder with an encoder whose batch norm has statistics of its own."""
    torch.manual_seed(0)
    spec = EncoderSpec(name=encoder, width=width, stem=stem, input_size=32, mean=(0.5,) * 3, std=(0.2,) * 3)
    module = make_encoder(spec)
    module.train()(torch.randn(8, 3, 32, 32))
    card = EncoderCard(encoder=spec, features=512, method="byol", epochs=1.0, seed=0, images=8)
    folder.mkdir(exist_ok=True)
    save_encoder(folder, module, card)
    return folder


def test_onnx_gives_the_same_features_for_any_number_of_images(tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    import onnxruntime

    run = trained(tmp_path / "run", "resnet10", 0.25, "stride2")
    path = export(run)
    assert path == run / "encoder.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    encoder = byol.load_encoder(run)
    for count in (1, 2, 5):
        images = torch.randn(count, 3, 32, 32)
        (features,) = session.run(["features"], {"images": images.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(features, encoder(images).numpy(), rtol=1e-3, atol=1e-4)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["mean"]) == [0.5, 0.5, 0.5]
    assert json.loads(about["image_size"]) == 32
    assert (about["encoder"], about["method"], about["stem"]) == ("resnet10", "byol", "stride2"), "plain, not quoted"
    assert json.loads(about["value_range"]) == [0, 1]
    assert (about["crop"], json.loads(about["crop_share"])) == ("central square", 0.875)
    assert (about["interpolation"], json.loads(about["whole_up_to"])) == ("bicubic, antialiased", 64)
    assert (about["normalization"], about["layout"]) == ("(value - mean) / std", "NCHW")
    assert {file.name for file in run.iterdir()} == {"encoder.safetensors", "encoder.json", "encoder.onnx"}


def test_an_onnx_graph_may_normalize_pixels_itself(tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    import onnxruntime

    run = trained(tmp_path / "run", "resnet10", 0.25, "stride2")
    session = onnxruntime.InferenceSession(str(export(run, from_pixels=True)), providers=["CPUExecutionProvider"])
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    (features,) = session.run(["features"], {"images": pixels.numpy()})
    with torch.no_grad():
        expected = byol.load_encoder(run)((pixels.float() / 255 - 0.5) / 0.2)
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-3, atol=1e-4)
    about = session.get_modelmeta().custom_metadata_map
    assert (json.loads(about["value_range"]), about["normalization"]) == ([0, 255], "inside the graph")
    with pytest.raises(UserError, match="Weights alone, as timm has them, normalize no pixels"):
        export(run, "timm", from_pixels=True)


def test_attention_over_windows_is_written_too(tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    import onnxruntime

    torch.manual_seed(0)
    spec = EncoderSpec(name="test_maxvit", input_size=64, native_size=64)
    module = make_encoder(spec)
    module.train()(torch.randn(4, 3, 64, 64))
    (tmp_path / "run").mkdir()
    card = EncoderCard(encoder=spec, features=64, method="byol", epochs=1.0, seed=0, images=8)
    save_encoder(tmp_path / "run", module, card)
    session = onnxruntime.InferenceSession(str(export(tmp_path / "run")), providers=["CPUExecutionProvider"])
    images = torch.randn(3, 3, 64, 64)
    (features,) = session.run(["features"], {"images": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(features, module.eval()(images).numpy(), rtol=1e-3, atol=1e-4)


def test_what_the_exporter_cannot_write_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)

    def fails(*_: object, **__: object) -> None:
        raise torch.onnx.OnnxExporterError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(UserError, match=r"cannot write the encoder 'resnet18' as ONNX \(no such operator\)"):
        export(trained(tmp_path / "run"))
    assert not (tmp_path / "run" / "encoder.onnx").exists()


def test_what_else_lies_there_is_not_written_over(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    (run / "config.json").write_text('{"recipe": "auto"}')
    with pytest.raises(UserError, match=r"config\.json, where the encoder's description would stand, is another file"):
        export(run, "safetensors", run / "config.safetensors")
    assert (run / "config.json").read_text() == '{"recipe": "auto"}'
    assert not (run / "config.safetensors").exists()
    for _ in range(2):
        export(run, "safetensors", run / "again.safetensors")


def test_without_the_packages_it_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("byol.encoders.export.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"takes onnx and onnxscript; run: pip install 'byol\[onnx\]'"):
        export(trained(tmp_path / "run"), "onnx")
    assert not (tmp_path / "run" / "encoder.onnx").exists()


def test_plain_models_load_it_strictly(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    images = torch.randn(3, 3, 32, 32)
    in_timm = timm.create_model("resnet18", num_classes=0)
    in_torchvision = torchvision.models.resnet18()
    in_torchvision.fc = nn.Identity()
    for format, model in (("timm", in_timm), ("torchvision", in_torchvision)):
        path = export(run, format)
        assert path.name == f"encoder-{format}.safetensors"
        model.load_state_dict(load_file(path), strict=True)
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(images), byol.load_encoder(run)(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("format", ["timm", "torchvision"])
def test_what_has_no_plain_model_is_refused_before_anything_is_written(format: str, tmp_path: Path) -> None:
    for number, what in enumerate((("resnet18", 0.5), ("resnet18", 1.0, "small"), ("resnet10",))):
        run = trained(tmp_path / str(number), *what)
        with pytest.raises(UserError, match=f"{format} has no plain model for {what[0]}"):
            export(run, format)
        assert {file.name for file in run.iterdir()} == {"encoder.safetensors", "encoder.json"}


def test_safetensors_are_a_whole_encoder_elsewhere(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "resnet10", 0.25, "small")
    path = export(run, "safetensors", tmp_path / "deep" / "mine.safetensors")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(byol.load_encoder(path)(images), byol.load_encoder(run)(images), rtol=0, atol=0)


def test_wrong_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no format 'onx'; there are onnx, timm, .* Did you mean 'onnx'\?"):
        export(tmp_path, "onx")
    with pytest.raises(UserError, match=r"There is no .*encoder.safetensors"):
        export(tmp_path, "timm")
    assert set(FORMATS) == {"onnx", "timm", "torchvision", "safetensors", "official"}
