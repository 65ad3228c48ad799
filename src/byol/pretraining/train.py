"""Algorithm 1 (arXiv:2006.07733, Appendix A): build, loop, step."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from inspect import signature

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from byol.config.optim import OptimConfig
from byol.config.run import Method, PretrainConfig
from byol.data.loader import Batch, Loader
from byol.methods.byol import BYOL
from byol.methods.make import AnyMethod, make_method
from byol.optim import schedules
from byol.optim.lars import LARS, parameter_groups
from byol.pretraining.health import Health, Verdict, judge, measure, norms, represent_with
from byol.runtime import distributed
from byol.runtime.activation_checkpointing import recompute
from byol.runtime.cuda_graph import DIRECT, WARMUP_CALLS, Halves, Recorded
from byol.runtime.metrics import RunLog
from byol.runtime.seeds import seed_of


@dataclass
class State:
    """Everything that changes while a run goes on; a checkpoint is this."""

    method: AnyMethod
    optimizer: torch.optim.Optimizer
    step: int = 0


@dataclass
class History:
    """What was seen of a run so far."""

    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    health: list[Health] = field(default_factory=list)
    images_per_second: float = 0.0
    sums: Tensor = field(default_factory=lambda: torch.zeros(2))
    """Loss and gradient norm, summed since the last line of the log."""
    counted: int = 0
    """Updates in these sums."""

    def verdict(self, method: Method) -> Verdict:
        """What that means of a run by that method."""
        return judge(self.health, self.losses, self.gradient_norms, method)


def build(config: PretrainConfig, in_chans: int, device: torch.device, classes: int | None = None) -> State:
    """The networks and the optimizer of a run, at step 0; `classes` is how many labels a supervised one tells apart."""
    torch.manual_seed(seed_of(config.seed, "weights"))
    method = make_method(config, in_chans, classes)
    if config.optim.recompute:
        recompute(method.encoder, config.encoder)
    method = method.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not (config.method == "moco" and config.moco.shuffle):  # shuffled batch norm is each process's own
        distributed.synchronize_batch_norm(method, device)
    return State(method, build_optimizer(method, config.optim))


def build_optimizer(method: nn.Module, optim: OptimConfig) -> torch.optim.Optimizer:
    """LARS, SGD or AdamW, each over the same groups of weights; the rate is set at every step."""
    rates = {"projector": optim.projector_lr, "predictor": optim.predictor_lr}
    groups = parameter_groups(method, optim.weight_decay, rates)
    if optim.name == "lars":
        return LARS(groups, lr=0.0, momentum=optim.momentum, trust=optim.trust)
    if optim.name == "sgd":
        # in a recording the rate is a tensor, which the fused step alone does not read back
        return torch.optim.SGD(groups, lr=0.0, momentum=optim.momentum, fused=optim.cuda_graph or None)
    # fused: one pass over the weights where there would be a dozen, and the same numbers within rounding
    return torch.optim.AdamW(groups, lr=0.0, betas=(optim.momentum, 0.999), fused=True, capturable=optim.cuda_graph)


def train_step(
    state: State,
    model: nn.Module,
    batches: list[Batch],
    config: PretrainConfig,
    lr: float,
    tau: float,
    autocast: AbstractContextManager[object],
    run: Halves = DIRECT,
) -> tuple[Tensor, Tensor]:
    """One update of the online network, then of the target; returns the loss and the gradient's norm, on the device.

    `model` is the method itself, or the method as DistributedDataParallel wraps it; `run` is what `runner` gives.
    """
    loss = torch.zeros((), device=next(model.parameters()).device)
    for number, batch in enumerate(batches):
        inputs = [_channels_last(view) for view in batch.views(config)]
        if batch.labels is not None:
            inputs.append(batch.labels)
        last = number == len(batches) - 1
        loss += run.passes(partial(_passes, state.method, model, autocast, len(batches), last), *inputs)
    keep = model is not state.method or config.optim.cuda_graph
    norm = run.move(partial(_move, state, config.optim.clip, keep), lr, tau)
    state.step += 1
    return loss, norm


def train(
    state: State,
    loader: Loader,
    config: PretrainConfig,
    *,
    total_steps: int,
    warmup_steps: int,
    autocast: AbstractContextManager[object],
    log: RunLog,
    probe: tuple[Tensor, Tensor],
    watch: History,
    each_step: Callable[[int], bool] = lambda step: True,
) -> Verdict | None:
    """Train from `state.step` to the end; `each_step` is called after every update and may say stop.

    Returns:
        None when asked to stop early, else the verdict: at the end, or at once when the run has collapsed or diverged.
    """
    model = parallel(state.method, loader.device, config.optim.compile)
    model.train()
    run = runner(config.optim, loader.device)
    represent = represent_with(state.method.encoder, state.method.projector)
    watch.sums = watch.sums.to(loader.device)
    since, timed = time.perf_counter(), 0
    log.start_progress(total_steps, state.step)
    for batches in loader.batches(state.step, total_steps):
        step = state.step
        lr = schedules.learning_rate(
            step, peak=config.optim.peak_lr(config.batch_size), warmup_steps=warmup_steps, total_steps=total_steps
        )
        tau = config.target.tau
        if not config.target.constant:
            tau = schedules.tau(step, base=tau, total_steps=total_steps)
        torch.manual_seed(seed_of(config.seed, "step", step, loader.rank))  # for encoders that drop things at random
        loss, norm = train_step(state, model, batches, config, lr, tau, autocast, run)
        watch.sums += torch.stack([loss, norm])
        watch.counted, timed = watch.counted + 1, timed + 1
        ended = state.step == total_steps

        if state.step % config.watch.log_every == 0 or ended:
            mean_loss, mean_norm = (distributed.mean(watch.sums) / watch.counted).tolist()
            watch.images_per_second = timed * config.batch_size / (time.perf_counter() - since)
            watch.losses.append(mean_loss)
            watch.gradient_norms.append(mean_norm)
            watch.sums.zero_()
            watch.counted = 0
            values = {"loss": mean_loss, "gradient_norm": mean_norm, "lr": lr, "tau": tau}
            if config.watch.norms:
                with autocast:
                    values |= norms(represent, _channels_last(probe[0]))
            log.metrics(state.step, {**values, "images_per_second": watch.images_per_second})
            note = f"loss {mean_loss:.3f}  tau {tau:.4f}  lr {lr:.2g}  {watch.images_per_second:.0f} img/s"
            log.advance(state.step, note)
            since, timed = time.perf_counter(), 0
            verdict = watch.verdict(config.method)
            if verdict.word == "diverged" and config.watch.stop_on_collapse:
                return verdict
        else:
            log.advance(state.step)
        looked = time.perf_counter()
        if state.step % config.watch.health_every == 0 or ended:
            with autocast:
                health = measure(represent, _channels_last(probe[0]), _channels_last(probe[1]))
            watch.health.append(health)
            log.metrics(state.step, {f"health/{k}": v for k, v in health.as_dict().items()})
            verdict = watch.verdict(config.method)
            stops = verdict.stops and config.watch.stop_on_collapse and state.step > warmup_steps
            if distributed.any_rank(stops, loader.device):
                return verdict
        if not each_step(state.step):
            return None
        since += time.perf_counter() - looked  # looks, readings and checkpoints are no training
    return watch.verdict(config.method)


def parallel(method: AnyMethod, device: torch.device, compiled: bool = False) -> nn.Module:
    """The method, its gradients averaged over the processes if there are several; `compiled`: its networks are."""
    for network in method.children() if compiled else ():
        network.compile(dynamic=False)  # the run's shapes never change
    if distributed.world_size() == 1:
        return method
    # batch-norm statistics are the same in every process already, so no buffers are sent
    wrap: Callable[..., nn.Module] = DistributedDataParallel
    known = signature(DistributedDataParallel.__init__).parameters
    setting = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # before torch 2.14
    devices = [device.index] if device.type == "cuda" else None
    return wrap(method, device_ids=devices, gradient_as_bucket_view=True, **{setting: False})


def runner(optim: OptimConfig, device: torch.device) -> Halves:
    """What computes the updates of a run: directly, or as two CUDA graphs."""
    return Halves(Recorded(device), Recorded(device)) if optim.cuda_graph else DIRECT


def unrecorded(optim: OptimConfig) -> int:
    """Updates at the start of a run that are computed in another way than the rest, or by part so."""
    return WARMUP_CALLS if optim.cuda_graph else 0


def _passes(
    method: AnyMethod,
    model: nn.Module,
    autocast: AbstractContextManager[object],
    micro_batches: int,
    last: bool,
    *inputs: Tensor,
) -> Tensor:
    """A micro-batch's part of the loss, and its gradient added to what is there; `last` is the last of an update."""
    with autocast:
        ways = _ways(method, *inputs)
    loss = torch.zeros((), device=inputs[0].device)
    for way in ways:
        with nullcontext() if last and way is ways[-1] else _no_sync(model):  # gradients travel once per update
            with autocast:
                part = model(*way) / micro_batches
            part.backward()
        loss += part.detach()
    return loss


