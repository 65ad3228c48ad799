"""What `auto` chooses for encoders without batch norm: vision transformers and ConvNeXts.

Published for BYOL with transformers by MULAN (arXiv:2602.05845): AdamW, 3e-4 at a batch of 1024, beta2 0.98, weight
decay 0.1, gradients of at most norm 0.5. LARS collapses on them (stable-pretraining's RESULTS.md). Not measured here.
"""

import math

from byol.config.optim import OptimConfig

LR, LR_BATCH = 3e-4, 1024
"""Peak rate, and the batch size that it is for."""


def for_transformers(batch_size: int, epochs: float, reasons: list[str]) -> OptimConfig:
    """The optimizer for a batch size; why is added to `reasons`."""
    reasons.append(
        "AdamW at 3e-4 for 1024 images, beta2 0.98, weight decay 0.1, clipped at 0.5: published for BYOL with "
        "transformers (arXiv:2602.05845)"
    )
    # AdamW's rate goes with the square root of the batch (arXiv:2205.10287), and the setting is per 256 images
    lr = LR * math.sqrt(batch_size / LR_BATCH) * 256 / batch_size
    return OptimConfig(
        name="adamw",
        lr=float(f"{lr:.3g}"),
        beta2=0.98,
        weight_decay=0.1,
        clip=0.5,
        warmup_epochs=min(10.0, epochs / 10),
    )
