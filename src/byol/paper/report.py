"""`byol paper report`: all tables with results, the paper's rows next to ours, made from the results files alone."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from byol.errors import UserError
from byol.paper.catalog import TABLES
from byol.paper.cells import GROUPS
from byol.paper.chance import p_value
from byol.paper.claims_table import claims_blocks, claims_lines
from byol.paper.drops import HEADLINES, drops_blocks
from byol.paper.figures import rows_figure
from byol.paper.longer import longer_blocks
from byol.paper.overview import overview_blocks
from byol.paper.ranks import Row, decided, each_seed, mean_of, sentences, tau_of, tau_p
from byol.paper.scales import SCALES
from byol.paper.summary import Gathered, RowResult, TableResult, gather
from byol.paper.systems_table import systems_blocks
from byol.report.document import Block, Figure, Grid, Heading, Items, Paragraph, markdown, page
from byol.runtime.checkpoint import write_atomically
from byol.runtime.program import program


def marks(section: str) -> tuple[str, str]:
    """The lines around a section of a Markdown document: `results`, `claims`, or `summary` (of the claims)."""
    return f"<!-- paper:{section} -->", f"<!-- /paper:{section} -->"


def gather_all(results: Path) -> list[Gathered]:
    """All scales with results.

    Raises:
        UserError: there are no results.
    """
    found = [gather(results, make(), TABLES) for make in SCALES.values()]
    found = [gathered for gathered in found if gathered.tables]
    if not found:
        raise UserError(
            f"There are no results in {results} yet; run a table first, such as: {program()} paper targets."
        )
    return found


def write_report(results: Path, document: Path | None, to: Path, readme: Path | None = None) -> list[Path]:
    """Write the page, and what documents say between their `marks`.

    Args:
        results: folder of the results files.
        document: Markdown with marks of the results, and its figures beside it; without marks of the claims, these
            stand above the results.
        to: the HTML page.
        readme: Markdown that may have marks of the summary.

    Returns:
        The files that were written.

    Raises:
        UserError: there are no results, or the document lacks the marks.
    """
    scales = gather_all(results)
    claims, tables = claims_blocks(scales), report_blocks(scales)
    written = [to]
    if document is not None:
        text = document.read_text(encoding="utf-8")
        if marks("claims")[0] in text:
            made = fill(fill(text, "claims", _apart(claims)), "results", _apart(tables))
        else:
            made = fill(text, "results", _apart([*claims, *tables]))
        if made is None:
            before, after = marks("results")
            raise UserError(f"{document} has no lines {before} and {after}; add them where the tables belong.")
        for block in tables:
            if isinstance(block, Figure) and block.file:
                write_atomically(document.parent / block.file, block.svg.standalone())
                written.append(document.parent / block.file)
        write_atomically(document, made)
        written.append(document)
    if readme is not None:
        made = fill(readme.read_text(encoding="utf-8"), "summary", "\n".join(claims_lines(scales)) + "\n")
        if made is not None:
            write_atomically(readme, made)
            written.append(readme)
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to, page("The paper's tables, measured again", [*claims, *tables]))
    return written


def fill(text: str | None, section: str, made: str) -> str | None:
    """A document with a section made anew; None if it lacks the marks."""
    before, after = map(re.escape, marks(section))
    pattern = re.compile(f"({before}\n).*({after})", re.DOTALL)
    if text is None or not pattern.search(text):
        return None
    return pattern.sub(lambda found: f"{found[1]}{made}{found[2]}", text)


def _apart(blocks: Sequence[Block]) -> str:
    """Blocks as Markdown with an empty line before and after."""
    return f"\n{markdown(blocks)}\n"


def report_blocks(scales: Sequence[Gathered]) -> list[Block]:
    """The whole report, scale by scale."""
    blocks: list[Block] = []
    by_name = {gathered.scale.name: gathered for gathered in scales}
    for gathered in scales:
        blocks += overview_blocks(gathered)
        if gathered.scale.shorter in by_name:
            blocks += longer_blocks(by_name[gathered.scale.shorter], gathered)
        for name in HEADLINES:
            result = gathered.table(name)
            if result is not None:
                blocks += drops_blocks(result)
        blocks += systems_blocks(gathered.table("pretext"), gathered.table("pretext-minutes"))
        for result in gathered.tables:
            blocks += table_blocks(result)
    return blocks


def table_blocks(result: TableResult) -> list[Block]:
    """One table: its claim, its rows, their order, and the rows that disagree with the paper's."""
    table, scale = result.table, result.scale
    blocks: list[Block] = [
        Heading(f"{table.title} ({scale.name})", 3),
        Paragraph(f"{table.source}. The paper: {table.claim}. `{_command(result)}`"),
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


def _command(result: TableResult) -> str:
    table = result.table
    return f"byol paper {table.companion_of or table.name} --scale {result.scale.name} --seeds 3"


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
    return row.cell.title, paper, mean_of(row.ours), mean_of(row.knn), words, str(len(row.lines))


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
    return f"**{tau_of(rows):.2f}** (p {p_value(tau_p(rows))}; {each_seed(rows)})"


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