def _move(state: State, clip: float | None, keep_gradients: bool, lr: float | Tensor, tau: float | Tensor) -> Tensor:
    """The online network's step along its gradient, and the target's after it; returns the gradient's norm.

    Args:
        keep_gradients: zero them where they are: several processes keep them in their buckets, a recording where it
            found them.
    """
    gradients = [p.grad for p in state.method.parameters() if p.grad is not None]
    norm: Tensor = torch.stack(torch._foreach_norm(gradients)).norm()
    if clip is not None:
        torch._foreach_mul_(gradients, (clip / (norm + 1e-6)).clamp(max=1.0))
    for group in state.optimizer.param_groups:
        rate = lr * group["rate"]
        group["lr"] = rate.float() if isinstance(rate, Tensor) else rate  # fused steps read single precision
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=not keep_gradients)
    state.method.update_target(tau)
    return norm


def _ways(method: AnyMethod, view1: Tensor, view2: Tensor, *labels: Tensor) -> list[tuple[Tensor, ...]]:
    """What a batch's loss is the sum over: BYOL's two directions, the whole of it for the other methods."""
    if isinstance(method, BYOL):
        return method.ways(view1, view2)
    return [(view1, view2, *labels)]


def _no_sync(model: nn.Module) -> AbstractContextManager[object]:
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
