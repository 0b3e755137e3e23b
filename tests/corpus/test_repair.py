"""Mojibake of every kind back to what it was, and clean text of every kind left alone."""

from __future__ import annotations

import codecs
import json
import random
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import ENGLISH, ODD, run, texts, write_jsonl
from yanmo.core.package import HOME
from yanmo.core.registry import create
from yanmo.corpus.words.mojibake import ENCODINGS, chinese, gbk_read_as_latin, misread, suspect, utf8_read_as_gbk

repair = create("step", "repair").edit

PROSE = {
    "zh": "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。",
    "modern": "今天我们在北京的一个会议上讨论了中国经济的发展问题，大家都认为这是一件很重要的事情。“请问您是谁？”他说：“我不知道……”",
    "hant": "話說天下大勢，分久必合，合久必分。這個國家的經濟發展得很快，他們都說要來看一看。",
    "fr": "L’été dernier, à l’hôtel « Le Cœur », la façade où naît l’ambiguïté… « Ça va, Noël ? » — « Où êtes-vous ? »",
    "de": "Größere Äpfel, süße Öle und übermäßig „große“ Füße – Spaß“ und »Muße« kosten 5 € je Stück.",
    "pl": "Zażółć gęślą jaźń, Łódź i Śląsk; „cudzysłów” – część druga… ŹLE SIĘ DZIEJE.",
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy; zášť a zašť, „Úžasné“.",
    "ru": "Съешь же ещё этих мягких французских булок, да выпей чаю. «В лесу» — „Рига“ № 5.",
    "uk": "Він сказав: «Її Діти їдуть». Ґанок, Єва, Київ.",
    "el": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία… «Άνθρωπος» – Έλληνας.",
    "es": "¿Dónde está el niño? ¡Mañana! El pingüino costó 5 €, según José.",
    "pt": "A manhã não é só nossa: às vezes, «ações» e “informações” — IRMÃ MAIOR.",
    "tr": "Şişli'de İğdır'lı çocuğun ağzı; “Çığ” düştü.",
    "vi": "Tiếng Việt có dấu: đường phố, người Việt, “Ấy là Ân”.",
    "ja": "日本語のテキスト。カタカナと漢字、「かぎ括弧」も・あります…",
    "ko": "한국어 문장입니다. “따옴표”와 · 가운뎃점.",
    "signs": "×××年××月××日·········第１章　ＡＢＣ％ ① ② ㎏ ½ ² ﬁ ½½½½ °°°° §§§§ ÄÄÄÄÄÄ ÉÍÍÍÍ» ÖÖÖÖ",
    "letters": "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿ ÄÖÜäöüß",
    "box": "┌──┬──┐\n│ a │ b │\n├──┼──┤\n└──┴──┘",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈 e\u0301tude नमस्ते שלום سلام สวัสดี",
}


codecs.register_error("test.cp936", lambda error: ("€" if error.object[error.start] == 0x80 else "\ufffd", error.start + 1))  # as Windows


def samples() -> list[str]:
    found = []
    for path in sorted((HOME / "samples").rglob("*.jsonl")):
        with open(path, encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
            found += [content for row in rows for content in (row.get("text"), row.get("sentence_good")) if content]
    return found


@pytest.fixture(scope="module")
def shipped():
    return samples()


# ---------------------------------------------------------------------------------------------- clean text


@pytest.mark.parametrize("name", PROSE)
def test_clean_text_of_any_language_stays(name):
    assert repair(PROSE[name]) == PROSE[name]


def test_the_samples_stay(shipped):
    assert len(shipped) > 1000
    assert [text for text in shipped if repair(text) != text] == []


def test_what_is_clean_hardly_ever_comes_to_ftfy(shipped):
    lines = [line for text in shipped for line in text.split("\n")]
    assert sum(suspect().search(line) is not None for line in lines) < len(lines) / 5000
    assert sum(misread().search(line) is not None for line in lines) < len(lines) / 5000


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet=st.one_of(st.sampled_from("的一是不了在人有我他，。“”—…·（）《》１２ＡＢ　\n"), st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5)), min_size=1))
def test_any_chinese_stays(text):
    assume(not any(mark in text for mark in ("锟斤拷", "烫烫烫", "屯屯屯")))
    assume(not misread().search(text))
    assert repair(text) == text


# ---------------------------------------------------------------------------------------------- UTF-8 read as something else


@pytest.mark.parametrize("name", ["fr", "de", "es", "pl", "ru", "el", "zh", "modern", "hant", "ja", "ko"])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_utf8_read_as_latin(name, encoding):
    raw = PROSE[name].encode()
    try:
        broken = raw.decode(encoding)
    except UnicodeDecodeError:
        broken = raw.decode("sloppy-windows-1252") if _sloppy() else ""
    assert broken != PROSE[name]
    assert repair(broken) == PROSE[name]


