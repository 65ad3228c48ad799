"""Settings as plain values: to JSON and back, strictly, and copies with some of them changed."""

import dataclasses
import json
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from byol.config.renamed import current_name
from byol.errors import UserError, nearest

Config = TypeVar("Config")


def to_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON values; a variant of a section says its `name`."""
    values: dict[str, Any] = {"name": config.name} if _is_variant(type(config)) else {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        values[field.name] = to_json(value) if dataclasses.is_dataclass(value) else json.loads(json.dumps(value))
    return values


def from_json(cls: type[Config], values: Mapping[str, Any], path: str = "") -> Config:
    """A config from plain values; an unknown key is an error that names the nearest right one.

    Raises:
        UserError: a key that does not exist, or a value of the wrong kind.
    """
    hints = _hints(cls)
    given = {key: value for key, value in values.items() if not (key == "name" and _is_variant(cls))}
    for key in given:
        if key not in hints:
            raise UserError(f"There is no setting {path + key!r}.{nearest(key, hints)}")
    return cls(**{key: _typed(hints[key], value, path + key) for key, value in given.items()})


def replace(config: Config, **changes: Any) -> Config:
    """A copy with some settings changed; `section__key=value` reaches into a section.

    A section may be given as a name: `encoder="resnet18"`, `method="simclr"`. Another method keeps the settings that
    both have and that were changed from their default.

    Raises:
        UserError: a key that does not exist, or a value of the wrong kind.
    """
    return _replace(config, {current_name(key): value for key, value in changes.items()}, "")


def _replace(config: Config, changes: Mapping[str, Any], path: str) -> Config:
    hints = _hints(type(config))
    flat: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        head, _, rest = key.partition("__")
        if head not in hints:
            likely = _others_have(head, config) or nearest(head, hints)
            raise UserError(f"There is no setting {path + head!r}.{likely}")
        if rest:
            nested.setdefault(head, {})[rest] = value
        elif isinstance(value, str) and _sections(hints[head]):
            flat[head] = _named(hints[head], getattr(config, head), value, path + head)
        else:
            flat[head] = _typed(hints[head], value, path + head)
    for head, inner in nested.items():
        flat[head] = _replace(flat.get(head, getattr(config, head)), inner, f"{path}{head}.")
    return dataclasses.replace(config, **flat)  # type: ignore[type-var]


def _typed(hint: Any, value: Any, path: str) -> Any:
    if sections := _sections(hint):
        if isinstance(value, tuple(sections)) or (value is None and type(None) in get_args(hint)):
            return value
        if not isinstance(value, Mapping):
            raise UserError(f"{path} is {value!r}, but is a section of settings.")
        return from_json(_variant(sections, value.get("name"), path), value, path + ".")
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


def _sections(hint: Any) -> list[type[Any]]:
    """The dataclasses that a setting may be: one section, or the variants of it that differ in their `name`."""
    variants = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [kind for kind in variants if isinstance(kind, type) and dataclasses.is_dataclass(kind)]


def _variant(sections: list[type[Any]], name: Any, path: str) -> type[Any]:
    if len(sections) == 1:
        return sections[0]
    known = {kind.name: kind for kind in sections}
    if name not in known:
        raise UserError(
            f"{path} is {name!r}, but must be one of {', '.join(map(repr, known))}.{nearest(str(name), known)}"
        )
    return known[name]


def _named(hint: Any, current: Any, name: str, path: str) -> Any:
    """A section given by a name: the same settings under that name, or the variant of that name."""
    sections = _sections(hint)
    if len(sections) == 1:
        if "name" not in _hints(sections[0]):
            raise UserError(f"{path} is {name!r}, but is a section of settings.")
        return _replace(current, {"name": name}, path + ".")
    wanted = _variant(sections, name, path)
    if isinstance(current, wanted):
        return current
    return wanted(**{key: value for key, value in _changed(current) if key in _hints(wanted)})


def _changed(config: Any) -> Iterator[tuple[str, Any]]:
    """The settings of a section that differ from their default."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            yield field.name, value


def _hints(cls: type[Any]) -> dict[str, Any]:
    """The types of a section's settings."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _is_variant(cls: type[Any]) -> bool:
    """Whether a section is one of several that differ in their `name`."""
    return isinstance(getattr(cls, "name", None), str) and "name" not in _hints(cls)


def _others_have(key: str, config: Any) -> str:
    """Which variants of a section have a setting that this one lacks."""
    if not _is_variant(type(config)):
        return ""
    family = next(base for base in reversed(type(config).__mro__) if dataclasses.is_dataclass(base))
    have = [kind.name for kind in _variants_below(family) if key in _hints(kind)]
    if not have:
        return ""
    listed = " and ".join(part for part in (", ".join(have[:-1]), have[-1]) if part)
    return f" The method {config.name!r} has none; {listed} ha{'ve' if len(have) > 1 else 's'} it."


def _variants_below(base: Any) -> list[Any]:
    """The named variants of a section, in the order in which they were written."""
    found: list[Any] = []
    for kind in base.__subclasses__():
        found += [kind] if _is_variant(kind) else []
        found += [other for other in _variants_below(kind) if other not in found]
    return found
