"""Parallel text: gettext catalogs and TSV, a document a pair."""

from __future__ import annotations

import gzip
import random
import subprocess
from pathlib import Path

import polib
import pytest

from tests.corpus.corpora import read, small_shards
from tests.corpus.test_compressed import row
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.registry import create
from yanmo.corpus.documents import original

PAIRS = [("Open the file", "打开文件"), ("The ink is ground on the stone.", "墨在砚上研磨。"), ("Emoji 👩‍👩‍👧‍👦 and e\u0301", "表情 👩‍👩‍👧‍👦 和 é"),
         ('Quotes " and \\ and\nlines', "引号 “ 和 \\ 与\n换行")]  # fmt: skip


def catalog() -> polib.POFile:
    made = polib.POFile()
    made.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Language": "zh_CN", "Plural-Forms": "nplurals=1; plural=0;"}
    for i, (source, target) in enumerate(PAIRS):
        made.append(polib.POEntry(msgid=source, msgstr=target, msgctxt="menu" if i == 0 else None))
    made.append(polib.POEntry(msgid="guess", msgstr="猜测", flags=["fuzzy"]))
    made.append(polib.POEntry(msgid="untranslated", msgstr=""))
    made.append(polib.POEntry(msgid="%d file", msgid_plural="%d files", msgstr_plural={0: "%d 个文件"}))
    made.append(polib.POEntry(msgid="old", msgstr="旧的", obsolete=True))
    return made


@pytest.fixture
def po(folder):
    catalog().save("zh_CN.po")
    return "zh_CN.po"


def test_pairs_of_a_catalog(po):
    docs = read({"type": "gettext", "path": po})
    kept = [doc for doc in docs if not doc.rejection]
    pairs = [*PAIRS, ("%d files", "%d 个文件")]
    assert [doc.text for doc in kept] == [f"{source}\n{target}" for source, target in pairs]
    assert [(doc.meta["source"], doc.meta["target"]) for doc in kept] == pairs
    assert kept[0].meta == {"source": PAIRS[0][0], "target": PAIRS[0][1], "languages": {"target": "zh_CN"}, "context": "menu"}
    assert [(doc.rejection.reason, doc.text) for doc in docs if doc.rejection] == [
        ("fuzzy", "guess\n猜测"), ("untranslated", "untranslated\n"), ("obsolete", "old\n旧的")]  # fmt: skip
    assert [doc.origin.start for doc in docs] == list(range(8))


def test_sides_and_languages(po):
    docs = read({"type": "gettext", "path": po, "side": "target", "languages": {"source": "en"}})
    kept = [doc for doc in docs if not doc.rejection]
    assert [doc.text for doc in kept] == [target for _, target in PAIRS] + ["%d 个文件"]
    assert kept[0].meta["languages"] == {"target": "zh_CN", "source": "en"}
    assert {doc.meta["language"] for doc in kept} == {"zh"}
    docs = read({"type": "gettext", "path": po, "side": "source", "languages": {"source": "en"}})
    assert [doc.text for doc in docs] == [source for source, _ in PAIRS] + ["guess", "untranslated", "%d files", "old"]
    assert {doc.meta["language"] for doc in docs} == {"en"}
    assert all(doc.rejection is None for doc in docs)
    with pytest.raises(RecipeError, match="side: expected one of 'source', 'target', 'both'"):
        create("source", {"type": "gettext", "path": po, "side": "left"})


def test_compiled_catalogs_hold_the_same(po):
    catalog().save_as_mofile("zh.mo")
    compiled = read({"type": "gettext", "path": "zh.mo"})
    written = {doc.text: doc.meta for doc in read({"type": "gettext", "path": po}) if not doc.rejection}
    assert {doc.text: doc.meta for doc in compiled} == written
    data = bytearray(Path("zh.mo").read_bytes())
    swapped = b"".join(bytes(data[i : i + 4][::-1]) for i in range(0, 28, 4))
    count, sources, targets = (int.from_bytes(data[i : i + 4], "little") for i in (8, 12, 16))
    other = bytearray(swapped + data[28:])
    for place in (sources, targets):
        for i in range(place, place + 8 * count, 4):
            other[i : i + 4] = data[i : i + 4][::-1]
    Path("big.mo").write_bytes(other)
    assert [doc.text for doc in read({"type": "gettext", "path": "big.mo"})] == [doc.text for doc in compiled]


def test_a_real_tool_agrees(po):
    """Against msgfmt's reading, where gettext is installed; else against polib's own."""
    try:
        subprocess.run(["msgfmt", "-o", "m.mo", po], check=True, capture_output=True)
    except FileNotFoundError:
        polib.pofile(po).save_as_mofile("m.mo")
    found = {(doc.meta["source"], doc.meta["target"]) for doc in read({"type": "gettext", "path": "m.mo"})}
    assert found == {*PAIRS, ("%d files", "%d 个文件")}


