"""Algorithm 1 (arXiv:2006.07733, Appendix A): the loop, and one step of it."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from byol.config.run import PretrainConfig
from byol.data.batch import Batch, CropBatch
from byol.methods.base import Progress
from byol.optim.schedules import learning_rate, unfrozen
from byol.pretraining.state import TrainState, parallel, set_training_mode
from byol.runtime import distributed
from byol.runtime.cuda_graph import WARMUP_CALLS, Capture, CapturedFunction, capture
from byol.runtime.device import autocast
from byol.runtime.seeds import seed_of

AfterStep = Callable[[Tensor, Tensor, Mapping[str, float]], bool]
"""Given a step's loss, gradient norm and hyperparameters (`lr`, and what the method schedules); whether to go on."""


def train(
    state: TrainState,
    steps: Iterable[Sequence[CropBatch]],
    config: PretrainConfig,
    images: int,
    after_step: AfterStep,
) -> None:
    """Train from `state.step` to the end, or until `after_step` says stop.

    Args:
        state: where training begins, and what it changes.
        steps: the micro-batches of each step, from `state.step` on.
        config: the learning rate, the optimizer, the seed.
        images: of the training set: they turn epochs into steps.
        after_step: the callbacks that watch the run.
    """
    train_step = TrainStep(state, config)
    total, warmup, frozen = config.total_steps(images), config.warmup_steps(images), config.frozen_steps(images)
    peak = config.optim.peak_lr(config.batch_size)
    for batches in steps:
        lr = learning_rate(state.step, peak=peak, warmup_steps=warmup, total_steps=total)
        encoder_lr = lr * config.adapt.lr * unfrozen(state.step, frozen)
        scheduled = state.method.scheduled(Progress(state.step, total))
        # for encoders that drop things at random
        torch.manual_seed(seed_of(config.seed, "step", state.step, distributed.rank()))
        loss, gradient_norm = train_step(batches, lr, scheduled, encoder_lr)
        rates = {"lr": lr, "encoder_lr": encoder_lr} if config.adapt.has_own_rate else {"lr": lr}
        if not after_step(loss, gradient_norm, {**rates, **scheduled}):
            break


class TrainStep:
    """One update: forward and backward of every term of the loss, the optimizer, and what the method does after it.

    Nothing in it waits for the device. With `optim.cuda_graph` its two halves are replayed from CUDA graphs.
    """

    def __init__(self, state: TrainState, config: PretrainConfig, capture: Capture = capture) -> None:
        self.state, self.config = state, config
        self.device = next(state.method.parameters()).device
        self.model = parallel(state.method, self.device, config.optim.compile)
        set_training_mode(self.model, state.method, config.adapt)
        self._forward_backward: Callable[..., Tensor] = self.forward_backward
        self._optimizer_step: Callable[..., Tensor] = self.optimizer_step
        if config.optim.cuda_graph:
            self._forward_backward = CapturedFunction(self.forward_backward, self.device, capture)
            self._optimizer_step = CapturedFunction(self.optimizer_step, self.device, capture)

    def __call__(
        self,
        batches: Sequence[CropBatch | Batch],
        lr: float,
        scheduled: Mapping[str, float],
        encoder_lr: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Make one update; returns the loss and the norm of its gradient, scalars on the device.

        Args:
            batches: the micro-batches.
            lr: the learning rate.
            scheduled: what else changes from step to step.
            encoder_lr: that of an encoder that has a rate of its own (`config.adapt`); by default as the rest.
        """
        loss = torch.zeros((), device=self.device)
        for number, batch in enumerate(batches):  # gradient accumulation over micro-batches
            with self._no_sync(number == len(batches) - 1):
                loss += self._forward_backward(*batch.augmented().tensors())
        gradient_norm = self._optimizer_step(lr, lr if encoder_lr is None else encoder_lr, *scheduled.values())
        self.state.step += 1
        return loss, gradient_norm

    def forward_backward(self, *tensors: Tensor) -> Tensor:
        """A micro-batch's part of the loss, its gradient added to what is there."""
        batch = Batch.of(tensors, self.state.method.needs)
        mixed_precision = autocast(self.device, self.config.precision == "bf16")
        loss = torch.zeros((), device=self.device)
        with mixed_precision:
            terms = self.state.method.terms(batch)
        for number, term in enumerate(terms):
            with self._no_sync(number == len(terms) - 1):  # gradients travel once per update
                with mixed_precision:
                    part = self.model(*term) / self.config.optim.accumulate
                part.backward()
            loss += part.detach()
        return loss

    def optimizer_step(self, lr: float | Tensor, encoder_lr: float | Tensor, *scheduled: float | Tensor) -> Tensor:
        """The weights' step along their gradient, and what the method does after it; returns the gradient's norm."""
        weights = [p for p in self.state.method.parameters() if p.grad is not None]
        norm = get_total_norm([p.grad for p in weights if p.grad is not None])
        if self.config.optim.clip is not None:
            self._clip(self.config.optim.clip, norm)
        for group in self.state.optimizer.param_groups:
            rate = (encoder_lr if group["part"] == "encoder" else lr) * group["rate"]
            group["lr"] = rate.float() if isinstance(rate, Tensor) else rate  # fused steps read single precision
        self.state.optimizer.step()
        # several processes keep gradients in their buckets, a CUDA graph where it found them
        keep = self.model is not self.state.method or self.config.optim.cuda_graph
        self.state.optimizer.zero_grad(set_to_none=not keep)
        names = self.state.method.scheduled(Progress(0, 1))
        self.state.method.after_step(dict(zip(names, scheduled, strict=True)))
        return norm

    def _clip(self, most: float, norm: Tensor) -> None:
        """Bound the gradient's norm; that of an encoder with a rate of its own apart from that of the heads."""
        groups = self.state.optimizer.param_groups
        for own in (True, False) if self.config.adapt.has_own_rate else (None,):
            weights = [p for group in groups if own in (None, group["part"] == "encoder") for p in group["params"]]
            weights = [p for p in weights if p.grad is not None]
            part = norm if own is None else get_total_norm([p.grad for p in weights if p.grad is not None])
            clip_grads_with_norm_(weights, most, part)

    def uncaptured(self) -> "TrainStep":
        """The same step of the same state, computed operation by operation even where CUDA graphs replay it."""
        other = copy.copy(self)
        other._forward_backward, other._optimizer_step = other.forward_backward, other.optimizer_step
        return other

    @property
    def warmup_steps(self) -> int:
        """Steps at the start that are computed in another way than the rest, wholly or partly."""
        return WARMUP_CALLS if self.config.optim.cuda_graph else 0

    def _no_sync(self, last: bool) -> AbstractContextManager[object]:
        """Leave gradients unaveraged over the processes, except for the last part of an update."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()
