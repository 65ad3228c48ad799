"""One sentence on what holds a machine back, from measured numbers alone."""

from dataclasses import dataclass

from byol.bench.ceilings import Ceilings
from byol.bench.limits import Limit
from byol.bench.profile import BACKWARD, COLOR, CROP, DECODE, ONLINE, TARGET, WAITING, Profile

KEEPS_UP = 0.95
"""Share of the step's speed from which on the pipeline counts as keeping up."""
FASTER = 1.5
"""How many times as fast bf16 must multiply to be worth advising."""
SHORT_STEP = 0.02
"""Seconds; where the limit of a GPU's step is less, starting kernels may take longer than running them."""
STARTING = 0.9
"""Part of the time in which kernels are being started from which on such a GPU counts as waiting for them."""
NETWORK_PARTS = (ONLINE, TARGET, BACKWARD)


@dataclass(frozen=True)
class Findings:
    """All that the advice is drawn from."""

    device: str
    """cpu, cuda or mps."""
    precision: str
    threads: int
    """Threads that PyTorch computes with."""
    cores: int
    """Cores that this process may use."""
    pipeline: float
    step: float
    together: float
    """Images per second."""
    started: float
    """Part of a step's time in which its kernels were being started; a processor starts nothing ahead."""
    ceilings: Ceilings
    limit: Limit
    profile: Profile

    @property
    def share(self) -> float:
        """What the step reaches of its limit."""
        return self.step / self.limit.images_per_second(self.ceilings)


def advise(found: Findings) -> str:
    """What holds this machine back most, and what to do about it: the first of the causes that holds.

    Settings that cost without need come first, then the pipeline, then the machine itself.
    """
    gain = found.ceilings.bf16 / found.ceilings.float32
    if found.device == "cpu" and found.threads < found.cores:
        return (
            f"Few threads: PyTorch computes with {found.threads} of {found.cores} cores; unset OMP_NUM_THREADS, or set "
            f"it to {found.cores}."
        )
    if found.precision == "float32" and gain >= FASTER:
        return (
            f"float32: this machine multiplies bf16 {gain:.1f} times as fast; leave --precision at auto, or give "
            "--precision bf16."
        )
    if found.together < KEEPS_UP * found.step:
        return _pipeline(found)
    limit = found.limit.seconds(found.ceilings)
    if found.device == "cuda" and limit < SHORT_STEP and found.started > STARTING:
        return (
            f"Small batch: a step of {found.limit.images} images needs {1000 * limit:.1f} ms of this GPU and takes "
            f"{1000 * found.limit.images / found.step:.1f} ms, in {found.started:.0%} of which kernels are started one "
            "by one; give --optim.cuda-graph, or a larger --batch-size."
        )
    bound, what = ("memory bandwidth", "moves bytes") if _by_memory(found) else ("matrix products", "multiplies")
    slowest = max(NETWORK_PARTS, key=lambda part: found.profile.seconds[part])
    return (
        f"The {bound}: images arrive fast enough, and the step reaches {found.share:.0%} of what this machine could if "
        f"it {what} and nothing else, most of its time in the {slowest}; only a smaller --encoder, --image-size or "
        "another machine is much faster."
    )


def _by_memory(found: Findings) -> bool:
    return found.limit.bound_by_memory(found.ceilings)


def _pipeline(found: Findings) -> str:
    """The pipeline holds the step up: by which part of it."""
    seconds = {part: found.profile.seconds[part] for part in (DECODE, CROP, COLOR)}
    if found.profile.beside and found.profile.seconds[WAITING] > seconds[CROP] + seconds[COLOR]:
        # what the threads that decode and crop could not have ready in time
        seconds = {DECODE: 0.0, CROP: 0.0, COLOR: 0.0, **found.profile.beside}
    slowest = max(seconds, key=lambda part: seconds[part])
    lost = f"the run reaches {found.together / found.step:.0%} of the step's speed"
    if slowest == DECODE:
        return (
            f"Decoding: {lost}; store the images smaller (twice the --image-size is enough), hold them in memory "
            "(--data.memory always), or give this machine more cores."
        )
    if slowest == CROP and seconds[DECODE] > 0:  # large images, one by one
        return f"Cropping: {lost}; store the images smaller (twice the --image-size is enough), or give more cores."
    spent = 1000 * (seconds[CROP] + seconds[COLOR])
    help_ = "or more cores help" if found.device == "cpu" else "help"
    return (
        f"Augmentation: {lost}, and crops and color take {spent:.3g} ms of each update; only fewer operations "
        f"(--augment.view1.blur 0, for example, which trains another thing) {help_}."
    )
