"""Two processes with half a batch each learn what one with all of it learns: systems with memories and negatives."""

import os
import subprocess
import sys
from pathlib import Path

from test_distributed import free_port


def test_losses_gradients_and_memories_are_those_of_the_joined_batch() -> None:
    script = Path(__file__).with_name("two_processes_systems.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = [*launcher, "--master-port", str(free_port()), str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
