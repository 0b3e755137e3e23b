"""What this machine computes in: the floating-point format, and whether it can compile.

Matrix products run in float32, or in bfloat16, float16 or float8 with float32 parameters. float16 holds nothing above
65,504 and little below 1e-7, so that its losses are multiplied by a scale that grows until a gradient overflows
(Micikevicius et al. 2018, arXiv:1710.03740, section 3.2); the step that overflowed is passed over. float8 is the Hopper and
Ada GPUs' (`nn/eight.py`), for the layers inside a model, with bfloat16 for the rest.

On a GPU of 2020 or later bfloat16 is always faster. On a CPU it depends: with the right instructions it is twice as fast,
without them many times slower. Where a budget lets us measure, both are timed on the real step (`plan/decisions.py`); else `rule`
decides by what the hardware says of itself, so that the same recipe gives the same bytes on the same machine.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec

import torch

from yanmo.core.errors import RequestError
from yanmo.core.messages import Text, text

FORMATS = ("fp32", "bf16", "fp16", "fp8")
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16}
EIGHT = (8, 9)  # the compute capability from which GPUs multiply float8 (Ada; Hopper is 9.0)


def rule(device: torch.device) -> str:
    """'bf16' on GPUs that compute in it, 'fp32' elsewhere: never slower than it should be by much, and exact."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return "bf16"
    return "fp32"


def candidates(device: torch.device) -> list[str]:
    """The formats worth timing on this hardware; bfloat16 without instructions for it is not. Neither is float8, which costs
    quality: it is for those who ask for it."""
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        return ["bf16", "fp32"] if capability >= (8, 0) else ["fp16", "fp32"] if capability >= (7, 0) else ["fp32"]
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


def check(precision: str, device: torch.device, where: str = "train") -> None:
    """RequestError for a format that this device does not compute in."""
    if precision != "fp8":
        return
    given = None
    if device.type != "cuda":
        given = text("a {device}", device=device.type)
    else:
        major, minor = torch.cuda.get_device_capability(device)
        if (major, minor) < EIGHT:
            given = text("{name}, of compute capability {major}.{minor}", name=torch.cuda.get_device_name(device), major=major,
                         minor=minor)  # fmt: skip
    if given is not None:
        raise RequestError(f"{where}.precision", text("a GPU of compute capability 8.9 or later (Ada, Hopper) for fp8"), given,
                           text("use bf16, or leave 'precision' out"))  # fmt: skip


def why(precision: str, device: torch.device) -> Text:
    """What a training computes in, and the reason, for a person to read."""
    if precision == "bf16":
        return text("bfloat16 products, float32 parameters")
    if precision == "fp16":
        return text("float16 products with a scaled loss, float32 parameters")
    if precision == "fp8":
        return text("float8 products inside the layers, bfloat16 elsewhere, float32 parameters")
    if device.type == "cpu" and not native_bfloat16():
        return text("float32; this processor has no instructions for bfloat16")
    return text("float32")


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    if precision in HALF:
        return torch.autocast(device.type, dtype=HALF[precision])
    return nullcontext()


def scaler(precision: str, device: torch.device) -> torch.amp.GradScaler | None:
    """What keeps float16's gradients in its range; None for the formats that need none."""
    return torch.amp.GradScaler(device.type) if precision == "fp16" else None
