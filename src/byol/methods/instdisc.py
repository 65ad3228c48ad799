"""Instance discrimination: every image is a class of its own, told from the others by a memory bank."""

from typing import Self

import torch
from torch import Tensor, nn

from byol.config.methods import InstDiscConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.encoders.build import feature_count
from byol.methods.base import Ingredients, Method
from byol.methods.heads import output_size
from byol.methods.normalization import normalize
from byol.runtime.distributed import all_reduce_mean, gather


class InstDisc(Method):
    """Non-parametric instance discrimination (arXiv:1805.01978, Section 3).

    The memory bank holds a vector for each image of the training set. With f the vectors in it, v that of a view of
    image i, n images and m negatives drawn from all of them with replacement,

        P(i | v) = exp(v . f_i / temperature) / Z,    h(i, v) = P(i | v) / (P(i | v) + m / n),

    the loss is noise-contrastive: -ln h(i, v) - sum over the negatives j of ln(1 - h(j, v)) (Eqs. 4 to 7). Z is
    estimated once, from the negatives of the first batch (Eq. 8). Then the vector of image i moves to the view's.

    The paper's proximal term (Eq. 9) is left out, as in its released code.

    Args:
        encoder: from images (N, C, H, W) to features.
        projector: from features to vectors (N, D).
        images: of the training set, n.
        negatives: m; 4096 in the paper.
        temperature: 0.07 in the paper.
        momentum: share of itself that a vector of the memory bank keeps; 0.5 in the released code.
    """

    needs = frozenset({"index"})

    bank: Tensor
    partition: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        images: int,
        *,
        negatives: int = 4096,
        temperature: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self.negatives, self.temperature, self.momentum = negatives, temperature, momentum
        self.register_buffer("bank", normalize(torch.randn(images, output_size(projector))))
        self.register_buffer("partition", torch.zeros(()))
        """Z; 0 before the first batch."""

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """One."""
        return (ViewSpec(config.augment.view1, config.image_size),)

    @classmethod
    def build(cls, config: InstDiscConfig, ingredients: Ingredients) -> Self:
        """The networks of a run and its memory bank; see `Method.build`."""
        encoder = ingredients.make_encoder()
        projector = ingredients.with_first_weights(nn.Linear(feature_count(encoder), config.output))
        method = cls(
            encoder,
            projector,
            ingredients.data.images,
            negatives=config.negatives,
            temperature=config.temperature,
            momentum=config.momentum,
        )
        method.lr_factors = {"projector": config.projector_lr}
        return method

    def forward(self, view: Tensor, index: Tensor) -> Tensor:
        """Noise-contrastive loss of a batch, 0 or more; the memory bank moves on.

        Args:
            view: (N, C, H, W).
            index: (N,) int64, the number of each image.
        """
        vectors = normalize(self.projector(self.encoder(view)))
        drawn = torch.randint(len(self.bank), (len(view), self.negatives), device=view.device)
        with torch.autocast(view.device.type, enabled=False):  # bf16 has two digits; the temperature divides them
            own = (vectors * self.bank[index]).sum(1)
            others = torch.einsum("nd,nmd->nm", vectors, self.bank[drawn])
            loss = self.contrast(own, others)
        self._remember(vectors.detach(), index)
        return loss

    def contrast(self, own: Tensor, others: Tensor) -> Tensor:
        """The loss from the cosines with the own vector, (N,), and with those of the negatives, (N, m)."""
        noise = self.negatives / len(self.bank)
        own, others = ((cosines / self.temperature).exp() for cosines in (own, others))
        self._estimate_partition(others.detach())
        own, others = own / self.partition, others / self.partition
        told = (own / (own + noise)).log() + (noise / (others + noise)).log().sum(1)
        return -told.mean()

    def _estimate_partition(self, others: Tensor) -> None:
        """Z, where it is not known yet: n times the mean over the negatives. Nothing is read from the device."""
        estimate = len(self.bank) * all_reduce_mean(others.mean())
        self.partition.copy_(torch.where(self.partition > 0, self.partition, estimate))

    @torch.no_grad()
    def _remember(self, vectors: Tensor, index: Tensor) -> None:
        """Move the vectors of the images of all processes."""
        vectors, index = gather(vectors), gather(index)
        moved = self.momentum * self.bank[index] + (1 - self.momentum) * vectors
        self.bank.index_copy_(0, index, normalize(moved).to(self.bank.dtype))
