"""Source and documents speak the field's language, in American spelling.

A word that ends in `*` stands for all words that begin so. What a command printed and what a benchmark measured
(between `<!-- results:NAME -->` and `<!-- /results:NAME -->`, for example) is a record and is not searched.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = sorted((ROOT / "src").rglob("*.py"))
SCRIPTS = sorted([*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "examples").rglob("*.py")])
DOCS = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [*DOCS, *sorted(ROOT.glob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]

SPELLING = {
    "analyse*": "analyze",
    "artefact*": "artifact",
    "behaviour*": "behavior",
    "cancelled": "canceled",
    "catalogue*": "catalog",
    "centre*": "center",
    "colour*": "color",
    "favour*": "favor",
    "generalis*": "generaliz",
    "grey*": "gray",
    "honour*": "honor",
    "initialis*": "initializ",
    "judgement*": "judgment",
    "labelled": "labeled",
    "labelling": "labeling",
    "learnt": "learned",
    "licence*": "license",
    "maximis*": "maximiz",
    "metre*": "meter",
    "millimetre*": "millimeter",
    "minimis*": "minimiz",
    "modelled": "modeled",
    "neighbour*": "neighbor",
    "normalis*": "normaliz",
    "optimisation*": "optimization",
    "optimise*": "optimize",
    "optimising": "optimizing",
    "organis*": "organiz",
    "parallelise*": "parallelize",
    "penalis*": "penaliz",
    "per cent": "percent",
    "quantis*": "quantiz",
    "recognis*": "recogniz",
    "regularis*": "regulariz",
    "serialis*": "serializ",
    "solaris*": "solariz",
    "specialis*": "specializ",
    "standardis*": "standardiz",
    "summaris*": "summariz",
    "synchronis*": "synchroniz",
    "travelled": "traveled",
    "visualis*": "visualiz",
    "whilst": "while",
}

PRIVATE = {
    "CropRows": "CropBuffer",
    "Essence": "result_config",
    "Halves": "forward_backward and optimizer_step (cuda_graph.py)",
    "LOOKED_AT": "visible_settings",
    "OpenedEncoder": "LoadedEncoder",
    "UNRECORDED": "WARMUP_CALLS",
    "WatchConfig": "LoggingConfig",
    "choose.py": "auto.py",
    "joined_mean": "all_reduce_mean",
    "keeper": "callbacks",
    "keeper.py": "callbacks.py",
    "lone_workers": "single_threaded_pool",
    "looked_at": "visible_settings",
    "made_for": "fixed_input_size",
    "one_first": "local_main_first",
    "recompute.py": "activation_checkpointing.py",
    "recorded.py": "cuda_graph.py",
    "refusal": "unsupported_reason",
    "rows.py": "crop_buffer.py",
    "secede": "leave_group",
    "seen_size": "inference_size",
    "side_by_side": "parallel_for",
}
"""Names that this project alone used; whether letters are capitals matters."""

PROSE = {
    "an ear for signals": "signal handling",
    "asked about": "test images, or queries",
    "by part so": "partly",
    "come along": "bundled with, or installed with",
    "comes along": "bundled with, or installed with",
    "goes back through": "runs backward",
    "oftener": "more often",
    "read rightly": "decoded correctly",
    "rightly": "correctly",
    "told twice": "a duplicate",
    "whoever": "name the person or the part",
}

SETTINGS = {
    "--augment.mean": "--encoder.mean",
    "--augment.std": "--encoder.std",
    "--eval-size": "--encoder.input-size",
    "--loss.*": "--method.*",
    "--method random": "--epochs 0",
    "--moco.*": "--method.*",
    "--network.*": "--encoder.* or --method.*",
    "--optim.predictor-lr": "--method.predictor-lr",
    "--optim.projector-lr": "--method.projector-lr",
    "--optim.recompute": "--optim.activation-checkpointing",
    "--target.*": "--method.*",
    "--watch.*": "--logging.*",
    "loss__*": "method__*",
    "network__*": "encoder__* or method__*",
    "target__*": "method__*",
    "watch__*": "logging__*",
}
"""Settings of before. Documents and examples name the new ones; a reader of old files may know the old ones."""

TERMS = (
    "activation checkpointing",
    "callback",
    "data augmentation",
    "effective batch size",
    "exponential moving average",
    "gradient accumulation",
    "hyperparameter",
    "memory bank",
    "mixed precision",
    "prefetch",
)
"""What a person searches for must be found, in the source and in the documentation."""

RECORD = re.compile(r"<!-- (?P<name>\w+:[\w./-]+) -->.*?<!-- /(?P=name) -->", re.DOTALL)


class Finding(NamedTuple):
    """A word that must not be there: its line, the word, and what to write instead."""

    line: int
    word: str
    instead: str


def pattern(word: str) -> str:
    """A regular expression for a word as a whole, also across a line's end."""
    gap = r"[\s#]+"
    literal = gap.join(re.escape(part) for part in word.removesuffix("*").split())
    return rf"(?<![A-Za-z]){literal}" + ("" if word.endswith("*") else r"(?![A-Za-z])")


