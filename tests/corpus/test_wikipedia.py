"""Wikipedia dumps: every form of file, origins that lead back, shards, pages that are no articles, damage of all kinds."""

from __future__ import annotations

import bz2
import gzip
import random
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import chinese, english, read, run
from tests.corpus.wiki_pages import (
    CHINESE,
    END,
    ENGLISH,
    FORMS,
    LIGHTHOUSE_TEXT,
    MOUNTAIN_TEXT,
    SITES,
    Page,
    multistream,
    write,
    xml,
)
from yanmo.core.data import Document, content_id
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.registry import create
from yanmo.corpus import documents
from yanmo.corpus.formats import bz2_streams, wiki_dump
from yanmo.corpus.formats.compressed import Damage
from yanmo.corpus.sources import wikipedia


def source(path: Path | str, **settings_) -> dict:
    return {"type": "wikipedia", "path": str(path), **settings_}


def fates(docs: list[Document]) -> list[str]:
    return [f"{doc.rejection.step}.{doc.rejection.reason}" if doc.rejection else "kept" for doc in docs]


def kept(docs: list[Document]) -> list[Document]:
    return [doc for doc in docs if doc.rejection is None]


def original(doc: Document) -> bytes:
    """The bytes of the origin, read by the definition and not by the source."""
    data = Path(doc.origin.file).read_bytes()
    member = doc.origin.member
    if member is not None and member.startswith("@"):
        data = bz2.BZ2Decompressor().decompress(data[int(member[1:]) :])
    elif member is not None:
        assert member == Path(doc.origin.file).stem
        data = bz2.decompress(data) if doc.origin.file.endswith("bz2") else gzip.decompress(data)
    return data[doc.origin.start : doc.origin.end]


def many(count: int, seed: int = 0) -> list[Page]:
    rng = random.Random(seed)
    return [Page(f"Page {i} 页", f"'''{i}''' [[a|{english(rng, rng.randint(5, 200))}]]\n\n{chinese(rng, 60)}") for i in range(count)]


def small_shards(monkeypatch, size: int) -> None:
    from yanmo.corpus import source as contract

    monkeypatch.setattr(contract, "SHARD_BYTES", size)
    monkeypatch.setattr(wikipedia, "SHARD_BYTES", size)


# ---------------------------------------------------------------------------------------------- what pages become


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_form_of_dump(folder, form, language):
    docs = read(source(write(folder, form, ENGLISH if language == "en" else CHINESE, language)))
    if language == "en":
        assert fates(docs) == ["kept", "wikipedia.redirect", "wikipedia.namespace", "kept", "wikipedia.namespace", "wikipedia.empty", "kept", "wikipedia.model"]
        assert docs[0].text == LIGHTHOUSE_TEXT
        assert docs[3].text == "Harbour may refer to:\nHarbor, a place where ships shelter\nHarbour, a novel"
        assert docs[6].text == "Signs such as 👩‍👩‍👧‍👦, e\u0301 and नमस्ते are “signs” & more: 5 < 6."
        assert docs[0].meta == {"title": "Aldmouth Light", "page_id": 1, "revision_id": 901, "url": "https://en.wikipedia.org/wiki/Aldmouth_Light", "timestamp": "2024-05-02T10:20:30Z", "language": "en"}
        assert docs[6].meta["url"] == "https://en.wikipedia.org/wiki/Emoji_%26_%3Csigns%3E%3F"
        assert [doc.rejection.value for doc in docs[1:3]] == ["Aldmouth Light", 1]
    else:
        assert fates(docs) == ["kept", "wikipedia.redirect", "wikipedia.namespace", "kept"]
        assert docs[0].text == MOUNTAIN_TEXT
        assert docs[0].meta["url"] == "https://zh.wikipedia.org/wiki/%E9%9D%92%E4%BA%91%E5%B1%B1"
        assert {doc.meta["language"] for doc in docs} == {"zh"}
    assert all(doc.id == content_id(doc.text) and doc.source for doc in docs)


@pytest.mark.parametrize("form", FORMS)
def test_origins_lead_back_to_the_page(folder, form):
    pages = [*ENGLISH, *many(30)]
    docs = read(source(write(folder, form, pages)))
    assert len(docs) == len(pages)
    for number, (doc, page) in enumerate(zip(docs, pages), 1):
        assert original(doc).decode() == page.xml(number).strip()
        place = {"file": doc.origin.file, "member": doc.origin.member, "start": doc.origin.start, "end": doc.origin.end}
        assert documents.original(place) == original(doc)
        assert (doc.origin.member is None) == (form == "plain")
        assert (doc.origin.member or "").startswith("@") == ("multistream" in form)
    places = [(int((doc.origin.member or "@0")[1:]) if "multistream" in form else 0, doc.origin.start) for doc in docs]
    assert places == sorted(set(places))


