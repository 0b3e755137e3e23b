"""Sources: one suite over the registry, then what each format alone can get wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import tarfile
from itertools import pairwise
from pathlib import Path

import polib
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from tests.corpus import crawl
from tests.corpus.corpora import ODD, chinese, english, read, run, small_shards, texts, write_jsonl
from yanmo.core.data import content_id
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.registry import create, names, resolve
from yanmo.corpus.documents import original
from yanmo.corpus.formats import blocks as cutting
from yanmo.corpus.formats.lines import lines as lines_of
from yanmo.corpus.source import Shard


def write(kind: str, folder: Path, bodies: list[str]) -> dict:
    """`bodies` in files of one kind of source, with a second field beside the text where the kind has fields."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"text": body, "n": i} for i, body in enumerate(bodies)]
    if kind == "folders":
        (folder / "label").mkdir(exist_ok=True)
        for i, body in enumerate(bodies):
            (folder / "label" / f"{i:05d}").write_bytes(body.encode())
    elif kind == "archive":
        with tarfile.open(folder / "a.tar", "w") as archive:
            for i, body in enumerate(bodies):
                info = tarfile.TarInfo(f"{i:05d}.txt")
                info.size = len(body.encode())
                archive.addfile(info, io.BytesIO(body.encode()))
    elif kind == "huggingface":
        batches = pa.Table.from_pylist(rows).to_batches(max_chunksize=7)
        with ipc.new_stream(folder / "data-00000-of-00001.arrow", batches[0].schema) as out:
            for batch in batches:
                out.write_batch(batch)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    elif kind == "gettext":
        catalog = polib.POFile()
        catalog.extend(polib.POEntry(msgid=f"n{i}", msgstr=body) for i, body in enumerate(bodies))
        catalog.save(str(folder / "a.po"))
        return {"type": kind, "path": str(folder), "side": "target"}
    elif kind == "tsv":
        (folder / "a.tsv").write_bytes("".join(f"n{i}\t{body}\n" for i, body in enumerate(bodies)).encode())
        return {"type": kind, "path": str(folder), "side": "target"}
    elif kind == "text":
        for i, body in enumerate(bodies):
            (folder / f"{i:05d}.txt").write_bytes(body.encode())
        return {"type": "text", "path": str(folder), "blocks": False}
    elif kind == "jsonl":
        write_jsonl(folder / "a.jsonl", rows[: len(rows) // 2])
        write_jsonl(folder / "b.jsonl", rows[len(rows) // 2 :])
    elif kind == "html":
        for i, body in enumerate(bodies):
            (folder / f"{i:05d}.html").write_bytes(body.encode())
        return {"type": "html", "path": str(folder), "extract": "raw"}
    elif kind == "warc":
        crawl.write(folder / "a.warc", [crawl.record("response", crawl.http(body.encode()), i) for i, body in enumerate(bodies)])
        return {"type": "warc", "path": str(folder), "extract": "raw"}
    elif kind == "wet":
        crawl.write(folder / "a.wet", [crawl.record("conversion", body.encode(), i) for i, body in enumerate(bodies)])
    elif kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), folder / "a.parquet", row_group_size=7)
    elif kind == "csv":
        with open(folder / "a.csv", "w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, ["n", "text"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        raise AssertionError(f"the suite does not know how to write data for the source '{kind}'")
    return {"type": kind, "path": str(folder)}


LINES = ["line one\nline two\r\nline three"]
BODIES = [*texts(40), 'quotes " and , commas', "\u3000\u3000段首缩进。", *ODD]
KINDS = ("text", "jsonl", "parquet", "csv", "html", "warc", "wet", "archive", "folders", "huggingface", "gettext", "tsv")
ROWS = ("parquet", "csv", "huggingface", "gettext")  # whose origins are row numbers, not bytes


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_every_source_is_in_this_suite_or_has_its_own():
    """A source that cleans as it reads (Wikipedia dumps) cannot give a text back as it was written."""
    for name in set(names("source")) - set(KINDS):
        module = resolve("source", name).__module__
        assert any(name in path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__)), module


# ---------------------------------------------------------------------------------------------- over the registry


def test_every_text_comes_back_once_in_order_with_its_id(kind, folder):
    bodies = BODIES + LINES * (kind != "tsv")
    docs = read(write(kind, folder / "data", bodies))
    assert [doc.text for doc in docs] == bodies
    assert [doc.id for doc in docs] == [content_id(body) for body in bodies]
    assert all(doc.rejection is None and doc.source == "data" for doc in docs)


def test_shards_can_be_read_alone_and_from_any_record_on(kind, folder, monkeypatch):
    small_shards(monkeypatch, 500)
    source = create("source", write(kind, folder / "data", BODIES))
    shards = source.shards()
    whole = [list(source.read(shard)) for shard in shards]
    assert sum(map(len, whole)) == len(BODIES)
    assert all(shard.end - shard.start <= 64 << 20 for shard in shards)
    if kind not in ("csv", "gettext"):
        assert len(shards) > 3
    for shard, docs in zip(reversed(shards), reversed(whole)):  # in any order
        for after in (0, 1, len(docs), len(docs) + 3):
            assert list(source.read(shard, after)) == docs[after:]


def test_origins_are_distinct_ordered_and_lead_back(kind, folder):
    docs = read(write(kind, folder / "data", BODIES))
    places = [(doc.origin.file, doc.origin.member or "", doc.origin.start) for doc in docs]
    assert places == sorted(set(places))
    if kind not in ROWS:
        for doc in docs:
            data = original({"file": doc.origin.file, "member": doc.origin.member, "start": doc.origin.start, "end": doc.origin.end})
            assert (json.loads(data)["text"] if kind == "jsonl" else data.decode().rpartition("\t" if kind == "tsv" else "\0")[2]) == doc.text
    else:
        assert [(doc.origin.start, doc.origin.end) for doc in docs] == [(i, i + 1) for i in range(len(docs))]


def test_two_workers_read_what_one_does(folder, monkeypatch):
    small_shards(monkeypatch, 2000)
    sources = [{**write(kind, folder / kind, BODIES), "name": kind} for kind in KINDS]
    docs = run(folder / "one", sources)
    assert run(folder / "two", sources, workers=2) == docs
    assert [doc.text for doc in docs] == BODIES * len(KINDS)


def test_other_fields_stay_as_meta(kind, folder):
    docs = read(write(kind, folder / "data", BODIES))
    web = {"url": "http://example.org/{}", "date": "2026-01-02T03:04:{:02d}Z"}
    expected = {"text": lambda i: {}, "html": lambda i: {}, "archive": lambda i: {}, "csv": lambda i: {"n": str(i)},
                "folders": lambda i: {"label": "label"}, "gettext": lambda i: {"source": f"n{i}", "target": BODIES[i]},
                "tsv": lambda i: {"source": f"n{i}", "target": BODIES[i]},
                "wet": lambda i: {key: value.format(i) for key, value in web.items()},
                "warc": lambda i: {key: value.format(i) for key, value in web.items()} | {"content_type": "text/html", "status": 200},
                }.get(kind, lambda i: {"n": i})  # fmt: skip
    assert [doc.meta for doc in docs] == [expected(i) for i in range(len(docs))]


def test_files_are_listed_with_what_is_said_about_them(kind, folder):
    settings_ = write(kind, folder / "data", BODIES)
    (folder / "data" / "SOURCE").write_text("title: 试\nlicence: CC0-1.0\nlanguage: zh-Hans\n", encoding="utf-8")
    source = create("source", settings_)
    assert source.about() == {"title": "试", "licence": "CC0-1.0", "language": "zh"}
    assert folder / "data" / "SOURCE" in source.files()
    assert [doc.text for doc in read(settings_)] == BODIES
    given_ = create("source", {**settings_, "licence": "MIT", "language": "en"})
    assert (given_.about()["licence"], given_.about()["language"]) == ("MIT", "en")


def test_what_a_fetched_data_set_says_of_itself_is_read(kind, folder):
    settings_ = write(kind, folder / "data", BODIES)
    said = {"title": "评论", "licence": "MIT", "languages": ["zh"], "archives": [{"kind": "pypi"}]}
    (folder / "data" / "SOURCE.json").write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
    source = create("source", settings_)
    assert source.about() == {"title": "评论", "licence": "MIT", "language": "zh"}
    assert [doc.text for doc in read(settings_)] == BODIES, "it is no text of the data"


def test_an_empty_file_is_counted_and_nothing_but_empty_files_is_an_error(kind, folder):
    settings_ = write(kind, folder / "data", BODIES)
    endings = {"text": "zz.txt", "jsonl": "zz.jsonl", "parquet": "zz.parquet", "csv": "zz.csv", "html": "zz.html", "warc": "zz.warc.gz", "wet": "zz.wet",
               "archive": "zz.tar", "folders": "label/zz", "huggingface": "zz.arrow", "gettext": "zz.po", "tsv": "zz.tsv"}  # fmt: skip
    if kind == "huggingface":
        (folder / "data" / "state.json").unlink()
    (folder / "data" / endings[kind]).write_bytes(b"")
    docs = read(settings_)
    assert [doc.rejection.reason for doc in docs if doc.rejection] == ["empty_file"]
    create("source", settings_).check()
    (folder / "bare" / endings[kind]).parent.mkdir(parents=True)
    (folder / "bare" / endings[kind]).write_bytes(b"")
    with pytest.raises(DataError, match="expected some text, got only empty files"):
        create("source", {"type": kind, "path": "bare"}).check()


def test_an_empty_folder_or_no_such_path(kind, folder):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="in the folder empty, got none"):
        create("source", {"type": kind, "path": "empty"}).files()
    with pytest.raises(DataError, match="no such path: emptz - did you mean 'empty'"):
        create("source", {"type": kind, "path": "emptz"}).files()
    (folder / "link").symlink_to("nowhere")
    with pytest.raises(DataError, match="link, a link to nothing"):
        create("source", {"type": kind, "path": "link"}).files()
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataError, match="a file, a folder or a glob, got pipe, which is neither"):
        create("source", {"type": kind, "path": "pipe"}).files()


