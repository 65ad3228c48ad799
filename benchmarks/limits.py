"""How near the limit byol is here: ceilings, the limit of each workload, what is reached, and where the time goes.

    python benchmarks/limits.py                    # everything, about five minutes on two cores
    python benchmarks/limits.py --only narrow-32 --rounds 5
    python benchmarks/limits.py --quick            # does it run at all; writes nothing

The same functions as `byol bench`, on the workloads of `throughput.py`. Ceilings are measured in every round, so that a
machine that slows down for a while slows them too. Writes benchmarks/results/limits.json.
"""

import argparse

from byol.bench.ceilings import Ceilings, measure_ceilings
from byol.bench.limits import limit_of
from byol.bench.profile import PARTS, Profile
from options import add_images, common_options
from results_file import Row, ratios, show, write
from throughput import quick
from workloads import WORKLOADS, Ours, Workload, load

PROFILED = {"resnet18-32": 2, "resnet50-224": 2, "narrow-32": 10}
"""Updates of one profile; 10 where none are named."""


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure, print, and write."""
    parser = common_options(__doc__, 3, list(WORKLOADS))
    add_images(parser)
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    ceilings: list[Ceilings] = []
    for name in options.only:
        workload = quick(WORKLOADS[name]) if options.quick else WORKLOADS[name]
        found, rounds = measure(name, workload, options)
        rows += found
        ceilings += rounds
        for row in found:
            show(row)
        if not options.quick:  # after each workload: a call that is cut off leaves what it has measured
            print(f"written to {write('limits', [*machine_rows(ceilings), *rows], options.out)}", flush=True)
    for row in machine_rows(ceilings):
        show(row)
    return [*machine_rows(ceilings), *rows]


def measure(name: str, workload: Workload, options: argparse.Namespace) -> tuple[list[Row], list[Ceilings]]:
    """The figures of one workload, and the ceilings of each round."""
    ours = Ours(workload, load(workload, options.small, options.jpeg))
    assert ours.subject is not None
    limit = limit_of(ours.config, ours.subject.data)
    ceilings, steps, together, profiles = [], [], [], []
    for _ in range(1 if options.quick else options.rounds):
        ceilings.append(measure_ceilings(ours.loader.device, 0.1 if options.quick else 6.0, tiny=options.quick))
        steps.append(ours.step())
        together.append(ours.together())
        profiles.append(ours.subject.profile(1 if options.quick else PROFILED.get(name, 10)))
    most = [limit.images_per_second(c) for c in ceilings]
    about = ours.describe()
    counted = {
        "bound by": ["memory" if limit.bound_by_memory(c) else "matrix products" for c in ceilings],
        "parts": {part: {"flops": work.flops, "bytes": work.bytes} for part, work in limit.parts.items()},
    }
    rows = [
        Row(name, "an update needs", "GFLOP", [limit.total.flops / 1e9], counted),
        Row(name, "an update moves", "MB", [limit.total.bytes / 1e6], counted),
        Row(name, "limit", "images/s", most, counted),
        Row(name, "step alone", "images/s", steps, about),
        Row(name, "together", "images/s", together, about),
        Row(name, "step alone / limit", "ratio", ratios(steps, most), about),
        Row(name, "together / limit", "ratio", ratios(together, most), about),
        *profile_rows(name, profiles),
    ]
    return rows, ceilings


def machine_rows(ceilings: list[Ceilings]) -> list[Row]:
    """What the machine can do at most, in every round of every workload."""
    return [
        Row("machine", "matrix product, bf16", "GFLOP/s", [c.bf16 / 1e9 for c in ceilings]),
        Row("machine", "matrix product, float32", "GFLOP/s", [c.float32 / 1e9 for c in ceilings]),
        Row("machine", "copy, read and written", "GB/s", [c.bandwidth / 1e9 for c in ceilings]),
    ]


def profile_rows(name: str, profiles: list[Profile]) -> list[Row]:
    """The parts of an update that take any time."""
    rows = []
    for part, what in PARTS.items():
        values = [1000 * profile.seconds[part] for profile in profiles]
        if any(values):
            rows.append(Row(name, f"time of an update: {part}", "ms", values, {"what": what}))
    return rows


if __name__ == "__main__":
    main()