def test_settings(folder):
    path = write(folder, "plain", ENGLISH)
    assert fates(read(source(path, disambiguation="drop")))[3] == "wikipedia.disambiguation"
    assert fates(read(source(write(folder / "zh", "plain", CHINESE, "zh"), disambiguation="drop")))[3] == "wikipedia.disambiguation"
    talk = kept(read(source(path, namespaces=[1])))
    assert [doc.text for doc in talk] == ["Height\n\nIs it 31 m? A"]
    assert len(kept(read(source(path, namespaces=[0, 1, 10])))) == 4
    whole = kept(read(source(path, drop_sections=False)))[0].text
    assert "See also\n\nList of lighthouses in England" in whole
    assert "History" not in kept(read(source(path, drop_sections=["history"])))[0].text
    assert "Ann Pell | 1821 | 1840" in kept(read(source(path, tables="text")))[0].text
    chinese_ = kept(read(source(folder / "zh" / "dump.xml", variant="zh-tw")))[0].text
    assert "長江以南" in chinese_
    assert "雲霧之鄉" in chinese_
    assert read(source(path, language="zh"))[0].meta["language"] == "zh"
    for wrong, message in (({"variant": "zh-xx"}, "variant: expected one of"), ({"namespaces": []}, "namespaces"), ({"tables": "keep"}, "tables: expected one of"),
                           ({"max_page_bytes": 0}, "max_page_bytes"), ({"namespace": [0]}, "did you mean 'namespaces'")):  # fmt: skip
        with pytest.raises(RecipeError, match=message):
            create("source", source("x", **wrong))


def test_older_dumps_say_less(folder):
    """Without <ns>, <redirect> and <model>, as before 2012; without a head at all, as in a piece cut out of a dump."""
    content = xml(ENGLISH)
    old = re.sub(r" *<(ns|model|format)>.*\n| *<redirect .*\n", "", content)
    (folder / "old.xml").write_text(old, encoding="utf-8")
    docs = read(source("old.xml"))
    assert fates(docs)[:5] == ["kept", "wikipedia.redirect", "wikipedia.namespace", "kept", "wikipedia.namespace"]
    (folder / "piece.xml").write_text(content[content.index("<page>") :], encoding="utf-8")
    docs = read(source("piece.xml"))
    assert docs[0].text == LIGHTHOUSE_TEXT
    assert "url" not in docs[0].meta
    assert "language" not in docs[0].meta


def test_of_a_history_the_last_revision(folder):
    page = ENGLISH[0].xml(1)
    older = page[page.index("    <revision>") : page.index("  </page>")].replace("Aldmouth Light'''", "Old Light'''").replace("<id>901</id>", "<id>5</id>")
    (folder / "a.xml").write_text(SITES["en"] + page.replace("    <revision>", older + "    <revision>", 1) + END, encoding="utf-8")
    (doc,) = read(source("a.xml"))
    assert doc.text == LIGHTHOUSE_TEXT
    assert doc.meta["revision_id"] == 901


# ---------------------------------------------------------------------------------------------- shards


@pytest.mark.parametrize("form", ["plain", "multistream", "bare multistream"])
@pytest.mark.parametrize("size", [700, 3000, 20_000])
def test_shards_can_be_read_alone_in_any_order_and_from_any_record_on(folder, monkeypatch, form, size):
    path = write(folder, form, [*many(40), *ENGLISH, *many(20, seed=1)])
    everything = read(source(path))
    small_shards(monkeypatch, size)
    made = create("source", source(path))
    shards = made.shards()
    assert len(shards) > (3 if size < 20_000 or form == "plain" else 0)
    assert all(a.end == b.start for a, b in pairwise(shards))
    assert (shards[0].start, shards[-1].end) == (0, path.stat().st_size)
    found = {shard: list(made.read(shard)) for shard in reversed(shards)}
    assert [doc for shard in shards for doc in found[shard]] == everything
    for shard, docs in found.items():
        for after in (0, 1, len(docs), len(docs) + 2):
            assert list(made.read(shard, after)) == docs[after:]