def test_settings_are_checked(kind):
    for wrong, message in (({"weight": 0}, "weight: expected a number above 0"), ({"weight": float("inf")}, "weight"),
                           ({"language": "fr"}, "language: expected one of 'en', 'zh'"), ({"path": ""}, "path: expected a file"),
                           ({"pth": "x"}, "unknown key 'pth' - did you mean 'path'")):  # fmt: skip
        with pytest.raises(RecipeError, match=message):
            create("source", {"type": kind, "path": "x", **wrong})
    assert create("source", {"type": kind, "path": "data/x/*.q?"}).name == "x"
    assert create("source", {"type": kind, "path": "data/war.and.peace"}).name == "war.and.peace"


def test_a_path_for_each_split(kind, folder):
    write(kind, folder / "a", BODIES[:5])
    write(kind, folder / "b", BODIES[5:9])
    source = create("source", {"type": kind, "path": {"validation": "b", "train": "a"}})
    assert {split for split, _ in source.located()} == {"train", "validation"}
    assert sum(len(list(source.read(shard))) for shard in source.shards()) == 9
    with pytest.raises(RecipeError, match="path"):
        create("source", {"type": kind, "path": {"dev": "a"}})


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv", "huggingface"])
def test_a_field_that_no_row_has(kind, folder):
    settings_ = write(kind, folder / "data", BODIES)
    with pytest.raises(DataError, match=r"expected a field 'txet', got the fields n, text .* did you mean 'text'"):
        create("source", {**settings_, "fields": {"text": "txet"}}).check()
    with pytest.raises(RecipeError, match="fields"):
        create("source", {**settings_, "fields": {"body": "text"}})
    renamed = [doc.meta for doc in read({**settings_, "fields": {"id": "n"}})]
    assert [str(meta["id"]) for meta in renamed] == [str(i) for i in range(len(BODIES))]