def test_plurals_of_a_language_that_has_them(folder):
    made = polib.POFile()
    made.append(polib.POEntry(msgid="%d file", msgid_plural="%d files", msgstr_plural={0: "%d Datei", 1: "%d Dateien"}))
    made.save("de.po")
    assert [doc.text for doc in read({"type": "gettext", "path": "de.po"})] == ["%d file\n%d Datei", "%d files\n%d Dateien"]


def test_other_charsets_templates_and_broken_catalogs(folder):
    made = catalog()
    made.metadata["Content-Type"] = "text/plain; charset=GB18030"
    made.encoding = "gb18030"
    made.save("gb.po")
    assert read({"type": "gettext", "path": "gb.po", "side": "target"})[0].text == "打开文件"
    (folder / "bad.po").write_bytes(b'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\nmsgid "a"\nmsgstr "\xff\xfe"\n')
    (folder / "a.pot").write_text('msgid ""\nmsgstr "Content-Type: text/plain; charset=CHARSET\\n"\n\nmsgid "only a template"\nmsgstr ""\n')
    (folder / "broken.po").write_text('msgid "a"\nmsgstr "b" trailing "quotes\nmsgid nothing\n')
    (folder / "random.mo").write_bytes(random.Random(0).randbytes(400))
    (folder / "empty.po").write_bytes(b"")
    (folder / "short.mo").write_bytes(b"\xde\x12\x04\x95" + b"\0" * 8)
    (folder / "lies.mo").write_bytes(b"\xde\x12\x04\x95" + b"".join(n.to_bytes(4, "little") for n in (0, 2, 28, 44, 0, 0)) + b"\xff" * 60)
    reasons = {name: [doc.rejection and doc.rejection.reason for doc in read({"type": "gettext", "path": name})]
               for name in ("bad.po", "a.pot", "broken.po", "random.mo", "empty.po", "short.mo", "lies.mo")}  # fmt: skip
    assert reasons == {"bad.po": ["invalid_encoding"], "a.pot": ["untranslated"], "broken.po": ["bad_file"], "random.mo": ["invalid_encoding"],
                       "empty.po": ["empty_file"], "short.mo": ["bad_file"], "lies.mo": ["bad_file"]}  # fmt: skip
    assert [doc.text for doc in read({"type": "gettext", "path": "a.pot", "side": "source"})] == ["only a template"]
    with pytest.raises(DataError, match="expected a gettext catalog"):
        create("source", {"type": "gettext", "path": "broken.po"}).check()


# ---------------------------------------------------------------------------------------------- TSV

LINES = [f"sentence {i} in English\t第{i}句中文\tdialogue {i}\n" for i in range(400)]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_lines_are_pairs_with_the_bytes_they_stand_in(folder, monkeypatch, ending):
    small_shards(monkeypatch, 900)
    data = "".join(LINES).encode()
    (folder / f"en-zh.tsv{ending}").write_bytes(gzip.compress(data) if ending else data)
    settings = {"type": "tsv", "path": ".", "languages": {"source": "en", "target": "zh-Hans"}, "columns": {"source": 0, "target": 1, "context": 2}}
    docs = read(settings)
    assert [doc.text for doc in docs] == [f"sentence {i} in English\n第{i}句中文" for i in range(400)]
    assert docs[7].meta == {"source": "sentence 7 in English", "target": "第7句中文", "languages": {"source": "en", "target": "zh-Hans"}, "context": "dialogue 7"}
    assert all(original(row(doc)).decode().split("\t")[:2] == doc.text.split("\n") for doc in docs[::17])
    assert len(create("source", settings).shards()) > 5 or ending
    target = read({**settings, "side": "target", "columns": {"source": 1, "target": 0}, "languages": {}})
    assert [doc.text for doc in target] == [f"sentence {i} in English" for i in range(400)]
    assert "language" not in target[0].meta


def test_bad_lines_and_settings(folder):
    (folder / "a.tsv").write_bytes(b"en\tzh\n" + LINES[0].encode() + b"alone\n\t\xe7\xa9\xba\nfull\t \nbad\t\xff\n\n" + b"x" * 600 + b"\ty\n" + LINES[1].encode().rstrip(b"\n"))
    docs = read({"type": "tsv", "path": "a.tsv", "header": True, "max_line_bytes": 500})
    assert [(doc.rejection.reason, doc.meta["line"]) for doc in docs if doc.rejection] == [
        ("bad_row", 3), ("empty_text", 4), ("untranslated", 5), ("invalid_encoding", 6), ("line_too_long", 8)]  # fmt: skip
    assert [doc.meta["source"] for doc in docs if not doc.rejection] == ["sentence 0 in English", "sentence 1 in English"]
    for columns in ({"source": 0}, {"source": -1, "target": 0}):
        with pytest.raises(RecipeError, match="the columns of 'source' and 'target'"):
            create("source", {"type": "tsv", "path": "a.tsv", "columns": columns})
    (folder / "b.tsv").write_text("one column only\nand again\n")
    with pytest.raises(DataError, match=r"b\.tsv:1: expected columns between tabulators"):
        create("source", {"type": "tsv", "path": "b.tsv"}).check()
