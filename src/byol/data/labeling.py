"""Where the labels and groups of a run's images come from: the data itself, or what the user says instead."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from byol.data.group_names import look_like_groups
from byol.data.joined_labels import same_names
from byol.data.label_file import GROUP_COLUMNS, LABEL_COLUMNS, LabelFile
from byol.data.sources.base import Source
from byol.data.sources.class_names import named_labels
from byol.data.sources.files import FOLDER_NAMES, FileSource
from byol.data.sources.relabeled import Labels, relabeled
from byol.errors import UserError

FOLDERS = "folders"
"""The value of --groups that takes the folder names for groups."""
NAMES_SHOWN = 5
"""Names of classes or groups that a run prints."""


@dataclass(frozen=True, kw_only=True)
class Labeling:
    """What the user says of labels and groups, instead of what the data has."""

    labels: str | Path | None = None
    """A CSV file of path and label."""
    groups: str | Path | None = None
    """A CSV file of path and group, or "folders"."""
    unlabeled: bool = False
    """Whether the data's own labels are none."""

    def __post_init__(self) -> None:
        if self.unlabeled and self.labels is not None:
            raise UserError("--labels and --unlabeled contradict each other; give one of them.")

    @property
    def by_folders(self) -> bool:
        """Whether the folder names are groups."""
        return str(self.groups) == FOLDERS


@dataclass(frozen=True)
class Images:
    """The images of a run, with the labels and groups that count."""

    source: Source
    """What is trained on."""
    monitor: Source | None
    """What readings are of, where it was given."""
    notes: tuple[str, ...] = ()
    """What the run says of them, in sentences."""
    remark: str = ""
    """What the user should think about, or nothing."""


def label_images(data: Source, monitor: Source | None, labeling: Labeling) -> Images:
    """Put the labels and groups that the user gave in place of those of the data.

    Raises:
        UserError: a file that cannot be read or names none of the images, or groups without labels.
    """
    found, watched = Labels.of(data), None if monitor is None else Labels.of(monitor)
    said: list[str] = []
    if labeling.groups is not None:
        found, watched = _grouped(data, monitor, labeling.groups, found, watched)
    if labeling.unlabeled:
        found = replace(found, labels=None, classes=None, labels_from="")
    if labeling.labels is not None:
        found, watched = _from_file(data, monitor, labeling.labels, found, watched)
    elif watched is not None and _overruled(found, watched):
        said.append(
            f"labels: those of {monitor.name if monitor else ''} count; the folder names of {data.name} share none"
        )
        found = replace(found, labels=None, classes=None, labels_from="")
    found, watched = _with_groups_that_serve(found), None if watched is None else _with_groups_that_serve(watched)
    if labeling.groups is not None and found.labels is None and watched is None:
        raise UserError(
            "--groups holds groups apart where labels are read, but there are no labels: give --labels or --monitor "
            "too, or leave --groups out."
        )
    said += [_labels_in_words(found)] if found.labels is not None else []
    said += [_groups_in_words(found, labeling)] if found.groups is not None else []
    return Images(
        data if found == Labels.of(data) else relabeled(data, found),
        monitor if monitor is None or watched is None or watched == Labels.of(monitor) else relabeled(monitor, watched),
        tuple(said),
        _remark(found),
    )


def _from_file(
    data: Source, monitor: Source | None, file: str | Path, found: Labels, watched: Labels | None
) -> tuple[Labels, Labels | None]:
    """The labels of a file, for the images to train on and for those of the monitor that it names."""
    table = LabelFile.read(file, LABEL_COLUMNS)
    _, classes = named_labels(list(table.rows.values()))
    if len(classes) < 2:
        raise UserError(f"{str(file)!r} has one label, {classes[0]!r}, but a reading needs two classes or more.")
    numbers = {name: number for number, name in enumerate(classes)}
    of_data, of_monitor = _of_both(table, data, monitor)

    def labeled(before: Labels, values: Sequence[str | None]) -> Labels:
        return replace(before, labels=_numbered(values, numbers), classes=classes, labels_from=table.path.name)

    found = labeled(found, of_data)
    if watched is not None and of_monitor is not None:
        watched = labeled(watched, of_monitor)
    return found, watched


