"""How many bits per channel formats have of which Pillow keeps 8: JPEG 2000 in color, and AVIF."""

__all__ = ["stored_bits"]

CODESTREAM = b"\xff\x4f\xff\x51"
"""The marks SOC and SIZ, with which a JPEG 2000 codestream begins (ISO/IEC 15444-1, Annex A)."""
COMPONENTS = 40
"""Offset of the number of components from the first mark; then three bytes for each, the first of them its depth."""

AVIF_CONFIG = b"av1C"
"""The box whose third byte has the depth (AV1 in ISOBMFF, section 2.3)."""
HIGH, TWELVE = 0x40, 0x20


def stored_bits(data: bytes, kind: str) -> int:
    """Bits of the deepest channel of a file; 8 where it does not say.

    Args:
        data: the whole file.
        kind: what `Header.kind` calls its format.
    """
    if kind == "JPEG 2000":
        start = data.find(CODESTREAM)
        count = int.from_bytes(data[start + COMPONENTS : start + COMPONENTS + 2], "big")
        depths = data[start + COMPONENTS + 2 :][: 3 * min(count, 4) : 3]
        return max(((depth & 0x7F) + 1 for depth in depths), default=8) if start >= 0 else 8
    if kind == "AVIF":
        start = data.find(AVIF_CONFIG)
        flags = data[start + 6] if 0 <= start < len(data) - 6 else 0
        return 12 if flags & HIGH and flags & TWELVE else 10 if flags & HIGH else 8
    return 8
