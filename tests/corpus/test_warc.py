"""Web archives: pages in order with their origins however the file is cut, what is no page, and every kind of damage."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from tests.corpus.corpora import ODD, read, run, small_shards, texts
from tests.corpus.crawl import crawl, http, page, paragraphs, record, write
from yanmo.core.data import content_id
from yanmo.core.errors import DataError
from yanmo.core.registry import create
from yanmo.corpus import source as sources
from yanmo.corpus.formats.compressed import opened

PACKED = ["a.warc.gz", "a.warc.zst", "a.warc"]


def warc(path="a.warc.gz", **settings_):
    return {"type": "warc", "path": str(path), "extract": "raw", **settings_}


def bytes_of(doc):
    with opened(sources.locate(doc.origin.file), doc.origin.member) as handle:
        handle.seek(doc.origin.start)
        return handle.read(doc.origin.end - doc.origin.start)


def fates(docs):
    return [(doc.rejection.step, doc.rejection.reason) if doc.rejection else "kept" for doc in docs]


# ---------------------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("tier", ["quality", "fast"])
def test_the_text_of_each_page_without_what_stands_around_it(folder, tier):
    write(folder / "a.warc.gz", crawl(8))
    docs = read(warc(extract=tier))
    assert fates(docs) == ["kept"] * 8
    for i, doc in enumerate(docs):
        language = "zh" if i % 2 else "en"
        for text in paragraphs(i, language):
            assert text in doc.text
        for other in ("About us", "关于我们", "版权所有", "Copyright", "tracker", "color: black"):
            assert other not in doc.text
        assert doc.id == content_id(doc.text)
        assert doc.source == "a.warc.gz"
        assert doc.meta == {"url": f"http://example.org/{i}", "date": f"2026-01-02T03:04:{i:02d}Z", "content_type": "text/html",
                            "status": 200, "title": f"Page {i}", "html_lang": "zh-CN" if i % 2 else "en"}  # fmt: skip


def test_all_the_text_and_the_html_itself(folder):
    write(folder / "a.warc.gz", crawl(2))
    everything = read(warc(extract="none"))
    assert all("About us" in doc.text or "关于我们" in doc.text for doc in everything)
    assert not any("<" in doc.text or "tracker" in doc.text for doc in everything)
    assert [doc.text.encode() for doc in read(warc())] == [page(f"Page {i}", paragraphs(i, lang), lang) for i, lang in enumerate(("en", "zh"))]


@pytest.mark.parametrize(("charset", "declared", "encoding"), [
    ("utf-8", None, "utf-8"), (None, "utf-8", "utf-8"), (None, None, "utf-8"), ("gb2312", None, "gb18030"), (None, "gbk", "gb18030"),
    (None, "gb2312", "gb18030"), (None, None, "gb18030"), ("big5", None, "big5"), (None, "big5", "big5"), (None, None, "big5"),
    ("iso-8859-1", None, "utf-8"), ("utf-8", "gb2312", "gb18030"), (None, "utf-8", "utf-8-sig"), (None, None, "utf-16"),
])  # fmt: skip
def test_encodings(folder, charset, declared, encoding):
    texts_ = ["天下大勢，分久必合，合久必分。周末七國分爭，並入於秦。" * 4, "及秦滅之後，楚、漢分爭，又並入於漢。" * 4]
    body = page("三國", texts_, "en", declared, encoding)
    kind = "text/html" + (f'; charset="{charset}"' if charset else "")
    write(folder / "a.warc.gz", [record("response", http(body, content_type=kind))])
    (doc,) = read(warc(extract="quality"))
    assert doc.rejection is None
    assert [text in doc.text for text in texts_] == [True, True]
    assert doc.meta["title"] == "三國"
    expected = {"big5": "big5hkscs", "utf-8-sig": "utf-8", "utf-16": "utf-16-le"}.get(encoding, encoding)
    assert doc.meta.get("encoding", "utf-8") == expected
    assert bytes_of(doc) == body


@pytest.mark.parametrize("name", PACKED)
def test_origins_lead_back_to_the_page(folder, name):
    starts = write(folder / name, crawl(6))
    docs = read(warc(name))
    for i, doc in enumerate(docs):
        assert bytes_of(doc).decode() == doc.text == page(f"Page {i}", paragraphs(i, ("en", "zh")[i % 2]), ("en", "zh")[i % 2]).decode()
        assert doc.origin.member == (None if name == "a.warc" else f"@{starts[2 + 3 * i]}")
    if name == "a.warc":
        assert (folder / name).read_bytes()[docs[3].origin.start : docs[3].origin.end].decode() == docs[3].text


def test_a_whole_file_packed_at_once(folder):
    (folder / "a.warc.gz").write_bytes(gzip.compress(b"".join(crawl(9)), mtime=0))
    docs = read(warc())
    assert len(docs) == 9
    assert {doc.origin.member for doc in docs} == {"@0"}
    assert [bytes_of(doc).decode() for doc in docs] == [doc.text for doc in docs]


def test_record_by_record_as_warcio_reads_them(folder):
    bodies = [page(f"Page {i}", paragraphs(i)) for i in range(5)] + [b"", b"<html>\r\n\r\nWARC/1.0\r\n\r\n</html>", b"\x00\xff" * 300]
    records = [record("warcinfo", b"")]
    for i, body in enumerate(bodies):
        records.append(record("response", http(body, "404 Not Found" if i == 3 else "200 OK", "text/html" if i != 4 else "image/png"), i))
    for name in ("a.warc.gz", "a.warc"):
        write(folder / name, records)
        with open(folder / name, "rb") as handle:
            expected = [(found.rec_headers.get_header("WARC-Target-URI"), found.rec_headers.get_header("WARC-Date"),
                         int(found.http_headers.get_statuscode()), found.http_headers.get_header("Content-Type"), found.content_stream().read())
                        for found in ArchiveIterator(handle) if found.rec_type == "response"]  # fmt: skip
        docs = read(warc(name))
        assert [(doc.meta["url"], doc.meta["date"], doc.meta["status"], doc.meta["content_type"], bytes_of(doc)) for doc in docs] == expected
        assert fates(docs) == ["kept", "kept", "kept", ("warc", "status"), ("warc", "content_type"), ("extract", "no_text"), "kept", ("extract", "bad_encoding")]


# ---------------------------------------------------------------------------------------------- shards


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("size", [700, 1500, 10_000])
def test_every_record_belongs_to_one_shard(folder, monkeypatch, name, size):
    write(folder / name, crawl(12))
    whole = read(warc(name))
    small_shards(monkeypatch, size)
    source = create("source", warc(name))
    shards = source.shards()
    assert len(shards) > 1
    parts = [list(source.read(shard)) for shard in reversed(shards)]
    assert [doc for part in reversed(parts) for doc in part] == whole
    for shard, part in zip(reversed(shards), parts):
        for after in (1, len(part)):
            assert list(source.read(shard, after)) == part[after:]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_any_cut_of_a_damaged_file_gives_the_same(tmp_path_factory, data):
    """Bytes overwritten or taken out anywhere: the shards together read what one reader reads, and lose only what was hit."""
    folder = tmp_path_factory.mktemp("cut")
    name = data.draw(st.sampled_from(PACKED[:1] + PACKED[2:]))
    records = [record("response", http(f"<p>page {i} {'x' * (i * 37 % 90)}</p>".encode()), i) for i in range(10)]
    starts = write(folder / name, records)
    raw = bytearray((folder / name).read_bytes())
    damage = data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(1, 40), st.booleans()), max_size=3))
    hit, places = set(), list(range(len(raw)))  # of each byte, where it was
    for at, size, out in damage:
        hit |= {max(i for i, start in enumerate(starts) if start <= place) for place in places[at : at + size]}
        raw[at : at + size] = b"" if out else random.Random(at).randbytes(len(raw[at : at + size]))
        if out:
            del places[at : at + size]
    (folder / name).write_bytes(raw)
    source = create("source", warc(folder / name))
    before, results = sources.SHARD_BYTES, []
    for size in (1 << 20, data.draw(st.integers(60, 900))):
        sources.SHARD_BYTES = size
        try:
            results.append([doc for shard in source.shards() for doc in source.read(shard)])
        finally:
            sources.SHARD_BYTES = before
    kept = [[doc.text for doc in docs if doc.rejection is None] for docs in results]
    assert kept[0] == kept[1]
    if name == "a.warc.gz":
        sound = [f"<p>page {i} {'x' * (i * 37 % 90)}</p>" for i in range(10) if i not in hit]
        assert [text for text in kept[0] if text in sound] == sound
        if len(kept[0]) < 10 and raw:
            assert any(doc.rejection for doc in results[0])
            assert any(doc.rejection for doc in results[1])


def test_on_the_engine_one_and_two_workers_agree(folder, monkeypatch):
    write(folder / "a.warc.gz", crawl(30))
    small_shards(monkeypatch, 6000)
    one = run(folder / "one", warc(extract="quality"), ["normalize"], workers=1)
    assert one == run(folder / "two", warc(extract="quality"), ["normalize"], workers=2)
    assert fates(one) == ["kept"] * 30


# ---------------------------------------------------------------------------------------------- what is no page


def test_responses_that_are_no_pages_are_dropped_with_what_they_were(folder):
    good = page("Good", paragraphs(1))
    write(folder / "a.warc.gz", [
        record("response", http(b"<h1>gone</h1>", "404 Not Found"), 0), record("response", http(b"", "301 Moved"), 1),
        record("response", http(b"\x89PNG\r\n", content_type="image/png"), 2), record("response", http(b"%PDF-1.7", content_type="application/pdf"), 3),
        record("response", http(b"{}", content_type="application/json"), 4), record("response", http(b"plain words", content_type="text/plain"), 5),
        record("response", b"20260102030405\nexample.org. 300 IN A 192.0.2.1\n", 6, "dns:example.org", Content_Type="text/dns"),
        record("response", http(good, content_type=None), 7), record("response", http(b"\x00\x01", content_type=None), 8),
        record("response", http(good, content_type="Application/XHTML+XML; charset=UTF-8"), 9), record("resource", good, 10),
        record("revisit", http(b""), 11), record("continuation", b"x", 12),
    ])  # fmt: skip
    docs = read(warc(extract="fast"))
    assert [(doc.meta["url"][-2:].strip("/"), doc.rejection and (doc.rejection.reason, doc.rejection.value)) for doc in docs] == [
        ("0", ("status", 404)), ("1", ("status", 301)), ("2", ("content_type", "image/png")), ("3", ("content_type", "application/pdf")),
        ("4", ("content_type", "application/json")), ("5", ("content_type", "text/plain")), ("rg", ("content_type", "text/dns")),
        ("7", None), ("8", ("content_type", "")), ("9", None), ("10", None),
    ]  # fmt: skip
    assert {doc.rejection.step for doc in docs if doc.rejection} == {"warc"}
    assert [doc.text for doc in docs if doc.rejection] == ["<h1>gone</h1>", "", "", "", "", "plain words", "", ""]


@pytest.mark.parametrize("coding", ["chunked", "gzip", "deflate", "raw deflate", "br", "zstd", "gzip, announced only", "chunked, announced only", "broken gzip", "bomb"])
def test_codings_of_the_body_are_undone(folder, coding):
    body = page("Coded", paragraphs(4))
    headers, sent = {"Content_Encoding": coding.partition(",")[0].split()[-1]}, body
    if coding.startswith("chunked"):
        headers = {"Transfer_Encoding": "chunked"}
        if coding == "chunked":
            sent = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(body[i : i + 300]), body[i : i + 300]) for i in range(0, len(body), 300)) + b"0\r\n\r\n"
    elif coding in ("gzip", "broken gzip"):
        sent = gzip.compress(body, mtime=0)
        if coding == "broken gzip":
            sent = sent[:60] + b"\xff" * 60 + sent[120:]
    elif coding == "bomb":
        headers, sent = {"Content_Encoding": "gzip"}, gzip.compress(b"<p>" + b" " * (20 << 20), mtime=0)
    elif coding == "deflate":
        sent = zlib.compress(body)
    elif coding == "raw deflate":
        compressor = zlib.compressobj(wbits=-15)
        sent = compressor.compress(body) + compressor.flush()
    elif coding in ("br", "zstd"):
        sent = brotli_stored(body) if coding == "br" else zstandard.ZstdCompressor().compress(body)
    write(folder / "a.warc.gz", [record("response", http(sent, **headers))])
    (doc,) = read(warc())
    if coding == "broken gzip":
        assert (doc.rejection.step, doc.rejection.reason) == ("warc", "content_encoding")
        assert str(doc.rejection.value).startswith("gzip: ")
    elif coding == "bomb":
        assert (doc.rejection.step, doc.rejection.reason) == ("extract", "too_large")
    else:
        assert doc.text.encode() == body
    assert bytes_of(doc) == sent, "the origin is that of the bytes as they lie there"


def brotli_stored(data: bytes) -> bytes:
    """A brotli stream of uncompressed meta-blocks (RFC 7932, section 9.2), written bit by bit."""
    bits, place = [0], 0  # WBITS: 16

    def put(value: int, count: int) -> None:
        bits.extend(value >> i & 1 for i in range(count))

    def packed() -> bytes:
        bits.extend([0] * (-len(bits) % 8))
        return bytes(sum(bit << i for i, bit in enumerate(bits[j : j + 8])) for j in range(0, len(bits), 8))

    out = b""
    for place in range(0, len(data), 60_000):
        piece = data[place : place + 60_000]
        put(0, 1)  # ISLAST
        put(0, 2)  # MNIBBLES: 4
        put(len(piece) - 1, 16)
        put(1, 1)  # ISUNCOMPRESSED
        out += packed() + piece
        bits.clear()
    put(3, 2)  # ISLAST, ISLASTEMPTY
    return out + packed()


# ---------------------------------------------------------------------------------------------- damage


def lost(docs):
    return [(doc.rejection.reason, doc.origin.member, doc.rejection.value) for doc in docs if doc.rejection]


@pytest.mark.parametrize("left", [1, 9, 200, -20, -1])
def test_a_cut_off_last_member_is_one_loss_and_the_rest_is_kept(folder, left):
    records = [record("response", http(page(f"P{i}", paragraphs(i))), i) for i in range(6)]
    starts = write(folder / "a.warc.gz", records)
    data = (folder / "a.warc.gz").read_bytes()
    (folder / "a.warc.gz").write_bytes(data[:left] if left < 0 else data[: starts[5] + left])
    docs = read(warc())
    assert fates(docs) == ["kept"] * 5 + [("quarantine", "truncated_gzip")]
    assert docs[-1].origin.member == f"@{starts[5]}"
    assert f"compressed byte {starts[5]}" in docs[-1].rejection.value


@pytest.mark.parametrize("where", ["header", "inside", "checksum"])
def test_a_corrupt_member_is_lost_alone(folder, where):
    records = [record("response", http(page(f"P{i}", paragraphs(i))), i) for i in range(9)]
    starts = write(folder / "a.warc.gz", records)
    data = bytearray((folder / "a.warc.gz").read_bytes())
    at = {"header": starts[4], "inside": starts[4] + 300, "checksum": starts[5] - 6}[where]
    data[at : at + 4] = b"\xff\xfe\xfd\xfc"
    (folder / "a.warc.gz").write_bytes(data)
    docs = read(warc())
    assert [doc.meta["url"][-1] for doc in docs if doc.rejection is None] == list("01235678")
    assert [(reason, member) for reason, member, _ in lost(docs)] == [("bad_gzip", f"@{starts[4]}")]
    assert docs[4].rejection is not None, "in its place"
    create("source", warc()).check()


def test_bytes_between_members_and_padding_behind_them(folder):
    records = [gzip.compress(record("response", http(page(f"P{i}", paragraphs(i))), i), mtime=0) for i in range(3)]
    (folder / "a.warc.gz").write_bytes(records[0] + b"garbage here" + records[1] + gzip.compress(b"no record") + records[2] + b"\0" * 5000)
    docs = read(warc())
    assert fates(docs) == ["kept", ("quarantine", "bad_gzip"), "kept", ("quarantine", "bad_record"), "kept"]


def test_random_bytes_empty_files_and_other_files(folder):
    (folder / "data").mkdir()
    (folder / "data" / "a.warc.gz").write_bytes(random.Random(1).randbytes(50_000))
    (folder / "data" / "b.warc.gz").write_bytes(b"")
    (folder / "data" / "c.warc").write_bytes(random.Random(2).randbytes(50_000))
    (folder / "data" / "d.warc.gz").write_bytes(gzip.compress("只是文字".encode() * 100))
    (folder / "data" / "e.warc").write_bytes(b"")
    assert fates(read(warc("data"))) == [("quarantine", reason) for reason in ("bad_gzip", "empty_file", "bad_record", "bad_record", "empty_file")]
    with pytest.raises(DataError, match=r"a\.warc\.gz: expected a web archive \(WARC\)"):
        create("source", warc("data")).check()
    write(folder / "data" / "f.warc.gz", crawl(2))
    create("source", warc("data")).check()
    assert len(read(warc("data"))) == 7


@pytest.mark.parametrize("name", PACKED)
def test_records_that_are_too_large_are_passed_over_and_bombs_given_up(folder, name):
    pages = [record("response", http(page(f"P{i}", paragraphs(i))), i) for i in range(4)]
    noise = random.Random(3).randbytes(30_000).hex().encode()
    large = [record("response", http(b"<p>" + noise), 8)]
    if name.endswith("gz"):
        large.append(record("response", http(b"<p>" + b" " * (64 << 20)), 9))
    starts = write(folder / name, [*pages[:2], *large, *pages[2:]])
    tracemalloc.start()
    try:
        docs = read(warc(name, max_record_bytes=40_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    assert [doc.meta["url"][-1] for doc in docs if doc.rejection is None] == list("0123")
    expected = [("record_too_large", None if name == "a.warc" else f"@{starts[2]}", len(http(b"<p>" + noise)))]
    if name.endswith("gz"):
        expected.append(("bomb", f"@{starts[3]}", f"more than 500 times its size, in the stream at compressed byte {starts[3]}"))
    assert lost(docs) == expected


@pytest.mark.parametrize("name", PACKED)
def test_records_with_wrong_lengths_and_without_fields(folder, name):
    good = [record("response", http(f"<p>page {i}</p>".encode()), i) for i in range(6)]
    bad = [record("response", http(b"<p>x</p>"), 7, length=40), record("response", http(b"<p>x</p>"), 8, length=9_999_999),
           b"WARC/1.0\r\nWARC-Type: response\r\n\r\nwords\r\n\r\n", b"WARC/1.0\r\n" + b"x: y\r\n" * 40_000 + b"\r\n",
           record("response", http(b"<p>x</p>"), 9, length=-5)]  # fmt: skip
    write(folder / name, [good[0], bad[0], good[1], bad[1], good[2], bad[2], good[3], bad[3], good[4], bad[4], good[5]])
    docs = read(warc(name))
    assert [doc.text for doc in docs if doc.rejection is None] == [f"<p>page {i}</p>" for i in range(6)]
    assert [reason for reason, _, _ in lost(docs)] == ["bad_record", "truncated_record", "bad_record", "bad_record", "bad_record"]


def test_line_feeds_alone_and_folded_fields(folder):
    body = http(page("P", paragraphs(0))).replace(b"\r\n", b"\n")
    head = f"WARC/1.0\nWARC-Type: response\nWARC-Target-URI:\n http://example.org/\n  long\nContent-Length: {len(body)}\n\n".encode()
    write(folder / "a.warc.gz", [head + body + b"\n\n"])
    (doc,) = read(warc())
    assert doc.meta["url"] == "http://example.org/ long"
    assert doc.text == page("P", paragraphs(0)).decode()


def test_a_plain_file_cut_off_inside_a_record(folder):
    records = crawl(4)
    write(folder / "a.warc", records)
    data = (folder / "a.warc").read_bytes()
    (folder / "a.warc").write_bytes(data[: len(data) - len(records[-1]) - 500])
    docs = read(warc("a.warc"))
    assert fates(docs) == ["kept"] * 3 + [("quarantine", "truncated_record")]


# ---------------------------------------------------------------------------------------------- extracted text (WET)


@pytest.mark.parametrize("name", ["a.warc.wet.gz", "a.wet"])
def test_extracted_text_comes_as_it_is(folder, name, monkeypatch):
    bodies = [*texts(40), *ODD, "line one\nline two\r\nline three"]
    records = [record("warcinfo", b"")]
    records += [record("conversion", body.encode(), i, WARC_Identified_Content_Language="zho,eng") for i, body in enumerate(bodies)]
    records += [record("conversion", b"\xff\xfe bad", 90), record("conversion", b" \n", 91)]
    write(folder / name, records)
    small_shards(monkeypatch, 2000)
    docs = read({"type": "wet", "path": name})
    assert [doc.text for doc in docs[:-2]] == bodies
    assert [doc.id for doc in docs[:-2]] == [content_id(body) for body in bodies]
    assert [bytes_of(doc).decode() for doc in docs[:-2]] == bodies
    assert docs[3].meta == {"url": "http://example.org/3", "date": "2026-01-02T03:04:03Z", "languages": "zho,eng"}
    assert [doc.rejection.reason for doc in docs[-2:]] == ["invalid_encoding", "empty_text"]
