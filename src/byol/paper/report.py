"""`byol paper report`: all tables with results, the paper's rows next to ours, made from the results files alone."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from byol.config.methods import BYOLConfig
from byol.errors import UserError
from byol.paper.catalog import TABLES
from byol.paper.cells import GROUPS
from byol.paper.claims import CLAIMS, claim_blocks
from byol.paper.figures import rows_figure
from byol.paper.longer import longer_blocks
from byol.paper.ranks import Row, decided, sentences, tau_by_seed, tau_of
from byol.paper.scales import SCALES
from byol.paper.summary import Gathered, RowResult, TableResult, gather
from byol.report.document import Block, Figure, Grid, Heading, Items, Note, Paragraph, markdown, page
from byol.runtime.checkpoint import write_atomically

MARKS = ("<!-- paper:results -->", "<!-- /paper:results -->")


def gather_all(results: Path) -> list[Gathered]:
    """All scales with results.

    Raises:
        UserError: there are no results.
    """
    found = [gather(results, make(), TABLES) for make in SCALES.values()]
    found = [gathered for gathered in found if gathered.tables]
    if not found:
        raise UserError(f"There are no results in {results} yet; run a table first, such as: byol paper targets.")
    return found


def write_report(results: Path, document: Path | None, to: Path) -> list[Path]:
    """Write the page, and the results section of a Markdown document with its figures.

    Args:
        results: folder of the results files.
        document: Markdown with the two `MARKS`; the text between them is replaced.
        to: the HTML page.

    Returns:
        The files that were written.

    Raises:
        UserError: there are no results, or the document lacks the marks.
    """
    blocks = report_blocks(gather_all(results))
    written = [to]
    if document is not None:
        text = document.read_text(encoding="utf-8")
        pattern = re.compile(f"{re.escape(MARKS[0])}.*{re.escape(MARKS[1])}", re.DOTALL)
        if not pattern.search(text):
            raise UserError(f"{document} has no lines {MARKS[0]} and {MARKS[1]}; add them where the tables belong.")
        made = f"{MARKS[0]}\n\n{markdown(blocks)}\n{MARKS[1]}"
        for block in blocks:
            if isinstance(block, Figure) and block.file:
                write_atomically(document.parent / block.file, block.svg.standalone())
                written.append(document.parent / block.file)
        write_atomically(document, pattern.sub(lambda found: made, text))
        written.append(document)
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to, page("The paper's tables, measured again", blocks))
    return written


def report_blocks(scales: Sequence[Gathered]) -> list[Block]:
    """The whole report, scale by scale."""
    blocks: list[Block] = []
    by_name = {gathered.scale.name: gathered for gathered in scales}
    for gathered in scales:
        blocks += _overview(gathered)
        if gathered.scale.shorter in by_name:
            blocks += longer_blocks(by_name[gathered.scale.shorter], gathered)
        for name in CLAIMS:
            result = gathered.table(name)
            if result is not None:
                blocks += claim_blocks(result)
        for result in gathered.tables:
            blocks += table_blocks(result)
    return blocks


def _overview(gathered: Gathered) -> list[Block]:
    rows, taus, apart = [], [], []
    counted, seeds = _most_seeds(gathered.tables)
    for result in gathered.tables:
        ranked = result.ranked()
        tau = tau_of(ranked)
        if result in counted:
            taus.append(tau)
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
                _each_seed(ranked) if not math.isnan(tau) else "",
                f"{right} of {of}" if of else "",
                f"{result.seconds() / 60:.0f} min",
            )
        )
    head = ("table", "rows", "seeds", "tau-b", "seed by seed", "pairs in the paper's order", "time")
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
                f"{_mean_by_seed(counted)}{_apart(taus, apart)}. It compares the order of the paper's rows with ours, "
                "from -1 (reversed) to 1 (equal), over the seeds that all rows of a table have. *Seed by seed* is tau "
                "of each seed alone, which is noisier than that of the means. *Pairs in the paper's order* counts "
                "only pairs that differ by more than the paper's own spread over seeds."
            )
        )
    left = [f"`{name}`" for name in TABLES if gathered.table(name) is None]
    if left and not gathered.scale.shorter:  # a longer scale is run for some rows only
        blocks.append(Paragraph(f"Not run at this scale: {', '.join(left)}."))
    return blocks + [Note(text) for text in _machines(gathered)]


def _each_seed(rows: Sequence[Row]) -> str:
    """Tau-b of each seed alone, if there are several."""
    taus = tau_by_seed(rows).values()
    return ", ".join(f"{tau:.2f}" for tau in taus) if len(taus) > 1 else "one seed"


def _most_seeds(tables: Sequence[TableResult]) -> tuple[list[TableResult], int]:
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


def table_blocks(result: TableResult) -> list[Block]:
    """One table: its claim, its rows, their order, and the rows that disagree with the paper's."""
    table, scale = result.table, result.scale
    blocks: list[Block] = [
        Heading(f"{table.title} ({scale.name})", 3),
        Paragraph(
            f"{table.source}. The paper: {table.claim}. `byol paper {table.name} --scale {scale.name} --seeds 3`"
        ),
    ]
    if table.limit(scale):
        blocks.append(Paragraph(f"**What this scale cannot show.** {table.limit(scale)}"))
    measure = "fine-tuned" if result.rows[0].cell.fine_tunes else "linear"
    head = ("row", "paper", f"here: {measure}", "here: 20-NN", "verdict", "n")
    blocks += [Grid(head, tuple(_row(row) for row in result.rows)), Figure(rows_figure(result), _caption(result))]
    ranked = result.ranked()
    if not math.isnan(tau_of(ranked)):
        blocks.append(Paragraph(_order(result)))
    if len(ranked) > 1:
        disagreeing = sentences(ranked)
        blocks.append(Items(tuple(disagreeing)) if disagreeing else Paragraph("No rows are swapped."))
    notes = [f"{row.cell.title}: {row.cell.note}." for row in result.rows if row.cell.note]
    notes += _left_out(result)
    return blocks + ([Paragraph("Notes:"), Items(tuple(notes))] if notes else [])