def test_the_index_is_believed_only_where_it_is_right(folder, monkeypatch):
    path = folder / "enwiki-1-pages-articles-multistream.xml.bz2"
    starts = multistream(path, many(60), each=3)
    index = wiki_dump.index_of(path)
    assert index is not None
    assert list(wiki_dump.indexed(path)) == starts[1:-1]
    cuts = wiki_dump.cuts(path, 4000)
    assert cuts is not None
    assert len(cuts) > 3
    assert set(cuts[1:]) <= set(starts)
    asked = []
    monkeypatch.setattr(wiki_dump, "border", lambda *args, **named: asked.append(args))
    wiki_dump._cuts.cache_clear()
    assert wiki_dump.cuts(path, 4000) == cuts
    assert len(asked) <= 1  # nobody had to look, but for the end of the file
    monkeypatch.undo()
    for wrong in (b"".join(b"%d:1:x\n" % (start + 7) for start in starts), b"no index\n\xff\n::\n", b"5:1:x\n" * 1000, b""):
        index.write_bytes(bz2.compress(wrong))
        wiki_dump._cuts.cache_clear()
        assert wiki_dump.cuts(path, 4000) == cuts
    index.write_bytes(b"not even bz2")
    wiki_dump._cuts.cache_clear()
    assert wiki_dump.cuts(path, 4000) == cuts
    index.with_suffix("").write_bytes("\n".join(f"{start}:1:x" for start in starts[1:]).encode())
    index.unlink()
    assert list(wiki_dump.indexed(path)) == starts[1:]  # one that was unpacked


def test_a_folder_of_dumps_and_what_lies_beside_them(folder):
    multistream(_made(folder / "d") / "zhwiki-1-pages-articles-multistream1.xml-p1p99.bz2", CHINESE, "zh")
    (folder / "d" / "zhwiki-1-pages-articles-multistream-index1.txt-p1p99.bz2").write_bytes(bz2.compress(b"600:1:x\n"))
    (folder / "d" / "zhwiki-1-page.sql.gz").write_bytes(gzip.compress(b"INSERT"))
    (folder / "d" / "zhwiki-1-other.xml").write_text(xml(ENGLISH[:2]), encoding="utf-8")
    made = create("source", source("d"))
    assert [path.name for path in made.files()] == ["zhwiki-1-other.xml", "zhwiki-1-pages-articles-multistream1.xml-p1p99.bz2"]
    assert [doc.text for doc in kept(read(source("d")))][1:] == [MOUNTAIN_TEXT, "长江可以指：\n长江"]
    made.check()


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_streams_that_pages_run_across_are_read_as_one(folder, monkeypatch):
    """As parallel compressors write them."""
    content = xml(many(60)).encode()
    pieces = [content[i : i + 9000] for i in range(0, len(content), 9000)]
    (folder / "a.xml.bz2").write_bytes(b"".join(map(bz2.compress, pieces)))
    small_shards(monkeypatch, 2000)
    assert len(create("source", source("a.xml.bz2")).shards()) == 1
    docs = read(source("a.xml.bz2"))
    assert fates(docs) == ["kept"] * 60
    assert original(docs[33]).decode() == many(60)[33].xml(34).strip()


def test_without_rapidgzip_the_same(folder, monkeypatch):
    path = write(folder, "bz2", many(200))
    before = read(source(path))
    asked = []
    monkeypatch.setattr(bz2_streams, "import_module", lambda name: asked.append(name) or (_ for _ in ()).throw(ImportError(name)))
    assert read(source(path)) == before
    assert asked == ["rapidgzip"]


def test_lxml_missing_says_what_to_install(folder, monkeypatch):
    path = write(folder, "plain", ENGLISH)
    monkeypatch.setitem(sys.modules, "lxml.etree", None)
    with pytest.raises(Exception, match=r"pip install 'yanmo\[corpus\]'"):
        create("source", source(path)).check()


def test_through_the_engine(folder):
    write(folder / "dump", "multistream", [*ENGLISH, *many(10)])
    docs = run(folder / "parts", source("dump", name="wiki"), [{"type": "length", "min_chars": 60}])
    assert len(docs) == len(ENGLISH) + 10
    assert fates(docs).count("wikipedia.namespace") == 2
    assert kept(docs)[0].text == LIGHTHOUSE_TEXT


# ---------------------------------------------------------------------------------------------- pages found in bytes


