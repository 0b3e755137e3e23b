"""Which encoding a file is in: told right, or not told; Project Gutenberg's frame left out."""

from __future__ import annotations

import codecs
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import chinese, english, read, small_shards
from yanmo.core.errors import DataError
from yanmo.core.package import HOME
from yanmo.core.registry import create
from yanmo.corpus.documents import original
from yanmo.corpus.formats import encoding, gutenberg
from yanmo.corpus.formats.encoding import Encoding


def chapters(name: str) -> list[str]:
    file = next((HOME / "samples" / name).glob("*.jsonl"))
    with open(file, encoding="utf-8") as handle:
        return [json.loads(line)["text"] for _, line in zip(range(60), handle)]


SANGUO, POEMS, WHALE = chapters("sanguo"), chapters("tang_poems"), chapters("moby_dick")
TRADITIONAL = (
    "卻說曹操引軍追趕劉備，至江邊見長橋上一人橫矛立馬，厲聲大喝，眾皆失色。天下大勢，分久必合，合久必分。",
    "電腦與網路的發展，讓我們的生活產生了很大的變化；無論在學校、公司或家裡，人們都離不開它們。", "這個問題還沒有答案，大家都在等著看。",
)  # fmt: skip
SIMPLIFIED = (
    "电脑与网络的发展，让我们的生活产生了很大的变化；无论在学校、公司或家里，人们都离不开它们。", "我不知道你在说什么，但是这件事情已经结束了。",
    "混排 mixed 文字 with English words，以及 2026 年的数字。", "全是国标码", "这是一个测试",
)  # fmt: skip
JAPANESE = ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", "コンピュータとインターネットの発展は、私たちの生活を大きく変えました。")
WESTERN = (
    "Le café était fermé à midi, mais la boulangerie d’en face vendait déjà des gâteaux.", "Über den Wolken muß die Freiheit wohl grenzenlos sein – schön wär’s.",
    "El niño comió piña en la montaña; ¿quién sabe por qué?", "“It’s naïve,” she said—“but the soufflé cost £12…”", "señor", "The price is 5 € a piece.",
)  # fmt: skip


@pytest.mark.parametrize(("bodies", "name"), [
    ((*SIMPLIFIED, *SANGUO[:20]), "gb18030"), ((*SIMPLIFIED, *SANGUO[:20]), "gbk"), (TRADITIONAL, "gb18030"), (TRADITIONAL, "big5"),
    (TRADITIONAL, "cp950"), (JAPANESE, "shift_jis"), (JAPANESE, "cp932"), (JAPANESE, "euc_jp"), (WESTERN, "cp1252"),
])  # fmt: skip
def test_each_encoding_is_told(bodies, name):
    means = {"gbk": "gb18030", "cp950": "big5", "cp932": "shift_jis"}.get(name, name)
    for body in bodies:
        assert encoding.of(body.encode(name)) == Encoding(means), body
        assert encoding.of(body.encode()) == Encoding("utf-8"), body


def test_real_prose_and_verse_are_told_at_any_length():
    """Of windows of 60 and more characters nearly all, none as something else."""
    rng, told, wrong = random.Random(0), 0, []
    for _ in range(300):
        body = rng.choice(SANGUO + POEMS)
        begin = rng.randrange(max(len(body) - 60, 1))
        piece = body[begin : begin + rng.choice((60, 200, 1000))]
        found = encoding.of(piece.encode("gb18030"))
        told += found == Encoding("gb18030")
        wrong += [piece] * (found not in (Encoding("gb18030"), None))
    assert not wrong
    assert told >= 285


