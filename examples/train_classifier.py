"""A classifier on top of a trained encoder, in a plain PyTorch training script.

The encoder stays frozen, and a linear layer learns on its features; with `--finetune` the whole network learns, the
encoder at a tenth of the head's learning rate. Ten labels per class show what pretraining is worth. Without `--encoder`
the script first trains one on the bundled photographs for a few seconds. Half a minute on two cores:

    python examples/train_classifier.py
    python examples/train_classifier.py --finetune
    python examples/train_classifier.py --encoder runs/photos-train
"""

import json
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import byol


class LabeledImages(Dataset[tuple[Tensor, int]]):
    """Images of a source as an encoder takes them, (C, S, S), and their labels."""

    def __init__(self, source: byol.Source, transform: v2.Transform) -> None:
        self.source, self.transform = source, transform

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.source.image(index)), self.source.labels[index]


def transform_of(run: Path) -> v2.Transform:
    """What encoder.json says of the images that a run's encoder takes: their size, and how they are normalized."""
    spec = json.loads((run / "encoder.json").read_text())["encoder"]
    size, mean, std = spec["input_size"], spec["mean"], spec["std"]
    resize = [v2.Resize(size), v2.CenterCrop(size)]
    return v2.Compose([*resize, v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])


def train(model: nn.Sequential, batches: DataLoader[tuple[Tensor, int]], epochs: int, finetune: bool) -> None:
    """Train the head, and the encoder too where it is fine-tuned; `model` is both, one after the other."""
    encoder, head = model
    encoder.requires_grad_(finetune)
    groups = [{"params": head.parameters(), "lr": 1e-2}]
    if finetune:
        groups.append({"params": encoder.parameters(), "lr": 1e-3})
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
    head.train()
    encoder.train(finetune)  # a frozen encoder keeps its batch-norm statistics
    for _ in range(epochs):
        for images, labels in batches:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, batches: DataLoader[tuple[Tensor, int]]) -> float:
    """Share of images whose label gets the highest score."""
    model.eval()
    hits = [model(images).argmax(dim=1) == labels for images, labels in batches]
    return torch.cat(hits).float().mean().item()


def few_labels(labels: list[int], per_class: int) -> list[int]:
    """Numbers of the first images of each class."""
    taken: dict[int, list[int]] = {label: [] for label in labels}
    for number, label in enumerate(labels):
        if len(taken[label]) < per_class:
            taken[label].append(number)
    return [number for numbers in taken.values() for number in numbers]


def main(
    encoder: Path | None = None, finetune: bool = False, labels_per_class: int = 10, epochs: int = 30, seed: int = 0
) -> float:
    """Train a classifier of the bundled photographs; returns its accuracy on patches that no training has seen.

    Args:
        encoder: folder of a run; by default a short one is made.
        finetune: train the encoder too.
        labels_per_class: labeled images of each photograph.
        epochs: passes over the labeled images.
        seed: of the head's first weights and of the order of the images.
    """
    with tempfile.TemporaryDirectory() as folder:
        if encoder is None:
            encoder = byol.pretrain("photos:train", recipe="photos", epochs=1, out=Path(folder) / "run").folder
        trained, transform = byol.load_encoder(encoder), transform_of(encoder)
    torch.manual_seed(seed)
    source, test = byol.open_source("photos:train"), byol.open_source("photos:test")
    labeled = source.subset(few_labels(source.labels, labels_per_class))
    model = nn.Sequential(trained, nn.Linear(trained.num_features, len(source.classes)))
    batches = DataLoader(LabeledImages(labeled, transform), batch_size=32, shuffle=True, drop_last=True)
    train(model, batches, epochs, finetune)
    share = accuracy(model, DataLoader(LabeledImages(test, transform), batch_size=256))
    way = "fine-tuned" if finetune else "frozen"
    print(f"{way} encoder, {len(labeled)} labels: {share:.1%} of {len(test)} test images")
    return share


if __name__ == "__main__":
    tyro.cli(main)
