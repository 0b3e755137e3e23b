"""Every encoding against the `gguf` package: the same numbers from the same bytes, the same bytes from the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.models.gguf.encodings import BY_NAME, READ, WRITTEN, decode, encode

gguf = pytest.importorskip("gguf")
BITS = {"Q8_0": 1 / 254, "Q4_0": 1 / 8, "BF16": 1 / 256, "F16": 1 / 2048, "F32": 0.0}  # largest error, in units of the block's largest number


def theirs(raw, encoding):
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(raw.reshape(-1, encoding.size), gguf.GGMLQuantizationType[encoding.name]).reshape(-1)


def test_sizes_and_numbers_are_ggmls():
    for name, encoding in BY_NAME.items():
        kind = gguf.GGMLQuantizationType[name]
        assert (kind.value, gguf.GGML_QUANT_SIZES[kind]) == (encoding.number, (encoding.block, encoding.size))


@pytest.mark.parametrize("name", READ)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), blocks=st.integers(1, 9))
def test_any_bytes_decode_to_the_same_numbers(name, seed, blocks):
    encoding = BY_NAME[name]
    raw = np.random.default_rng(seed).integers(0, 256, blocks * encoding.size, dtype=np.uint8)
    found = decode(raw, encoding)
    assert found.dtype == np.float32
    assert np.array_equal(found, theirs(raw, encoding), equal_nan=True)


@pytest.mark.parametrize("name", WRITTEN)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-6, 0.02, 1.0, 300.0]))
def test_numbers_encode_to_the_same_bytes_and_come_back_within_the_bound(name, seed, scale):
    encoding = BY_NAME[name]
    numbers = (np.random.default_rng(seed).standard_normal(8 * max(encoding.block, 32)) * scale).astype(np.float32)
    raw = encode(numbers, encoding)
    expected = gguf.quants.quantize(numbers.reshape(8, -1), gguf.GGMLQuantizationType[name])
    assert raw.tobytes() == expected.tobytes()
    back = decode(raw, encoding).reshape(-1, encoding.block)
    blocks = numbers.reshape(-1, encoding.block)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    slack = 0 if name in ("F32", "BF16") else 2**-11 * largest + 128 * 2**-25  # the scale itself is a 16-bit float
    assert np.all(np.abs(back - blocks) <= BITS[name] * largest + slack)


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0"])
def test_zeros_stay_zeros_and_the_extremes_are_kept(name):
    encoding = BY_NAME[name]
    assert not decode(encode(np.zeros(64, np.float32), encoding), encoding).any()
    numbers = np.zeros(32, np.float32)
    numbers[7] = -4.0  # a power of two: its scale is exact
    assert decode(encode(numbers, encoding), encoding)[7] == pytest.approx(-4.0, rel=1e-3)


@pytest.mark.parametrize("name", ["F16", "Q8_0", "Q4_0"])
def test_numbers_beyond_the_type_are_refused(name):
    with pytest.raises(ValueError, match="beyond 16-bit floats"):
        encode(np.full(32, 3e38, np.float32), BY_NAME[name])
    with pytest.raises(ValueError, match="beyond 16-bit floats"):
        encode(np.full(32, np.nan, np.float32), BY_NAME[name])


def test_long_tensors_are_done_in_steps(monkeypatch):
    from yanmo.models.gguf import encodings

    numbers = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    whole = encode(numbers, BY_NAME["Q8_0"])
    expected = decode(whole, BY_NAME["Q8_0"])
    monkeypatch.setattr(encodings, "STEP", 256)
    assert np.array_equal(decode(whole, BY_NAME["Q8_0"]), expected)
