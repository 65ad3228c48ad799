"""Many GPUs, on paper: what an update sends between them, and how long that takes with given links."""

import math
from dataclasses import dataclass

from byol.bench.dry_run import NORMS, DryStep
from byol.bench.limits import MASTER_BYTES, Limit
from byol.encoders.build import parameter_count
from byol.methods.base import Method

OVERLAP = 0.5
"""Part of the backward pass beside which gradients can travel: a weight's gradient is whole only when the backward pass
of the second view, the later half, has reached it too."""


@dataclass(frozen=True)
class Traffic:
    """What every process gives into reductions in one update."""

    gradients: int
    """Bytes of the gradients, in float32; they travel beside the backward pass."""
    statistics: int
    """Bytes of batch norm's statistics and of their gradients; the passes wait for them."""
    calls: int
    """Reductions and gatherings of statistics."""
    gathered: int = 0
    """Bytes of statistics that every process sends to all others as they are; the passes wait for them too."""

    @property
    def bytes(self) -> int:
        return self.gradients + self.statistics + self.gathered


def traffic_of(method: Method, step: DryStep, micro_batches: int = 1, joined: bool = False) -> Traffic:
    """What an update of `micro_batches` micro-batches reduces, each of which calls what `step` calls.

    A batch norm of C channels reduces C means and C variances in each forward pass, and as many gradients of them in
    each backward pass; a target network has no backward pass. On a CPU means and variances go one after the other
    (`BatchNormAcrossProcesses`). `joined` is PyTorch's SyncBatchNorm on GPUs: both in one call, and forward a gathering
    of C means, C deviations and a count, which every process then joins by itself. A method whose processes keep their
    own statistics sends none.
    """
    calls = [call for call in step.layers if isinstance(call.layer, NORMS) and method.shared_batch_norm]
    channels = [(int(call.layer.num_features), call.propagates) for call in calls]  # type: ignore[arg-type]
    forward = 2 * sum(count for count, _ in channels)
    back = 2 * sum(count for count, propagates in channels if propagates)
    reductions = len(channels) + sum(propagates for _, propagates in channels)
    return Traffic(
        gradients=MASTER_BYTES * parameter_count(method),
        statistics=MASTER_BYTES * micro_batches * (back if joined else forward + back),
        calls=micro_batches * reductions * (1 if joined else 2),
        gathered=MASTER_BYTES * micro_batches * (forward + len(channels)) if joined else 0,
    )


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """GPUs and the links between them; what is no figure of a data sheet is an assumption, and says so."""

    peak: float = 989e12
    """Operations per second of a GPU in bf16 (NVIDIA H100 SXM, data sheet, without sparsity)."""
    memory: float = 3.35e12
    """Bytes per second of its memory (the same)."""
    reached: float = 0.4
    """Share of both that a step reaches: assumed; `byol bench` measures it."""
    per_node: int = 8
    """GPUs of a node."""
    inside: float = 450e9
    """Bytes per second and direction between a GPU and the others of its node (NVLink 4: 900 GB/s for both)."""
    between: float = 50e9
    """Bytes per second and direction between a GPU and other nodes: 400 Gb/s for each GPU."""
    hop: float = 5e-6
    """Seconds that a small reduction takes for each doubling of the GPUs: assumed."""

    def reduce_seconds(self, size: float, gpus: int) -> float:
        """Least time to add up `size` bytes over all GPUs and give everyone the sum.

        Within a node every GPU sends and receives (g - 1) / g of the bytes twice; in between, each of the g GPUs
        exchanges its share of 1 / g with those of the other m - 1 nodes.
        """
        inside = min(gpus, self.per_node)
        nodes = gpus / inside
        seconds = 2 * (inside - 1) / inside * size / self.inside
        return seconds + 2 * (nodes - 1) / nodes * size / inside / self.between + self.small_reduce_seconds(gpus)

    def gather_seconds(self, size: float, gpus: int) -> float:
        """Least time to give every GPU the `size` bytes of each of the others, beyond that of a small reduction.

        Each of the g GPUs of a node receives the bytes of one GPU of every other node, and passes them on within.
        """
        inside = min(gpus, self.per_node)
        nodes = gpus / inside
        return (nodes - 1) * size / self.between + (inside - 1) * nodes * size / self.inside

    def small_reduce_seconds(self, gpus: int) -> float:
        """Time of a reduction of next to nothing."""
        return self.hop * math.log2(gpus)


@dataclass(frozen=True)
class Scaled:
    """An update on many GPUs."""

    gpus: int
    compute: float
    """Seconds of one GPU's part, with nobody to wait for."""
    statistics: float
    """Seconds of waiting for batch norm."""
    gradients: float
    """Seconds of waiting for gradients, after the backward pass has hidden what it can."""
    images: int
    """Images of the whole batch."""

    @property
    def seconds(self) -> float:
        return self.compute + self.statistics + self.gradients

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds

    @property
    def efficiency(self) -> float:
        """Share of the time in which GPUs do not wait for each other."""
        return self.compute / self.seconds


def scaled(limit: Limit, traffic: Traffic, cluster: Cluster, gpus: int) -> Scaled:
    """An update whose part on one GPU has `limit`, on `gpus` GPUs.

    The parts of an update follow one another, each at the `reached` share of its roofline.
    """
    peak, memory = cluster.peak * cluster.reached, cluster.memory * cluster.reached
    seconds = {part: work.seconds(peak, memory) for part, work in limit.parts.items()}
    hidden = OVERLAP * seconds["backward"]
    small = (traffic.calls - 1) * cluster.small_reduce_seconds(gpus)
    gathered = cluster.gather_seconds(traffic.gathered, gpus)
    return Scaled(
        gpus=gpus,
        compute=sum(seconds.values()),
        statistics=small + cluster.reduce_seconds(traffic.statistics, gpus) + gathered,
        gradients=max(0.0, cluster.reduce_seconds(traffic.gradients, gpus) - hidden),
        images=gpus * limit.images,
    )
