"""How fast byol is here: the input pipeline alone, the step alone on ready views, and both together.

    python benchmarks/throughput.py                    # everything, about 8 minutes on two cores
    python benchmarks/throughput.py --only resnet18-32 --rounds 7
    python benchmarks/throughput.py --quick            # does it run at all; writes nothing

The three are measured in turn, several rounds, on the same data; what is judged is their ratio in each round.
"""

import dataclasses

from byol.config.run import PretrainConfig
from byol.config.values import replace
from options import add_images, common_options
from results_file import Row, in_rounds, ratios, show, write
from workloads import PIPELINES, WORKLOADS, Ours, Workload, load


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write `benchmarks/results/throughput.json`."""
    names = [*WORKLOADS, *PIPELINES]
    parser = common_options(__doc__, 5, names)
    add_images(parser)
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    for name in options.only:
        workload = {**WORKLOADS, **PIPELINES}[name]
        rounds = options.rounds
        if options.quick:
            workload, rounds = quick(workload), 1
        rows += measure(name, workload, rounds, options.small, options.jpeg)
    if not options.quick:
        print(f"written to {write('throughput', rows, options.out)}")
    return rows


def measure(name: str, workload: Workload, rounds: int, small: str, jpeg: str) -> list[Row]:
    """All figures of one workload."""
    ours = Ours(workload, load(workload, small, jpeg))
    about = ours.describe()
    if not workload.steps:
        values = in_rounds({"pipeline alone": ours.pipeline}, rounds)
        rows = [Row(name, "pipeline alone", "images/s", values["pipeline alone"], about, workload.goal)]
    else:
        values = in_rounds(
            {"pipeline alone": ours.pipeline, "step alone": ours.step, "together": ours.together}, rounds
        )
        rows = [Row(name, what, "images/s", each, about) for what, each in values.items()]
        shares = ratios(values["together"], values["step alone"])
        rows.append(Row(name, "together / step alone", "ratio", shares, about, workload.goal))
    for row in rows:
        show(row)
    return rows


def quick(workload: Workload) -> Workload:
    """The same work, tiny."""
    config: PretrainConfig = replace(workload.config, batch_size=4, method__hidden=32, method__output=16)
    if workload.from_files:
        config = replace(config, image_size=32, encoder="resnet10t", encoder__stem="standard")
    else:
        config = replace(config, encoder__width=0.125)
    return dataclasses.replace(workload, config=config, steps=min(workload.steps, 1), pipeline_batches=2, goal=None)


if __name__ == "__main__":
    main()
