"""The whole of BYOL (arXiv:2006.07733) in 100 lines of PyTorch, blank ones not counted.

Only the photographs at the end come from the package `byol`; any (N, 3, H, W) tensor of values in [0, 1] would do.
tests/test_examples.py shows that loss and update are those of `byol.BYOL`. Half a minute on two cores:

    python examples/byol_in_100_lines.py
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """A residual block that halves the side of its input and doubles its channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(2 * channels), nn.BatchNorm2d(2 * channels)
        self.shortcut = nn.Conv2d(channels, 2 * channels, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))) + self.shortcut(x))


def make_encoder(width: int = 32) -> nn.Module:
    """A small ResNet: images (N, 3, H, W) -> features (N, 8 * width)."""
    stem = [nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    blocks = [Block(width), Block(2 * width), Block(4 * width)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def mlp(in_features: int, hidden: int, out_features: int) -> nn.Module:
    """The projector or the predictor (Section 3.3)."""
    last = nn.Linear(hidden, out_features, bias=False)
    return nn.Sequential(nn.Linear(in_features, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), last)


def augment(images: Tensor, size: int = 24) -> Tensor:
    """A random view of each image: crop, flip, brightness, contrast and gray (Appendix B, the essentials)."""
    side, dx, dy, flip, light, contrast, gray = torch.rand(7, len(images), 1, 1, 1)
    side = (0.2 + 0.8 * side).sqrt()  # of the crop, for a fifth of the image's area and more
    zoom = torch.eye(2, 3) * side.view(-1, 1, 1)
    zoom[:, :, 2] = torch.cat([2 * dx - 1, 2 * dy - 1], dim=1).view(-1, 2) * (1 - side.view(-1, 1))
    zoom[:, 0] *= torch.where(flip < 0.5, -1.0, 1.0).view(-1, 1)
    x = F.grid_sample(images, F.affine_grid(zoom, [len(images), 3, size, size], False), align_corners=False)
    mean = x.mean(dim=(2, 3), keepdim=True)
    x = (x - mean) * (0.6 + 0.8 * contrast) + mean + 0.4 * (light - 0.5)
    x = torch.where(gray < 0.2, x.mean(dim=1, keepdim=True), x)
    return normalize(x.clamp(0, 1))


def normalize(x: Tensor) -> Tensor:
    return (x - 0.45) / 0.225


class BYOL(nn.Module):
    """The online network (encoder, projector, predictor), and the target that it learns to predict."""

    def __init__(self, encoder: nn.Module, projector: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.target_encoder, self.target_projector = copy.deepcopy((encoder, projector))

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """What is predicted from each view, against the target's projection of the other (Eq. 2), in [0, 8]."""
        prediction1, prediction2 = (self.predictor(self.projector(self.encoder(view))) for view in (view1, view2))
        with torch.no_grad():  # no gradient reaches the target
            target1, target2 = (self.target_projector(self.target_encoder(view)) for view in (view1, view2))
        cosines = F.cosine_similarity(prediction1, target2) + F.cosine_similarity(prediction2, target1)
        return (4 - 2 * cosines).mean()

    @torch.no_grad()
    def update_target(self, tau: float) -> None:
        """Let the target follow: the exponential moving average of the online weights (Eq. 1)."""
        for target, online in ((self.target_encoder, self.encoder), (self.target_projector, self.projector)):
            for t, o in zip(target.parameters(), online.parameters(), strict=True):
                t.lerp_(o, 1 - tau)


def train(method: BYOL, images: Tensor, steps: int, batch_size: int = 128, lr: float = 2e-3) -> list[float]:
    """Train on images (N, 3, H, W) in [0, 1]; returns the loss of each step."""
    online = [*method.encoder.parameters(), *method.projector.parameters(), *method.predictor.parameters()]
    optimizer, losses = torch.optim.AdamW(online, weight_decay=0.05), []
    for step in range(steps):
        cosine = (1 + math.cos(math.pi * step / steps)) / 2  # from 1 to 0
        optimizer.param_groups[0]["lr"] = lr * min(cosine, 10 * step / steps)  # with a warm-up
        batch = images[torch.randint(len(images), (batch_size,))]
        loss = method(augment(batch), augment(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.update_target(tau=1 - 0.03 * cosine)
        losses.append(loss.item())
    return losses


@torch.no_grad()
def accuracy(encoder: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Share of test images whose nearest training image, by the cosine of features, has the same label."""
    encoder.eval()
    bank, queries = (torch.cat([encoder(normalize(x)) for x in part[0].split(256)]) for part in (train, test))
    nearest = (F.normalize(queries) @ F.normalize(bank).T).argmax(dim=1)
    encoder.train()
    return (train[1][nearest] == test[1]).float().mean().item()


def main(steps: int = 160) -> tuple[list[float], float, float]:
    """Train on the bundled photographs; returns the losses, and the accuracy before and after."""
    import byol

    parts = [byol.open_source(f"photos:{part}") for part in ("train", "test")]
    images = [torch.stack([part.image(i) for i in range(len(part))]) / 255 for part in parts]
    train_set, test_set = [(x, torch.tensor(part.labels)) for x, part in zip(images, parts, strict=True)]
    torch.manual_seed(0)
    method = BYOL(make_encoder(), mlp(256, 1024, 128), mlp(128, 1024, 128))
    before = accuracy(method.encoder, train_set, test_set)
    losses = train(method, images[0], steps)
    after = accuracy(method.encoder, train_set, test_set)
    print(f"{steps} steps, loss {losses[0]:.2f} -> {losses[-1]:.2f}; 1-NN accuracy {before:.1%} -> {after:.1%}")
    return losses, before, after


if __name__ == "__main__":
    main()
