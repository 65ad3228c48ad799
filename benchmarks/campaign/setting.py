"""Where a campaign finds its images, and where it leaves what it makes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from workloads import DATA

PHOTOGRAPHS = 2560
"""Names under which the photographs are listed: ten batches of ResNet-50's."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The images and folders of a campaign."""

    train: str
    """Small labeled images, trained on."""
    test: str
    jpeg: Path
    """Folder of photographs."""
    far: tuple[str, str] | None = None
    """Training and test images of a domain far from photographs, if there are any."""
    start: Path | None = None
    """An encoder to start from, `encoder.safetensors` with its card, if there is one."""
    out: Path
    """Folder of the results."""
    work: Path
    """Folder of unfinished trainings and of what is unpacked; it need not outlast the machine."""
    tiny: bool = False

    def photographs(self) -> Path:
        """A folder in which the photographs are listed again and again, as links, so that a batch is only a part."""
        files = sorted(path for path in self.jpeg.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
        folder = self.work / "photographs"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(2 * len(files) if self.tiny else PHOTOGRAPHS):
            link = folder / f"{number:05d}.jpg"
            if not link.exists():
                link.symlink_to(files[number % len(files)].resolve())
        return folder


def packed_setting(packed: Path, out: Path, work: Path) -> Setting:
    """The images that `gpu.py --pack` packed, or those in $BYOL_DATA."""
    data = packed / "data" if (packed / "data").is_dir() else DATA
    far, start = packed / "far", packed / "start"
    return Setting(
        train=str(data / "cifar10" / "train.parquet"),
        test=str(data / "cifar10" / "test.parquet"),
        jpeg=data / "imagenet-samples",
        far=(str(far / "train.parquet"), str(far / "test.parquet")) if far.is_dir() else None,
        start=start if start.is_dir() else None,
        out=out,
        work=work,
    )


def tiny_setting(out: Path, work: Path) -> Setting:
    """A few images made up in the work folder: two classes of small ones, and some photographs."""
    root = work / "images"
    if not root.is_dir():
        random = np.random.default_rng(0)
        for part, count in (("train", 60), ("test", 20)):
            for name, channel in (("red", 0), ("blue", 2)):
                (root / part / name).mkdir(parents=True)
                for number in range(count):
                    pixels = random.integers(0, 128, (32, 32, 3), dtype=np.uint8)
                    pixels[..., channel] += 120
                    Image.fromarray(pixels).save(root / part / name / f"{number:02d}.png")
        (root / "jpeg").mkdir()
        for number in range(8):
            Image.fromarray(random.integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(root / "jpeg" / f"{number}.jpg")
    train, test = str(root / "train"), str(root / "test")
    return Setting(train=train, test=test, jpeg=root / "jpeg", far=(train, test), out=out, work=work, tiny=True)
