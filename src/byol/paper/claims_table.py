"""The paper's claims and how each stands at a scale: a table for the report, and a line per verdict for the README."""

import math
from collections.abc import Sequence

from byol.paper.chance import p_value
from byol.paper.evidence import FAR_SMALLER, GAIN_OF_TRAINING, LEVEL, Judgment, Measured, Status, judge, measure
from byol.paper.overview import tau_sentence
from byol.paper.ranks import points
from byol.paper.summary import Gathered
from byol.report.document import Block, Grid, Heading, Items, Paragraph


def judgments(gathered: Gathered) -> dict[str, list[Judgment]]:
    """Table to its claims, judged at a scale; tables without results are left out."""
    return {result.table.name: [judge(claim, gathered) for claim in result.table.claims] for result in gathered.tables}


def claims_blocks(scales: Sequence[Gathered]) -> list[Block]:
    """The table of claims, for each scale that tests one."""
    blocks: list[Block] = []
    for gathered in scales:
        judged = judgments(gathered)
        every = [one for found in judged.values() for one in found]
        tested = [one for one in every if one.status != Status.NOT_TESTED]
        if not tested:
            continue
        head = ("claim", "verdict", "decided by", "paper", "here", "seeds", "p", "20-NN")
        blocks += [
            Heading(f"The paper's claims at the scale {gathered.scale.name}", 2),
            Paragraph(_counts(every) + tau_sentence(gathered.tables)),
            Grid(head, tuple(_row(name, one) for name, found in judged.items() for one in found)),
            Paragraph(_rules(len(tested), gathered)),
        ]
        misses = [_miss(one) for one in tested if one.status == Status.CONTRADICTED and one.claim.miss]
        if misses:
            blocks += [Paragraph("What each contradiction is likely to be, as far as is known:"), Items(tuple(misses))]
    return blocks


def claims_lines(scales: Sequence[Gathered]) -> list[str]:
    """Three lines on the claims at the scale that tests most: confirmed; direction only; contradicted or not tested."""
    judged = {
        gathered.scale.name: [one for found in judgments(gathered).values() for one in found] for gathered in scales
    }
    name = max(judged, key=lambda name: sum(one.status != Status.NOT_TESTED for one in judged[name]))
    by_status = {status: [one for one in judged[name] if one.status == status] for status in Status}
    tested = len(judged[name]) - len(by_status[Status.NOT_TESTED])
    confirmed, direction, contradicted = (
        "; ".join(map(_short, by_status[status]))
        for status in (Status.CONFIRMED, Status.DIRECTION, Status.CONTRADICTED)
    )
    return [
        f"- **Confirmed** at the scale `{name}` ({_seeds(judged[name])}), {len(by_status[Status.CONFIRMED])} of "
        f"{tested} claims tested: {confirmed or 'none'}.",
        f"- **Direction only**, {len(by_status[Status.DIRECTION])}: {direction or 'none'}.",
        f"- **Contradicted at this scale**, {len(by_status[Status.CONTRADICTED])}: {contradicted or 'none'}. "
        f"**Not tested**, {len(by_status[Status.NOT_TESTED])}: one seed or rows missing.",
    ]


def _counts(every: Sequence[Judgment]) -> str:
    numbers = {status: sum(one.status == status for one in every) for status in Status}
    confirmed = [one.decisive for one in every if one.status == Status.CONFIRMED and one.decisive is not None]
    neighbors = sum(one.knn > one.difference.least for one in confirmed)
    said = "; ".join(f"{number} {status}" for status, number in numbers.items())
    also = f" Of the confirmed, {neighbors} hold on the mean by 20-NN too." if confirmed else ""
    return f"Of {len(every)} claims: {said}.{also}"


def _row(table: str, one: Judgment) -> tuple[str, ...]:
    verdict = f"**{one.status}**" + (f": {one.remark}" if one.remark else "")
    claim = f"`{table}` {one.claim.text}"
    found = one.decisive
    if found is None:
        return claim, verdict, "", "", "", "", "", ""
    return (
        claim,
        verdict,
        str(found.difference),
        "" if found.paper is None else points(found.paper),
        points(found.mean),
        f"{found.agreeing} of {len(found.by_seed)}",
        "" if math.isnan(found.p) else p_value(found.p),
        "" if math.isnan(found.knn) else points(found.knn),
    )


def _rules(tested: int, gathered: Gathered) -> str:
    unit = measure(GAIN_OF_TRAINING, gathered)
    units = "" if unit is None else f" ({unit.paper:.1f} points in the paper, {unit.mean:.1f} here)"
    return (
        "A claim is one difference between rows or several, all of which must hold; the table has the one with the "
        "weakest evidence, in points of accuracy, the seeds in which it holds, and its p: one-sided, from a paired "
        "t-test over seeds. *Confirmed*: it holds in every seed, p is below "
        f"{LEVEL:g} (with three seeds: the mean exceeds 2.9 standard errors), and a lead has at least "
        f"{FAR_SMALLER:.0%} of the paper's size, both as shares of what training adds to an untrained network{units}. "
        "*Direction only*: it holds on the mean, but one of these fails. *Contradicted at this scale*: it does not "
        "hold on the mean; it *may be chance* where the opposite is not beyond chance either. *Not tested*: one seed, "
        "or rows missing. *At most 1 below*: where the paper calls rows equal, a loss of so many points is allowed. "
        f"No p is corrected for the {tested} claims tested: at {LEVEL:g} each, about {max(1, round(LEVEL * tested))} "
        "of so many false claims would come out confirmed by chance."
    ).replace("%", " %")


def _miss(one: Judgment) -> str:
    return f"*{one.claim.text}* ({_figure(one.decisive)}): {one.claim.miss}"


def _short(one: Judgment) -> str:
    return f"{one.claim.text} ({_figure(one.decisive)}{f', {one.remark}' if one.remark else ''})"


def _figure(found: Measured | None) -> str:
    assert found is not None, "a tested claim has a figure"
    return points(found.mean)


def _seeds(every: Sequence[Judgment]) -> str:
    counts = sorted({len(one.decisive.by_seed) for one in every if one.decisive and one.status != Status.NOT_TESTED})
    return f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds" if counts else "no seeds"
