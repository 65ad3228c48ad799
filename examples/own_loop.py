"""BYOL in a loop of your own: two views of each image, the loss, the optimizer, the moving average.

python examples/own_loop.py
"""

import math

import torch
from torch import Tensor

import byol


def make_view(images: Tensor) -> Tensor:
    """Another augmented view of a batch (N, 3, H, W): your own augmentations go here."""
    flipped = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(3), images)
    return flipped + 0.1 * torch.randn_like(flipped)


def train(images: Tensor, updates: int = 50, batch_size: int = 32) -> tuple[torch.nn.Module, list[float]]:
    """Train an encoder on images (N, 3, H, W) in [0, 1]; returns it, and the loss of each update."""
    encoder = byol.make_encoder("resnet10", width=0.25, stem="small")
    features = encoder(images[:2]).shape[1]
    method = byol.BYOL(encoder, byol.MLP(features, 256, 64), byol.MLP(64, 256, 64)).train()
    optimizer = torch.optim.AdamW(byol.parameter_groups(method, weight_decay=1e-4), lr=1e-3)
    losses = []
    for update in range(updates):
        batch = images[torch.randint(len(images), (batch_size,))]
        loss = method(make_view(batch), make_view(batch))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.update_target(1 - (1 - 0.97) * (math.cos(math.pi * update / updates) + 1) / 2)
        losses.append(loss.item())
    return encoder.eval(), losses


if __name__ == "__main__":
    torch.manual_seed(0)
    photos = byol.open_source("photos:train", channels=3)
    images = torch.stack([photos.image(number) for number in range(256)]).float() / 255
    encoder, losses = train(images)
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}; features {tuple(encoder(images[:8]).shape)}")
