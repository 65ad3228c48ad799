"""The card of an encoder: what it must say, what is said of one that is wrong, and of weights that do not fit it."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

import byol
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


def weights() -> dict[str, torch.Tensor]:
    """Those of a ResNet-18 without its classifier, by timm's names, which are torchvision's too."""
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=0).state_dict()


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


def test_the_card_itself_is_not_the_encoder(tmp_path: Path) -> None:
    path = written(tmp_path, CARD)
    with pytest.raises(UserError, match=r"mine\.json is the card of an encoder; give the weights .*\.safetensors\."):
        open_encoder(str(path.with_suffix(".json")))


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("{", "it is no JSON"),
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
