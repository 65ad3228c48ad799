"""Files of other tools given as an encoder: one sentence that says what they are and what to do."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import byol
from byol.cli.main import main
from byol.config.values import to_json
from byol.encoders.file import EncoderCard
from byol.encoders.load import open_encoder
from byol.errors import UserError

CARD: dict[str, Any] = {
    "encoder": {"name": "resnet18", "input_size": 32},
    "features": 512,
    "method": "supervised",
    "epochs": 90,
    "seed": 0,
    "images": 1_281_167,
}
SAVE = r"save its weights under timm's names by safetensors\.torch\.save_file\(state_dict, 'NAME\.safetensors'\)"


def weights() -> dict[str, torch.Tensor]:
    """Those of a ResNet-18 without its classifier, by timm's names, which are torchvision's too."""
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=0).state_dict()


def write(path: Path, kind: str) -> Path:
    """A file or a folder of another tool."""
    state = {"weight": torch.zeros(2, 2)}
    if kind == "torch":
        torch.save({"state_dict": state}, path)
    elif kind == "old torch":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif kind == "script":
        with zipfile.ZipFile(path, "w") as archive:  # as `torch.jit.save` lays it out
            for name in ("x/data.pkl", "x/code/__torch__.py", "x/constants.pkl", "x/version"):
                archive.writestr(name, "")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"a": 1}))
    elif kind == "npz":
        np.savez(path, a=np.zeros(2))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model.txt", "x")
    elif kind == "hdf5":
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    elif kind == "short":
        save_file(weights(), path)
        path.write_bytes(path.read_bytes()[:100])
    elif kind == "hugging face":
        path.mkdir()
        save_file(state, path / "model.safetensors")
        (path / "config.json").write_text("{}")
    elif kind == "saved model":
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"")
    else:
        path.write_bytes(b"just words")
    return path


FILES = [
    ("x.pth", "torch", r"x\.pth is a PyTorch checkpoint, a pickle, which may run any code .* trust it, and " + SAVE),
    ("x.safetensors", "torch", r"is a PyTorch checkpoint"),
    ("x.pt", "old torch", r"x\.pt is a PyTorch checkpoint"),
    ("x.ckpt", "torch", r"x\.ckpt is a PyTorch checkpoint"),
    ("x.pkl", "pickle", r"x\.pkl is a PyTorch checkpoint, a pickle"),
    ("x.pt", "script", r"x\.pt is a TorchScript program; load it by torch\.jit\.load, and " + SAVE),
    ("x.npz", "npz", r"x\.npz is a NumPy archive; give a run's folder or its encoder\.safetensors, or " + SAVE),
    ("x.zip", "zip", r"x\.zip is a zip archive"),
    ("x.h5", "hdf5", r"x\.h5 is an HDF5 file, such as Keras writes"),
    ("x.onnx", "words", r"x\.onnx is an ONNX graph, whose weights have no names"),
    ("x.bin", "words", r"x\.bin is no safetensors file"),
    ("x.safetensors", "short", r"is no whole file of safetensors: it may be cut short"),
    ("hub", "hugging face", r"hub holds a model of Hugging Face's transformers \(model\.safetensors\), .* give timm:"),
    ("tf", "saved model", r"tf is a SavedModel of TensorFlow"),
]


@pytest.mark.parametrize("card", [False, True])
@pytest.mark.parametrize(("name", "kind", "words"), FILES)
def test_a_file_of_another_tool_is_named(
    name: str, kind: str, words: str, card: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / name, kind)
    if card:
        path.with_suffix(".json").write_text(json.dumps(CARD))
    with pytest.raises(UserError, match=words) as caught:
        open_encoder(str(path))
    assert "docs/encoder-file.md" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(path)])
    assert str(caught.value) in capsys.readouterr().err.replace("\n", " ")


def written(folder: Path, card: object, state: dict[str, torch.Tensor] | None = None) -> Path:
    """An encoder's file with a card beside it."""
    save_file(weights() if state is None else state, folder / "mine.safetensors")
    (folder / "mine.json").write_text(card if isinstance(card, str) else json.dumps(card))
    return folder / "mine.safetensors"


def test_weights_of_another_tool_with_a_card_written_by_hand(tmp_path: Path) -> None:
    path = written(tmp_path, CARD)
    model = timm.create_model("resnet18", num_classes=0).eval()
    model.load_state_dict(weights())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(byol.load_encoder(path)(images), model(images))
    found = open_encoder(str(path))
    assert (found.transform.image_size, found.transform.mean) == (32, (0.485, 0.456, 0.406))


def test_weights_without_a_card(tmp_path: Path) -> None:
    path = written(tmp_path, CARD)
    path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"There is no card .*mine\.json beside the weights, which says what network"):
        open_encoder(str(path))


def test_the_card_itself_or_a_checkpoint_is_not_the_encoder(tmp_path: Path) -> None:
    path = written(tmp_path, CARD)
    with pytest.raises(UserError, match=r"mine\.json is the card of an encoder; give the weights .*\.safetensors\."):
        open_encoder(str(path.with_suffix(".json")))
    path = written(tmp_path, {"step": 3, "crc32": 1, "bytes": 2, "extra": {}})
    with pytest.raises(UserError, match="mine is a checkpoint of a run; give the folder of the run"):
        open_encoder(str(path))


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("{", "it is no JSON"),
        ([1], "it lacks encoder, features, method, epochs, seed, images; see docs/encoder-file"),
        ({"encoder": {"name": "resnet18"}}, "it lacks features, method, epochs, seed, images"),
        ({**CARD, "encoder": {"name": "resnet18"}}, r"it lacks encoder\.input_size"),
        ({**CARD, "encoder": {"nam": "resnet18"}}, "There is no setting 'encoder.nam'. Did you mean 'name'"),
        ({**CARD, "images": "many"}, "images is 'many', but must be of type int"),
    ],
)
def test_a_card_that_is_wrong_says_what_it_lacks(card: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        open_encoder(str(written(tmp_path, card)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: {f"module.{name}": value for name, value in state.items()},
            "it lacks conv1.weight and 119 more",
        ),
        (lambda state: {**state, "fc.weight": torch.zeros(9, 512)}, "it has fc.weight, which the network lacks;"),
        (
            lambda state: {**state, "conv1.weight": torch.zeros(64, 3, 3, 3)},
            r"it has conv1\.weight of shape \(64, 3, 3, 3\) where \(64, 3, 7, 7\) is wanted",
        ),
    ],
)
def test_weights_that_do_not_fit_say_which(change: Any, words: str, tmp_path: Path) -> None:
    path = written(tmp_path, CARD, change(weights()))
    with pytest.raises(UserError, match=words) as caught:
        byol.load_encoder(path)
    assert "does not fit its card mine.json, which says resnet18 of width 1 with the stem standard" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_example_of_the_documentation_makes_an_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "encoder-file.md").read_text()
    monkeypatch.chdir(tmp_path)
    state = {f"module.{name}": weight for name, weight in weights().items()}
    torch.save({"state_dict": {**state, "module.fc.weight": torch.zeros(9, 512)}}, "checkpoint.pth")
    exec(page.split("```python\n")[1].split("```")[0], {})
    assert torch.equal(byol.load_encoder("mine.safetensors").state_dict()["conv1.weight"], weights()["conv1.weight"])


def test_every_field_of_a_card_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "encoder-file.md").read_text()
    card = to_json(EncoderCard(**{**CARD, "encoder": byol.EncoderSpec()}))
    for name in [*card, *card["encoder"]]:
        assert f"`{name}`" in page, name
