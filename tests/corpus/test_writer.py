"""What a corpus looks like on disk: the account, the borders of files, the page; and reading it back."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pyarrow.parquet as parquet
import pytest

from tests.corpus.corpora import ODD, texts
from yanmo.core.data import Document, Origin, Rejection, content_id
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.corpus import documents, writer
from yanmo.corpus.split import Split

HOSTILE = '<script>alert("x")</script> & <b>bold</b> \x00 </pre> 恶意'


def made(count: int = 303) -> list[Document]:
    found = []
    for i, body in enumerate([*texts(count, seed=31), HOSTILE, *ODD]):
        doc = Document(content_id(body), body, Origin(f"data/{i % 3}.jsonl", None, i * 10, i * 10 + 9), "ab"[i // 2 % 2], {"n": i, "鍵": "值"}, order=i)
        if i % 7 == 1:
            doc.rejection = Rejection("length", "too_short", 3)
        elif i % 11 == 1:
            doc.rejection = Rejection("minhash_dedup", "near_duplicate", found[0].id)
            doc.meta["similarity"] = 0.9375
        elif i % 13 == 1:
            doc.rejection, doc.meta = Rejection("quarantine", "bad_json", "Expecting value at 0"), {"line": i}
        found.append(doc)
    return found


@pytest.fixture
def sources(folder):
    (folder / "data").mkdir()
    for i in range(3):
        (folder / "data" / f"{i}.jsonl").write_text("{}\n")
    return [create("source", {"type": "jsonl", "path": "data", "name": "a", "language": "zh", "licence": "CC0-1.0"}),
            create("source", {"type": "jsonl", "path": "data", "name": "b", "weight": 2})]  # fmt: skip


def test_the_account_adds_up_and_rows_hold_what_they_should(folder, sources):
    docs = made()
    stats = writer.write(folder / "out", iter(docs), sources, Split(0.2))
    assert stats == json.loads((folder / "out" / "stats.json").read_text())
    assert stats["in"] == len(docs) == stats["kept"] + sum(stats["dropped"].values()) + sum(stats["quarantined"].values())
    assert set(stats["dropped"]) == {"length.too_short", "minhash_dedup.near_duplicate"}
    assert set(stats["quarantined"]) == {"bad_json"}
    for source in stats["sources"]:
        assert source["in"] == source["kept"] + sum(source["dropped"].values()) + sum(source["quarantined"].values())
        assert source["bytes"] == sum(split["bytes"] for split in source["splits"].values())
    assert stats["sources"][0]["licence"] == "CC0-1.0"
    assert stats["sources"][1]["weight"] == 2
    assert sum(split["documents"] for split in stats["splits"].values()) == stats["kept"]
    kept = [doc for doc in docs if doc.rejection is None]
    rows = list(documents.iterate(folder / "out"))
    assert [(row["id"], row["text"], row["source"], row["start"], row["meta"]) for row in rows] == [
        (doc.id, doc.text, doc.source, doc.origin.start, doc.meta) for doc in kept]  # fmt: skip
    assert stats["splits"]["train"]["bytes"] == sum(len(row["text"].encode()) for row in rows if row["split"] == "train")
    assert {row["language"] for row in rows if row["source"] == "a"} == {"zh"}
    assert {row["language"] for row in rows if row["source"] == "b"} == {"zh", "en", None}, "told by their script"
    dropped = parquet.read_table(folder / "out" / "dropped").to_pylist()
    assert [(row["id"], row["step"], row["reason"]) for row in dropped] == [
        (doc.id, doc.rejection.step, doc.rejection.reason) for doc in docs if doc.rejection and doc.rejection.step != "quarantine"]  # fmt: skip
    assert {row["value"] for row in dropped} == {"3", docs[0].id}
    assert {json.loads(row["meta"]).get("similarity") for row in dropped} == {None, 0.9375}
    lines = [(row["line"], row["value"]) for row in parquet.read_table(folder / "out" / "quarantined").to_pylist()]
    assert lines == [(doc.meta["line"], "Expecting value at 0") for doc in docs if doc.rejection and doc.rejection.step == "quarantine"]


def test_bytes_depend_on_the_documents_alone(folder, sources):
    for name in ("one", "two"):
        writer.write(folder / name, iter(made()), sources, Split(0.1))
    one, two = ({p.relative_to(folder / n).as_posix(): p.read_bytes() for p in (folder / n).rglob("*") if p.is_file()} for n in ("one", "two"))
    assert one == two
    assert set(one) == {"documents/00000.parquet", "dropped/00000.parquet", "quarantined/00000.parquet", "stats.json", "corpus.html"}


def test_row_groups_and_files_end_by_rows_or_bytes(folder, sources, monkeypatch):
    monkeypatch.setattr(writer, "GROUP_ROWS", 20)
    monkeypatch.setattr(writer, "FILE_ROWS", 60)
    docs = [doc for doc in made() if doc.rejection is None]
    writer.write(folder / "out", iter(docs), sources, Split(0.1))
    files = documents.files(folder / "out")
    assert len(files) == -(-len(docs) // 60)
    assert all(parquet.ParquetFile(path).metadata.row_group(0).num_rows == 20 for path in files)
    assert [row["id"] for row in documents.iterate(folder / "out", batch=7)] == [doc.id for doc in docs]
    monkeypatch.setattr(writer, "GROUP_ROWS", 1000)
    monkeypatch.setattr(writer, "GROUP_BYTES", 1000)
    monkeypatch.setattr(writer, "FILE_BYTES", 5000)
    writer.write(folder / "out", iter(docs), sources, Split(0.1))
    assert len(documents.files(folder / "out")) > 5
    assert [row["id"] for row in documents.iterate(folder / "out")] == [doc.id for doc in docs]


def test_what_an_earlier_try_left_is_replaced(folder, sources):
    (folder / "out" / "documents").mkdir(parents=True)
    (folder / "out" / "documents" / "00007.parquet").write_bytes(b"old")
    (folder / "out" / "corpus").mkdir()
    (folder / "out" / "corpus" / "stats.json").write_text("old")
    docs = [doc for doc in made() if doc.rejection is None]
    writer.write(folder / "out", iter(docs), sources, Split(0.1))
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["corpus.html", "documents", "stats.json"]
    assert len(documents.files(folder / "out")) == 1


def test_iterate_chooses_split_and_columns(folder, sources):
    writer.write(folder / "out", iter(made()), sources, Split(0.2))
    everything = list(documents.iterate(folder / "out"))
    for split in ("train", "validation"):
        assert [row for row in everything if row["split"] == split] == list(documents.iterate(folder / "out", split))
    assert next(documents.iterate(folder / "out" / "documents", "train", columns=("text",))).keys() == {"text"}
    with pytest.raises(RequestError, match=r"expected a corpus \(documents/\*\.parquet\), got none"):
        list(documents.iterate(folder / "data"))
    assert documents.stats(folder / "out")["kept"] == len(everything)
    assert documents.stats(folder / "out" / "documents")["kept"] == len(everything)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_shows_every_fate_escaped_and_stands_alone(folder, sources):
    docs = [doc for doc in made() if doc.text == HOSTILE or doc.rejection]
    docs.append(Document(content_id(HOSTILE), HOSTILE, Origin('data/<img src=x>".txt', None, 0, 1), "b", {}, Rejection("length", "<i>odd</i>", HOSTILE)))
    writer.write(folder / "out", iter(docs), sources, Split(0.2))
    html = (folder / "out" / "corpus.html").read_text(encoding="utf-8")
    parsed = Tags()
    parsed.feed(html)
    assert not {"script", "b", "i", "img", "link"} & set(parsed.tags)
    assert parsed.links == []
    assert "http" not in html
    text = "".join(parsed.text)
    assert "\x00" not in html
    for shown in (HOSTILE.replace("\x00", "␀"), "length.too_short", "near_duplicate", "bad_json", "similarity 0.9375", "CC0-1.0", "Kept · 保留"):
        assert shown in text, shown
