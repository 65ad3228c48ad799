"""How close the tables of a scale are to the paper's order, with the scale's settings and machines."""

import math
from collections import Counter
from collections.abc import Sequence

from byol.config.methods import BYOLConfig
from byol.paper.catalog import TABLES
from byol.paper.chance import DRAWS, EXACT_ROWS, p_value
from byol.paper.evidence import LEVEL
from byol.paper.ranks import decided, each_seed, tau_by_seed, tau_of, tau_p
from byol.paper.summary import Gathered, TableResult
from byol.report.document import Block, Grid, Heading, Note, Paragraph


def overview_blocks(gathered: Gathered) -> list[Block]:
    """A row for each table with its tau-b, their mean, the settings of the scale and the machines."""
    rows, apart = [], []
    counted, seeds = most_seeds(gathered.tables)
    taus = [tau_of(result.ranked()) for result in counted]
    for result in gathered.tables:
        ranked = result.ranked()
        tau = tau_of(ranked)
        if result in counted:
            alone = [found for rows in result.ranked_by_method().values() if not math.isnan(found := tau_of(rows))]
            apart.append(sum(alone) / len(alone) if alone else tau)
        right, of = decided(ranked)
        fewest, most = result.seeds
        rows.append(
            (
                f"`{result.table.name}` {result.table.title}",
                str(len(result.rows)) + (f" of {len(result.rows) + len(result.missing)}" if result.missing else ""),
                f"{fewest}" if fewest == most else f"{fewest} to {most}",
                f"{tau:.2f}" if not math.isnan(tau) else "",
                p_value(tau_p(ranked)) if not math.isnan(tau) else "",
                each_seed(ranked) if not math.isnan(tau) else "",
                f"{right} of {of}" if of else "",
                f"{result.seconds() / 60:.0f} min",
            )
        )
    head = ("table", "rows", "seeds", "tau-b", "p", "seed by seed", "pairs in the paper's order", "time")
    blocks: list[Block] = [
        Heading(f"At the scale {gathered.scale.name}", 2),
        Paragraph(f"{_sentence(gathered.scale.what)} {_setting(gathered)}"),
        Grid(head, tuple(rows)),
    ]
    if taus:
        tables = f"{len(counted)} table{'s' if len(counted) > 1 else ''}"
        tables += f" of {seeds} seed{'s' if seeds > 1 else ''}" if len(counted) < len(gathered.tables) else ""
        blocks.append(
            Paragraph(
                f"Mean of Kendall's tau-b over {tables}: **{sum(taus) / len(taus):.2f}**"
                f"{_mean_by_seed(counted)}{_apart(taus, apart)}{_by_knn(counted)}. It compares the order of the "
                "paper's rows with ours, from -1 (reversed) to 1 (equal), over the seeds that all rows of a table "
                "have. *p* is the share of all orders of the rows whose tau-b is as high or higher: a one-sided "
                f"permutation test, exact up to {EXACT_ROWS} rows, of {DRAWS:,} random orders for more. It is below "
                f"{LEVEL:g} in {sum(tau_p(one.ranked()) < LEVEL for one in counted)} of {tables}. *Seed by seed* is "
                "tau of each seed alone, which is noisier than that of the means. *Pairs in the paper's order* counts "
                "only pairs that differ by more than the paper's own spread over seeds."
            )
        )
    left = [f"`{name}`" for name in TABLES if gathered.table(name) is None]
    if left and not gathered.scale.base:  # shorter and longer scales are run for some rows only
        blocks.append(Paragraph(f"Not run at this scale: {', '.join(left)}."))
    return blocks + [Note(text) for text in _machines(gathered)]


def most_seeds(tables: Sequence[TableResult]) -> tuple[list[TableResult], int]:
    """The tables with the most common number of seeds, and that number; tables without a tau-b do not count."""
    ordered = [(table, len(tau_by_seed(rows))) for table in tables if not math.isnan(tau_of(rows := table.ranked()))]
    numbers = Counter(seeds for _, seeds in ordered)
    most = max(numbers, key=lambda number: (numbers[number], number), default=0)
    return [table for table, seeds in ordered if seeds == most], most


def _mean_by_seed(tables: Sequence[TableResult]) -> str:
    """The mean over tables for each seed alone, if there are several."""
    taus = [tau_by_seed(table.ranked()) for table in tables]
    seeds = sorted(set.intersection(*(set(found) for found in taus)))
    means = [sum(found[seed] for found in taus) / len(taus) for seed in seeds]
    return f" (seed by seed {', '.join(f'{mean:.2f}' for mean in means)})" if len(means) > 1 else ""


def taus_by_knn(tables: Sequence[TableResult]) -> list[float]:
    """The tables' tau-b by 20-NN, which ranks the same encoders without training a classifier."""
    return [tau for table in tables if not math.isnan(tau := tau_of(table.ranked_by_knn()))]


def _by_knn(tables: Sequence[TableResult]) -> str:
    taus = taus_by_knn(tables)
    of = f" over {len(taus)} of them" if len(taus) < len(tables) else ""
    return f"; by 20-NN **{sum(taus) / len(taus):.2f}**{of}" if taus else ""


def tau_sentence(tables: Sequence[TableResult]) -> str:
    """The mean tau-b of the tables with most seeds, by the metric of the rows and by 20-NN; empty without any."""
    counted, _ = most_seeds(tables)
    linear, knn = [tau_of(table.ranked()) for table in counted], taus_by_knn(counted)
    if not linear or not knn:
        return ""
    likely = sum(tau_p(table.ranked()) < LEVEL for table in counted)
    return (
        f" Kendall's tau-b of the order of all rows, from -1 to 1, is **{sum(linear) / len(linear):.2f}** on average "
        f"by linear classifier and **{sum(knn) / len(knn):.2f}** by 20-NN; by linear classifier the order of {likely} "
        f"of {len(counted)} tables is beyond chance (p below {LEVEL:g})."
    )


def _apart(taus: Sequence[float], apart: Sequence[float]) -> str:
    """The mean if the rows of each method are ranked separately, unless it is the same."""
    if apart == taus:
        return ""
    return (
        f", or **{sum(apart) / len(apart):.2f}** if the rows of BYOL and of SimCLR, which the paper prints side by "
        "side, are ranked separately"
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _setting(gathered: Gathered) -> str:
    config = gathered.scale.config
    line = gathered.lines()[0]
    method = config.method
    assert isinstance(method, BYOLConfig), "a scale's own row is BYOL's"
    faster = method.predictor_lr
    predictor = f", {faster:g} times as much for the predictor" if faster != 1 else ""
    return (
        f"{line['data']['images']:,} training and {line['data']['test_images']:,} test images; "
        f"{config.encoder.name} at {config.image_size} px, width {config.encoder.width:g}; {config.epochs:g} epochs at "
        f"batch {config.batch_size}; {config.optim.name}, {config.optim.lr:g} per 256 images{predictor}; "
        f"tau {method.tau:g}. All tables share these settings, except for what their rows change."
    )


def _machines(gathered: Gathered) -> list[str]:
    seen = Counter(
        f"{m['gpu'] or m['cpu']}, {m['threads']} of {m['cores']} cores per cell; torch {m['torch']}, byol {m['byol']}; "
        f"{line['config']['precision']}; {m['date']}"
        for line in gathered.lines()
        for m in [line["machine"]]
    )
    return [f"{text}: {count} rows and seeds" for text, count in seen.items()]