def by_definition(data: bytes) -> list[tuple[int, int]]:
    """Where whole pages stand: from a <page> to the next </page> with no other <page> between."""
    return [match.span() for match in re.finditer(rb"<page>(?:(?!<page>|</page>).)*</page>", data, re.DOTALL)]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([b"<page>", b"</page>", b"<page", b">", b"</", b"page>", b"a", b"<", "页".encode()]), max_size=40).map(b"".join), st.integers(1, 9), st.integers(1, 30))
def test_pages_are_found_once_wherever_the_bytes_are_divided(data, step, shard):
    def pieces(start: int, end: int | None):
        return wiki_dump.pages((data[i : i + step] for i in range(start, len(data), step)), start, end, 1 << 20)

    whole = list(pieces(0, None))
    good = [piece for piece in whole if piece.reason is None]
    assert [(piece.start, piece.end) for piece in good] == by_definition(data)
    assert all(piece.data == data[piece.start : piece.end] for piece in good)
    assert len(whole) == data.count(b"<page>")  # nothing that begins is lost
    cut = [piece for start in range(0, len(data), shard) for piece in pieces(start, min(start + shard, len(data)))]
    assert cut == whole


def test_a_page_without_end_and_a_page_too_long(folder):
    pages = many(6)
    content = xml(pages)
    broken = content.replace("  </page>\n", "", 2).replace("</text>", "x" * 40_000 + "</text>", 4).replace("x" * 40_000, "", 3)
    (folder / "a.xml").write_text(broken, encoding="utf-8")
    docs = read(source("a.xml", max_page_bytes=20_000))
    assert fates(docs) == ["quarantine.page_without_end"] * 2 + ["kept", "quarantine.page_too_long", "kept", "kept"]
    data = broken.encode()
    assert all(data[doc.origin.start :].startswith(b"<page>") for doc in docs)
    assert docs[3].rejection.value == docs[3].origin.end - docs[3].origin.start > 40_000
    assert all(len(doc.text) <= 2000 for doc in docs if doc.rejection)
    (folder / "b.xml").write_text(content[: content.rindex("</page>")], encoding="utf-8")
    assert fates(read(source("b.xml"))) == ["kept"] * 5 + ["quarantine.page_without_end"]


@pytest.mark.parametrize("step", [100, 5000, 1 << 20])
def test_a_long_page_is_never_held(step):
    data = b"<page>" + b"x" * 3_000_000 + b"</page><page>y</page><page>" + b"z" * 500_000

    def chunks():
        for start in range(0, len(data), step):
            yield data[start : start + step]

    found = list(wiki_dump.pages(chunks(), 0, None, 50_000))
    assert [(piece.reason, piece.start, piece.end) for piece in found] == [
        ("page_too_long", 0, 3_000_013), (None, 3_000_013, 3_000_027), ("page_too_long", 3_000_027, len(data))]  # fmt: skip


@pytest.mark.parametrize(
    ("inside", "why"),
    [("<title>a</title>", "no <revision>"), ("<revision/>", "no <title>"), ("<title>a</title><revision><text>&nbsp;</text></revision>", "nbsp"),
     ("<title>a<revision>", "mismatch"), ("\x01", ""), ("<title>&#0;</title>", ""), ("<!DOCTYPE a><title>x</title>", ""), ("<a>" * 5000, "")],
)  # fmt: skip
def test_pages_that_are_no_xml_are_quarantined_one_by_one(folder, inside, why):
    good = [page.xml(i) for i, page in enumerate(many(2), 1)]
    (folder / "a.xml").write_text(SITES["en"] + good[0] + f"<page>{inside}</page>" + good[1] + END, encoding="utf-8")
    docs = read(source("a.xml"))
    assert fates(docs) == ["kept", "quarantine.bad_page", "kept"]
    assert why in docs[1].rejection.value


def test_invalid_utf8_costs_one_page(folder):
    data = xml(many(5)).encode()
    place = data.index(b"'''2'''")
    (folder / "a.xml").write_bytes(data[:place] + b"\xff\xfe" + data[place:])
    docs = read(source("a.xml"))
    assert fates(docs) == ["kept", "kept", "quarantine.bad_page", "kept", "kept"]


def test_entities_are_not_expanded_and_nothing_is_fetched(folder):
    (folder / "secret").write_text("SECRET")
    bomb = '<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY f SYSTEM "secret">]>\n'
    page = "<page><title>{}</title><revision><text>x {} y</text></revision></page>"
    (folder / "a.xml").write_text(bomb + SITES["en"] + page.format("T", "&b;") + page.format("T", "&f;") + page.format("&f;", "z") + page.format("fine", "z") + END)
    docs = read(source("a.xml"))
    assert fates(docs) == ["quarantine.bad_page"] * 3 + ["kept"]
    assert not any("SECRET" in doc.text or "haha" in doc.text for doc in docs)


