"""One contestant of `peers.py`, in a process of its own: it gets ready, then measures each time it is told to.

lightly and byol-pytorch run as their own examples and documentation set them up: their transforms, their modules, SGD
or Adam as there, a DataLoader with two workers. What is the same for all: the images, the batch, the encoder, the
sizes of the heads, and (where the library lets one choose) the strengths of the views.
"""

import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

import taken
from byol.config.values import replace
from byol.config.views import ViewConfig
from byol.encoders.build import make_encoder
from byol.runtime import device as machine
from lightly_methods import LightlyBYOL
from workloads import Images, Ours, Workload, load

EPOCH = 1_000_000
"""Images in an epoch of a peer's loader: small sets are repeated, so that restarting its workers costs it nothing."""


class InMemory(Dataset[Any]):
    """Decoded images as Pillow has them, the way torchvision's CIFAR10 keeps them."""

    def __init__(self, images: Tensor, transform: Callable[[Image.Image], Any] | None = None) -> None:
        self.images = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self.images[index])
        return (image if self.transform is None else self.transform(image)), 0


class JpegFolder(Dataset[Any]):
    """Files opened with Pillow, as byol-pytorch's example does."""

    def __init__(self, folder: str | Path, transform: Callable[[Image.Image], Any]) -> None:
        self.paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), 0


def encoder_for(workload: Workload) -> tuple[nn.Module, int]:
    """The workload's encoder and the length of its features: torchvision's ResNets, or the narrow net that is ours."""
    config = workload.config
    if config.encoder.width != 1 or config.encoder.name not in ("resnet18", "resnet50"):
        net = make_encoder(config.encoder)
        return net, int(net.num_features)  # type: ignore[arg-type]
    net = torchvision.models.get_model(config.encoder.name, weights=None)
    features = net.fc.in_features
    net.fc = nn.Identity()
    if config.encoder.stem == "small":
        net.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        net.maxpool = nn.Identity()
    return net, features


def _loader(dataset: Dataset[Any], workload: Workload, workers: int) -> DataLoader[Any]:
    repeats = itertools.islice(itertools.cycle(range(len(dataset))), EPOCH)  # type: ignore[arg-type]
    return DataLoader(
        Subset(dataset, list(repeats)),
        batch_size=workload.config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        # one tensor in shared memory a batch is the default; pinned memory is what both examples' GPUs would want
        pin_memory=torch.cuda.is_available(),
    )


@dataclass(frozen=True)
class Speedups:
    """What a peer is given that it does not do by itself."""

    bf16: bool = False
    """bf16 autocast and the channels-last layout; on a GPU also copies beside the step, and cuDNN's fastest kernels."""
    compiled: bool = False
    """Its networks by torch.compile."""


NOTHING = Speedups()


class Lightly:
    """lightly's `examples/pytorch/byol.py` with this workload's net and data."""

    def __init__(
        self, workload: Workload, images: Images, folder: str, workers: int, given: Speedups = NOTHING
    ) -> None:
        from lightly.data import LightlyDataset
        from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform

        self.workload, self.helped = workload, given.bf16
        self.device = machine.choose_device("auto")[0]
        config = workload.config
        augment = config.augment
        transform = BYOLTransform(
            BYOLView1Transform(**_lightly_view(augment.view1, config.image_size)),
            BYOLView2Transform(**_lightly_view(augment.view2, config.image_size)),
        )
        if images.held is None:
            dataset = LightlyDataset(folder, transform=transform)
        else:
            assert isinstance(images.held, Tensor)
            dataset = LightlyDataset.from_torch_dataset(InMemory(images.held), transform=transform)
        self.batches = endless(_loader(dataset, workload, workers))
        if not workload.steps:
            return
        backbone, features = encoder_for(workload)
        self.method = LightlyBYOL(backbone, features, config.method.hidden, config.method.output).to(self.device)
        if self.helped:
            self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            torch.backends.cudnn.benchmark = True
        for network in self.method.networks() if given.compiled else ():
            network.compile(dynamic=False)
        self.optimizer = torch.optim.SGD(self.method.parameters(), lr=0.06)

    def next_batch(self) -> list[Tensor]:
        views: list[Tensor] = next(self.batches)[0]
        return views

    def step(self) -> None:
        """One update, in the order of the example."""
        x0, x1 = (view.to(self.device, non_blocking=self.helped) for view in self.next_batch())
        if self.helped:
            x0, x1 = (x.contiguous(memory_format=torch.channels_last) for x in (x0, x1))
        self.method.before_update()
        with machine.autocast(self.device, self.helped):
            loss = self.method.loss([x0, x1])
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def _lightly_view(view: ViewConfig, size: int) -> dict[str, Any]:
    """Our numbers under lightly's names."""
    return {
        "input_size": size,
        "cj_prob": view.jitter,
        "cj_bright": view.brightness,
        "cj_contrast": view.contrast,
        "cj_sat": view.saturation,
        "cj_hue": view.hue,
        "min_scale": view.area[0],
        "random_gray_scale": view.gray,
        "gaussian_blur": view.blur,
        "solarization_prob": view.solarize,
        "sigmas": view.sigma,
        "vf_prob": view.vertical_flip,
        "hf_prob": view.flip,
    }