def _caption(result: TableResult) -> str:
    """What the marks of a table's figure are, in plain words."""
    measured = "fine-tuning" if result.rows[0].cell.fine_tunes else "a linear classifier"
    return (
        f"Left: the paper's numbers, with the half-ranges that it prints. Right: ours, filled by {measured} with the "
        "range over seeds, hollow by 20 nearest neighbors. The panels have different axes; compare the order of rows."
    )


def _row(row: RowResult) -> tuple[str, ...]:
    paper = ""
    if row.cell.paper is not None:
        paper = f"{row.cell.paper.value:g}" + (f" ± {row.cell.paper.spread:g}" if row.cell.paper.spread else "")
    words = ", ".join(
        word if count == len(row.lines) else f"{word} ({count} of {len(row.lines)})"
        for word, count in row.verdicts.items()
    )
    return row.cell.title, paper, _mean(row.ours), _mean(row.knn), words, str(len(row.lines))


def _mean(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    return f"{mean:.1f}" + (f" ± {(max(values) - min(values)) / 2:.1f}" if len(values) > 1 else "")


def _order(result: TableResult) -> str:
    ranked, by_knn = result.ranked(), tau_of(result.ranked_by_knn())
    said = f"Kendall's tau-b between the paper's rows and ours: {_weighed(ranked)}"
    if not math.isnan(by_knn):
        said += f", by 20-NN {by_knn:.2f}"
    for group, rows in result.ranked_by_method().items():
        if not math.isnan(tau_of(rows)):
            said += f"; of {GROUPS[group]}'s rows alone {_weighed(rows)}"
    right, of = decided(ranked)
    return f"{said}. Of {of} pairs of rows that differ by more than the paper's spread, {right} are in its order here."


def _weighed(rows: Sequence[Row]) -> str:
    return f"**{tau_of(rows):.2f}** ({_each_seed(rows)})"


def _left_out(result: TableResult) -> list[str]:
    """Sentences about cells without results and about lines that were ignored."""
    said = []
    if result.missing:
        said.append(f"Not run yet: {'; '.join(cell.title for cell in result.missing)}.")
    for count, words in (
        (result.stale, "of other settings"),
        (result.others, "of other images"),
        (result.corrupt, "that cannot be read"),
    ):
        if count:
            lines, are = ("lines", "are") if count > 1 else ("line", "is")
            said.append(f"{count} {lines} {words} in the results file {are} ignored.")
    return said