# ---------------------------------------------------------------------------------------------- damage


def test_a_multistream_dump_cut_off_anywhere(folder, monkeypatch):
    path = folder / "a-multistream.xml.bz2"
    pages = many(40)
    starts = multistream(path, pages, each=4, index=False)
    whole, data = read(source(path)), path.read_bytes()
    for at in (*range(starts[3] - 2, starts[3] + 14), starts[5] + 100, len(data) - 5, len(data) - 60):
        for size in (4 << 20, 1500):
            small_shards(monkeypatch, size)
            path.write_bytes(data[:at])
            docs = read(source(path))
            reasons = fates(docs)
            bad = [fate for fate in reasons if fate != "kept"]
            assert kept(docs) == whole[: len(kept(docs))]
            assert len(kept(docs)) >= 4 * (sum(start < at for start in starts) - 2)
            assert len(bad) == (at not in starts)
            if bad:
                assert reasons[-1] in ("quarantine.truncated_bz2", "quarantine.bad_bz2")
                last = max(start for start in starts if start < at)
                assert docs[-1].origin.member == f"@{last}"
                assert str(last) in docs[-1].rejection.value


def test_damage_in_one_stream_costs_no_other(folder, monkeypatch):
    path = folder / "a-multistream.xml.bz2"
    starts = multistream(path, many(40), each=4, index=False)
    data = path.read_bytes()
    whole = read(source(path))
    rng = random.Random(0)
    for stream in (1, 4, 9, 10):
        for place in (starts[stream], starts[stream] + 5, *(rng.randrange(starts[stream] + 14, starts[stream + 1]) for _ in range(4))):
            damaged = bytearray(data)
            damaged[place] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            for size in (4 << 20, 1500):
                small_shards(monkeypatch, size)
                docs = read(source(path))
                lost = [doc for doc in whole if doc.origin.member == f"@{starts[stream]}"]
                good = [doc for doc in whole if doc not in lost]
                assert [doc for doc in kept(docs) if doc not in lost] == good, (stream, place, size)
                bad = [doc for doc in docs if doc.rejection]
                assert len(bad) <= 2
                assert bad or kept(docs) == whole  # a bit that nobody reads
                assert {doc.rejection.reason for doc in bad} <= {"bad_bz2", "truncated_bz2"}


