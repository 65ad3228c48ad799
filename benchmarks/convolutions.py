"""Weight gradients of convolutions by matrix products beside oneDNN's: layer by layer, and whole updates.

    OMP_NUM_THREADS=1 python benchmarks/convolutions.py     # five minutes
    python benchmarks/convolutions.py --quick               # does it run at all; writes nothing

Times are processor time, in bf16, both ways in turn in one process. Writes benchmarks/results/convolutions.json.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from byol.bench.measure import LR, last_scheduled
from byol.config.values import replace
from byol.data.batch import Batch
from byol.encoders.convolution import ProductConv2d, speed_up_convolutions, weight_gradient
from byol.methods.base import TrainingSet
from byol.pretraining.state import build_state
from byol.pretraining.train import TrainStep
from byol.runtime import device as machine
from options import common_options
from results_file import Row, in_rounds, ratios, show, write
from throughput import quick
from workloads import WORKLOADS

LAYERS = {
    "narrow-32": [(64, 64, 6, 3, 1), (64, 128, 6, 3, 2), (128, 128, 3, 3, 1), (128, 256, 3, 3, 2), (256, 256, 2, 3, 1)],
    "resnet18-32": [(256, 256, 8, 3, 1), (256, 512, 8, 3, 2), (512, 512, 4, 3, 1), (256, 512, 8, 1, 2)],
    "resnet50-224": [(256, 256, 14, 3, 1), (512, 512, 7, 3, 1), (1024, 2048, 14, 1, 2), (2048, 512, 7, 1, 1)],
}
"""Of each workload: channels in and out, side of the input, kernel, stride; some on either side of the rule."""


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write."""
    options = common_options(__doc__, 5, list(WORKLOADS)).parse_args(arguments)
    machine.make_ready(torch.device("cpu"))
    rounds = 1 if options.quick else options.rounds
    rows: list[Row] = []
    for work in options.only:
        for layer in LAYERS[work][-1:] if options.quick else LAYERS[work]:
            rows.append(of_layer(work, layer, 2 if options.quick else WORKLOADS[work].config.batch_size, rounds))
            show(rows[-1])
        rows.append(of_update(work, rounds, options.quick))
        show(rows[-1])
    if not options.quick:
        print(f"written to {write('convolutions', rows, options.out)}")
    return rows


def of_layer(work: str, layer: tuple[int, ...], batch: int, rounds: int) -> Row:
    """Time of a layer's weight gradient by oneDNN over that by products."""
    inputs, outputs, side, kernel, stride = layer
    settings = (stride, stride), (kernel // 2, kernel // 2)
    out = (side + 2 * (kernel // 2) - kernel) // stride + 1
    x, gradient, weight = (
        torch.randn(shape).bfloat16().to(memory_format=torch.channels_last)
        for shape in ((batch, inputs, side, side), (batch, outputs, out, out), (outputs, inputs, kernel, kernel))
    )

    def by_onednn() -> None:
        wanted = (False, True, False)
        torch.ops.aten.convolution_backward(gradient, x, weight, None, *settings, (1, 1), False, (0, 0), 1, wanted)

    def by_products() -> None:
        weight_gradient(x, gradient, (kernel, kernel), *settings)

    ways = {"oneDNN": by_onednn, "products": by_products}
    seconds = in_rounds({name: lambda way=way: taken(way) for name, way in ways.items()}, rounds)  # type: ignore[misc]
    name = f"{inputs} to {outputs} channels, {kernel} x {kernel}, {out} x {out} outputs: oneDNN's time / products'"
    about = {"batch_size": batch, "used": uses_products(layer)}
    return Row(work, name, "ratio", ratios(seconds["oneDNN"], seconds["products"]), about)


def uses_products(layer: tuple[int, ...]) -> bool:
    """Whether the rule takes products for a layer."""
    inputs, outputs, side, kernel, stride = layer
    network = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False))
    speed_up_convolutions(network)
    convolution = network[0]
    return isinstance(convolution, ProductConv2d) and convolution.has_few_outputs((side, side))


def of_update(work: str, rounds: int, tiny: bool) -> Row:
    """Time of an update with plain convolutions over that with products."""
    workload = quick(WORKLOADS[work]) if tiny else WORKLOADS[work]
    config = replace(workload.config, precision="bf16")
    state = build_state(config, TrainingSet(config.batch_size), torch.device("cpu"))
    train_step, scheduled = TrainStep(state, config), last_scheduled(state.method)
    shape = (config.batch_size, 3, config.image_size, config.image_size)
    views = Batch((torch.randn(shape), torch.randn(shape)))
    layers = [layer for layer in state.method.modules() if type(layer) is ProductConv2d]

    def update() -> Tensor:
        return train_step([views], LR, scheduled)[0]

    def seconds(kind: type[nn.Conv2d]) -> float:
        for layer in layers:
            layer.__class__ = kind
        return taken(update)

    update()
    ways = in_rounds({"plain": lambda: seconds(nn.Conv2d), "products": lambda: seconds(ProductConv2d)}, rounds)
    about = {"encoder": config.encoder.name, "image_size": config.image_size, "batch_size": config.batch_size}
    return Row(
        work,
        "update: time with oneDNN's gradients / with products",
        "ratio",
        ratios(ways["plain"], ways["products"]),
        about,
    )


def taken(way: Callable[[], object], times: int = 5) -> float:
    """Median processor time of some calls, s, after one that does not count."""
    way()
    seconds = []
    for _ in range(times):
        began = time.process_time()
        way()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
