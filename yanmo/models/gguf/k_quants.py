"""The K-quants of ggml, read: 256 numbers a block, in groups of 16 or 32 whose scales are quantised too.

    Q2_K  x = d·s·q - e·m        16 groups of 16: s and m of 4 bits, q of 2
    Q3_K  x = d·(s - 32)·(q - 4) 16 groups of 16: s of 6 bits, q of 3 (its highest apart)
    Q4_K  x = d·s·q - e·m        8 groups of 32: s and m of 6 bits, q of 4
    Q5_K  the same, q of 5 bits (the highest apart)
    Q6_K  x = d·s·(q - 32)       16 groups of 16: s of 8 bits with a sign, q of 6 (the highest two apart)

Blocks are (N, bytes) uint8, the result (N, 256) float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PAIRS = np.array([0, 2, 4, 6], np.uint8)[None, None, :, None]


def _half(blocks: Array, at: int) -> Array:
    return blocks[:, at : at + 2].copy().view("<f2").astype(np.float32)[:, :, None]  # (N, 1, 1)


def _twos(packed: Array) -> Array:
    """(N, 64) bytes to (N, 256) of 2 bits: each half of the block has 32 bytes, read four times."""
    return (packed.reshape(-1, 2, 1, 32) >> PAIRS & 3).reshape(-1, 256)


def _fours(packed: Array) -> Array:
    """(N, 128) bytes to (N, 8, 32) of 4 bits: 32 bytes hold a group in their low halves and the next in their high ones."""
    chunks = packed.reshape(-1, 4, 1, 32)
    return np.concatenate([chunks & 15, chunks >> 4], axis=2).reshape(-1, 8, 32)


def _sixes(packed: Array) -> tuple[Array, Array]:
    """(N, 12) bytes to 8 scales and 8 minima of 6 bits, each (N, 8, 1) float32."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, third & 15 | first >> 6 << 4], axis=1)
    minima = np.concatenate([second & 63, third >> 4 | second >> 6 << 4], axis=1)
    return scales[:, :, None].astype(np.float32), minima[:, :, None].astype(np.float32)


def q2(blocks: Array) -> Array:
    packed = blocks[:, :16, None]
    d, e = _half(blocks, 80), _half(blocks, 82)
    q = _twos(blocks[:, 16:80]).reshape(-1, 16, 16)
    return (d * (packed & 15) * q - e * (packed >> 4)).reshape(-1, 256)


def q3(blocks: Array) -> Array:
    high = np.unpackbits(blocks[:, None, :32], axis=1, bitorder="little").reshape(-1, 256) << 2
    q = (_twos(blocks[:, 32:96]) | high).astype(np.float32) - 4
    packed = blocks[:, 96:108]
    low = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], axis=1)
    top = (packed[:, None, 8:] >> PAIRS[0, 0] & 3).reshape(-1, 16) << 4
    scales = (low | top)[:, :, None].astype(np.float32) - 32
    return (_half(blocks, 108) * scales * q.reshape(-1, 16, 16)).reshape(-1, 256)


def q4(blocks: Array) -> Array:
    scales, minima = _sixes(blocks[:, 4:16])
    return (_half(blocks, 0) * scales * _fours(blocks[:, 16:]) - _half(blocks, 2) * minima).reshape(-1, 256)


def q5(blocks: Array) -> Array:
    scales, minima = _sixes(blocks[:, 4:16])
    high = np.unpackbits(blocks[:, None, 16:48], axis=1, bitorder="little") << 4  # (N, 8, 32)
    q = _fours(blocks[:, 48:]) | high
    return (_half(blocks, 0) * scales * q - _half(blocks, 2) * minima).reshape(-1, 256)


def q6(blocks: Array) -> Array:
    halves = blocks[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate([halves & 15, halves >> 4], axis=2).reshape(-1, 256)
    q = (low | _twos(blocks[:, 128:192]) << 4).astype(np.float32) - 32
    scales = blocks[:, 192:208].view(np.int8)[:, :, None].astype(np.float32)
    return (_half(blocks, 208) * scales * q.reshape(-1, 16, 16)).reshape(-1, 256)