def test_a_stream_of_several_blocks_gives_what_came_before_the_damage(folder, monkeypatch):
    pages = many(900)
    content = xml(pages).encode()
    packed = bz2.compress(content, compresslevel=1)  # blocks of 100 kB
    assert len(content) > 500_000
    for name in ("with rapidgzip", "without"):
        if name == "without":
            monkeypatch.setattr(bz2_streams, "sound", lambda path: False)
        for data, reason in ((packed[: len(packed) * 2 // 3], "truncated_bz2"), (packed[: len(packed) * 2 // 3] + bytes(50) + packed[len(packed) * 2 // 3 + 50 :], "bad_bz2")):
            (folder / "a.xml.bz2").write_bytes(data)
            docs = read(source("a.xml.bz2"))
            good = kept(docs)
            assert len(docs) == len(good) + 1
            assert 300 < len(good) < 900
            assert [doc.meta["title"] for doc in good] == [page.title for page in pages[: len(good)]]
            assert docs[-1].rejection.reason == reason
            assert "compressed byte" in docs[-1].rejection.value
            assert good[-1].origin.end <= docs[-1].origin.start <= docs[-1].origin.end <= len(content)


def test_gzip_cut_off(folder):
    data = gzip.compress(xml(many(300)).encode(), mtime=0)
    (folder / "a.xml.gz").write_bytes(data[: len(data) // 2])
    docs = read(source("a.xml.gz"))
    assert fates(docs)[-1] == "quarantine.truncated_gzip"
    assert 100 < len(kept(docs)) == len(docs) - 1


def test_bytes_between_and_behind_streams(folder):
    path = folder / "a-multistream.xml.bz2"
    starts = multistream(path, many(12), each=2, index=False)
    data, whole = path.read_bytes(), read(source(path))
    path.write_bytes(data[: starts[3]] + b"garbage, of which bz2 knows nothing" + data[starts[3] :] + b"tail")
    docs = read(source(path))
    assert [doc.text for doc in kept(docs)] == [doc.text for doc in whole]
    assert [doc.rejection.value for doc in docs if doc.rejection] == [f"35 bytes at {starts[3]} are no bz2 stream", f"4 bytes at {len(data) + 35} are no bz2 stream"]


def test_files_that_are_no_dump(folder):
    rng = random.Random(0)
    made = {
        "random.xml.bz2": (rng.randbytes(5000), "bad_bz2"), "random.xml.gz": (rng.randbytes(5000), "bad_gzip"), "random.xml": (rng.randbytes(5000), "no_pages"),
        "html.xml": (b"<html><body><p>text</p></body></html>", "no_pages"), "html.xml.bz2": (bz2.compress(b"<html/>"), "no_pages"), "none.xml": (SITES["en"].encode() + END.encode(), "no_pages"),
    }  # fmt: skip
    for name, (data, reason) in made.items():
        (folder / name).write_bytes(data)
        docs = read(source(name))
        assert fates(docs) == [f"quarantine.{reason}"], name
        with pytest.raises(DataError, match="expected a MediaWiki XML dump"):
            create("source", source(name)).check()
    for name in ("empty.xml", "empty.xml.bz2", "empty.xml.gz"):
        (folder / name).write_bytes(b"")
        assert fates(read(source(name))) == ["quarantine.empty_file"]
        with pytest.raises(DataError, match="only empty files"):
            create("source", source(name)).check()


def test_a_bomb_is_given_up(folder, monkeypatch):
    monkeypatch.setattr(bz2_streams, "FREE", 1 << 20)
    (folder / "a.xml.bz2").write_bytes(bz2.compress(xml(many(3)).encode()[: -len(END)] + bytes(30 << 20)))
    docs = read(source("a.xml.bz2"))
    assert fates(docs) == ["kept"] * 3 + ["quarantine.bomb"]
    assert docs[-1].origin.end < 8 << 20
    stream = bz2_streams.Stream(open(folder / "a.xml.bz2", "rb"), 0)  # noqa: SIM115
    with pytest.raises(Damage, match="times its size"), stream.handle:
        list(stream)


def test_damage_in_streams_that_pages_run_across(folder):
    pages = many(120)
    content = xml(pages).encode()
    packed = [bz2.compress(content[i : i + 20_000]) for i in range(0, len(content), 20_000)]
    damaged = bytearray(b"".join(packed))
    damaged[sum(map(len, packed[:3])) + 2000] ^= 8
    (folder / "a.xml.bz2").write_bytes(damaged)
    docs = read(source("a.xml.bz2"))
    titles = [doc.meta["title"] for doc in kept(docs)]
    assert fates(docs).count("quarantine.bad_bz2") == 1
    assert len(docs) == len(titles) + 1
    assert 120 - 20 < len(titles) < 120
    assert titles[0] == pages[0].title
    assert titles[-1] == pages[-1].title
    after = [doc for doc in kept(docs) if doc.origin.member != "a.xml"]
    assert {doc.origin.member for doc in after} == {f"@{sum(map(len, packed[:4]))}"}
    rest = b"".join(map(bz2.decompress, packed[4:]))
    for doc in (after[0], after[-1]):
        assert rest[doc.origin.start : doc.origin.end].decode() in content.decode()
        assert doc.meta["title"].encode() in rest[doc.origin.start : doc.origin.end]


@pytest.mark.parametrize("form", ["bz2", "multistream"])
def test_nothing_damaged_is_ever_given(folder, form, monkeypatch):
    """The decoder puts a block out before it checks it: what a flipped bit made of it must not come through."""
    pages = many(500)
    path = write(folder, form, pages)
    if form == "multistream":
        multistream(path, pages, each=250, index=False)
    data, texts = path.read_bytes(), [doc.text for doc in read(source(path))]
    monkeypatch.setattr(bz2_streams, "STEP", 4 << 10)
    rng = random.Random(3)
    for _ in range(12):
        damaged = bytearray(data)
        damaged[rng.randrange(400, len(data) - 100)] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        if rng.random() < 0.5:
            monkeypatch.setattr(bz2_streams, "sound", lambda path: False)
        docs = read(source(path))
        assert fates(docs).count("kept") < 500
        assert set(fates(docs)) <= {"kept", "quarantine.bad_bz2", "quarantine.truncated_bz2"}
        assert {doc.text for doc in kept(docs)} <= set(texts)
