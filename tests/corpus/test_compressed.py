"""Compressed files as the bytes they stand for: whole, from a stream on, damaged anywhere, and as bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import sys
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import read, texts
from yanmo.core.errors import DataError, RequestError, WorkError
from yanmo.core.registry import create
from yanmo.corpus.documents import original
from yanmo.corpus.formats import compressed, compression
from yanmo.corpus.formats.compressed import Damage, decoded, opened, resume
from yanmo.corpus.sources import jsonl

PACK = {
    "gz": lambda data: gzip.compress(data, 6, mtime=0), "bz2": bz2.compress,
    "xz": lzma.compress, "zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}  # fmt: skip
NAMES = {"gz": "gzip", "bz2": "bz2", "xz": "xz", "zst": "zstd"}
BODIES = texts(900, seed=5)
LINES = [json.dumps({"text": body, "n": i}, ensure_ascii=False).encode() + b"\n" for i, body in enumerate(BODIES)]
DATA = b"".join(LINES)


@pytest.fixture(params=list(PACK))
def ending(request):
    return request.param


@pytest.fixture(params=["isal", "zlib"])
def library(request, monkeypatch):
    """Both gzip libraries."""
    if request.param == "zlib":
        monkeypatch.setattr(compression, "_igzip", lambda: None)
    return request.param


def everything(handle, size: int = 1000) -> tuple[bytes, Damage | None]:
    found = []
    try:
        while data := handle.read(size):
            found.append(data)
    except Damage as damage:
        return b"".join(found), damage
    return b"".join(found), None


def test_a_file_of_several_streams_is_their_content_in_turn(folder, ending, library):
    path = folder / f"a.jsonl.{ending}"
    pieces = [DATA[i : i + 30_000] for i in range(0, len(DATA), 30_000)]
    path.write_bytes(b"".join(map(PACK[ending], pieces)))
    with opened(path, "a.jsonl") as handle:
        assert everything(handle) == (DATA, None)
    with opened(path, "a.jsonl") as handle:
        assert handle.read() == DATA
        assert handle.read() == b""
    with opened(path, "a.jsonl") as handle:
        assert list(handle) == LINES
        for place in (5, 70_000, 69_000, len(DATA) - 3, 0, 40_000):  # forward and back
            assert handle.seek(place) == place
            assert handle.tell() == place
            assert handle.read(50) == DATA[place : place + 50]
    first = len(PACK[ending](pieces[0])) + len(PACK[ending](pieces[1]))
    with opened(path, f"@{first}") as handle:
        assert everything(handle) == (DATA[60_000:], None)
    with opened(path, None) as handle:
        assert handle.read() == path.read_bytes()


@pytest.mark.parametrize("padding", [b"\0" * 4, b"\0" * 200_000])
def test_padding_between_and_behind_streams(ending, library, padding):
    packed = PACK[ending](b"one\n") + padding + PACK[ending](b"two\n") + padding
    assert everything(decoded(io.BytesIO(packed), compression.codec_of("a." + ending))) == (b"one\ntwo\n", None)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=5), st.sampled_from(sorted(PACK)), st.integers(1, 5000), st.booleans())
def test_any_bytes_come_back_however_they_are_read(pieces, ending, size, fast):
    before = compression._igzip
    if not fast:
        compression._igzip = lambda: None
    try:
        packed = b"".join(map(PACK[ending], pieces))
        codec = compression.codec_of("a." + ending)
        assert everything(decoded(io.BytesIO(packed), codec), size) == (b"".join(pieces), None)
        cut = packed[: len(packed) * 2 // 3]
        found, damage = everything(decoded(io.BytesIO(cut), codec), size)
        assert b"".join(pieces).startswith(found)
        borders = [sum(len(PACK[ending](piece)) for piece in pieces[: i + 1]) for i in range(len(pieces))]
        assert (damage is None) == (len(cut) in borders)
    finally:
        compression._igzip = before


def test_a_stream_cut_off_anywhere_gives_what_there_was_and_says_so(ending, library):
    packed, codec = PACK[ending](DATA), compression.codec_of("a." + ending)
    for size in (1, 5, 17, 1000, len(packed) // 2, len(packed) - 9, len(packed) - 1):
        handle = decoded(io.BytesIO(packed[:size]), codec)
        found, damage = everything(handle)
        assert DATA.startswith(found)
        assert damage.reason == (f"truncated_{codec.name}" if size >= 17 else damage.reason)
        assert (damage.stream, damage.position, damage.near) == (0, len(found), size)
        with pytest.raises(Damage):  # and says so again
            handle.read(1)
        if size > len(packed) // 3 and ending in ("gz", "xz"):
            assert len(found) > len(DATA) // 5, "all that came out"


def test_readline_and_readall_give_first_and_raise_then(ending):
    half = PACK[ending](DATA) + PACK[ending](DATA)[:-10]
    for method in ("readline", "read", "read1"):
        handle, found = decoded(io.BytesIO(half), compression.codec_of("a." + ending)), b""
        with pytest.raises(Damage):  # noqa: PT012
            while data := getattr(handle, method)():
                found += data
        assert found.startswith(DATA)


def damaged(packed: bytes, seed: int, place: float = 0.5) -> bytes:
    at = int(len(packed) * place)
    return packed[:at] + random.Random(seed).randbytes(40) + packed[at + 40 :]


def test_nothing_of_a_small_damaged_stream_is_given(library):
    """A decompressor mostly goes on over damage: what comes out then is not what was written, until a check fails."""
    for ending in PACK:
        for seed in range(10):
            found, damage = everything(decoded(io.BytesIO(damaged(PACK[ending](DATA), seed)), compression.codec_of("a." + ending)))
            assert found == b""
            assert damage.reason == f"bad_{NAMES[ending]}"


def test_a_large_damaged_stream_gives_what_is_well_before(ending):
    rng = random.Random(0)
    many = b"".join(b'{"text": "%s"}\n' % rng.randbytes(60).hex().encode() for _ in range(25_000))
    found, damage = everything(decoded(io.BytesIO(damaged(PACK[ending](many), 1, 0.8)), compression.codec_of("a." + ending)), 1 << 16)
    assert damage.reason == f"bad_{NAMES[ending]}"
    same = next((i for i, (a, b) in enumerate(zip(found, many)) if a != b), len(found))
    assert same > len(many) // 3
    assert damage.unchecked == damage.position == len(found)
    assert f"{len(found)} bytes of it were given before that was known" in damage.value()


def test_damage_costs_the_stream_that_it_is_in(folder, library):
    """100 gzip members, one damaged: reading goes on at the next, and the place is said."""
    for ending in ("gz", "bz2", "zst", "xz"):
        parts = [PACK[ending](b"".join(LINES[i : i + 9])) for i in range(0, 900, 9)]
        starts = [sum(map(len, parts[:i])) for i in range(101)]
        for number in (0, 50, 98, 99):
            content = [*parts]
            content[number] = damaged(parts[number], number)
            path = folder / f"a.jsonl.{ending}"
            path.write_bytes(b"".join(content))
            docs = read({"type": "jsonl", "path": str(path)})
            broken = [doc for doc in docs if doc.rejection and doc.rejection.reason == f"bad_{NAMES[ending]}"]
            assert len(broken) == 1
            assert f"in the stream at compressed byte {starts[number]}," in broken[0].rejection.value
            kept = [doc.meta["n"] for doc in docs if not doc.rejection]
            lost = sorted(set(range(900)) - set(kept))
            assert kept == sorted(kept)
            assert set(lost) <= set(range(number * 9, number * 9 + 9))
            assert lost
            assert (f"reading goes on at {starts[number + 1]}" in broken[0].rejection.value) == (number < 99)
            for doc in docs[::40]:
                if not doc.rejection:
                    assert doc.origin.member == ("a.jsonl" if doc.meta["n"] < number * 9 + 9 else f"@{starts[number + 1]}")
                    assert json.loads(original(row(doc)))["text"] == doc.text


def row(doc) -> dict:
    return {"file": doc.origin.file, "member": doc.origin.member, "start": doc.origin.start, "end": doc.origin.end}


def test_a_wrong_checksum_costs_a_small_member(folder, library):
    parts = [gzip.compress(line, mtime=0) for line in LINES[:50]]
    parts[20] = parts[20][:-6] + bytes([parts[20][-6] ^ 1]) + parts[20][-5:]
    (folder / "a.jsonl.gz").write_bytes(b"".join(parts))
    docs = read({"type": "jsonl", "path": "a.jsonl.gz"})
    assert [doc.meta["n"] for doc in docs if not doc.rejection] == [i for i in range(50) if i != 20]
    assert [doc.rejection.reason for doc in docs if doc.rejection] == ["bad_gzip"]


def test_two_damaged_members_and_a_cut_off_one(folder, library):
    parts = [gzip.compress(line, mtime=0) for line in LINES[:60]]
    parts[20], parts[40] = damaged(parts[20], 1), damaged(parts[40], 2)
    (folder / "a.jsonl.gz").write_bytes(b"".join(parts)[:-12])
    docs = read({"type": "jsonl", "path": "a.jsonl.gz"})
    assert [doc.meta["n"] for doc in docs if not doc.rejection] == [i for i in range(59) if i not in (20, 40)]
    assert [doc.rejection.reason for doc in docs if doc.rejection] == ["bad_gzip", "bad_gzip", "truncated_gzip"]


def test_resume_is_not_taken_in_by_what_looks_like_a_beginning(folder):
    good, bait = gzip.compress(LINES[0], mtime=0), b"\x1f\x8b\x08\x00" + random.Random(0).randbytes(300)
    path = folder / "a.jsonl.gz"
    path.write_bytes(damaged(good, 3) + bait * 3 + good + bait)
    with opened(path, "a.jsonl") as handle:
        found, damage = everything(handle)
    assert not found
    assert resume(path, damage) == f"@{len(good) + 3 * len(bait)}"
    docs = read({"type": "jsonl", "path": "a.jsonl.gz"})
    assert [doc.text for doc in docs if not doc.rejection] == [BODIES[0]]
    assert len([doc for doc in docs if doc.rejection]) == 2


def test_random_bytes_and_an_empty_stream_are_quarantined(folder, ending):
    for content, reason in ((random.Random(1).randbytes(5000), f"bad_{NAMES[ending]}"), (b"", "empty_file"), (PACK[ending](b""), "empty_file")):
        for name in ("a.jsonl", "a.txt"):
            (folder / f"{name}.{ending}").write_bytes(content)
            kind = "jsonl" if "json" in name else "text"
            docs = read({"type": kind, "path": f"{name}.{ending}"})
            assert [doc.rejection.reason for doc in docs] == [reason]
            with pytest.raises(DataError, match="only empty files" if reason == "empty_file" else f"no {NAMES[ending]} begins here"):
                create("source", {"type": kind, "path": f"{name}.{ending}"}).check()


def test_a_library_that_is_missing_is_named_before_work(folder, monkeypatch):
    (folder / "a.jsonl.zst").write_bytes(PACK["zst"](DATA))
    (folder / "a.po").write_text('msgid "a"\nmsgstr "b"\n')
    for module, kind, path in (("zstandard", "jsonl", "a.jsonl.zst"), ("polib", "gettext", "a.po")):
        create("source", {"type": kind, "path": path}).check()
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(RequestError, match=rf"{kind}: expected the library '{module}', got not installed - pip install 'yanmo\[corpus\]'"):
            create("source", {"type": kind, "path": path}).check()


def test_a_line_without_end_is_passed_over_and_not_held(folder, ending):
    import tracemalloc

    repeats = 1 if ending == "bz2" else 134  # bz2 is slow on what repeats itself, xz on what does not
    long = (random.Random(0).randbytes(8_782_000 // repeats).hex().encode() * repeats)[:17_500_000]
    (folder / f"a.jsonl.{ending}").write_bytes(PACK[ending](LINES[0] + b'{"text": "' + long + b'"}\n' + LINES[1]))
    source = create("source", {"type": "jsonl", "path": ".", "max_line_bytes": 1 << 20})
    (shard,) = source.shards()
    tracemalloc.start()
    docs = list(source.read(shard))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [doc.rejection and doc.rejection.reason for doc in docs] == [None, "line_too_long", None]
    assert docs[1].rejection.value == 17_500_013
    assert docs[2].text == BODIES[1]
    assert peak < 16 << 20


def test_a_bomb_is_given_up_after_a_bounded_amount(folder, ending, monkeypatch):
    monkeypatch.setattr(compressed, "FREE", 3 << 20)
    monkeypatch.setattr(compressed, "CHUNK", 1 << 10)
    line = b'{"text": "' + b"again and " * 100 + b'"}\n'
    (folder / f"a.jsonl.{ending}").write_bytes(PACK[ending](LINES[0]) + PACK[ending](line * 12_000))
    docs = read({"type": "jsonl", "path": f"a.jsonl.{ending}"})
    kept = [doc for doc in docs if not doc.rejection]
    assert kept[0].text == BODIES[0]
    assert 1000 < len(kept) < 6000
    assert docs[-1].rejection.reason == "bomb"
    assert docs[-1].rejection.value.startswith("more than 250 times its size")


def test_memory_stays_bounded_while_a_bomb_is_read(folder):
    import tracemalloc

    for ending in PACK:
        packed = PACK[ending](b"\0" * (60 << 20))
        handle = decoded(io.BytesIO(packed), compression.codec_of("a." + ending))
        tracemalloc.start()
        assert handle.read(1 << 16)
        for _ in range(300):
            handle.read(1 << 16)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 48 << 20, ending


@pytest.mark.parametrize("blocks", [True, False])
def test_compressed_text_files(folder, ending, blocks):
    body = "\n\n".join(texts(2000, seed=8)) + "\n"
    (folder / f"a.txt.{ending}").write_bytes(PACK[ending](body.encode()))
    docs = read({"type": "text", "path": ".", "blocks": blocks})
    assert "".join(doc.text for doc in docs) == body
    assert len(docs) > 2 if blocks else len(docs) == 1
    for doc in docs:
        assert doc.origin.member == "a.txt"
        assert original(row(doc)).decode() == doc.text
    whole = PACK[ending](body.encode())
    (folder / f"a.txt.{ending}").write_bytes(whole[: len(whole) * 2 // 3])
    docs = read({"type": "text", "path": ".", "blocks": blocks})
    assert docs[-1].rejection.reason == f"truncated_{NAMES[ending]}"
    kept = "".join(doc.text for doc in docs[:-1])
    assert body.startswith(kept)
    assert kept.endswith("\n") or not kept
    assert all(doc.rejection is None for doc in docs[:-1])


def test_a_file_that_changes_while_it_is_read(folder):
    (folder / "a.jsonl").write_bytes(DATA)
    source = create("source", {"type": "jsonl", "path": "a.jsonl"})
    (shard,) = source.shards()
    assert len(list(source.read(shard))) == 900
    with open("a.jsonl", "ab") as handle:
        handle.write(LINES[0])
    with pytest.raises(WorkError, match=rf"a\.jsonl: expected the file to stay as it is while it is read, got {len(DATA)} and then \d+ bytes"):
        list(source.read(shard))
    docs = source.read(source.shards()[0])
    next(docs)
    (folder / "a.jsonl").unlink()
    with pytest.raises(WorkError, match="got none"):
        list(docs)
    with pytest.raises(WorkError, match="got none"):
        list(source.read(shard))


# ---------------------------------------------------------------------------------------------- JSON

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.integers(-(10**30), 10**30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=8,
)  # fmt: skip


def plainly(line: bytes):
    return json.loads(line.decode(), parse_constant=lambda name: None)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES, st.booleans())
def test_json_is_read_the_same_with_and_without_orjson(value, escaped):
    line = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    try:
        expected = repr(plainly(line))
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            jsonl.parsed(line)
        return
    assert repr(jsonl.parsed(line)) == expected


@pytest.mark.parametrize("line", [
    b"-0", b'{"a": -0, "b": -0.0, "c": 1e400, "d": 1E5}', b'{"a": 18446744073709551616}', b'{"a": 18446744073709551615}',
    b'{"a": -9223372036854775809, "b": [9223372036854775808123]}', b'{"a": 1, "a": 2, "b": 3, "a": 4}', b'{"a": NaN, "b": [Infinity, -Infinity]}',
    b'{"a": 0.1000000000000000055511151231257827, "b": 123456789012345678}', b' \t{"a": "\\u00e9\\ud83d\\ude00"}\r', b'{"a": 9007199254740993}',
    b'"\\ud83d"', b'{"a": 1e22, "b": 5e-324, "c": 1.7976931348623157e308, "d": 4611686018427387904.0}',
])  # fmt: skip
def test_numbers_that_parsers_differ_about(line):
    assert repr(jsonl.parsed(line)) == repr(plainly(line))


def test_orjson_is_used_where_it_is_there_and_missed_where_it_is_not(folder, monkeypatch):
    assert jsonl._orjson() is not None
    (folder / "a.jsonl").write_bytes(DATA + b'{"text": "x", "n": NaN}\n{"text": 1}\n{"text": "\xff"}\n{broken\n')
    fast = read({"type": "jsonl", "path": "a.jsonl"})
    monkeypatch.setattr(jsonl, "_orjson", lambda: None)
    assert read({"type": "jsonl", "path": "a.jsonl"}) == fast
    assert [doc.rejection.reason for doc in fast if doc.rejection] == ["wrong_type", "invalid_encoding", "bad_json"]


def test_deep_nesting_is_one_answer_for_every_parser(monkeypatch):
    deep, fine = b"[" * 101 + b"]" * 101, b"[" * 100 + b"]" * 100
    for loads in (jsonl._orjson(), None):
        monkeypatch.setattr(jsonl, "_orjson", lambda loads=loads: loads)
        assert isinstance(jsonl.parsed(fine), list)
        assert jsonl.parsed(b'{"text": "' + b"[" * 500 + b'"}') == {"text": "[" * 500}
        for line in (deep, b"[" * 900 + b"]" * 900, b"[" * 100_000 + b"]" * 100_000):
            with pytest.raises(ValueError, match="nested deeper than 100"):
                jsonl.parsed(line)


def test_checksums_are_looked_at(library):
    packed = bytearray(gzip.compress(b"abc" * 1000, mtime=0))
    packed[-8] ^= 1
    assert zlib.crc32(b"abc" * 1000) != int.from_bytes(packed[-8:-4], "little")
    assert everything(decoded(io.BytesIO(packed), compression.codec_of("a.gz")))[1].reason == "bad_gzip"
