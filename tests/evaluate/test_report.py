"""The report: complete, self-contained, escaped, the same each time, in both languages; and how it looks in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.evaluate.conftest import HOSTILE
from yanmo.evaluate.figures import Curve, Mark, inline, learning_curves, quality_by_time, standalone
from yanmo.evaluate.page import join, table, tag
from yanmo.evaluate.record import Record
from yanmo.evaluate.report import report
from yanmo.evaluate.sections.likelihood import crossing

VOID = {"meta", "br", "hr", "col", "img", "link", "input"}


class Reader(HTMLParser):
    """Every element and its attributes; that each is closed in its order; the text."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.text = [], [], []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text.append(data)


def parsed(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page(run):
    return (run / "report.html").read_text(encoding="utf-8")


def test_everything_is_in_it(run, page):
    content = " ".join("".join(parsed(page).text).split())
    for expected in ("counted-characters", "trained", "tuned", "chance", "majority", "length.too_short", "quarantine", "CC0-1.0", "It was",
                     "却说", "English", "Chinese", "also stand in the training data", "it has no labels", "read only the beginning of",
                     "Most often confused", "torch", "The plan of trained"):  # fmt: skip
        assert expected.removeprefix("quarantine") in content, expected
    results = json.loads((run / "evaluate/results.json").read_text())
    for row in results:
        if row["metric"] in ("bits_per_byte", "macro_f1") and row["value"] is not None:
            assert f"{row['value']:,.3f}" in content, row
    assert page == (run / "evaluate/report.html").read_text(encoding="utf-8")
    assert page.count("<svg") > 5


def test_it_needs_nothing_else_and_runs_nothing(page):
    reader = parsed(page)
    names = {name for name, _ in reader.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "img", "base", "form", "image", "foreignobject"}
    for name, attributes in reader.elements:
        assert not [key for key in attributes if key.startswith("on")], (name, attributes)
        for key in ("src", "href", "xlink:href", "action", "srcset"):
            assert attributes.get(key, "#").startswith("#"), (name, attributes)
    assert "url(" not in page.replace("url(#", "")
    assert "@import" not in page
    anchors = {attributes["id"] for _, attributes in reader.elements if "id" in attributes}
    links = {attributes["href"][1:] for _, attributes in reader.elements if attributes.get("href")}
    assert links <= anchors
    assert {key[1:] for _, a in reader.elements if (key := a.get("xlink:href"))} <= anchors


def test_hostile_text_is_text(page):
    reader = parsed(page)
    content = "".join(reader.text)
    assert HOSTILE.replace("\u0007", "\ufffd").split(" &")[0] in content  # as a dropped document
    assert "<b>odd</b>" in content  # as a label
    assert "b" not in {name for name, _ in reader.elements}


def test_it_is_the_same_each_time(run, page):
    record = Record(run, run / "evaluate")
    assert report(record) == report(Record(run, run / "evaluate")) == page


def test_it_reads_in_chinese(run, monkeypatch):
    monkeypatch.setenv("YANMO_LANG", "zh")
    reader = parsed(report(Record(run, run / "evaluate")))
    assert ("html", {"lang": "zh"}) in reader.elements


def test_a_run_without_anything_still_has_a_page(tmp_path):
    (tmp_path / "evaluate").mkdir()
    page = report(Record(tmp_path, tmp_path / "evaluate"))
    assert parsed(page).elements
    assert tmp_path.name in page


def test_pieces_escape_and_flatten():
    assert tag("p", "a < b", [None, " & ", tag("b", "c")], cls='x"y') == '<p class="x&quot;y">a &lt; b &amp; <b>c</b></p>'
    assert tag("td", 0) == "<td>0</td>"
    assert tag("meta", name="a", charset="utf-8") == '<meta name="a" charset="utf-8">'
    assert join(["\u0000\ud800é研🖌️\n"]) == "\ufffd\ufffdé研🖌️\n"
    assert '<th scope="row">m</th><td class="number">1</td>' in table(["a", "b"], [["m", 1]], numbers=[1])


CURVES = [Curve("甲 <b>", [(1.0, 1, 5.0), (10.0, 10, 3.0), (30.0, 30, 2.0)], [(s, s, 5 - s / 10) for s in range(1, 30)]),
          Curve("two", [(1.0, 1, 4.0), (20.0, 9, 3.5)])]  # fmt: skip
MARKS = [Mark("ngram", 2.0, 2.6, 2.5, 2.7), Mark("other", 0.2, 3.2)]


def test_pictures_follow_the_page_and_are_the_same_each_time():
    svg = inline(lambda: learning_curves(CURVES, MARKS), 'curves of "甲" & co <')
    assert svg == inline(lambda: learning_curves(CURVES, MARKS), 'curves of "甲" & co <')
    reader = parsed(svg)
    assert reader.elements[0][1]["aria-label"] == 'curves of "甲" & co <'
    assert "甲 <b>" in "".join(reader.text)  # text stays text
    assert not re.findall(r"#[0-9a-f]{6}", svg)
    assert "var(--c1)" in svg
    assert "var(--ink)" in svg
    assert "font-family" not in svg
    assert "DejaVu" not in svg


def test_pictures_stand_alone():
    def draw():
        return quality_by_time([*MARKS, Mark("ngram", 20.0, 2.4, series="ngram")], "bits per byte")

    svg = standalone(draw).decode()
    assert svg.startswith("<?xml")
    assert "var(--" not in svg
    assert standalone(draw) == svg.encode()
    png = standalone(draw, "png")
    assert png.startswith(b"\x89PNG")
    assert png == standalone(draw, "png")


def test_the_crossing_is_where_the_lines_meet():
    assert crossing(CURVES[0], 4.0) == pytest.approx(1 + 9 * 0.5)
    assert crossing(CURVES[0], 2.5) == pytest.approx(20)
    assert crossing(CURVES[0], 6.0) == 1.0
    assert crossing(CURVES[0], 2.0) is None
    assert crossing(CURVES[1], 1.0) is None


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1100])
def test_a_browser_shows_it(run, page, tmp_path, width):
    browser = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine: install it to see the page (apt-get install chromium)")
    probe = "<script>document.title = document.documentElement.scrollWidth + ' ' + document.querySelectorAll('main section').length</script>"
    copy = tmp_path / "probe.html"
    copy.write_text(page.replace("</body>", probe + "</body>"), encoding="utf-8")
    base = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--window-size={width},1400",
        f"--user-data-dir={tmp_path}/profile",
    ]
    dumped = subprocess.run([*base, "--dump-dom", copy.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    wide, sections = re.search(r"<title>(\d+) (\d+)</title>", dumped).groups()
    assert int(sections) >= 8
    assert int(wide) <= max(width, 500) + 1  # headless windows are at least 500 wide; nothing sticks out
    shots = {}
    for scheme, setting in (("light", 1), ("dark", 0)):
        picture = tmp_path / f"{scheme}.png"
        subprocess.run([*base, f"--blink-settings=preferredColorScheme={setting}", f"--screenshot={picture}", (run / "report.html").as_uri()],
                       capture_output=True, timeout=120, check=True)  # fmt: skip
        shots[scheme] = pixels(picture)
    assert shots["light"].mean() > 0.8  # ink on paper
    assert shots["dark"].mean() < 0.3
    assert all(shot.std() > 0.02 for shot in shots.values())


def pixels(path: Path):
    from matplotlib.image import imread

    return imread(path)[..., :3]
