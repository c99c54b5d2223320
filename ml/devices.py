"""Where and how exactly to compute: device, number type, thread count."""

import contextlib
from collections.abc import Iterator

import torch

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
SMALL_STEP_VALUES = 150_000  # 64 images of 48x48


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device that was asked for, else CUDA, else MPS, else the CPU.

    Raises ValueError in one sentence if the device that was asked for is not there.
    """
    if device is not None:
        return _check_device(torch.device(device))
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _check_device(device: torch.device) -> torch.device:
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(device.type, False):
        raise ValueError(f"this machine has no {device.type} device that torch can use")
    return device


def pick_precision(device: torch.device, asked: str = "auto") -> str:
    """Return what was asked for, or for "auto" the faster of "bfloat16" and "float32" on this device.

    On the CPU bfloat16 pays only with AVX512-BF16 or AMX instructions (2.8 to 3.4 times float32 there, slower than
    float32 elsewhere). Raises ValueError for a word that is not in PRECISIONS.
    """
    if asked not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {asked!r}")
    if asked != "auto":
        return asked
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and is_cpu_fast_in_bfloat16()
    return "bfloat16" if fast else "float32"


def is_cpu_fast_in_bfloat16() -> bool:
    """True where the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which convolutions and matrix products run in `precision`; nothing else changes."""
    if precision == "float32":
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def plan_threads(*, values_per_step: int) -> int:
    """How many torch threads a training step of so many input values should use.

    Threads meet after every layer. A small step ends before the second thread has woken up: with batches of 42 images
    of 32x32 pixels one thread took a quarter of the CPU time of two, and less time too (docs/experiments.md).
    """
    return 1 if values_per_step < SMALL_STEP_VALUES else torch.get_num_threads()


@contextlib.contextmanager
def use_threads(threads: int) -> Iterator[int]:
    """Run the block with a fixed number of torch threads (0: as many as now) and put the old number back.

    Sums are split by thread, so only an equal count gives results that are equal to the bit. The count belongs to
    the whole process: do not train in two threads of one process at a time.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
