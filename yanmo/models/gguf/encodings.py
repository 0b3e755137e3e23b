"""How GGUF stores numbers: plain, or in blocks that share a scale; numbers to bytes and back.

Arrays of blocks are (N, bytes of a block) uint8, of numbers (N, block) float32. The formats are ggml's; x is what a
number is read as, q what is stored of it:

    Q8_0         x = d·q             32 numbers, q of 8 bits with a sign
    Q4_0  Q5_0   x = d·(q - 8 | 16)  32 numbers of 4 or 5 bits
    Q4_1  Q5_1   x = d·q + m         the same with an offset
    Q2_K … Q6_K  256 numbers in groups of 16 or 32 with scales of their own, which are themselves quantised (k_quants.py)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yanmo.models.gguf import k_quants

Array = NDArray[Any]


@dataclass(frozen=True)
class Encoding:
    """A tensor type of GGUF. `block` numbers take `size` bytes; `decode` and `encode` are None for those that we do not
    read or write."""

    number: int  # in the file
    name: str
    block: int
    size: int
    decode: Callable[[Array], Array] | None = None
    encode: Callable[[Array], Array] | None = None

    def bytes(self, elements: int) -> int:
        return elements // self.block * self.size


def half(blocks: Array, at: int) -> Array:
    """The 16-bit float at byte `at` of each block, (N, 1) float32."""
    return blocks[:, at : at + 2].copy().view(np.float16).astype(np.float32)


def as_half(values: Array) -> Array:
    """(N, 1) float32 to (N, 2) bytes. ValueError where one is out of the type's range."""
    with np.errstate(over="ignore"):
        small = np.ascontiguousarray(values, np.float32).astype("<f2")
    if not np.isfinite(small).all():
        raise ValueError("a scale beyond 16-bit floats")
    return small.view(np.uint8)


def _nibbles(packed: Array) -> Array:
    """(N, 16) bytes to (N, 32): the low halves of all, then the high ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def _fifth(blocks: Array, at: int) -> Array:
    """(N, 32): the fifth bit of each number, worth 16, from 4 bytes at `at`."""
    return np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little") << 4


def _q8_0(blocks: Array) -> Array:
    return half(blocks, 0) * blocks[:, 2:].view(np.int8)


def _q4_0(blocks: Array) -> Array:
    return half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def _q4_1(blocks: Array) -> Array:
    return half(blocks, 0) * _nibbles(blocks[:, 4:]) + half(blocks, 2)


def _q5_0(blocks: Array) -> Array:
    return half(blocks, 0) * ((_nibbles(blocks[:, 6:]) | _fifth(blocks, 2)).astype(np.float32) - 16)


def _q5_1(blocks: Array) -> Array:
    return half(blocks, 0) * (_nibbles(blocks[:, 8:]) | _fifth(blocks, 4)) + half(blocks, 2)


def _to_q8_0(x: Array) -> Array:
    """The largest magnitude becomes 127."""
    d = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
    scale, scaled = as_half(d), x * _inverse(d)
    q = np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))  # halves away from zero
    return np.concatenate([scale, q.astype(np.int8).view(np.uint8)], axis=1)


def _to_q4_0(x: Array) -> Array:
    """The number of largest magnitude becomes -8, so that the sign of d is its sign reversed."""
    d = np.take_along_axis(x, np.abs(x).argmax(axis=1, keepdims=True), axis=1) / np.float32(-8)
    scale = as_half(d)
    q = np.clip(np.trunc(x * _inverse(d) + np.float32(8.5)), 0, 15).astype(np.uint8)
    return np.concatenate([scale, q[:, :16] | q[:, 16:] << 4], axis=1)


def _inverse(d: Array) -> Array:
    return np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)


def _plain(dtype: str) -> Callable[[Array], Array]:
    return lambda blocks: blocks.view(dtype).astype(np.float32)


def _to(dtype: str) -> Callable[[Array], Array]:
    return lambda x: np.ascontiguousarray(x, np.float32).astype(dtype).view(np.uint8)


def _bf16(blocks: Array) -> Array:
    return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _to_f16(x: Array) -> Array:
    return as_half(x)


def _to_bf16(x: Array) -> Array:
    """To the nearest, halves to even; of finite numbers."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").view(np.uint8)


_ALL = (
    Encoding(0, "F32", 1, 4, _plain("<f4"), _to("<f4")),
    Encoding(1, "F16", 1, 2, _plain("<f2"), _to_f16),
    Encoding(2, "Q4_0", 32, 18, _q4_0, _to_q4_0),
    Encoding(3, "Q4_1", 32, 20, _q4_1),
    Encoding(6, "Q5_0", 32, 22, _q5_0),
    Encoding(7, "Q5_1", 32, 24, _q5_1),
    Encoding(8, "Q8_0", 32, 34, _q8_0, _to_q8_0),
    Encoding(9, "Q8_1", 32, 40),
    Encoding(10, "Q2_K", 256, 84, k_quants.q2),
    Encoding(11, "Q3_K", 256, 110, k_quants.q3),
    Encoding(12, "Q4_K", 256, 144, k_quants.q4),
    Encoding(13, "Q5_K", 256, 176, k_quants.q5),
    Encoding(14, "Q6_K", 256, 210, k_quants.q6),
    Encoding(15, "Q8_K", 256, 292),
    Encoding(16, "IQ2_XXS", 256, 66),
    Encoding(17, "IQ2_XS", 256, 74),
    Encoding(18, "IQ3_XXS", 256, 98),
    Encoding(19, "IQ1_S", 256, 50),
    Encoding(20, "IQ4_NL", 32, 18),
    Encoding(21, "IQ3_S", 256, 110),
    Encoding(22, "IQ2_S", 256, 82),
    Encoding(23, "IQ4_XS", 256, 136),
    Encoding(24, "I8", 1, 1),
    Encoding(25, "I16", 1, 2),
    Encoding(26, "I32", 1, 4),
    Encoding(27, "I64", 1, 8),
    Encoding(28, "F64", 1, 8),
    Encoding(29, "IQ1_M", 256, 56),
    Encoding(30, "BF16", 1, 2, _bf16, _to_bf16),
    Encoding(34, "TQ1_0", 256, 54),
    Encoding(35, "TQ2_0", 256, 66),
    Encoding(39, "MXFP4", 32, 17),
)
BY_NUMBER = {encoding.number: encoding for encoding in _ALL}
BY_NAME = {encoding.name: encoding for encoding in _ALL}
READ = tuple(encoding.name for encoding in _ALL if encoding.decode)
WRITTEN = tuple(encoding.name for encoding in _ALL if encoding.encode)

STEP = 1 << 20  # numbers that are decoded or encoded at a time


def decode(stored: Array, encoding: Encoding) -> Array:
    """Bytes (M,) uint8 of whole blocks to numbers, float32."""
    assert encoding.decode is not None
    blocks = stored.reshape(-1, encoding.size)
    out = np.empty((len(blocks), encoding.block), np.float32)
    step = STEP // encoding.block
    for at in range(0, len(blocks), step):
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is found and named by who reads it
            out[at : at + step] = encoding.decode(blocks[at : at + step])
    return out.reshape(-1)


def encode(numbers: Array, encoding: Encoding) -> Array:
    """Numbers (M,) float32, whole blocks of them, to bytes. ValueError where the type cannot hold them."""
    assert encoding.encode is not None
    return encoding.encode(numbers.reshape(-1, encoding.block)).reshape(-1)
