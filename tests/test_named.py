"""Names are resolved through torchvision, without a network where the files are there, and fail in one sentence."""

from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from byol.data.sources import named
from byol.data.sources.named import NAMES, data_home, is_name, open_named, suggestion
from byol.data.sources.open import FileSource, TensorSource, open_source
from byol.errors import UserError


class InMemory:
    """Stands for CIFAR-10: what torchvision gives, without its files."""

    classes = ("a", "b")

    def __init__(self, root: Path, train: bool = True, download: bool = False) -> None:
        assert download
        assert root.is_dir()
        self.data = np.full((4 if train else 2, 8, 9, 3), 7, np.uint8)
        self.data[:, 0] = 1
        self.targets = [0, 1, 0, 1][: len(self.data)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_home() == home
    monkeypatch.delenv("BYOL_HOME")
    assert data_home() == Path.home() / ".cache" / "byol"


def test_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", InMemory)
    source = open_source("cifar10")
    assert isinstance(source, TensorSource)
    assert source.images.shape == (4, 3, 8, 9)
    assert source.images[0, :, :2, 0].tolist() == [[1, 7]] * 3
    assert source.labels == [0, 1, 0, 1]
    assert source.classes == ["a", "b"]
    assert source.name == "cifar10"
    test = open_source("CIFAR10:test")
    assert len(test) == 2
    assert open_source("cifar10:train", channels=1).image(0).shape == (1, 8, 9)
    with pytest.raises(UserError, match="5 channels were asked of cifar10"):
        open_source("cifar10", channels=5)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: np.zeros((2, 3, 8, 8), np.uint8), (2, 3, 8, 8)),  # STL-10, SVHN
        (lambda: torch.zeros(2, 28, 28, dtype=torch.uint8), (2, 1, 28, 28)),  # MNIST
    ],
)
def test_other_layouts(monkeypatch: pytest.MonkeyPatch, make: Callable[[], object], shape: tuple[int, ...]) -> None:
    class Unlabeled:
        def __init__(self, root: Path, split: str, download: bool) -> None:
            assert split == "unlabeled"
            self.data = make()
            self.labels = np.array([-1, -1])

    monkeypatch.setattr(torchvision.datasets, "STL10", Unlabeled)
    source = open_source("stl10:unlabeled")
    assert isinstance(source, TensorSource)
    assert source.images.shape == shape
    assert source.labels is None
    assert source.classes is None


def test_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OnDisk:
        """As Flowers102: `loader` opens the path, `str` hands it on."""

        classes = ("rose", "tulip")

        def __init__(self, root: Path, split: str, download: bool, loader: Callable[[Path], object]) -> None:
            (root / "flowers").mkdir(exist_ok=True)
            for number in range(2):
                Image.new("RGB", (5, 4), (number, 0, 0)).save(root / "flowers" / f"{number}.png")
            self.root, self.loader, self.labels = root, loader, [1, 0]
            self.split = split

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[object, int]:
            return self.loader(self.root / "flowers" / f"{index}.png"), self.labels[index]

    monkeypatch.setattr(torchvision.datasets, "Flowers102", OnDisk)
    source = open_source("flowers102:val")
    assert isinstance(source, FileSource)
    assert source.where(1) == str(home / "flowers" / "1.png")
    assert source.labels == [1, 0]
    assert source.classes == ["rose", "tulip"]
    assert source.image(1)[0, 0, 0] == 1
    assert open_source("flowers102", channels=1).image(1).shape == (1, 4, 5)


def test_pets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pets:
        classes = ("cat", "dog")

        def __init__(self, root: Path, split: str, download: bool) -> None:
            assert split == "trainval"
            Image.new("RGB", (5, 4), (9, 0, 0)).save(root / "a.png")
            self._images, self._labels = [root / "a.png"], [1]

    monkeypatch.setattr(torchvision.datasets, "OxfordIIITPet", Pets)
    source = open_source("pets")
    assert source.labels == [1]
    assert source.image(0)[0, 0, 0] == 9


def test_torchvision_has_every_class_and_argument() -> None:
    import inspect

    for name, entry in named._SETS.items():
        known = inspect.signature(getattr(torchvision.datasets, entry.cls).__init__).parameters
        used = {"root", "download", *(key for part in entry.parts.values() for key in part)}
        used |= {"loader"} if entry.with_loader else set()
        assert used <= set(known), name


@pytest.mark.parametrize("error", [URLError("no network"), RuntimeError("Dataset not found\nor corrupted")])
def test_without_a_network(monkeypatch: pytest.MonkeyPatch, home: Path, error: Exception) -> None:
    def fail(**arguments: object) -> None:
        raise error

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", fail)
    with pytest.raises(UserError) as caught:
        open_source("cifar100")
    message = str(caught.value)
    assert "\n" not in message
    assert f"'cifar100' is not in {str(home)!r} and cannot be downloaded" in message
    assert "point at a local copy instead" in message
    assert "BYOL_HOME" in message


def test_embedded_photos_with_one_channel() -> None:
    source = open_source("photos:test", channels=1)
    assert source.image(0).shape == (1, 32, 32)
    assert source.name == "photos:test"


def test_names() -> None:
    assert is_name("cifar10")
    assert is_name("Photos:test")
    assert not is_name("cifar")
    assert not is_name("./cifar10")
    assert {"photos", "cifar10", "cifar100", "stl10", "flowers102", "food101"} <= set(NAMES)
    assert suggestion("cifr10:test") == " Did you mean 'cifar10:test'?"
    assert suggestion("qqqq") == ""


def test_wrong_names_and_parts() -> None:
    with pytest.raises(UserError, match="cifar10 has no part 'tset'; give cifar10:train or cifar10:test"):
        open_source("cifar10:tset")
    with pytest.raises(UserError, match="photos has no part 'val'; give photos:train or photos:test"):
        open_source("photos:val")
    with pytest.raises(UserError, match=r"no data set is called 'fod101'; there are .*Did you mean 'food101'\?"):
        open_named("fod101")
