"""MoCo v2: a query must find its key among the keys of many earlier batches."""

from collections.abc import Mapping
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol.config.methods import MoCoConfig
from byol.config.run import PretrainConfig
from byol.errors import UserError
from byol.methods.base import Ingredients, Method, Progress, TrainingSet
from byol.methods.ema import LONGEST_RUN, TauSchedule, ema_update, make_target
from byol.methods.heads import output_size
from byol.methods.normalization import normalize
from byol.runtime.device import without_autocast
from byol.runtime.distributed import gather, rank, shared_order, world_size


class MoCo(Method):
    """Momentum Contrast v2 (arXiv:1911.05722, Algorithm 1; arXiv:2003.04297).

    View 1 gives queries, view 2 gives keys from a moving average of the query network, which is what `update_target`
    moves. Negatives are the keys of earlier batches in a queue, which is a buffer: a checkpoint holds it.

    Keys must not betray through batch norm with which queries they were made. `shuffle` prevents it: processes keep
    their own statistics and exchange the key images in a random order; one process passes `splits` parts of the batch
    one by one, the keys in a random order. Without it, the networks see the whole batch at once.

    Unlike MoCo v2, the projector has batch norm between its layers, as in the other methods here; with micro-batches
    (`optim.accumulate`), each is a batch of its own.

    Args:
        encoder: from images (N, C, H, W) to features.
        projector: from features to projections (N, D).
        queue: how many keys are kept; 65536 in MoCo. At least a batch.
        temperature: 0.2 in MoCo v2.
        shuffle: batch norm as above.
        splits: parts of a batch on one process; they must divide it.
    """

    tau = LONGEST_RUN
    """The schedule of the moving average in `byol pretrain`."""

    advice = ("keep tau from 0.9 up (--method.tau)",)
    capturable = False  # the queue's rows move on with every step

    queue: Tensor
    oldest: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        *,
        queue: int = 65536,
        temperature: float = 0.2,
        shuffle: bool = True,
        splits: int = 8,
    ) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self.target_encoder, self.target_projector = make_target(encoder, projector)
        self.temperature, self.shuffle, self.splits = temperature, shuffle, splits
        self.shared_batch_norm = not shuffle  # shuffled batch norm is each process's own
        self.register_buffer(
            "queue", F.normalize(torch.randn(queue, output_size(projector)), dim=1)
        )  # as MoCo starts it
        self.register_buffer("oldest", torch.zeros((), dtype=torch.long))
        """Row of the queue that the next key replaces."""

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """A queue between a batch and the images, and parts of two images or more."""
        moco, images = config.method, data.images
        assert isinstance(moco, MoCoConfig)
        fitting = max(config.batch_size, 2 ** (min(images, 65536).bit_length() - 1))
        if not config.batch_size <= moco.queue <= images:
            raise UserError(
                f"method.queue is {moco.queue}, but must be at least the batch size {config.batch_size}, and at most "
                f"the number of images, {images}, or an image meets its own former keys; give --method.queue {fitting}."
            )
        micro = config.batch_size // config.optim.accumulate
        if data.world_size == 1 and moco.shuffle and (micro % moco.splits or micro // moco.splits < 2):
            raise UserError(
                f"method.splits is {moco.splits}, but must divide a batch of {micro} into parts of 2 images or more; "
                "give another --method.splits, or --method.no-shuffle."
            )

    @classmethod
    def build(cls, config: MoCoConfig, ingredients: Ingredients) -> Self:
        """The networks of a run; see `Method.build`."""
        method = cls(
            *ingredients.make_online(config),
            queue=config.queue,
            temperature=config.temperature,
            shuffle=config.shuffle,
            splits=config.splits,
        )
        method.tau = TauSchedule.of(config)
        method.lr_factors = {"projector": config.projector_lr}
        return method

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """InfoNCE of the queries over one key and the queue; each view is (N, C, H, W). 0 or more."""
        queries = normalize(torch.cat([self.projector(self.encoder(part)) for part in self._parts(view1)]))
        with torch.no_grad():
            keys = self._keys(view2)
        negatives = self.queue.to(queries.dtype).clone()  # the queue moves on before the backward pass
        with without_autocast(queries.device):  # bf16 has two digits; the temperature divides them
            logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ negatives.T], dim=1) / self.temperature
        self._enqueue(keys)
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))

    def update_target(self, tau: float | Tensor) -> None:
        """Move the key network's weights to `tau * key + (1 - tau) * query`; tau is 0.999 throughout in MoCo."""
        ema_update((self.target_encoder, self.target_projector), (self.encoder, self.projector), tau)

    def scheduled(self, progress: Progress) -> dict[str, float]:
        """tau of this step."""
        return {"tau": self.tau.at(progress)}

    def after_step(self, scheduled: Mapping[str, float | Tensor]) -> None:
        """Move the key network."""
        self.update_target(scheduled["tau"])

    def _parts(self, images: Tensor) -> list[Tensor]:
        """What batch norm sees at once, on this process."""
        if not self.shuffle or world_size() > 1:
            return [images]
        assert len(images) % self.splits == 0, "the parts of a batch must be equal"
        return list(images.chunk(self.splits))

    def _keys(self, images: Tensor) -> Tensor:
        """Keys of this process's images, made in other company than the queries."""
        if not self.shuffle:
            return normalize(self.target_projector(self.target_encoder(images)))
        n, first = len(images), rank() * len(images)
        order = shared_order(n * world_size(), images.device)
        shuffled = gather(images)[order[first : first + n]].contiguous(memory_format=torch.channels_last)
        parts = [self.target_projector(self.target_encoder(part)) for part in self._parts(shuffled)]
        return gather(normalize(torch.cat(parts)))[order.argsort()[first : first + n]]

    @torch.no_grad()
    def _enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by those of all processes."""
        everyone = gather(keys).to(self.queue.dtype)
        assert len(everyone) <= len(self.queue), "the queue holds at least a batch"
        rows = (self.oldest + torch.arange(len(everyone), device=keys.device)) % len(self.queue)
        self.queue.index_copy_(0, rows, everyone)
        self.oldest.copy_((self.oldest + len(everyone)) % len(self.queue))