def test_a_byte_order_mark_decides():
    for name, mark in (("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE),
                       ("utf-32-le", codecs.BOM_UTF32_LE), ("utf-32-be", codecs.BOM_UTF32_BE)):  # fmt: skip
        assert encoding.of(mark + "研墨 👩‍👩‍👧‍👦 ink".encode(name)) == Encoding(name, len(mark))


@pytest.mark.parametrize("seed", range(40))
def test_random_bytes_are_no_text(seed):
    rng = random.Random(seed)
    for size in (30, 300, 3000, 300_000):
        assert encoding.of(rng.randbytes(size)) is None
    high = bytes(rng.choice(range(0x81, 0xFF)) for _ in range(400))
    assert encoding.of(high) is None
    assert encoding.of(b"\x7fELF\x02\x01\x01" + b"\x00" * 9 + rng.randbytes(100)) is None


@pytest.mark.parametrize(("body", "name"), [
    ("Привет, как дела? Всё хорошо, спасибо.", "cp1251"), ("Привет, как дела? Всё хорошо, спасибо.", "koi8-r"), ("안녕하세요 세계, 오늘은 날씨가 좋습니다", "euc-kr"),
    ("Zażółć gęślą jaźń, proszę bardzo", "iso-8859-2"), ("สวัสดีชาวโลก วันนี้อากาศดี", "tis-620"),
])  # fmt: skip
def test_encodings_that_are_not_known_are_left_and_never_guessed(body, name):
    assert encoding.of(body.encode(name)) is None


@pytest.mark.parametrize(("body", "name"), [
    ("參數: label: A line id", "big5"), ("Text2，", "big5"), ("value). 「 E", "big5"), ("plate 庫 Li", "big5"), ("using it: • Basic macros need it", "big5"),
    (")。 OnSaveDone Saving of document failed", "gb18030"), ("see 参数", "gb18030"), ("§ and ©、", "gb18030"),
])  # fmt: skip
def test_too_little_to_tell_is_not_guessed(body, name):
    """English text with a character or two in it: left (None), or ASCII whose few broken bytes are quarantined (UTF-8)."""
    assert encoding.of(body.encode(name)) in (None, Encoding("utf-8"))


def test_ascii_and_damage():
    assert encoding.of(b"") == Encoding("utf-8")
    assert encoding.of(b"plain\n" * 100) == Encoding("utf-8")
    assert encoding.of(b"\x00\x01\x02\x03" * 100) is None
    prose = "好的文字，其中有一个坏字节。".encode() * 100
    assert encoding.of(prose[:500] + b"\xff" + prose[500:]) == Encoding("utf-8"), "found again where it is read"
    assert encoding.of(b"plain words " * 100 + b"\xff\xfe\x81 " + b"plain words " * 100) == Encoding("utf-8")
    gb = "".join(SANGUO[:3]).encode("gb18030")
    assert encoding.of(gb[:3001] + b"\xff" + gb[3001:]) in (Encoding("gb18030"), None)
    assert encoding.of(gb[:2001], cut=True) == Encoding("gb18030"), "cut inside a character"
    assert encoding.of(b"An English introduction, of some length.\n" * 20_000 + gb) == Encoding("gb18030")


def test_a_large_file_is_told_from_pieces(folder, monkeypatch):
    monkeypatch.setattr(encoding, "LOOK", 64 << 10)
    monkeypatch.setattr(encoding, "WINDOW", 4 << 10)
    body = "\n".join(SANGUO)
    for name in ("gb18030", "utf-8"):
        (folder / "a.txt").write_bytes(b"plain ASCII in front\n" * 2000 + body.encode(name))
        with open(folder / "a.txt", "rb") as handle:
            assert encoding.of_file(handle, (folder / "a.txt").stat().st_size) == Encoding(name)
            assert encoding.of_file(handle, None) == Encoding(name)
    (folder / "a.txt").write_bytes(body.replace("\n", "").encode("gb18030"))
    with open(folder / "a.txt", "rb") as handle:
        assert encoding.of_file(handle, (folder / "a.txt").stat().st_size) == Encoding("gb18030")


# ---------------------------------------------------------------------------------------------- the source


@pytest.mark.parametrize("blocks", [True, False])
def test_files_of_many_encodings_side_by_side(folder, monkeypatch, blocks):
    small_shards(monkeypatch, 50_000)
    rng = random.Random(2)
    bodies = {
        "a": ("gb18030", "\n".join(SANGUO[:10])), "b": ("utf-8", chinese(rng, 3000) + "\n👩‍👩‍👧‍👦 e\u0301\n"), "c": ("big5", "\n".join(TRADITIONAL * 300)),
        "d": ("utf-16", "\n".join(WHALE[:3])), "e": ("cp1252", "\n".join(WESTERN * 500)), "f": ("shift_jis", "\n".join(JAPANESE * 300)),
        "g": ("utf-8-sig", english(rng, 3000)),
    }  # fmt: skip
    for name, (coding, body) in bodies.items():
        (folder / f"{name}.txt").write_bytes(body.encode(coding))
    docs = read({"type": "text", "path": ".", "blocks": blocks})
    assert all(doc.rejection is None for doc in docs)
    for name, (coding, body) in bodies.items():
        own = [doc for doc in docs if doc.origin.file == f"{name}.txt"]
        assert "".join(doc.text for doc in own) == body
        said = {"utf-8-sig": None, "utf-8": None, "utf-16": "utf-16-le"}.get(coding, coding)
        assert {doc.meta.get("encoding") for doc in own} == {said}
        for doc in own:
            assert original(place(doc)).decode(said or "utf-8") == doc.text


def place(doc) -> dict:
    return {"file": doc.origin.file, "member": doc.origin.member, "start": doc.origin.start, "end": doc.origin.end}


def test_what_fits_nothing_is_quarantined_and_a_whole_source_of_it_is_an_error(folder):
    (folder / "picture.txt").write_bytes(random.Random(0).randbytes(200_000))
    (folder / "good.txt").write_text("good\n")
    docs = read({"type": "text", "path": "."})
    assert [(doc.origin.file, doc.rejection and doc.rejection.reason) for doc in docs] == [("good.txt", None), ("picture.txt", "invalid_encoding")]
    with pytest.raises(DataError, match=r"picture\.txt: expected text in UTF-8 or another encoding .* - Set encoding:"):
        create("source", {"type": "text", "path": "picture.txt"}).check()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["天下大势，分久必合。", "\n", "the cat ", "，", "我们的", "的"]), min_size=1, max_size=200), st.sampled_from(["gb18030", "utf-8"]))
