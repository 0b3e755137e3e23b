"""GGUF files: what is written is read; whatever is wrong with one is said in a line before a tensor is read."""

from __future__ import annotations

import contextlib
import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.errors import CorruptError, DataError
from yanmo.models.gguf.encodings import BY_NAME
from yanmo.models.gguf.reader import Gguf
from yanmo.models.gguf.writer import Planned, write

METADATA = {"general.architecture": "llama", "数": 3, "negative": -3, "large": 1 << 40, "real": 0.5, "yes": True,
            "tokens": ["研墨", "é", "🐋", "", "a b"], "types": [1, 2, 3], "scores": [0.0, -1.5], "flags": [True, False], "none": []}  # fmt: skip


def plan(name, array, encoding="F32"):
    array = np.asarray(array, np.float32)
    return Planned(name, BY_NAME[encoding], array.shape, lambda: array)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {"a": rng.standard_normal((3, 64)), "b.bias": rng.standard_normal(5), "stack": rng.standard_normal((2, 4, 32))}


@pytest.fixture
def path(tmp_path, arrays):
    write(tmp_path / "m.gguf", METADATA, [plan(name, array) for name, array in arrays.items()])
    return tmp_path / "m.gguf"


def test_what_is_written_is_read(path, arrays):
    file = Gguf(path)
    assert file.metadata == METADATA
    assert {name: (stored.shape, stored.encoding.name) for name, stored in file.tensors.items()} == {name: (array.shape, "F32") for name, array in arrays.items()}
    for name, array in arrays.items():
        assert np.array_equal(file.numbers(name), array.astype(np.float32))
    assert np.array_equal(file.numbers("stack", 1, 2), arrays["stack"][1].astype(np.float32))


