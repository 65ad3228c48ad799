"""The views of a batch in a few kernels: for a GPU, where starting a kernel may cost more than its work.

`apply.py` gives every image only the operations that were drawn for it. Here every image goes through all of them, and
the result is kept where it was drawn: four times the arithmetic and none of the bookkeeping, so torch.compile makes one
chain of it. A CPU gains nothing from that.
"""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from byol.augment import crop, ops
from byol.augment.apply import apply_where_drawn
from byol.augment.normalize import as_float, scale_and_shift
from byol.augment.ops import APPLIED, Operation
from byol.augment.params import Values, ViewParams
from byol.augment.views import alike_views
from byol.config.views import Normalization

Columns = tuple[tuple[str, str, int, int], ...]
"""Where numbers are in the packed tensor: the operation's name, their own name, their first column, and their width,
which is 0 for tensors (N,)."""


def fused_views(
    images: Sequence[Tensor],
    params: Sequence[ViewParams],
    normalization: Normalization,
    sizes: Sequence[int] | None = None,
) -> tuple[Tensor, ...]:
    """Normalized views, (N, C, S, S) each, of the same N images; arguments are those of `views.make_views`."""
    out: dict[int, Tensor] = {}
    for alike in alike_views(images, sizes):
        size = sizes[alike[0]] if sizes else None
        together = torch.cat([images[i] for i in alike])
        made = _fused_view(together, ViewParams.join(*(params[i] for i in alike)), normalization, size)
        out.update(zip(alike, made.chunk(len(alike)), strict=True))
    return tuple(out[i] for i in range(len(images)))


def _fused_view(images: Tensor, params: ViewParams, normalization: Normalization, size: int | None) -> Tensor:
    x = images if size is None else crop.crop_views(images, params, size)
    operations = ops.others() if size is not None else [*ops.geometric(), *ops.others()]
    operations = [operation for operation in operations if operation.suits(x)]
    columns, packed = pack(params, [operation for operation in operations if operation.fuses])
    packed = packed.to(x.device, non_blocking=True)
    waiting: list[Operation] = []
    for operation in operations:
        if operation.fuses:
            waiting.append(operation)
        else:
            x = compiled(chain, tuple(waiting), columns)(x, packed)
            x = apply_where_drawn(x, operation, params)
            waiting = []
    dtype = x.dtype if x.is_floating_point() else torch.float32
    return compiled(end, tuple(waiting), columns)(x, packed, *scale_and_shift(normalization, dtype, x.device))


def pack(params: ViewParams, operations: Sequence[Operation]) -> tuple[Columns, Tensor]:
    """Pack the numbers of some operations into one float32 tensor (N, K), which travels to the device at once."""
    columns: list[tuple[str, str, int, int]] = []
    packed: list[Tensor] = []
    width = 0
    for operation in operations:
        for key, t in params.numbers.get(operation.name, {}).items():
            columns.append((operation.name, key, width, t.shape[1] if t.ndim > 1 else 0))
            packed.append((t if t.ndim > 1 else t.unsqueeze(1)).float())
            width += packed[-1].shape[1]
    return tuple(columns), torch.cat(packed, dim=1) if packed else torch.empty(len(params), 0)


def unpack(packed: Tensor, columns: Columns, operation: Operation) -> Values:
    """One operation's numbers as tensors (N,) or (N, k)."""
    values = {
        key: packed[:, first : first + width] if width else packed[:, first]
        for name, key, first, width in columns
        if name == operation.name
    }
    return {key: t > 0 if key == APPLIED else t for key, t in values.items()}


@cache
def compiled(make: Callable[..., Callable[..., Tensor]], *of: object) -> Callable[..., Tensor]:
    """`chain` or `end` of some operations, fused by torch.compile for the shapes of a run."""
    return torch.compile(make(*of), dynamic=False)


def chain(operations: Sequence[Operation], columns: Columns) -> Callable[[Tensor, Tensor], Tensor]:
    """Operations in a row: (N, C, H, W) uint8, or float in [0, 1], and packed numbers -> float in [0, 1]."""

    def run(x: Tensor, packed: Tensor) -> Tensor:
        return _apply_to_all(x, packed, operations, columns)

    return run


def end(operations: Sequence[Operation], columns: Columns) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The last operations in a row, and the normalization."""

    def run_end(x: Tensor, packed: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return _apply_to_all(x, packed, operations, columns) * scale + shift

    return run_end


def _apply_to_all(x: Tensor, packed: Tensor, operations: Sequence[Operation], columns: Columns) -> Tensor:
    x = as_float(x)
    for operation in operations:
        x = operation.all(x, unpack(packed, columns, operation))
    return x
