"""Parallel text in every form: rows with columns, two files line by line, translation memories; and what is wrong with it."""

import json
from pathlib import Path

import pytest

from yanmo.core.data import Example
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.registry import create

PAIRS = [("Open the document.", "打开文档。"), ("Cells & rows <b>", "单元格和行 <b>"), ("Café 🙂 e\u0301", "咖啡馆 🙂"), ("A  B", "甲　乙")]


def made(path, **settings):
    return create("task", {"type": "translate", "path": path, "source": "en", "target": "zh", **settings})


def read(path, **settings):
    task = made({"test": str(path)}, **settings)
    return [(e.fields["text"], e.fields["answer"], e.where) for e in task.load("test")]


def moses(name="train", pairs=PAIRS, end="\n"):
    for place, language in enumerate(("en", "zh")):
        Path(f"{name}.{language}").write_bytes("".join(pair[place] + end for pair in pairs).encode("utf-8"))


def tmx(units, head='<?xml version="1.0" encoding="UTF-8"?>\n'):
    body = "".join("<tu>" + "".join(f'<tuv xml:lang="{language}"><seg>{text}</seg></tuv>' for language, text in unit) + "</tu>\n" for unit in units)
    Path("memory.tmx").write_text(f'{head}<tmx version="1.4">\n<header/>\n<body>\n{body}</body></tmx>', encoding="utf-8")
    return "memory.tmx"


