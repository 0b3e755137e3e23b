"""What this machine computes in: the floating-point format, and whether it can compile.

Matrix products run in float32, or in bfloat16 with float32 parameters (autocast).

On a GPU of 2020 or later bfloat16 is always faster. On a CPU it depends: with the right instructions it is twice as fast,
without them many times slower. Where a budget lets us measure, both are timed on the real step (`plan`); else `rule`
decides by what the hardware says of itself, so that the same recipe gives the same bytes on the same machine.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec

import torch

FORMATS = ("fp32", "bf16")


def rule(device: torch.device) -> str:
    """'bf16' on GPUs that compute in it, 'fp32' elsewhere: never slower than it should be by much, and exact."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return "bf16"
    return "fp32"


def candidates(device: torch.device) -> list[str]:
    """The formats worth timing on this hardware; bfloat16 without instructions for it is not."""
    if device.type == "cuda":
        return ["bf16", "fp32"] if torch.cuda.get_device_capability(device) >= (8, 0) else ["fp32"]
    return ["fp32", "bf16"] if native_bfloat16() else ["fp32"]


def native_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (AVX-512 BF16 or AMX)."""
    import torch.cpu

    return any(bool(getattr(torch.cpu, name, bool)()) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def compiler() -> bool:
    """Whether torch.compile can work here: on a CPU it needs a C++ compiler, on a GPU Triton."""
    if torch.cuda.is_available():
        return find_spec("triton") is not None
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