def test_the_gguf_package_reads_the_same(path, arrays):
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(path)
    assert {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.") and key != "none"} == {k: v for k, v in METADATA.items() if k != "none"}
    for tensor in reader.tensors:
        assert np.array_equal(tensor.data, arrays[tensor.name].astype(np.float32))


def test_the_same_values_give_the_same_bytes(path, arrays, tmp_path):
    write(tmp_path / "again.gguf", METADATA, [plan(name, array) for name, array in arrays.items()])
    assert (tmp_path / "again.gguf").read_bytes() == path.read_bytes()


def test_a_number_that_an_encoding_cannot_hold_names_the_tensor(tmp_path):
    with pytest.raises(DataError, match=r"blk\.0: expected numbers that F16 can hold, got 1e\+06"):
        write(tmp_path / "m.gguf", {}, [plan("blk.0", np.full((2, 32), 1e6), "F16")])


def test_a_name_too_long_for_llama_cpp_is_refused(tmp_path):
    with pytest.raises(DataError, match="at most 63 bytes"):
        write(tmp_path / "m.gguf", {}, [plan("a" * 64, np.zeros(32))])


# ------------------------------------------------------------------------------------------------ wrong files


def string(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def tensor(name="a", shape=(32,), kind=0, offset=0):
    return string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)


def pair(key, kind, value):
    return string(key) + struct.pack("<I", kind) + value


def made(tensors=(), pairs=(), data=b"", version=3, magic=b"GGUF", counts=None):
    head = magic + struct.pack("<IQQ", version, *(counts or (len(tensors), len(pairs)))) + b"".join(pairs) + b"".join(tensors)
    return head + b"\0" * (-len(head) % 32) + data


DATA = b"\0" * 128
WRONG = {
    "empty": (b"", "0 bytes"),
    "cut in the counts": (made()[:23], "23 bytes"),
    "another magic": (made(magic=b"GGML") + DATA, "begins with b'GGML'"),
    "version 1": (made(version=1) + DATA, "version 1"),
    "version 99": (made(version=99) + DATA, "version 99"),
    "big-endian": (made(version=3 << 24) + DATA, "big-endian numbers"),
    "2^60 tensors": (made(counts=(1 << 60, 0)), f"{1 << 60} tensors and 0 settings in 32 bytes"),
    "2^60 settings": (made(counts=(0, 1 << 60)), f"0 tensors and {1 << 60} settings in 32 bytes"),
    "a key of 2^62 bytes": (made(counts=(0, 1), pairs=[struct.pack("<Q", 1 << 62) + DATA]), f"the name of a setting of {1 << 62} bytes"),
    "a key that is not UTF-8": (made(pairs=[pair(b"\xff\xfe", 4, b"\0" * 4)]), "the name of a setting that is not UTF-8"),
    "a value that is not UTF-8": (made(pairs=[pair("k", 8, string(b"\xc3"))]), "k that is not UTF-8: b'\\xc3'"),
    "a key twice": (made(pairs=[pair("k", 4, b"\0" * 4)] * 2), "k stands there twice"),
    "an unknown type": (made(pairs=[pair("k", 13, b"\0" * 8)]), "k of the unknown type 13"),
    "a truth value of 7": (made(pairs=[pair("k", 7, b"\7")]), "k: 7 where true or false belongs"),
    "a string of 2^60 bytes": (made(pairs=[pair("k", 8, struct.pack("<Q", 1 << 60) + DATA)]), f"k of {1 << 60} bytes"),
    "an array of 2^60 bytes": (made(pairs=[pair("k", 9, struct.pack("<IQ", 0, 1 << 60) + DATA)]), f"k of {1 << 60} elements, more than"),
    "an array beyond the file": (made(pairs=[pair("k", 9, struct.pack("<IQ", 4, 1000) + DATA)]), "k of 4000 bytes, of which"),
    "strings beyond the file": (made(pairs=[pair("k", 9, struct.pack("<IQ", 8, 1 << 20) + DATA)]), f"k of {8 << 20} bytes, of which"),
    "an array of arrays": (made(pairs=[pair("k", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 9, 1) + DATA)]), "k of the unknown type 9"),
    "an alignment of 0": (made(pairs=[pair("general.alignment", 4, struct.pack("<I", 0))]), "an alignment of 0"),
    "an alignment of 24": (made(pairs=[pair("general.alignment", 4, struct.pack("<I", 24))]), "an alignment of 24"),
    "an alignment of text": (made(pairs=[pair("general.alignment", 8, string("32"))]), "an alignment of 32"),
    "a tensor twice": (made([tensor(), tensor(offset=128)], data=DATA * 2), "a stands there twice"),
    "no dimensions": (made([tensor(shape=()), tensor("b")], data=DATA), "a of 0 dimensions"),
    "2^31 dimensions": (made([string("a") + struct.pack("<I", 1 << 31) + DATA], data=DATA), f"a of {1 << 31} dimensions"),
    "a dimension of 0": (made([tensor(shape=(0, 4))], data=DATA), "a of shape (4, 0) in blocks of 1"),
    "an unknown encoding": (made([tensor(kind=99)], data=DATA), "a of the unknown type 99"),
    "a removed encoding": (made([tensor(kind=4)], data=DATA), "a of the unknown type 4"),
    "rows that are no blocks": (made([tensor(shape=(33,), kind=8)], data=DATA), "a of shape (33,) in blocks of 32"),
    "an offset off the grid": (made([tensor(offset=4)], data=DATA * 2), "a at byte 4, which is no multiple of 32"),
    "an offset outside": (made([tensor(offset=1 << 40)], data=DATA), f"a ends at byte {(1 << 40) + 128} of 128: the file is cut short"),
    "an offset of 2^64 - 32": (made([tensor(offset=(1 << 64) - 32)], data=DATA), "the file is cut short"),
    "a product beyond 64 bits": (made([tensor(shape=(1 << 40, 1 << 40))], data=DATA), "the file is cut short"),
    "cut short": (made([tensor()], data=DATA[:-1]), "a ends at byte 128 of 127: the file is cut short"),
    "no data at all": (made([tensor()]), "a ends at byte 128 of 0: the file is cut short"),
    "overlapping": (made([tensor(), tensor("b")], data=DATA), "b and a overlap"),
    "half overlapping": (made([tensor(), tensor("b", offset=64)], data=DATA * 2), "b and a overlap"),
    "a gap": (made([tensor(), tensor("b", offset=160)], data=DATA * 3), "32 bytes before b that belong to no tensor"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line(tmp_path, case):
    content, said = WRONG[case]
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(CorruptError) as error:
        Gguf(path)
    line = str(error.value)
    assert said in line
    assert line.startswith(f"{path}: expected a GGUF file, got")
    assert "\n" not in line


def test_version_2_is_the_same_layout(tmp_path):
    (tmp_path / "m.gguf").write_bytes(made([tensor()], [pair("k", 8, string("研"))], DATA, version=2))
    assert Gguf(tmp_path / "m.gguf").metadata == {"k": "研"}


def test_other_alignments_are_kept_to(tmp_path):
    pairs = [pair("general.alignment", 4, struct.pack("<I", 64))]
    head = made([tensor(), tensor("b", offset=128)], pairs)
    head += b"\0" * (-len(head) % 64)
    (tmp_path / "m.gguf").write_bytes(head + np.arange(64, dtype="<f4").tobytes())
    file = Gguf(tmp_path / "m.gguf")
    assert file.numbers("b").tolist() == list(range(32, 64))


def test_no_file_is_the_users_mistake(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        Gguf(tmp_path / "m.gguf")


def test_an_encoding_that_we_do_not_read_is_named_with_a_way_out(tmp_path):
    (tmp_path / "m.gguf").write_bytes(made([tensor(shape=(256,), kind=16)], data=b"\0" * 96))
    file = Gguf(tmp_path / "m.gguf")
    with pytest.raises(DataError, match=r"m\.gguf: a: expected one of F32, .* got IQ2_XXS - convert it with llama\.cpp's llama-quantize"):
        file.numbers("a")


def test_a_bomb_of_strings_takes_no_memory(tmp_path):
    path = tmp_path / "m.gguf"
    with open(path, "wb") as out:
        out.write(made(pairs=[pair("k", 9, struct.pack("<IQ", 8, (1 << 24) + 1))]))
        out.truncate(1 << 30)  # sparse: zeros, which are empty strings
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(CorruptError, match="elements, more than"):
        Gguf(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert time.process_time() - started < 1


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_passes_unnoticed_or_ends_otherwise(tmp_path_factory, data):
    """Any byte of the header changed, or the file cut anywhere: it is read as something sound, or refused in our words."""
    folder = tmp_path_factory.getbasetemp()
    good = folder / "good.gguf"
    if not good.exists():
        write(good, METADATA, [plan("a", np.ones((3, 64))), plan("b", np.ones(32), "Q8_0")])
    content = bytearray(good.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        at = data.draw(st.integers(0, 600))
        content[at] = data.draw(st.integers(0, 255))
    bad = folder / "bad.gguf"
    bad.write_bytes(content)
    with contextlib.suppress(CorruptError, DataError):
        file = Gguf(bad)
        for name in file.tensors:
            file.numbers(name)
