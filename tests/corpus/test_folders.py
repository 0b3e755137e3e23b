"""Labelled folders: the label is the folder's name; mail headers go when asked to."""

from __future__ import annotations

import pytest

from tests.corpus.corpora import read
from tests.corpus.test_compressed import row
from yanmo.core.errors import DataError
from yanmo.core.registry import create
from yanmo.corpus.documents import original

NEWS = "From: someone@example.com (Some One)\nSubject: Re: Orbit\nOrganization: Nowhere,\n\tInc.\nLines: 3\n\nThe café orbits.\n\nFrom: is no header here.\n"


@pytest.fixture
def news(folder):
    for label, number, body in (("sci.space", "1234", NEWS.encode("latin-1")), ("rec.autos", "77.txt", "汽车：很快。\n".encode()),
                                ("rec.autos", "78", b"no header at all\n\nSubject: later\n")):  # fmt: skip
        (folder / "news" / label).mkdir(parents=True, exist_ok=True)
        (folder / "news" / label / number).write_bytes(body)
    (folder / "news" / "README").write_text("lies in no folder of its own\n")
    return folder / "news"


def test_labels_and_encodings(news):
    docs = read({"type": "folders", "path": "news"})
    assert [(doc.meta, doc.text) for doc in docs] == [
        ({"label": "rec.autos"}, "汽车：很快。\n"), ({"label": "rec.autos"}, "no header at all\n\nSubject: later\n"),
        ({"encoding": "cp1252", "label": "sci.space"}, NEWS)]  # fmt: skip


def test_headers_are_left_out_and_the_origin_is_the_rest(news):
    docs = read({"type": "folders", "path": "news", "strip_headers": True})
    assert [doc.text for doc in docs] == ["汽车：很快。\n", "no header at all\n\nSubject: later\n", "The café orbits.\n\nFrom: is no header here.\n"]
    assert original(row(docs[2])).decode("cp1252") == docs[2].text


def test_splits_nested_labels_and_no_folders(news, folder):
    (news / "deep" / "comp.lang" / "x").mkdir(parents=True)
    (news / "deep" / "comp.lang" / "x" / "1").write_text("deep\n")
    assert {doc.meta["label"] for doc in read({"type": "folders", "path": "news"})} == {"sci.space", "rec.autos", "x"}
    source = create("source", {"type": "folders", "path": {"train": "news", "test": "news/deep"}})
    assert [split for split, _ in source.located()] == ["train"] * 4 + ["test"]
    (folder / "flat").mkdir()
    (folder / "flat" / "a.txt").write_text("x")
    with pytest.raises(DataError, match="flat: expected a folder for each label, got only files - use the source 'text'"):
        create("source", {"type": "folders", "path": "flat"}).files()


def test_unreadable_files_keep_their_label(news):
    (news / "sci.space" / "binary").write_bytes(bytes(range(256)) * 20)
    (news / "sci.space" / "empty").write_bytes(b"")
    bad = [doc for doc in read({"type": "folders", "path": "news"}) if doc.rejection]
    assert [(doc.rejection.reason, doc.meta["label"]) for doc in bad] == [("invalid_encoding", "sci.space"), ("empty_file", "sci.space")]
