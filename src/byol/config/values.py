"""Settings as plain values: to JSON and back, strictly, and copies with some of them changed."""

import dataclasses
import json
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from byol.errors import UserError, nearest

Config = TypeVar("Config")


def to_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON values."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return values


def from_json(cls: type[Config], values: Mapping[str, Any], path: str = "") -> Config:
    """A config from plain values; an unknown key is an error that names the nearest right one.

    Raises:
        UserError: a key that does not exist, or a value of the wrong kind.
    """
    hints = get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise UserError(f"There is no setting {path + key!r}.{nearest(key, hints)}")
    return cls(**{key: _typed(hints[key], value, path + key) for key, value in values.items()})


def _typed(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):
            return value
        if not isinstance(value, Mapping):
            raise UserError(f"{path} is {value!r}, but is a section of settings.")
        return from_json(hint, value, path + ".")
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in args:
            raise UserError(f"{path} is {value!r}, but must be one of {', '.join(map(repr, args))}.")
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _typed(next(a for a in args if a is not type(None)), value, path)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{path} is {value!r}, but is a list of values.")
        if args[-1] is not Ellipsis and len(value) != len(args):
            raise UserError(f"{path} is {value!r}, but is a list of {len(args)} values.")
        return tuple(_typed(args[0], v, path) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise UserError(f"{path} is {value!r}, but must be of type {hint.__name__}.")
    return value


def replace(config: Config, **changes: Any) -> Config:
    """A copy with some settings changed; `section__key=value` reaches into a section.

    Raises:
        UserError: a key that does not exist, or a value of the wrong kind.
    """
    hints = get_type_hints(type(config))
    flat: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        head, _, rest = key.partition("__")
        if head not in hints:
            raise UserError(f"There is no setting {head!r}.{nearest(head, hints)}")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            flat[head] = _typed(hints[head], value, head)
    for head, inner in nested.items():
        flat[head] = replace(flat.get(head, getattr(config, head)), **inner)
    return dataclasses.replace(config, **flat)  # type: ignore[type-var]
