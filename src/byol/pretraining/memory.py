"""What a run that does not fit into memory can do about it, in a sentence."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from byol.config.values import replace
from byol.errors import UserError, memory_is_full
from byol.pretraining.checks import check
from byol.pretraining.setup import Run
from byol.runtime import distributed


@contextmanager
def memory_explained(run: Run) -> Iterator[None]:
    """Where memory runs out, say what takes less."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not memory_is_full(error):
            raise
        config, accumulate = run.config, run.config.optim.accumulate
        images = config.batch_size // (distributed.world_size() * accumulate)
        less: dict[str, dict[str, Any]] = {
            "--optim.activation-checkpointing": {"optim__activation_checkpointing": True},
            f"--optim.accumulate {2 * accumulate}": {"optim__accumulate": 2 * accumulate},
        }
        offered = "".join(f"{flag}, " for flag, change in less.items() if _would_start(run, change))
        raise UserError(
            f"The memory of {run.device.type} is full, with {images} images of {config.image_size} px at once on "
            f"{config.encoder.name}; end what else takes it, or start with {offered}a smaller --batch-size, "
            "--image-size or --encoder."
        ) from error


def _would_start(run: Run, change: Mapping[str, Any]) -> bool:
    try:
        changed = replace(run.config, **change)
        check(changed, run.source)
    except UserError:
        return False
    return changed != run.config
