"""Safetensors headers: what is sound is read, what is not is refused in one line before a byte of data is touched."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest
import torch
from safetensors.torch import save_file

from yanmo.core.errors import CorruptError, DataError
from yanmo.models.weights.header import LIMIT, read_header

F32 = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def file(path, fields, data=b"\0" * 24, length=None):
    header = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + data)
    return path


def test_what_safetensors_writes_is_read(tmp_path):
    tensors = {"研墨.weight": torch.randn(3, 4), "é": torch.arange(5), "half": torch.zeros(2, 1, dtype=torch.bfloat16), "none": torch.zeros(0, 4)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    entries = read_header(tmp_path / "a.safetensors")
    assert {name: (entry.dtype, entry.shape) for name, entry in entries.items()} == {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()}


BAD = {
    "empty": (b"", b"", None, "a header of 0 bytes in a file of 0"),
    "too short for its length": ({}, b"", 1 << 20, "a header of 1048576 bytes in a file of"),
    "length of 2^63": ({}, b"", 1 << 63, "a header of 9223372036854775808 bytes"),
    "not JSON": (b"{not json", b"", None, "a header that is no JSON of tensors"),
    "not UTF-8": (b'{"\xff\xfe": 1}', b"", None, "a header that is no JSON of tensors"),
    "a list": ([1, 2], b"", None, "a header that is no JSON of tensors: list"),
    "a deep list": (b"[" * 100_000, b"", None, "a header that is no JSON of tensors"),
    "the same name twice": (b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}', b"", None, "a stands there twice"),
    "an unknown dtype": ({"a": F32 | {"dtype": "F33"}}, None, None, "a: dtype F33"),
    "no dtype": ({"a": {"shape": [2, 3], "data_offsets": [0, 24]}}, None, None, "a: not a dtype, a shape and two offsets"),
    "a stranger in an entry": ({"a": F32 | {"code": "import os"}}, None, None, "a: not a dtype, a shape and two offsets"),
    "three offsets": ({"a": F32 | {"data_offsets": [0, 12, 24]}}, None, None, "a: not a dtype, a shape and two offsets"),
    "a negative size": ({"a": F32 | {"shape": [-2, -3]}}, None, None, "a: not a dtype, a shape and two offsets"),
    "a size that is true": ({"a": F32 | {"shape": [True, 6]}}, None, None, "a: not a dtype, a shape and two offsets"),
    "a size that is no whole number": ({"a": F32 | {"shape": [2.0, 3.0]}}, None, None, "a: not a dtype, a shape and two offsets"),
    "a thousand dimensions": ({"a": F32 | {"shape": [1] * 1000}}, None, None, "a: not a dtype, a shape and two offsets"),
    "another product": ({"a": F32 | {"shape": [2, 4]}}, None, None, "a: 24 bytes where F32 (2, 4) takes 32"),
    "a product beyond 64 bits": ({"a": F32 | {"shape": [1 << 40, 1 << 40]}}, None, None, "a: 24 bytes where F32"),
    "offsets backwards": ({"a": F32 | {"data_offsets": [24, 0]}}, None, None, "a: -24 bytes where"),
    "outside": ({"a": F32 | {"data_offsets": [24, 48]}}, None, None, "a ends at byte 48 of 24: the file is cut short"),
    "cut short": ({"a": F32}, b"\0" * 23, None, "a ends at byte 24 of 23: the file is cut short"),
    "overlapping": ({"a": F32, "b": F32}, None, None, "b and a overlap"),
    "half overlapping": ({"a": F32, "b": F32 | {"data_offsets": [12, 36]}}, b"\0" * 36, None, "b and a overlap"),
    "a gap": ({"a": F32, "b": F32 | {"data_offsets": [28, 52]}}, b"\0" * 52, None, "4 bytes before b that belong to no tensor"),
    "a gap at the beginning": ({"a": F32 | {"data_offsets": [8, 32]}}, b"\0" * 32, None, "8 bytes before a that belong to no tensor"),
    "more than there should be": ({"a": F32}, b"\0" * 30, None, "6 bytes behind the last tensor"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_one_line(tmp_path, case):
    fields, data, length, said = BAD[case]
    path = file(tmp_path / "model.safetensors", fields, b"\0" * 24 if data is None else data, length)
    if case == "empty":
        path.write_bytes(b"")
    with pytest.raises(CorruptError) as error:
        read_header(path)
    line = str(error.value)
    assert said in line
    assert line.startswith(f"{path}: expected a safetensors file, got")
    assert "\n" not in line


def test_no_file_is_the_users_mistake(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_header(tmp_path / "model.safetensors")


def test_a_header_beyond_the_formats_limit_is_not_read(tmp_path):
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as out:
        out.write((LIMIT + 1).to_bytes(8, "little"))
        out.truncate(LIMIT + 100)  # sparse: no disk is used
    with pytest.raises(CorruptError, match=f"more than {LIMIT}"):
        read_header(path)


@pytest.mark.parametrize("bomb", [b"[" + b"[]," * 3_000_000 + b"1]", b'{"a":' + b"[" * 4_000_000, b'{"a":{"dtype":"F32","shape":[' + b"[]," * 2_000_000 + b"1]}}"])
def test_bombs_take_neither_time_nor_memory(tmp_path, bomb):
    path = file(tmp_path / "model.safetensors", bomb)
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(CorruptError, match="no JSON of tensors"):
        read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - started < 2
    assert peak < 4 * len(bomb)
