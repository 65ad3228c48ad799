"""A source in one line of words."""

from byol.data.sources.open import Source
from byol.data.survey import Survey


def describe(source: Source, seen: Survey) -> str:
    """How many images, how large, which channels, how deep, how many classes."""
    size = f"{seen.width_median} x {seen.height_median} px" + ("" if seen.same_size else " in the median")
    labels = "" if source.labels is None else f", {len(set(source.labels) - {-1})} classes"
    bad = f", {seen.bad} of {seen.sampled} sampled cannot be read" if seen.bad else ""
    color = {1: "gray", 3: "color"}.get(seen.channels, f"{seen.channels} channels")
    remark = f"; {source.remark}" if source.remark else ""
    return f"{source.name}: {seen.count} images, {size}, {color}, {seen.depth}{labels}{bad}{remark}"