class ByolPytorch:
    """byol-pytorch's learner as its README has it: its own augmentation, Adam, the target moved after each update.

    Its simplicial embeddings are turned off: they are not part of BYOL, and would be other work.
    """

    def __init__(self, workload: Workload, images: Images, folder: str, workers: int) -> None:
        from byol_pytorch import BYOL

        config, transforms = workload.config, torchvision.transforms
        self.device = machine.choose_device("auto")[0]
        if images.held is None:
            size = config.image_size
            whole = transforms.Compose(
                [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()]
            )  # as its `examples/lightning/train.py`
            dataset: Dataset[Any] = JpegFolder(folder, whole)
        else:
            assert isinstance(images.held, Tensor)
            dataset = InMemory(images.held, transforms.ToTensor())
        self.batches = endless(_loader(dataset, workload, workers))
        net, _ = encoder_for(workload)
        self.learner = BYOL(
            net.to(self.device),
            image_size=config.image_size,
            hidden_layer=-1,
            projection_size=config.method.output,
            projection_hidden_size=config.method.hidden,
            use_simplicial_embeddings=False,
        )
        self.optimizer = torch.optim.Adam(self.learner.parameters(), lr=3e-4)

    def next_batch(self) -> list[Tensor]:
        return [next(self.batches)[0]]

    def step(self) -> None:
        """One update, in the order of the README."""
        loss = self.learner(self.next_batch()[0].to(self.device))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.learner.update_moving_average()


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    """Batch after batch, epoch after epoch."""
    while True:
        yield from loader


HELPED = {
    "lightly": NOTHING,
    "lightly, bf16 + channels_last": Speedups(bf16=True),
    "lightly, bf16 + channels_last + compile": Speedups(bf16=True, compiled=True),
}
"""lightly as its example has it, and given what it does not do by itself."""
NAMES = ("byol", "lightly", "lightly, bf16 + channels_last", "byol-pytorch")
"""Who takes part on any machine; torch.compile takes minutes on a processor."""
WAYS: dict[str, dict[str, bool]] = {
    "byol": {},
    "byol, CUDA graph": {"optim__cuda_graph": True},
    "byol, compiled": {"optim__compile": True},
    "byol, compiled + CUDA graph": {"optim__compile": True, "optim__cuda_graph": True},
}
"""How byol computes an update, and the settings of each way."""


def measure_of(name: str, workload: Workload, small: str, folder: str, workers: int) -> Callable[[], float]:
    """Get a contestant ready; what is returned measures images per second, two views each, once a call."""
    images = load(workload, small, folder)
    if name in WAYS:
        ours = Ours(in_way(workload, name), images)
        return ours.together if workload.steps else ours.pipeline
    peer: Lightly | ByolPytorch
    if name == "byol-pytorch":
        peer = ByolPytorch(workload, images, folder, workers)
    else:
        peer = Lightly(workload, images, folder, workers, HELPED[name])
    count = workload.steps or workload.pipeline_batches
    # beside a slow step the queue is always full, and its filling costs no time that is measured
    warm = 1 if workload.steps and peer.device.type == "cpu" else 2 * workers + 1
    act: Callable[[], object] = peer.step if workload.steps else peer.next_batch

    def measure() -> float:
        for _ in range(warm):  # what the workers had made ready while they waited is not counted
            act()
        _synchronize()
        began = time.perf_counter()
        for _ in range(count):
            act()
        _synchronize()
        return count * workload.config.batch_size / (time.perf_counter() - began)

    return measure


def in_way(workload: Workload, way: str) -> Workload:
    """A workload whose updates byol computes in one of the `WAYS`."""
    return dataclasses.replace(workload, config=replace(workload.config, **WAYS[way]))


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def serve(measure: Callable[[], float]) -> None:
    """Answer each line of the standard input with a measurement and the memory taken so far, until it ends."""
    device, _ = machine.choose_device("auto")
    print("ready", flush=True)
    for _ in sys.stdin:
        print(measure(), taken.most(device), flush=True)