def test_rows_with_columns(folder):
    Path("a.jsonl").write_text("".join(json.dumps({"en": a, "zh": b, "group": "x"}, ensure_ascii=False) + "\n" for a, b in PAIRS), encoding="utf-8")
    assert [row[:2] for row in read("a.jsonl")] == PAIRS
    assert made({"test": "a.jsonl"}).load("test")[0].fields["group"] == "group=x"
    Path("a.tsv").write_text("en\tzh\n" + "".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    assert [row[:2] for row in read("a.tsv")] == PAIRS
    Path("b.csv").write_text('english,中文\n"Yes, please.",好的。\n', encoding="utf-8")
    assert read("b.csv", fields={"text": "english", "answer": "中文"}) == [("Yes, please.", "好的。", "b.csv:2")]
    assert [(b, a) for a, b, _ in read("a.tsv", source="zh", target="en")] == PAIRS


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_two_files_line_by_line(folder, end):
    moses(end=end)
    want = [(*pair, f"train.en:{n}") for n, pair in enumerate(PAIRS, 1)]
    for path in ("train.en", "train", "train.zh", "train.*"):
        assert read(path) == want
    moses("test", PAIRS[:2])
    task = made(".")
    assert [len(task.load(split)) for split in ("train", "test")] == [4, 2] or task.load("validation")
    assert task.files() == [Path(name) for name in ("test.en", "test.zh", "train.en", "train.zh")]
    assert made("train.en").files() == [Path("train.en"), Path("train.zh")]


def test_lines_are_parted_at_line_feeds_alone_and_empty_pairs_are_none(folder):
    moses(pairs=[("a\u2028b", "甲"), ("", " "), ("c", "丙\x0b丁")])
    assert [row[2] for row in read("train")] == ["train.en:1", "train.en:3"]


def test_files_of_unequal_length_are_refused_with_the_numbers(folder):
    moses()
    Path("train.zh").write_text("一\n二\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read("train")
    assert caught.value.render("en") == "train.en: expected as many lines as train.zh has: 2, got 4"
    Path("train.zh").unlink()
    with pytest.raises(DataError, match=r"a file beside it with the other language: train\.zh"):
        read("train.en")
    moses(pairs=[("a", "甲"), ("b", ""), ("c", "丙"), ("", "丁")])
    with pytest.raises(DataError) as caught:
        read("train")
    assert caught.value.render("en") == "train.en:2: field 'zh' expected some text, got an empty one - also: train.en:4"
    Path("train.zh").write_bytes("甲\n乙\n丙\n".encode("gb18030"))
    Path("train.en").write_text("a\nb\nc\n")
    with pytest.raises(DataError, match=r"train.zh:1.*UTF-8 text"):
        read("train")


def test_translation_memories(folder):
    units = [[("en-US", "Open the <bpt i='1'>&lt;b&gt;</bpt>file<ept i='1'>&lt;/b&gt;</ept> <hi>now</hi><ph/>."), ("ZH-cn", "立即打开文件。")],
             [("en", "first"), ("en", "second"), ("fr", "premier"), ("zh", "一")], [("fr", "seul"), ("zh", "独")], [("eng", "no"), ("zh_CN", "不")],
             [("en", "line\n  break &amp; 🙂 &#x7814;"), ("zh", "换行")]]  # fmt: skip
    assert [row[:2] for row in read(tmx(units))] == [("Open the file now.", "立即打开文件。"), ("first", "一"), ("line break & 🙂 研", "换行")]
    assert read("memory.tmx")[0][2] == "memory.tmx:5"
    [concern] = made({"test": "memory.tmx"}).check()
    assert concern.render("en") == "2 of 5 units have no text in en and zh (first: memory.tmx:7)"
    long = [[("en", f"text {n}"), ("zh", f"文 {n}")] for n in range(3000)]  # more than a chunk
    assert len(read(tmx(long))) == 3000
    Path("memory.tmx").write_bytes(Path("memory.tmx").read_text(encoding="utf-8").replace("UTF-8", "UTF-16").encode("utf-16"))
    assert read("memory.tmx")[2999][:2] == ("text 2999", "文 2999")


BOMB = '<!DOCTYPE tmx [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'
OUTSIDE = '<!DOCTYPE tmx [<!ENTITY file SYSTEM "file:///etc/hostname">]>\n'


@pytest.mark.parametrize(("head", "units", "said"), [
    (BOMB, [[("en", "&b;"), ("zh", "甲")]], "memory.tmx:1: expected a file without entities of its own"),
    (OUTSIDE, [[("en", "&file;"), ("zh", "甲")]], "a file without entities of its own"),
    ('<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n', [[("en", "a&nbsp;b"), ("zh", "甲")]], "memory.tmx:5: expected a known entity, got &nbsp;"),
    ("", [[("en", "<b>"), ("zh", "甲")]], "well-formed XML"),
    ("", [[("en", "<hi>" * 99 + "</hi>" * 99), ("zh", "甲")]], "elements in one another"),
    ("", [[("en", "a" * ((1 << 20) + 1)), ("zh", "甲")]], "characters in a segment"),
    ("", [[("fr", "a"), ("zh", "甲")]], "texts with answers"), ("", [[("en", " "), ("zh", "甲")]], "memory.tmx:4: field 'en' expected some text"),
])  # fmt: skip
def test_memories_that_are_none(folder, head, units, said):
    with pytest.raises(DataError) as caught:
        read(tmx(units, head))
    assert said in caught.value.render("en")


def test_a_doctype_that_names_the_standard_is_no_harm(folder):
    assert read(tmx([[("en", "a"), ("zh", "甲")]], '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'))[0][:2] == ("a", "甲")
    Path("page.tmx").write_text("<html/>")
    with pytest.raises(DataError, match="a translation memory: <tmx>"):
        read("page.tmx")


def test_the_prompt_names_the_languages_and_the_floor_is_a_copy(folder):
    moses()
    task = made({"test": "train"})
    first = task.load("test")[0]
    assert task.prompt(first) == "English: Open the document.\nChinese:\n"
    assert task.floors(first) == {"copy": "Open the document."}
    assert made("x", source="tlh", target="zh-TW").template == "tlh: {text}\nChinese:\n"
    scores = task.score([(e, task.decode(e.fields["answer"], e)) for e in task.load("test")])
    assert scores["chrf"] == pytest.approx(100)
    assert "tok:zh" in scores["signatures"]["bleu"]
    for wrong in ({"target": "en"}, {"source": "../x"}):
        with pytest.raises(RecipeError):
            made("x", **wrong)


@pytest.mark.parametrize(("text", "answer", "rows"), [
    ("Open it. Close it!", "打开。关闭！", [("Open it.", "打开。"), ("Close it!", "关闭！")]),
    ("Café 🙂\ne\u0301 e.g. this", "咖啡馆 🙂\n例如这个", [("Café 🙂", "咖啡馆 🙂"), ("e\u0301 e.g. this", "例如这个")]),
    ("Open it. Close it.", "打开并关闭。", [("Open it. Close it.", "打开并关闭。")]),  # not as many: whole
    ("Open it", "打开。再打开。", [("Open it", "打开。再打开。")]),
])  # fmt: skip
def test_sentences_are_learned_where_both_sides_have_as_many(text, answer, rows):
    words = create("tokenizer", {"type": "characters", "min_count": 1}).train([text, answer])
    example = Example("1", {"text": text, "answer": answer}, "a:1")
    found = made("x", by_sentence=True, template="{text}").encode(example, words, 999)
    said = [(words.decode([t for t, own in zip(row.tokens, row.trained) if not own][1:]),
             words.decode([t for t, own in zip(row.tokens, row.trained) if own][:-1])) for row in found]  # fmt: skip
    assert said == rows
    assert len(made("x").encode(example, words, 999)) == 1


def test_sentences_are_asked_one_by_one_and_joined():
    task = made("x", by_sentence=True)
    example = Example("1", {"text": "Open it. Mr. Li sees 3.5 cm. 好！走", "group": "g"}, "a:1")
    assert [piece.fields["text"] for piece in task.pieces(example)] == ["Open it.", "Mr. Li sees 3.5 cm.", "好！", "走"]
    assert {piece.fields["group"] for piece in task.pieces(example)} == {"g"}
    assert task.joined(["打开。", "", "Li 看到 3.5 cm", "好"]) == "打开。Li 看到 3.5 cm 好"
    assert made("x").pieces(example) == [example]


PO = """msgid ""
msgstr "Language: {language}\\nContent-Type: text/plain; charset=UTF-8\\n"

msgctxt "menu"
msgid "Open 🙂"
msgstr "打开 🙂"

#, fuzzy
msgid "Close"
msgstr "关"

msgid "Café e\u0301"
msgstr ""

msgid "%n row"
msgid_plural "%n rows"
msgstr[0] "%n 行"

#~ msgid "Gone"
#~ msgstr "没了"
"""


def test_catalogs_of_messages(folder):
    Path("zh.po").write_text(PO.format(language="zh_CN"), encoding="utf-8")
    assert read("zh.po") == [("Open 🙂", "打开 🙂", "zh.po:1"), ("%n rows", "%n 行", "zh.po:4")]
    assert [row[:2] for row in read("zh.po", source="zh", target="en")] == [("打开 🙂", "Open 🙂"), ("%n 行", "%n rows")]
    assert [row[:2] for row in read("zh.po", target="zh-TW")] == [("Open 🙂", "打开 🙂"), ("%n rows", "%n 行")]
    (told,) = [str(line) for line in made({"train": "zh.po", "test": "zh.po"}).check() if "units" in str(line)][:1]
    assert "3 of 5 units have no text in en and zh (first: zh.po:2)" in told
    with pytest.raises(DataError, match=r"zh\.po: Language: expected en or fr, got zh_CN"):
        read("zh.po", target="fr")
    Path("none.po").write_text(PO.format(language=""), encoding="utf-8")
    assert len(read("none.po", target="fr")) == 2, "nothing says that they are not"


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\xde\x12\x04\x95\0\0", b'msgid "a', b"\xff\xfe\0\0"])
def test_catalogs_that_are_none(folder, content):
    for name in ("a.po", "a.mo"):
        Path(name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}|no rows|texts with answers"):
            read(name)
