"""BYOL in a loop of your own: `train` takes any encoder, and any batches of two views.

The rest of the script makes two views of each bundled photograph with torchvision, and asks what training brought:
how often the nearest training patches of a test patch come from the same photograph. Half a minute on two cores:

    python examples/own_loop.py
"""

import torch
import tyro
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import byol
from byol.evals.knn import knn_accuracy
from byol.optim import schedules


def train(method: byol.BYOL, batches: DataLoader[tuple[Tensor, Tensor]], epochs: int, peak_lr: float) -> list[float]:
    """Train the method's online network; returns the loss of each step.

    Args:
        method: the networks and the loss.
        batches: two views of the same images at a time, each (N, C, H, W) and normalized.
        epochs: passes over the batches.
        peak_lr: learning rate at the end of the warm-up.
    """
    total = epochs * len(batches)
    optimizer = byol.LARS(byol.parameter_groups(method, weight_decay=1e-6, rates={"predictor": 10.0}), lr=0.0)
    losses: list[float] = []
    method.train()
    for _ in range(epochs):
        for view1, view2 in batches:
            step = len(losses)
            lr = schedules.learning_rate(step, peak=peak_lr, warmup_steps=total // 10, total_steps=total)
            for group in optimizer.param_groups:
                group["lr"] = lr * group["rate"]  # the predictor's is ten times the others'
            loss = method(view1, view2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.update_target(schedules.tau(step, base=0.97, total_steps=total))
            losses.append(loss.item())
    return losses


NORMALIZE = v2.Compose(
    [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
)
AUGMENT = v2.Compose(
    [
        v2.RandomResizedCrop(24, scale=(0.2, 1.0)),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.2, 0.2, 0.1)], p=0.8),
        v2.RandomGrayscale(0.2),
        NORMALIZE,
    ]
)


class TwoViews(Dataset[tuple[Tensor, Tensor]]):
    """Two views of each image of a source, each (C, 24, 24)."""

    def __init__(self, source: byol.Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.source.image(index)
        return AUGMENT(image), AUGMENT(image)


@torch.no_grad()
def features(encoder: nn.Module, source: byol.Source) -> Tensor:
    """Features of whole images, (N, D)."""
    encoder.eval()
    images = NORMALIZE(torch.stack([source.image(index) for index in range(len(source))]))
    return torch.cat([encoder(part) for part in images.split(256)])


def knn(encoder: nn.Module, bank: byol.Source, queries: byol.Source) -> float:
    """Share of queries to which their 20 nearest images of the bank give the right label."""
    labels = torch.tensor(bank.labels), torch.tensor(queries.labels)
    return knn_accuracy(features(encoder, bank), labels[0], features(encoder, queries), labels[1])


def main(epochs: int = 1, images: int = 10200, peak_lr: float = 2.0) -> tuple[list[float], float, float]:
    """Train on the bundled photographs; returns the losses, and the accuracy before and after.

    Args:
        epochs: passes over the images.
        images: how many of the 10200 patches to train on.
        peak_lr: learning rate at the end of the warm-up.
    """
    torch.manual_seed(0)
    encoder = byol.make_encoder("resnet10", width=0.5, stem="stride2")
    projector, predictor = byol.MLP(encoder.num_features, 1024, 128), byol.MLP(128, 1024, 128)
    source, test = byol.open_source("photos:train").subset(range(images)), byol.open_source("photos:test")
    batches = DataLoader(TwoViews(source), batch_size=128, shuffle=True, drop_last=True)
    before = knn(encoder, source, test)
    losses = train(byol.BYOL(encoder, projector, predictor), batches, epochs, peak_lr)
    after = knn(encoder, source, test)
    print(f"{len(losses)} steps, loss {losses[0]:.2f} -> {losses[-1]:.2f}; 20-NN accuracy {before:.1%} -> {after:.1%}")
    return losses, before, after


if __name__ == "__main__":
    tyro.cli(main)