# ---------------------------------------------------------------------------------------------- JSON lines

BAD = [
    (b'{"text": "cut off', "bad_json"), (b'{"text": "\xff bytes"}', "invalid_encoding"), (b'{"text": null}', "null_text"),
    (b'{"text": 7}', "wrong_type"), (b'{"text": ["a"]}', "wrong_type"), (b'["text"]', "not_an_object"), (b"7", "not_an_object"),
    (b'{"body": "x"}', "missing_field"), (b'{"text": "  \\n"}', "empty_text"), (b'{"text": "\\ud83d half"}', "lone_surrogate"),
    (b"[" * 100_000, "bad_json"), (b'{"text": "x", "n": ' + b"9" * 5000 + b"}", "bad_json"), (b"\x00\x01\x02", "bad_json"),
    (b'{"text": "' + b"long " * 500 + b'"}', "line_too_long"),
]  # fmt: skip


@pytest.mark.parametrize("size", [4 << 20, 300])
def test_bad_lines_are_quarantined_with_their_number_and_reading_goes_on(folder, monkeypatch, size):
    small_shards(monkeypatch, size)
    lines = []
    for i, (line, _) in enumerate(BAD):
        lines += [json.dumps({"text": f"good 好 {i}"}, ensure_ascii=False), line]
    write_jsonl(folder / "a.jsonl", [*lines, "", '{"text": "last", "score": NaN}'])
    docs = read({"type": "jsonl", "path": "a.jsonl", "max_line_bytes": 200_000})
    wanted = dict(enumerate((reason for _, reason in BAD), 1))
    found = {doc.meta["line"]: doc.rejection.reason for doc in docs if doc.rejection}
    assert found == {2 * i: reason for i, reason in wanted.items() if reason != "line_too_long"}
    assert [doc.text for doc in docs if not doc.rejection][-1] == "last"
    assert docs[-1].meta == {"score": None}
    short = read({"type": "jsonl", "path": "a.jsonl", "max_line_bytes": 2000})
    reasons = {doc.meta["line"]: doc.rejection.reason for doc in short if doc.rejection}
    assert reasons == {2 * i: "line_too_long" if len(BAD[i - 1][0]) > 2000 else reason for i, reason in wanted.items()}
    for doc in docs:
        if doc.rejection:
            start, end = doc.origin.start, doc.origin.end
            assert (folder / "a.jsonl").read_bytes()[start:end] == BAD[doc.meta["line"] // 2 - 1][0]
            assert len(doc.text) <= 2000
            doc.text.encode("utf-8")


def test_byte_order_mark_and_windows_line_ends(folder):
    (folder / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\r\n{"text": "\xe4\xba\x8c"}\r\n{"text": "three"}')
    docs = read({"type": "jsonl", "path": "a.jsonl"})
    assert [doc.text for doc in docs] == ["one", "二", "three"]
    data = (folder / "a.jsonl").read_bytes()
    assert [json.loads(data[doc.origin.start : doc.origin.end])["text"] for doc in docs] == ["one", "二", "three"]


def test_gzip_whole_cut_off_and_damaged(folder):
    rows = [{"text": body} for body in texts(300, seed=1)]
    whole = gzip.compress("\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode() + b"\n", mtime=0)
    (folder / "a.jsonl.gz").write_bytes(whole)
    docs = read({"type": "jsonl", "path": "a.jsonl.gz"})
    assert [doc.text for doc in docs] == [row["text"] for row in rows]
    for doc in docs[::50]:
        place = {"file": doc.origin.file, "member": doc.origin.member, "start": doc.origin.start, "end": doc.origin.end}
        assert json.loads(original(place))["text"] == doc.text
    (folder / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    docs = read({"type": "jsonl", "path": "a.jsonl.gz"})
    assert docs[-1].rejection.reason == "truncated_gzip"
    assert 50 < len(docs) - 1 < 300
    assert [doc.text for doc in docs[:-1]] == [row["text"] for row in rows[: len(docs) - 1]]
    (folder / "a.jsonl.gz").write_bytes(b"no gzip at all, just words")
    assert [doc.rejection.reason for doc in read({"type": "jsonl", "path": "a.jsonl.gz"})] == ["bad_gzip"]
    with pytest.raises(DataError, match=r"a\.jsonl\.gz: expected one JSON object a line"):
        create("source", {"type": "jsonl", "path": "a.jsonl.gz"}).check()


def test_a_file_that_is_no_json_lines_is_refused(folder):
    (folder / "a.json").write_text('[\n  {\n    "text": "pretty"\n  }\n]\n')
    with pytest.raises(DataError, match=r"a\.json:1: expected one JSON object a line"):
        create("source", {"type": "jsonl", "path": "a.json"}).check()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=12), st.integers(1, 60), st.booleans())
def test_lines_are_read_once_wherever_the_shards_fall(lines, size, ended):
    """Against the plain definition: split at line feeds."""
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    found = []
    for start in range(0, len(data), size):
        found += list(lines_of(io.BytesIO(data), start, min(start + size, len(data)), 25))
    expected, position = [], 0
    for line in data.removesuffix(b"\n").split(b"\n") if data else []:
        begin = 3 if position == 0 and line.startswith(b"\xef\xbb\xbf") else 0
        expected.append((position + begin, line[begin:].rstrip(b"\r\n")))
        position += len(line) + 1
    assert [start for start, _, _ in found] == [start for start, _ in expected]
    for (start, end, content), (_, line) in zip(found, expected):
        assert content == (line if len(line) <= 25 else None)
        assert content is None or end - start == len(content)


# ---------------------------------------------------------------------------------------------- plain text


def cover(docs, path: Path, first: int = 0) -> None:
    """The blocks follow each other and cover the file."""
    assert docs[0].origin.start == first
    assert all(a.origin.end == b.origin.start for a, b in pairwise(docs))
    assert docs[-1].origin.end == path.stat().st_size


@pytest.mark.parametrize("language", ["en", "zh", "one line en", "one line zh", "emoji"])
def test_few_files_are_cut_into_blocks_at_borders(folder, language):
    rng = random.Random(0)
    paragraphs = [english(rng, 80) if "en" in language else chinese(rng, 150) for _ in range(900)]
    body = "👩‍👩‍👧‍👦" * 20_000 if language == "emoji" else ("" if "one line" in language else "\n\n").join(paragraphs)
    (folder / "a.txt").write_text(body, encoding="utf-8")
    docs = read({"type": "text", "path": "a.txt"})
    assert len(docs) >= 5
    cover(docs, folder / "a.txt")
    assert "".join(doc.text for doc in docs) == body
    for doc in docs:
        assert doc.origin.end - doc.origin.start <= cutting.BLOCK_BYTES * 5 // 4
        assert (folder / "a.txt").read_bytes()[doc.origin.start : doc.origin.end].decode() == doc.text
    for doc in docs[:-1]:
        assert doc.origin.end - doc.origin.start >= cutting.BLOCK_BYTES // 2
        ending = {"en": "\n\n", "zh": "\n\n", "one line zh": "。"}.get(language)
        assert ending is None or doc.text.endswith(ending)
        if language == "one line en":
            assert doc.text.endswith(" ")


def test_twenty_files_are_documents_and_the_setting_decides_otherwise(folder):
    for i in range(20):
        (folder / f"{i:02d}.md").write_text(f"# {i}\n" + "word " * 30_000)
    assert len(read({"type": "text", "path": "*.md"})) == 20
    assert len(read({"type": "text", "path": "*.md", "blocks": True})) > 40
    (folder / "19.md").unlink()
    assert len(read({"type": "text", "path": "*.md"})) > 38
    assert len(read({"type": "text", "path": "*.md", "blocks": False})) == 19


@pytest.mark.parametrize("encoding", ["gb18030", "gbk", "big5", "utf-16", "utf-16-le", "utf-32", "shift_jis", "utf-8-sig"])
@pytest.mark.parametrize("blocks", [True, False])
def test_other_encodings_slice_back(folder, encoding, blocks, monkeypatch):
    small_shards(monkeypatch, 150_000)
    body = "天下大事，今日已定。ABC\n" * 12_000
    (folder / "a.txt").write_bytes(body.encode(encoding))
    docs = read({"type": "text", "path": "a.txt", "encoding": encoding, "blocks": blocks})
    assert all(doc.rejection is None for doc in docs)
    assert "".join(doc.text for doc in docs) == body
    mark = {"utf-16": 2, "utf-32": 4, "utf-8-sig": 3}.get(encoding, 0)
    cover(docs, folder / "a.txt", mark)
    assert len(docs) > 3 if blocks else len(docs) == 1


def test_blocks_without_a_safe_border_go_on_to_the_next(folder):
    body = "天" * 120_000 + "\n" + "地" * 10
    (folder / "a.txt").write_bytes(body.encode("gb18030"))
    docs = read({"type": "text", "path": "a.txt", "encoding": "gb18030"})
    assert "".join(doc.text for doc in docs) == body
    assert docs[0].text == "天" * 120_000 + "\n"


def test_invalid_bytes_quarantine_the_block_and_say_where(folder):
    good = ("A line of plain text that is good.\n" * 4000).encode()
    (folder / "a.txt").write_bytes(good + b"\xff\xfe\n" + good)
    docs = read({"type": "text", "path": "a.txt"})
    bad = [doc for doc in docs if doc.rejection]
    assert len(bad) == 1
    assert len(docs) > 3
    assert bad[0].rejection.reason == "invalid_encoding"
    assert bad[0].rejection.value == f"byte 0xff at {len(good)}"
    cover(docs, folder / "a.txt")
    (folder / "a.txt").write_bytes("全是国标码".encode("gb18030"))
    with pytest.raises(DataError, match=r"a\.txt: expected text in utf-8, got byte 0x.. at \d - Set encoding:"):
        create("source", {"type": "text", "path": "a.txt", "encoding": "utf-8"}).check()
    assert [doc.text for doc in read({"type": "text", "path": "a.txt"})] == ["全是国标码"]
    with pytest.raises(RecipeError, match="encoding: expected an encoding such as"):
        create("source", {"type": "text", "path": "a.txt", "encoding": "klingon"})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(alphabet="a \n天。👩‍é\r", max_size=400), st.integers(20, 90))
def test_blocks_cover_any_text_and_never_cut_a_character(tmp_path_factory, body, size):
    path = tmp_path_factory.mktemp("blocks") / "a.txt"
    path.write_bytes(body.encode())
    before, cutting.BLOCK_BYTES = cutting.BLOCK_BYTES, 16
    try:
        source = create("source", {"type": "text", "path": str(path)})
        end = path.stat().st_size
        cuts = [*range(0, max(end, 1), size), end]
        shards = [Shard(path.as_posix(), None, a, b) for a, b in pairwise(cuts)] if end else source.shards()
        docs = [doc for shard in shards for doc in source.read(shard)]
    finally:
        cutting.BLOCK_BYTES = before
    if body:
        cover(docs, path)
        assert "".join(doc.text for doc in docs) == body
        assert {doc.rejection.reason for doc in docs if doc.rejection} <= {"empty_text"}


# ---------------------------------------------------------------------------------------------- CSV and Parquet


def test_csv_quirks(folder):
    (folder / "a.csv").write_bytes(
        b"\xef\xbb\xbfid,text,label\r\n"
        b'1,"two\nlines, ""quoted""",x\r\n'
        b"2,\xe4\xbd\xa0\xe5\xa5\xbd,y\r\n"
        b"3,too,many,columns\r\n"
        b"4\r\n"
        b"\r\n"
        b"5,\xff,z\r\n"
        b'6,"bad" quote,z\r\n'
        b"7,,z\r\n"
        b"8,fine,z\r\n"
    )
    docs = read({"type": "csv", "path": "a.csv"})
    assert [doc.text for doc in docs if not doc.rejection] == ['two\nlines, "quoted"', "你好", "fine"]
    assert [doc.rejection.reason for doc in docs if doc.rejection] == ["bad_row", "missing_field", "invalid_encoding", "bad_row", "empty_text"]
    assert docs[-1].meta == {"id": "8", "label": "z"}
    assert [doc.origin.start for doc in docs] == list(range(8))
    (folder / "a.tsv").write_text("text\tn\nA, b\t1\n")
    assert [doc.text for doc in read({"type": "csv", "path": "a.tsv"})] == ["A, b"]
    (folder / "b.csv").write_text("text;n\nA, b;1\n")
    assert [doc.text for doc in read({"type": "csv", "path": "b.csv", "delimiter": ";"})] == ["A, b"]
    with pytest.raises(RecipeError, match="delimiter: expected one character"):
        create("source", {"type": "csv", "path": "b.csv", "delimiter": "ab"})
    long = "y" * 5000
    (folder / "c.csv").write_text(f"text\n{long}\nshort\n")
    docs = read({"type": "csv", "path": "c.csv", "max_line_bytes": 1000})
    assert [(doc.text, doc.rejection and doc.rejection.reason) for doc in docs] == [("short", None), ("", "line_too_long")]


def test_parquet_types_and_damage(folder):
    rows = pa.table({
        "text": pa.array([b"plain", "字节".encode(), b"\xff", None], pa.binary()),
        "when": pa.array([0, 1, 2, 3], pa.timestamp("s")), "blob": pa.array([b"\x00\x01"] * 4, pa.binary()),
        "nested": pa.array([{"a": [1, None]}] * 4),
    })  # fmt: skip
    parquet.write_table(rows, folder / "a.parquet")
    docs = read({"type": "parquet", "path": "a.parquet"})
    assert [doc.text for doc in docs if not doc.rejection] == ["plain", "字节"]
    assert [doc.rejection.reason for doc in docs if doc.rejection] == ["invalid_encoding", "null_text"]
    assert json.loads(json.dumps(docs[0].meta)) == docs[0].meta
    assert docs[0].meta["nested"] == {"a": [1, None]}
    damaged = pa.array(["fine", "also"], pa.string())
    wrong = pa.Array.from_buffers(pa.string(), 2, [None, damaged.buffers()[1], pa.py_buffer(b"fine\xff\xfeso")])
    parquet.write_table(pa.table({"text": wrong}), folder / "b.parquet")
    docs = read({"type": "parquet", "path": "b.parquet"})
    assert [doc.rejection and doc.rejection.reason for doc in docs] == [None, "invalid_encoding"]
    data = (folder / "a.parquet").read_bytes()
    (folder / "c.parquet").write_bytes(data[: len(data) // 2])
    docs = read({"type": "parquet", "path": "c.parquet"})
    assert [doc.rejection.reason for doc in docs] == ["bad_file"]
    with pytest.raises(DataError, match=r"c\.parquet: expected a Parquet file"):
        create("source", {"type": "parquet", "path": "c.parquet"}).check()
    with pytest.raises(DataError, match="expected a field 'body'"):
        create("source", {"type": "parquet", "path": "a.parquet", "fields": {"text": "body"}}).check()


def test_samples_are_named_the_same_wherever_the_package_lies(folder):
    docs = read({"type": "jsonl", "path": "samples/sanguo"})
    assert len(docs) == 120
    assert {doc.origin.file for doc in docs} == {"samples/sanguo/chapters.jsonl"}
    assert create("source", {"type": "jsonl", "path": "samples/sanguo"}).about()["language"] == "zh"
    place = {"file": docs[7].origin.file, "member": None, "start": docs[7].origin.start, "end": docs[7].origin.end}
    assert json.loads(original(place))["text"] == docs[7].text


def test_a_broken_source_note_is_an_error(folder):
    write_jsonl(folder / "data" / "a.jsonl", [{"text": "x"}])
    for content in ("licence: [unclosed", "just words", "\udcff"):
        (folder / "data" / "SOURCE.yaml").write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(DataError, match=r"SOURCE\.yaml"):
            create("source", {"type": "jsonl", "path": "data"}).check()
        (folder / "data" / "SOURCE.yaml").rename(folder / "data" / "SOURCE")  # which may be anybody's prose
        assert create("source", {"type": "jsonl", "path": "data"}).about() == {"title": None, "licence": None, "language": None}
        (folder / "data" / "SOURCE").unlink()


def test_a_field_of_its_own_name_becomes_the_id(folder):
    write_jsonl(folder / "a.jsonl", [{"id": 7, "url": "http://x", "body": "text", "n": 1}])
    (doc,) = read({"type": "jsonl", "path": "a.jsonl", "fields": {"text": "body", "id": "url"}})
    assert (doc.text, doc.meta) == ("text", {"id": "http://x", "n": 1})
