"""A report in plain words."""

import statistics

from byol.bench.profile import PARTS
from byol.bench.run import Report
from byol.data.memory import human_bytes

RATES = {"pipeline": "pipeline alone", "step": "step alone", "together": "both, as a run"}


def words(report: Report) -> list[str]:
    """Lines for a terminal: the machine, its ceilings, the limit, what is reached, where time goes, one advice."""
    config, machine = report.config, report.machine
    held = "held in memory" if report.held else "decoded anew for each step"
    return [
        f"{machine['gpu'] or machine['cpu']}, {_counted(machine['cores'], 'core')}, "
        f"{_counted(report.findings.threads, 'thread')}; "
        f"torch {machine['torch']}",
        f"{report.data}, {held}",
        f"{config.method.name} on {config.encoder.name}, {config.image_size} px, batch {config.batch_size}, "
        f"{config.precision}, {config.optim.name}",
        "",
        *_limit(report),
        "",
        *_rates(report),
        "",
        *_profile(report),
        "",
        report.advice,
    ]


def _limit(report: Report) -> list[str]:
    ceilings, total = report.ceilings, report.limit.total
    bound = "memory bandwidth" if report.limit.bound_by_memory(ceilings) else "matrix products"
    return [
        f"ceilings: matrix products {ceilings.bf16 / 1e9:,.0f} GFLOP/s in bf16 and {ceilings.float32 / 1e9:,.0f} in "
        f"float32; copies {ceilings.bandwidth / 1e9:,.1f} GB/s",
        f"an update needs at least {_number(total.flops / 1e9)} GFLOP and {human_bytes(total.bytes)} of traffic, so "
        f"the limit here is {_number(report.limit.images_per_second(ceilings))} images/s, set by the {bound}",
    ]


def _rates(report: Report) -> list[str]:
    most = report.limit.images_per_second(report.ceilings)
    lines = []
    for name, what in RATES.items():
        values = report.rates[name]
        middle = statistics.median(values)
        share = "" if name == "pipeline" else f"  {middle / most:.0%} of the limit"
        span = f"({_number(min(values))} to {_number(max(values))}, n = {len(values)})"
        lines.append(f"{what:16} {_number(middle):>9} images/s  {span}{share}")
    return lines


def _profile(report: Report) -> list[str]:
    profile, limit, ceilings = report.profile, report.limit, report.ceilings
    lines = [f"where an update's {_milliseconds(profile.total)} go"]
    for part, share in profile.shares().items():
        seconds = profile.seconds[part]
        if seconds <= 0:
            continue
        least = ""
        if part in limit.parts:
            bound = limit.parts[part].seconds(ceilings.peak(limit.precision), ceilings.bandwidth)
            least = f"  at least {_milliseconds(bound)}"
        lines.append(f"  {part:19} {share:>4.0%} {_milliseconds(seconds):>10}{least:22}  {PARTS[part]}".rstrip())
    lines += [
        f"  {part:19}      {_milliseconds(seconds):>10}  in threads beside the update"
        for part, seconds in profile.beside.items()
    ]
    return lines


def _milliseconds(seconds: float) -> str:
    return f"{_number(1000 * seconds)} ms"


def _counted(count: object, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
