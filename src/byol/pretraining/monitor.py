"""k-NN accuracy on labels that training never sees: the one number that says whether features get better."""

import math
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from byol.data.holdout import class_count, held_out, labeled_images, readable
from byol.data.joined_labels import labels_in_numbers_of, same_names
from byol.data.sources.open import Source
from byol.data.sources.relabeled import Labels, relabeled
from byol.data.transform import Transform
from byol.encoders.load import open_encoder
from byol.errors import UserError
from byol.evals.features import LabeledFeatures, Passes, extract
from byol.evals.grouped import GroupedPairs
from byol.evals.knn import Groups, K, knn_correct_among, nearest, vote_is_right
from byol.evals.labels import labeled
from byol.evals.paired import Pairs
from byol.runtime.seeds import generator_of

SAMPLE_BANK, SAMPLE_QUERIES = 5000, 1000
"""Images of a reading during training; the last reading takes all, up to the next number."""
FULL_MOST = 100_000
FIRST_IMAGES = 16
"""Images that show first whether a sample can be read to see how long that takes."""


COPY = 1 - 1e-5
"""Cosine of two images' pixels, 32 px, from which one is a copy of the other."""
FEWEST = 30
"""Labeled images of which a reading says anything."""


@dataclass(frozen=True)
class Reading:
    """One k-NN reading."""

    accuracy: float
    bank: int
    """Labeled images that vote."""
    queries: int
    """The test images."""
    k: int = K
    copies: int = 0
    """Queries that have an identical image in the bank, where that was looked for."""
    groups: Tensor | None = field(default=None, repr=False, compare=False)
    """(queries,) int64: their groups, where no image voted about one of its own; None: all voted."""
    correct: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool), repr=False, compare=False)
    """(queries,) bool: which of them were right, for tests on pairs."""

    def pairs_since(self, before: "Reading") -> Pairs:
        """How the answers to the same queries differ; by groups, where these are held apart."""
        if self.groups is None:
            return Pairs.of(before.correct, self.correct)
        return GroupedPairs.in_groups(before.correct, self.correct, self.groups)


def _reading(bank: int, correct: Tensor, groups: Tensor | None) -> Reading:
    return Reading(float(correct.float().mean()), bank, len(correct), correct=correct, groups=groups)


@dataclass(frozen=True)
class _Known:
    """Features of labeled images, and their groups where there are some."""

    features: LabeledFeatures
    groups: Tensor | None
    """(N,) int64."""


@dataclass
class Monitor:
    """A bank of labeled images, and queries that the encoder has not seen."""

    bank: Source
    queries: Source | None
    """None: each image of the bank is classified by all others."""
    transform: Transform
    passes: Passes

    def read(self, encoder: nn.Module, *, full: bool) -> Reading:
        """Accuracy of the 20 nearest neighbors' vote, on a fixed sample or on all images."""
        return self._read(encoder, full)[0]

    def sample(self, encoder: nn.Module, everything: Reading) -> Reading:
        """The reading on the fixed sample, from one of all images where the sample is all of them."""
        queries = 0 if self.queries is None else everything.queries
        small = everything.bank <= SAMPLE_BANK and queries <= SAMPLE_QUERIES
        return everything if small else self.read(encoder, full=False)

    def seconds(self, encoder: nn.Module, most: float = math.inf) -> float:
        """What the readings of a run will take: four samples, and twice everything at the end; from one sample.

        Where a few images show that a sample would take more than `most` seconds, from those.
        """
        asked = [self.bank] if self.queries is None else [self.bank, self.queries]
        everything = sum(min(len(part), FULL_MOST) for part in asked)
        sampled = sum(min(len(part), size) for part, size in zip(asked, (SAMPLE_BANK, SAMPLE_QUERIES), strict=False))
        began = time.perf_counter()
        few = self._features(encoder, self.bank, FIRST_IMAGES).features.values
        each = (time.perf_counter() - began) / len(few)
        if each * sampled > most:
            return each * (4 * sampled + 2 * everything)
        began = time.perf_counter()
        sample = self.read(encoder, full=False)
        read = sample.bank + (0 if self.queries is None else sample.queries)
        each = (time.perf_counter() - began) / read
        return each * (3 * read + 2 * everything)  # one of the four is done

    def read_pixels(self) -> Reading:
        """The same for the images' own values, which also show queries that are copies of images in the bank."""
        pixels = open_encoder("pixels", channels=self.bank.channels)
        monitor = replace(self, transform=pixels.transform, passes=replace(self.passes, autocast=False))
        reading, nearest_cosine = monitor._read(pixels.module, full=True)
        return replace(reading, copies=int((nearest_cosine > COPY).sum()))

    def _read(self, encoder: nn.Module, full: bool) -> tuple[Reading, Tensor]:
        """A reading, and the cosine of each query and its nearest image; none where there is no query."""
        known = self._features(encoder, self.bank, FULL_MOST if full else SAMPLE_BANK)
        bank = known.features
        if self.queries is None:
            correct = knn_correct_among(bank.values, bank.labels, groups=known.groups)
            return _reading(len(bank.values) - 1, correct, known.groups), torch.empty(0)
        asked = self._features(encoder, self.queries, FULL_MOST if full else SAMPLE_QUERIES)
        groups, queries = _apart(known, asked), asked.features
        similarity, voters = nearest(bank.values, bank.labels, queries.values, K, groups=groups)
        correct = vote_is_right(similarity, voters, queries.labels)
        return _reading(len(bank.values), correct, None if groups is None else groups.queries), similarity[:, 0]

    def _features(self, encoder: nn.Module, source: Source, most: int) -> _Known:
        if len(source) > most:
            chosen = torch.randperm(len(source), generator=generator_of("monitor", len(source)))[:most]
            source = source.subset(sorted(chosen.tolist()))
        known = labeled(source, "monitor")
        features = extract(encoder, known.images, self.transform, self.passes).with_labels(known.labels)
        groups = None if known.images.groups is None else torch.tensor(known.images.groups)[features.indices]
        return _Known(features, groups)


