"""What settings check of their own values."""

from byol.errors import UserError


def require(holds: bool, name: str, given: object, allowed: str) -> None:
    """Refuse a setting's value in one sentence.

    Raises:
        UserError: `holds` is false.
    """
    if not holds:
        raise UserError(f"{name} is {given!r}, but must be {allowed}.")
