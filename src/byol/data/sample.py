"""Which images stand for a whole source: a sample that is spread evenly over it."""

__all__ = ["evenly"]


def evenly(count: int, sample: int) -> list[int]:
    """At most `sample` numbers below `count`, evenly spread, the first and the last among them."""
    if count <= sample:
        return list(range(count))
    return [round(step * (count - 1) / max(sample - 1, 1)) for step in range(sample)]