def _apart(bank: _Known, queries: _Known) -> Groups | None:
    """The groups of both, where both have some."""
    return None if bank.groups is None or queries.groups is None else Groups(bank.groups, queries.groups)


def split(
    data: Source, monitor: Source | None, seed: int, reads_labels: bool = False
) -> tuple[Sequence[int] | None, Source | None, Source | None, str]:
    """Decide which images are kept out of training, and who votes about whom.

    Returns:
        The numbers of the images to train on (None: all), the bank (None: no labels), the queries (None: each image of
        the bank is one), and a sentence.

    Raises:
        UserError: monitor data without labels, or with other classes or channels than the training data.
    """
    if monitor is not None:
        if monitor.channels != data.channels:
            raise UserError(
                f"The images of {data.name!r} and of the monitor data {monitor.name!r} have {data.channels} and "
                f"{monitor.channels} channels; give images of the same kind."
            )
        if monitor.labels is None:
            raise UserError(
                f"The monitor data {monitor.name!r} has no labels; give a folder with a sub-folder per class, "
                "or Parquet with a label column."
            )
        if data.labels is not None:
            monitor = _labeled_like(data, monitor)
            apart = data.groups is not None and monitor.groups is not None
            voters, asked = (_labeled_part(source, labeled_images(source, apart)) for source in (data, monitor))
            words = f"20-NN on {monitor.name}: {len(asked)} images that training never sees"
            return None, voters, asked, words + _held_apart(apart, data)
        asked = _labeled_part(monitor, readable(monitor))
        words = f"20-NN on {monitor.name}: each of {len(asked)} images classified by the others"
        return None, asked, None, words + _held_apart(monitor.groups is not None, data)
    known = readable(data)
    if class_count(data, known) < 2:
        _check_apart(data)
        return None, None, None, "no labels: the verdict rests on the health measures"
    count, apart = held_out(data, monitor, reads_labels), data.groups is not None
    if count == 0 and (reads_labels or len(known) < FEWEST):
        words = f"{len(known)} labeled images are too few to tell: the verdict rests on the health measures"
        return None, None, None, words
    if count == 0:
        words = f"20-NN: each of {len(known)} labeled images classified by the others (training never sees labels)"
        return None, _part(data, known), None, words + _held_apart(apart, data)
    order = torch.randperm(len(known), generator=generator_of(seed, "held out"))
    numbers = torch.frombuffer(known, dtype=torch.int64)
    asked, voting = torch.zeros(2, len(data), dtype=torch.bool)
    voting[numbers] = True
    asked[numbers[order[:count]]] = True
    unused = "" if reads_labels else " (the labels themselves are never used for it)"
    sentence = f"20-NN on {count} labeled images kept out of training{unused}{_held_apart(apart, data)}"
    rest, voters = _where(~asked), data.subset(_where(voting & ~asked))
    return rest, voters, data.subset(_where(asked)), sentence


def _where(chosen: Tensor) -> Sequence[int]:
    """The places of a mask, in a fifth of the memory of a list, which matters with a million of them."""
    return array("q", chosen.nonzero().numpy().tobytes())


def _part(source: Source, images: Sequence[int]) -> Source:
    return source if len(images) == len(source) else source.subset(images)


def _held_apart(apart: bool, data: Source) -> str:
    """What the sentence about readings says of groups."""
    if apart:
        return "; no neighbor of the same group votes"
    return "; groups are not held apart, as those of the monitor data are not known" if data.groups is not None else ""


def _labeled_part(source: Source, images: Sequence[int]) -> Source:
    """Some images of a source that can be read on, if any can."""
    if not images:
        raise UserError(
            f"No image of {source.name!r} has a label, and a group where groups are held apart, so nothing can be read "
            "on it; add some to the file."
        )
    return _part(source, images)


def _check_apart(data: Source) -> None:
    """Groups that leave a labeled image without anyone who could vote for its class."""
    known = labeled_images(data, grouped=False)
    if data.groups is not None and class_count(data, known) > 1:
        raise UserError(
            f"Of {len(known)} labeled images of {data.name!r} none has a class of two groups or more, so none "
            "can be told by images of other groups; give labels that occur in several groups, or leave --groups out."
        )


def _labeled_like(data: Source, monitor: Source) -> Source:
    """The monitor data, its classes numbered as in the training data.

    Raises:
        UserError: it has other classes.
    """
    if data.classes is not None and monitor.classes is not None and not same_names(data.classes, monitor.classes):
        only_one = sorted(set(data.classes) ^ set(monitor.classes))[:3]
        raise UserError(
            f"The classes of {data.name!r} and of the monitor data {monitor.name!r} differ, for example in "
            f"{only_one}; give both the same class folders, or --unlabeled where those of the first are no classes."
        )
    try:
        labels = labels_in_numbers_of(data, monitor)
    except UserError as error:
        said = str(error).rstrip(".")
        raise UserError(f"{said}, or --unlabeled where the first are no classes.") from error
    strange = sorted(set(labels) - set(labeled(data, "training").labels) - {-1})[:3]
    if strange and data.classes is None:
        raise UserError(
            f"The monitor data {monitor.name!r} has labels that the training data lacks, such as {strange}."
        )
    if labels == monitor.labels:
        return monitor
    return relabeled(monitor, Labels(labels=labels, classes=data.classes, groups=monitor.groups))
