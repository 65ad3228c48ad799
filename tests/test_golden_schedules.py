"""The learning rate and tau at every step that the official schedules were asked for."""

import numpy as np
import pytest

import golden_names as golden
from byol.optim.schedules import learning_rate, tau

ARRAYS = golden.load("schedules")


@pytest.mark.parametrize("config", range(int(ARRAYS["num_configs"])))
def test_learning_rate(config: int) -> None:
    peak = float(ARRAYS["base_learning_rate"][config] * ARRAYS["batch_size"][config] / 256)
    ours = [
        learning_rate(
            int(step),
            peak=peak,
            warmup_steps=int(ARRAYS["warmup_steps"][config]),
            total_steps=int(ARRAYS["total_steps"][config]),
        )
        for step in ARRAYS[f"config{config}/steps"]
    ]
    golden.assert_close(np.array(ours), ARRAYS[f"config{config}/learning_rate"], 1e-6 * peak)


@pytest.mark.parametrize("config", range(int(ARRAYS["num_configs"])))
def test_tau(config: int) -> None:
    ours = [
        tau(int(step), base=float(ARRAYS["base_ema"][config]), total_steps=int(ARRAYS["total_steps"][config]))
        for step in ARRAYS[f"config{config}/steps"]
    ]
    golden.assert_close(np.array(ours), ARRAYS[f"config{config}/tau"], 5e-7)
