"""What a pickle names and we do not know becomes a stand-in: it keeps what it is given, and does nothing."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


class StandIn:
    """An object of a class that is not on our list; of its own class, only the name is known.

    Nothing is imported by that name and nothing of it runs: a pickle can only make the stand-in keep things.
    """

    origin = ""
    """Module and name that the file gave."""

    arguments: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __new__(cls, *arguments: Any, **_: Any) -> "StandIn":
        made = super().__new__(cls)
        made.arguments, made.state, made.items = arguments, None, []
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        self.items.append(value)

    def extend(self, values: Any) -> None:
        self.items.extend(values)

    def add(self, value: Any) -> None:
        self.items.append(value)

    def __repr__(self) -> str:
        return f"<{self.origin}>"


def stand_in_for(module: str, name: str) -> type[StandIn]:
    """The class that stands for a name in a pickle."""
    return type("StandIn", (StandIn,), {"origin": f"{module}.{name}"})


def attributes(value: Any) -> Mapping[str, Any]:
    """What is known of a thing by name: the items of a dict, or the attributes that a stand-in was given."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, StandIn) and isinstance(value.state, Mapping):
        return value.state
    return {}


def is_module(value: Any) -> bool:
    """Whether a stand-in is that of a whole `nn.Module`."""
    return isinstance(value, StandIn) and {"_parameters", "_modules"} <= set(attributes(value))


def module_state(module: StandIn, prefix: str = "", above: frozenset[int] = frozenset()) -> dict[str, Tensor]:
    """The state dict of a whole module that was pickled: weights, persistent buffers, and those of its parts.

    Args:
        module: its stand-in.
        prefix: of the names.
        above: the modules that this one is a part of; one that is a part of itself is passed over.
    """
    about = attributes(module)
    passing = set(about.get("_non_persistent_buffers_set") or ())
    state = {
        prefix + name: value
        for kind in ("_parameters", "_buffers")
        for name, value in attributes(about.get(kind)).items()
        if isinstance(value, Tensor) and name not in passing
    }
    for name, part in attributes(about.get("_modules")).items():
        if is_module(part) and id(part) not in above:
            state |= module_state(part, f"{prefix}{name}.", above | {id(module)})
    return state