def test_the_text_is_what_was_written_or_is_quarantined(tmp_path_factory, pieces, name):
    path = tmp_path_factory.mktemp("told") / "a.txt"
    body = "".join(pieces)
    path.write_bytes(body.encode(name))
    docs = read({"type": "text", "path": str(path)})
    assert "".join(doc.text for doc in docs if not doc.rejection) in (body, "")


# ---------------------------------------------------------------------------------------------- Project Gutenberg

NEW = ("The Project Gutenberg eBook of Moby Dick\n\nThis ebook is for the use of anyone anywhere.\n\nTitle: Moby Dick\n\n"
       "*** START OF THE PROJECT GUTENBERG EBOOK MOBY DICK; OR THE WHALE ***\n\n\n\n",
       "\n\n\nEnd of the Project Gutenberg EBook of Moby Dick, by Herman Melville\n\n*** END OF THE PROJECT GUTENBERG EBOOK MOBY DICK ***\n\n" + "licence\n" * 2000)  # fmt: skip
WRAPPED = ("header\r\n*** START OF THIS PROJECT GUTENBERG EBOOK TWENTY THOUSAND LEAGUES\r\nUNDER THE SEA ***\r\n\r\n", "\r\n*** END OF THIS PROJECT GUTENBERG EBOOK TWENTY ***\r\n")
OLD = ("Project Gutenberg Etext of Alice\n***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nWhy is this here?\n"
       "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n", "\n\nEnd of Project Gutenberg's Etext of Alice\n\n")  # fmt: skip


@pytest.mark.parametrize("frame", [NEW, WRAPPED, OLD])
@pytest.mark.parametrize(("body", "name"), [
    ("CHAPTER 1. Loomings.\n\n" + WHALE[0] * 8 + "\n", "utf-8"), ("短文。\n", "utf-8"), ("\n".join(SANGUO[:12]) + "\n", "gb18030"), ("\n".join(TRADITIONAL * 900) + "\n", "big5"),
])  # fmt: skip
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_header_and_footer_are_left_out_and_the_origin_is_the_book(folder, monkeypatch, frame, body, name, ending):
    import gzip

    small_shards(monkeypatch, 60_000)
    data = (frame[0] + body + frame[1]).encode(name)
    (folder / f"a.txt{ending}").write_bytes(gzip.compress(data) if ending else data)
    for blocks in (True, False):
        docs = read({"type": "text", "path": ".", "blocks": blocks})
        assert "".join(doc.text for doc in docs) == body
        assert all(original(place(doc)).decode(name) == doc.text for doc in docs)
        whole = read({"type": "text", "path": ".", "blocks": blocks, "gutenberg": False})
        assert "".join(doc.text for doc in whole) == frame[0] + body + frame[1]


def test_a_text_that_talks_of_gutenberg_stays():
    text = b"I found it at Project Gutenberg.\n\nThe START OF THE PROJECT GUTENBERG EBOOK line is long.\n" * 5
    assert gutenberg.begins(text) is None
    assert gutenberg.ends(text) is None


def test_a_frame_without_a_book_stays(folder):
    (folder / "a.txt").write_text("*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\n")
    (doc,) = read({"type": "text", "path": "a.txt"})
    assert doc.text.startswith("*** START")