def _grouped(
    data: Source, monitor: Source | None, groups: str | Path, found: Labels, watched: Labels | None
) -> tuple[Labels, Labels | None]:
    """The groups of the images to train on, and of those of the monitor that the file names."""
    if str(groups) == FOLDERS:
        if found.labels is None or found.labels_from != FOLDER_NAMES:
            raise UserError(
                "--groups folders needs a sub-folder per group, two or more with all images in them, but "
                f"{data.name!r} has none; give a CSV file of path and group."
            )
        return replace(found, labels=None, classes=None, labels_from="", groups=found.labels, groups_from=""), watched
    table = LabelFile.read(groups, GROUP_COLUMNS)
    names = sorted(set(table.rows.values()))
    if len(names) < 2:
        raise UserError(f"{str(groups)!r} has one group, {names[0]!r}; give two or more, or leave --groups out.")
    numbers = {name: number for number, name in enumerate(names)}
    of_data, of_monitor = _of_both(table, data, monitor)
    found = replace(found, groups=_numbered(of_data, numbers), groups_from="")
    if watched is not None:
        of_watched = None if of_monitor is None else _numbered(of_monitor, numbers)
        watched = replace(watched, groups=of_watched, groups_from="")
    return found, watched


def _of_both(
    table: LabelFile, data: Source, monitor: Source | None
) -> tuple[list[str | None], list[str | None] | None]:
    """What a file says of the images to train on, and of those of the monitor; None where it names none of these.

    Raises:
        UserError: it names none of the images to train on, or says two things of one.
    """
    of_data = table.values(data)
    if not any(value is not None for value in of_data):
        raise table.unknown(data)
    if not isinstance(monitor, FileSource):  # there is none, or its images have labels of their own
        return of_data, None
    of_monitor = table.values(monitor)
    return of_data, of_monitor if any(value is not None for value in of_monitor) else None


def _with_groups_that_serve(found: Labels) -> Labels:
    """Without groups that the data itself has where a class has one group only: no other group could vote for it."""
    if not found.groups_from or found.groups is None:
        return found
    of_class: dict[int, set[int]] = {}
    for label, group in zip(found.labels or [], found.groups, strict=False):
        of_class.setdefault(label, set()).add(group)
    serve = found.labels is not None and all(len(groups) > 1 for label, groups in of_class.items() if label != -1)
    return found if serve else replace(found, groups=None, groups_from="")


def _numbered(values: Sequence[str | None], numbers: dict[str, int]) -> list[int]:
    return [-1 if value is None else numbers[value] for value in values]


def _overruled(found: Labels, watched: Labels) -> bool:
    """Whether the folder names of the data are something else than the classes of the monitor."""
    if found.labels_from != FOLDER_NAMES or not found.classes or not watched.classes:
        return False
    return not set(found.classes) & set(watched.classes) and not same_names(found.classes, watched.classes)


def _labels_in_words(found: Labels) -> str:
    assert found.labels is not None
    present = sorted(set(found.labels) - {-1})
    names = f": {_some([found.classes[number] for number in present])}" if found.classes is not None else ""
    labeled = sum(label >= 0 for label in found.labels)
    some = "" if labeled == len(found.labels) else f"; {labeled} of {len(found.labels)} images have one"
    origin = f" from {found.labels_from}" if found.labels_from else ""
    return f"labels: {len(present)} classes{origin}{names}{some}"


def _groups_in_words(found: Labels, labeling: Labeling) -> str:
    assert found.groups is not None
    known = sum(group >= 0 for group in found.groups)
    origin = FOLDER_NAMES if labeling.by_folders else found.groups_from or Path(str(labeling.groups)).name
    some = "" if known == len(found.groups) else f"; {known} of {len(found.groups)} images have one"
    return f"groups: {len(set(found.groups) - {-1})} from {origin}{some}"


def _some(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def _remark(found: Labels) -> str:
    if found.groups is not None or found.labels_from != FOLDER_NAMES or not look_like_groups(found.classes or []):
        return ""
    return (
        "The folder names look like patients or plates rather than classes: the reading then measures the batch "
        "effect; give --labels, --unlabeled or --groups."
    )
