"""A memory bank: a vector for each training image, and the noise-contrastive loss over some of them."""

import torch
from torch import Tensor, nn

from byol.methods.normalization import normalize
from byol.methods.tiles import pick
from byol.runtime.distributed import all_reduce_mean, gather


def draws_each(negatives: int, batch: int) -> int:
    """Numbers that each of `batch` images draws so that all together draw so many negatives."""
    return -(-negatives // batch)


class MemoryBank(nn.Module):
    """A unit vector for each image of the training set, which moves to that of the image's last view.

    With f the vectors in it, n of them, and m negatives drawn from all with replacement, once for the whole batch,

        P(i | v) = exp(v . f_i / temperature) / Z,    h(i, v) = P(i | v) / (P(i | v) + m / n)

    and the loss of image i is -ln h(i, v) - sum over the negatives j of ln(1 - h(j, v)) (arXiv:1805.01978, Eqs. 4 to
    7). Z is estimated once, from the first negatives (Eq. 8).

    Args:
        images: of the training set, n.
        size: of the vectors.
        negatives: m.
        temperature: divides the cosines under the exponential.
        momentum: share of itself that a vector keeps.
    """

    vectors: Tensor
    partition: Tensor

    def __init__(self, images: int, size: int, *, negatives: int, temperature: float, momentum: float = 0.5) -> None:
        super().__init__()
        self.negatives, self.temperature, self.momentum = negatives, temperature, momentum
        self.register_buffer("vectors", normalize(torch.randn(images, size)))
        self.register_buffer("partition", torch.zeros(()))
        """Z; 0 before the first batch."""

    def __len__(self) -> int:
        return len(self.vectors)

    def drawn(self, draws: Tensor) -> Tensor:
        """The negatives of a batch, (m, D): those that the images of all processes draw, the same in each.

        Args:
            draws: (N, `draws_each`) uniform in [0, 1), of this process's images.
        """
        everyone = gather(draws).flatten()[: self.negatives]
        assert len(everyone) == self.negatives, "each image draws `draws_each` numbers"
        return self.vectors[pick(everyone, len(self))]

    def loss(self, views: Tensor, index: Tensor, negatives: Tensor) -> Tensor:
        """The noise-contrastive loss of unit vectors (N, D) of the images `index` (N,), averaged; 0 or more."""
        with torch.autocast(views.device.type, enabled=False):  # bf16 has two digits; the temperature divides them
            views = views.to(self.vectors.dtype)
            own = ((views * self.vectors[index]).sum(1) / self.temperature).exp()
            others = (views @ negatives.T / self.temperature).exp()
            self._estimate_partition(others.detach())
            noise, z = self.negatives / len(self), self.partition.clone()  # the next call may write to it
            own, others = own / z, others / z
            told = (own / (own + noise)).log() + (noise / (others + noise)).log().sum(1)
        return -told.mean()

    @torch.no_grad()
    def move(self, views: Tensor, index: Tensor) -> None:
        """Move the vectors of the images `index` of all processes towards unit vectors (N, D)."""
        views, index = gather(views.detach().to(self.vectors.dtype)), gather(index)
        moved = self.momentum * self.vectors[index] + (1 - self.momentum) * views
        self.vectors.index_copy_(0, index, normalize(moved).to(self.vectors.dtype))

    def _estimate_partition(self, others: Tensor) -> None:
        """Z, where it is not known yet: n times the mean over the negatives. Nothing is read from the device."""
        estimate = len(self) * all_reduce_mean(others.mean())
        self.partition.copy_(torch.where(self.partition > 0, self.partition, estimate))
