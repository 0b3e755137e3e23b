"""Archives: every member by its name, in any packing, one tar within another; damage and hostile names."""

from __future__ import annotations

import io
import json
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.corpus.corpora import read, small_shards, texts
from tests.corpus.test_compressed import PACK, row
from yanmo.core.errors import CorruptError, DataError
from yanmo.core.registry import create
from yanmo.corpus.documents import original
from yanmo.corpus.formats import compressed, members

BODIES = texts(60, seed=3)
MEMBERS = {f"books/{i:03d}.txt": body.encode() for i, body in enumerate(BODIES)}


def tar(contents: dict[str, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as archive:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in contents.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def make(path: str, contents: dict[str, bytes]) -> Path:
    ending = path.rpartition(".")[2]
    data = zipped(contents) if ending == "zip" else tar(contents)
    Path(path).write_bytes(PACK[ending](data) if ending in PACK else data)
    return Path(path)


@pytest.mark.parametrize("name", ["a.tar", "a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.tar.zst"])
def test_members_come_back_by_their_names(folder, name):
    more = {**MEMBERS, "notes/说明.md": "# 研墨 👩‍👩‍👧‍👦\n".encode(), "lines.jsonl": b'{"text": "one", "n": 1}\n{"text": "\xe4\xba\x8c"}\n{broken\n',
            "gb.txt": "电脑与网络的发展，让我们的生活产生了很大的变化。".encode("gb18030"), "packed.txt.gz": PACK["gz"](b"packed\n"),
            "rows.jsonl.zst": PACK["zst"](b'{"text": "three"}\n'), "picture.png": b"\x89PNG", "x" * 300 + "/long.txt": b"a long name\n"}  # fmt: skip
    make(name, more)
    docs = read({"type": "archive", "path": name})
    kept = [doc for doc in docs if not doc.rejection]
    assert [doc.text for doc in kept] == [*BODIES, "# 研墨 👩‍👩‍👧‍👦\n", "one", "二", "电脑与网络的发展，让我们的生活产生了很大的变化。", "packed\n", "three", "a long name\n"]
    assert [doc.origin.member for doc in kept[:61]] == [*MEMBERS, "notes/说明.md"]
    assert kept[-1].origin.member == "x" * 300 + "/long.txt"
    assert [(doc.rejection.reason, doc.origin.member, doc.meta["line"]) for doc in docs if doc.rejection] == [("bad_json", "lines.jsonl", 3)]
    for doc in kept[::7] + kept[-6:]:
        data = original(row(doc))
        assert (json.loads(data)["text"] if "jsonl" in doc.origin.member else data.decode(doc.meta.get("encoding", "utf-8"))) == doc.text
    assert kept[61].meta == {"n": 1}


def test_a_tar_in_a_tar_as_openwebtext_has_it(folder):
    parts = {f"openwebtext/urlsf_subset{i:02d}_data.xz": PACK["xz"](tar({f"{j:07d}.txt": BODIES[i * 10 + j].encode() for j in range(10)})) for i in range(3)}
    parts["openwebtext/more.tar"] = tar({"0.txt": BODIES[30].encode(), "deeper.tar": tar({"1.txt": b"not this deep"})})
    make("openwebtext.tar.xz", parts)
    docs = read({"type": "archive", "path": "openwebtext.tar.xz"})
    assert [doc.text for doc in docs] == BODIES[:31]
    assert docs[13].origin.member == "openwebtext/urlsf_subset01_data.xz!0000003.txt"
    assert all(original(row(doc)).decode() == doc.text for doc in docs)
    (folder / "alone").mkdir()
    (folder / "alone" / "urlsf_subset00_data.xz").write_bytes(parts["openwebtext/urlsf_subset00_data.xz"])
    docs = read({"type": "archive", "path": "alone"})
    assert [doc.text for doc in docs] == BODIES[:10]
    assert original(row(docs[3])).decode() == BODIES[3]


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_a_large_archive_is_cut_by_members(folder, monkeypatch, name):
    make(name, MEMBERS)
    whole = read({"type": "archive", "path": name})
    small_shards(monkeypatch, 3000)
    source = create("source", {"type": "archive", "path": name})
    shards = source.shards()
    assert len(shards) > 3
    cut = [list(source.read(shard)) for shard in reversed(shards)]
    assert [doc for docs in reversed(cut) for doc in docs] == whole
    assert all(cut)


def test_hostile_names_are_names(folder):
    hostile = ["../../escape.txt", "/etc/passwd.txt", "a/../b.txt", "back\\slash.txt", "new\nline.txt", "-rf.txt", "x!y.txt", "only@12.txt"]
    for name in ("a.tar", "a.zip", "b.tar.gz"):
        make(name, {member: f"{i}\n".encode() for i, member in enumerate(hostile)})
        before = sorted(Path(".").rglob("*"))
        docs = read({"type": "archive", "path": name})
        assert [doc.text for doc in docs] == [f"{i}\n" for i in range(len(hostile))]
        assert all(original(row(doc)).decode() == doc.text for doc in docs)
        assert sorted(Path(".").rglob("*")) == before, "nothing was written"
    info = tarfile.TarInfo("\udcff\udcfe.txt")
    info.size = 2
    with tarfile.open("c.tar", "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        archive.addfile(info, io.BytesIO(b"x\n"))
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (doc,) = read({"type": "archive", "path": "c.tar"})
    assert doc.origin.member == "\\xff\\xfe.txt"
    assert original(row(doc)) == b"x\n"


def test_a_name_that_is_there_twice(folder, monkeypatch):
    data = tar({"a.txt": b"first\n", "b.txt": b"other\n"}) + tar({"a.txt": b"second\n"})
    for name in ("a.tar", "a.tar.gz"):
        Path(name).write_bytes(PACK["gz"](data) if name.endswith("gz") else data)
        docs = read({"type": "archive", "path": name})
        assert [(doc.text, doc.origin.member) for doc in docs] == [("first\n", "a.txt"), ("other\n", "b.txt"), ("second\n", "a#2.txt")]
        assert [original(row(doc)).decode() for doc in docs] == ["first\n", "other\n", "second\n"]
    small_shards(monkeypatch, 100)
    assert len(create("source", {"type": "archive", "path": "a.tar"}).shards()) == 1
    with pytest.raises(CorruptError, match=r"a member 'c\.txt', got none"):
        compressed.opened(Path("a.tar"), "c.txt")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_are_read_as_tarfile_reads_them(form):
    """Names at the borders of their fields, other scripts, large sizes, every type."""
    long = "folder/" * 20
    contents = {name: b"x" * size for name, size in (
        ("a" * 99, 1), ("b" * 100, 511), (long[:130] + "/" + "c" * 60, 512), ("说明/研墨.txt", 513), ("empty", 0), ("é\u0301.txt", 2000))}
    if form != tarfile.USTAR_FORMAT:
        contents |= {"d" * 400: b"y", "长" * 120 + ".txt": b"z"}
    data = tar(contents, form=form)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(info.name, info.size, info.offset, info.offset_data) for info in archive]
    assert [(e.name, e.size, e.start, e.data) for e in members.tar_members(io.BytesIO(data))] == expected
    for size in (8**11 - 1, 8**11, 1 << 40):
        info = tarfile.TarInfo("large")
        info.size = size
        name, found, kind = members._header(info.tobuf(tarfile.GNU_FORMAT)[:512])
        assert (name, found, kind) == ("large", size, tarfile.REGTYPE)
    for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("other")
        info.type = kind
        assert members._header(info.tobuf(form))[2] == kind
    assert members._header(b"\0" * 512) is None
    assert members._header(random.Random(0).randbytes(512)) is None


def test_damage_in_a_tar_costs_the_member_that_it_is_in(folder):
    data = bytearray(tar(MEMBERS))
    entries = list(members.tar_members(io.BytesIO(bytes(data))))
    for at in (entries[20].start, entries[40].start):
        data[at : at + 512] = random.Random(at).randbytes(512)
    for name in ("a.tar", "a.tar.gz"):
        Path(name).write_bytes(PACK["gz"](bytes(data)) if name.endswith("gz") else data)
        docs = read({"type": "archive", "path": name})
        assert [doc.text for doc in docs if not doc.rejection] == [body for i, body in enumerate(BODIES) if i not in (20, 40)]
        bad = [doc for doc in docs if doc.rejection]
        assert [(doc.rejection.reason, doc.origin.start) for doc in bad] == [("bad_archive", entries[20].start), ("bad_archive", entries[40].start)]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_a_cut_off_archive_keeps_what_is_whole(folder, share):
    for name, reason in (("a.tar", "truncated_archive"), ("a.tar.gz", "truncated_gzip"), ("a.tar.xz", "truncated_xz"), ("a.zip", "bad_archive")):
        path = make(name, MEMBERS)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share) // 512 * 512 + 700])
        docs = read({"type": "archive", "path": name})
        assert [doc.rejection.reason for doc in docs if doc.rejection] == [reason]
        kept = [doc.text for doc in docs if not doc.rejection]
        assert name == "a.zip" or kept[:-1] == BODIES[: len(kept) - 1]
        if name == "a.tar":
            assert len(kept) >= int(60 * share) - 8


def test_zip_damage_encryption_and_bombs(folder, monkeypatch):
    data = bytearray(zipped(MEMBERS))
    place = data.find(b"books/030.txt") + 40
    data[place : place + 8] = b"\xff" * 8
    Path("a.zip").write_bytes(data)
    docs = read({"type": "archive", "path": "a.zip"})
    assert [(doc.rejection.reason, doc.origin.member) for doc in docs if doc.rejection] == [("bad_archive", "books/030.txt")]
    assert len(docs) == 60
    locked = bytearray(zipped({"a.txt": b"secret\n"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.find(signature) + offset] |= 1
    Path("b.zip").write_bytes(locked)
    assert [doc.rejection.reason for doc in read({"type": "archive", "path": "b.zip"})] == ["encrypted"]
    from yanmo.corpus.sources import archive

    monkeypatch.setattr(archive, "FREE", 1 << 20)
    Path("c.zip").write_bytes(zipped({"bomb.txt": b"\n" * (8 << 20), "good.txt": b"good\n"}))
    docs = read({"type": "archive", "path": "c.zip"})
    assert [(doc.text, doc.rejection and doc.rejection.reason) for doc in docs] == [("", "bomb"), ("good\n", None)]


def test_what_is_no_archive_or_holds_no_text(folder):
    for name in ("a.tar", "a.zip", "a.tar.gz"):
        Path(name).write_bytes(random.Random(0).randbytes(5000))
        (doc,) = read({"type": "archive", "path": name})
        assert doc.rejection.reason == ("bad_gzip" if name.endswith("gz") else "bad_archive")
        with pytest.raises(DataError, match="expected an archive of text files or JSON lines"):
            create("source", {"type": "archive", "path": name}).check()
        make(name, {"picture.png": b"\x89PNG"})
        (doc,) = read({"type": "archive", "path": name})
        assert (doc.rejection.reason, doc.rejection.value) == ("no_text_inside", "picture.png")
        Path(name).write_bytes(b"")
        (doc,) = read({"type": "archive", "path": name})
        assert doc.rejection.reason == "empty_file"


def test_members_by_pattern(folder):
    make("news.tar.gz", {"20news/sci.space/1234": b"Orbit.\n", "20news/rec.autos/1": b"Car.\n", "README": b"no\n"})
    docs = read({"type": "archive", "path": "news.tar.gz", "members": "20news/*"})
    assert [doc.text for doc in docs] == ["Orbit.\n", "Car.\n"]


def test_a_large_text_member_is_cut_into_blocks(folder, monkeypatch):
    from yanmo.corpus.sources import text

    monkeypatch.setattr(text, "WHOLE_BYTES", 100_000)
    body = "\n".join(texts(3000, seed=4))
    for name in ("a.tar.gz", "a.zip"):
        make(name, {"big.txt": body.encode(), "small.txt": b"small\n"})
        docs = read({"type": "archive", "path": name})
        assert "".join(doc.text for doc in docs) == body + "small\n"
        assert len(docs) > 4
        assert all(original(row(doc)).decode() == doc.text for doc in docs[::3])