def without_records(text: str) -> str:
    """The text with its records blanked, every line at its place."""
    return RECORD.sub(lambda found: "\n" * found[0].count("\n"), text)


def search(text: str, words: Mapping[str, str]) -> Iterator[Finding]:
    """Every forbidden word in a text."""
    text = without_records(text)
    for word, instead in words.items():
        for found in re.finditer(pattern(word), text, re.NOFLAG if word in PRIVATE else re.IGNORECASE):
            yield Finding(text.count("\n", 0, found.start()) + 1, found[0], instead)


def complaints(files: list[Path], words: Mapping[str, str]) -> list[str]:
    """Every forbidden word in some files, as lines for a person."""
    return [
        f"{path.relative_to(ROOT)}:{found.line}: {found.word!r}, write: {found.instead}"
        for path in files
        for found in search(path.read_text(), words)
    ]


@pytest.mark.parametrize("words", [SPELLING, PRIVATE, PROSE], ids=["spelling", "private names", "prose"])
def test_no_word_of_before(words: dict[str, str]) -> None:
    found = complaints([*SOURCE, *SCRIPTS, *DOCUMENTS], words)
    assert not found, "\n".join(found)


def test_documents_name_the_settings_of_today() -> None:
    found = complaints([*DOCUMENTS, *sorted((ROOT / "examples").rglob("*.py"))], SETTINGS)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("place", ["src", "docs"])
def test_the_terms_of_the_field_are_found(term: str, place: str) -> None:
    files = SOURCE if place == "src" else DOCS
    spelled = re.compile(pattern(f"{term}*"), re.IGNORECASE)
    assert any(spelled.search(path.read_text()) for path in files), f"{term!r} occurs nowhere in {place}/"


def test_the_search_finds_every_word_of_its_lists() -> None:
    for words in (SPELLING, PRIVATE, PROSE, SETTINGS):
        for word, instead in words.items():
            text = f"first\n({word.replace('*', 'xyz')})\n"
            assert Finding(2, word.removesuffix("*"), instead) in set(search(text, words)), word


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The Colour of it", [Finding(1, "Colour", "color")]),
        ("def _colour_one(x):\n    pass", [Finding(1, "colour", "color")]),
        ("one\ntwo greyscale", [Finding(2, "grey", "gray")]),
        ("# photographs that come\n# along", [Finding(1, "come\n# along", "bundled with, or installed with")]),
        ("encoder: OpenedEncoder", [Finding(1, "OpenedEncoder", "LoadedEncoder")]),
        ("x.seen_size()", [Finding(1, "seen_size", "inference_size")]),
    ],
)
def test_the_search_says_where_and_what(text: str, found: list[Finding]) -> None:
    assert list(search(text, SPELLING | PRIVATE | PROSE)) == found


@pytest.mark.parametrize(
    "text",
    [
        "the color of a gray parameter in the center",  # "metre" is no part of "parameter"
        "both halves, unrecorded",  # a class and a constant were named so
        "unlabelled = 3  # a name in data of others: the list has whole words",
        "<!-- said:verdict -->\n10,000 images asked about\n<!-- /said:verdict -->",
        "<!-- results:limits/machine -->\n| grey |\n<!-- /results:limits/machine -->",
    ],
)
def test_the_search_passes_what_is_right(text: str) -> None:
    assert list(search(text, SPELLING | PRIVATE | PROSE)) == []


def test_a_record_ends_where_it_says() -> None:
    text = "<!-- said:x -->\ngrey\n<!-- /said:x -->\ngrey"
    assert list(search(text, SPELLING)) == [Finding(4, "grey", "gray")]