def _sloppy() -> bool:
    import ftfy  # registers the codec of browsers, which lets bytes without a character through

    return bool(ftfy.bad_codecs)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_ftfy_turns_back_comes_to_it(encoding):
    """The gate opens for every word that ftfy alone would have mended, in each encoding that it knows."""
    import ftfy

    words = sorted({word for name in ("fr", "de", "es", "pl", "ru", "zh", "hant") for word in PROSE[name].split()})
    broken = [word.encode().decode(encoding, "ignore") for word in words]
    mended = [(b, ftfy.fix_encoding(b)) for b in broken if ftfy.fix_encoding(b) != b]
    assert len(mended) > 5
    missed = [(b, repair(b), fixed) for b, fixed in mended if repair(b) == b]
    assert len(missed) <= len(mended) // 50, missed


def test_one_broken_line_among_clean_ones():
    text = f"{PROSE['fr']}\nl\u00e2\u0080\u0099intelligence\n{PROSE['modern']}\nSchÃ¶n"
    assert repair(text) == f"{PROSE['fr']}\nl’intelligence\n{PROSE['modern']}\nSchön"


def test_width_and_quotes_stay_where_ftfy_mends():
    assert repair("，！（）１２ “curly” ﬁ CafÃ©") == "，！（）１２ “curly” ﬁ Café"


def test_twice_broken():
    assert repair("été".encode().decode("cp1252").encode().decode("cp1252")) == "été"


# ---------------------------------------------------------------------------------------------- GBK


@pytest.mark.parametrize("text", ["中文", PROSE["zh"], PROSE["modern"], "中文 and English 混排, see p. 5\n第二行：没有问题。", "朱镕基同志在会上说，我们要发展"])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_gbk_read_as_latin(text, encoding):
    raw = text.encode("gbk")
    try:
        broken = raw.decode(encoding)
    except UnicodeDecodeError:
        pytest.skip("cp1252 shows nothing for one of these bytes")
    assert repair(broken) == text


def test_gbk_read_as_latin_beside_real_chinese():
    broken = PROSE["modern"].encode("gbk").decode("latin-1")
    assert repair(f"标题😀\n{broken}") == f"标题😀\n{PROSE['modern']}"
    assert repair(f"{PROSE['fr']}\n{broken}") == f"{PROSE['fr']}\n{PROSE['modern']}"


def test_utf8_read_as_gbk():
    for text in ("中文", "今天我们在北京的一个会议上讨论", PROSE["hant"].replace("，", "").replace("。", "")):
        broken = text.encode().decode("gb18030", "test.cp936")
        assert broken != text
        fixed = repair(broken)
        assert fixed in (text, text[:-1]), (broken, fixed)  # the last byte of an odd number has no partner
    assert repair("涓\ue15f枃") == "中文"
    whole = "今天我们".encode().decode("gb18030") + " and English " + "讨论问题".encode().decode("gb18030")
    assert repair(whole) == "今天我们 and English 讨论问题"


def test_rare_but_real_characters_stay():
    for text in ("浣熊和涓涓细流", "鍍鏡鐘鐵鍵鋒鉄錬鎌鍾", "绗繘缁缂缃锛锜", "乂乄乆乇乑乕", "淼焱垚犇骉"):
        assert repair(text) == text
    assert not chinese("乂乄乆乇")
    assert gbk_read_as_latin("ÄÖÜß") == "ÄÖÜß"
    assert utf8_read_as_gbk("联通") == "联通"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from("的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子，。！"), min_size=4, max_size=60).map("".join))
def test_any_text_of_common_characters_comes_back(text):
    assume(chinese(text))
    assert repair(text.encode("gbk").decode("latin-1")) == text
    broken = text.encode().decode("gb18030", "test.cp936")
    assume(misread().search(broken))
    assert repair(broken).startswith(text[:-1])


# ---------------------------------------------------------------------------------------------- entities, what was lost


@pytest.mark.parametrize(("before", "after"), [
    ("a &gt; b &amp; c &quot;d&quot;", 'a > b & c "d"'), ("&amp;amp;lt;", "<"), ("caf&eacute; &#20013;&#x6587;", "café 中文"),
    ("if a &lt; b: <code>&lt;</code>", "if a &lt; b: <code>&lt;</code>"), ("AT&T; R&D &nosuch; a&b;", "AT&T; R&D &nosuch; a&b;"),
    ("one &lt;\n<b> &lt;", "one <\n<b> &lt;"), ("fish &amp; chips", "fish & chips"), ("&Atilde;&copy;t&Atilde;&copy;", "été"),
    ("a\x00b\x00", "ab"), ("\x1b[31mred\x1b[0m", "red"), ("caf\ufffd au lait", "caf au lait"), ("a \ufffd\ufffd b", "a b"),
    ("好锟斤拷锟斤拷的", "好的"), ("手持两把锟斤拷，口中疾呼烫烫烫烫，屯屯屯", "手持两把，口中疾呼，"), ("三斤烫面，屯田，很烫", "三斤烫面，屯田，很烫"),
    ("好锟斤拷锟\ufffd的", "好的"), ("", ""), ("a", "a"),
])  # fmt: skip
def test_entities_and_lost_characters(before, after):
    assert repair(before) == after
    assert repair(after) == after


def test_entities_can_be_left():
    assert create("step", {"type": "repair", "entities": False}).edit("a &gt; b") == "a &gt; b"


def test_documents_that_are_mostly_lost_are_dropped(folder):
    rows = ["锟斤拷" * 20 + "只剩这些", "一段很长的正常文字，里面有一个" + "锟斤拷" + "而已。" * 20, "\ufffd", "\x00" * 5 + "fine, but for the nulls in front of it, so it is gone",
            "fine"]  # fmt: skip
    write_jsonl(folder / "a.jsonl", [{"text": row} for row in rows])
    docs = run(folder / "parts", {"type": "jsonl", "path": "a.jsonl"}, ["repair"])
    assert [doc.rejection and (doc.rejection.reason, doc.rejection.value) for doc in docs] == [
        ("garbled", round(60 / 64, 4)), None, ("garbled", 1.0), None, None]  # fmt: skip
    assert docs[0].text == rows[0], "what was dropped is shown as it was"
    assert docs[1].text == "一段很长的正常文字，里面有一个" + "而已。" * 20
    docs = run(folder / "all", {"type": "jsonl", "path": "a.jsonl"}, [{"type": "repair", "max_lost": 1.0}])
    assert [doc.rejection and doc.rejection.reason for doc in docs] == [None, None, "empty", None, None]


BROKEN = st.one_of(
    st.sampled_from(["&amp;", "&lt;", "<", "&#", "amp;", "锟斤拷", "锟", "斤", "拷", "烫", "屯", "\ufffd", "\x00", "\n", " ", "é", "â€™", "Ã", "³", "ÖÐ", "ÎÄ", "涓枃", "中文", "的", "œ"]),
    st.characters(exclude_categories=["Cs"]),
)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.lists(BROKEN, max_size=12).map("".join))
def test_repairing_twice_is_repairing_once(text):
    once = repair(text)
    assert repair(once) == once


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters(max_codepoint=0x7F, exclude_characters="&\x00\x1b")))
def test_ascii_stays(text):
    assert repair(text) == text


# ---------------------------------------------------------------------------------------------- speed


@pytest.mark.parametrize("body", [
    "锟斤" * 30_000 + "拷" * 30_000, "&amp;" * 50_000, "&" * 200_000, "Ã" * 100_000, "â€" * 50_000, "ÖÐ" * 50_000 + "Ö", "涓" * 100_000,
    "浣犲" * 50_000, "\ufffd " * 50_000, "烫 " * 50_000, "\x1b[" + "1;" * 100_000,
], ids=["nested", "entities", "ampersands", "first bytes", "half of them", "gbk", "misread", "misread pairs", "lost", "hot", "escape"])  # fmt: skip
def test_hostile_text_takes_linear_time(body):
    began = time.process_time()
    repair(body)
    assert time.process_time() - began < 3


def test_clean_text_is_much_faster_than_ftfy():
    """At least ten times ftfy itself on Chinese, and far more on ASCII (the benchmark has the figures; this is a guard)."""
    import ftfy

    config = ftfy.TextFixerConfig(explain=False, fix_character_width=False, uncurl_quotes=False, fix_latin_ligatures=False,
                                  fix_line_breaks=False, normalization=None)  # fmt: skip
    rng = random.Random(0)
    english = [" ".join(rng.choices(ENGLISH, k=450)) for _ in range(30)]
    mandarin = ["".join(rng.choices(PROSE["modern"], k=900)) for _ in range(30)]

    def seconds(work, bodies):
        best = 1e9
        for _ in range(3):
            began = time.process_time()
            for body in bodies:
                work(body)
            best = min(best, time.process_time() - began)
        return best

    for bodies, times in ((english, 20), (mandarin, 10)):
        assert seconds(repair, bodies * 20) * times < seconds(lambda body: ftfy.fix_text(body, config), bodies) * 20


def test_odd_texts_of_the_suite_stay():
    for text in (*ODD, *texts(60)):
        assert repair(text) == text
