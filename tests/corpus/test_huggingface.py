"""Folders that `datasets` saved, read without it; written here by `datasets` itself."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pytest
from pyarrow import ipc

from tests.corpus.corpora import read, small_shards, texts
from yanmo.core.errors import DataError
from yanmo.core.registry import create

BODIES = texts(120, seed=6)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A Dataset of two files and a DatasetDict, as the library writes them."""
    import datasets

    datasets.disable_progress_bars()
    folder = tmp_path_factory.mktemp("saved")
    rows = [{"review": body, "label": i % 2, "tags": ["a", str(i)]} for i, body in enumerate(BODIES)]
    data = datasets.Dataset.from_list(rows).cast_column("label", datasets.ClassLabel(names=["neg", "pos"]))
    data.save_to_disk(folder / "one", num_shards=2)
    parts = {"train": data.select(range(80)), "validation": data.select(range(80, 100)), "unsupervised": data.select(range(100, 120))}
    datasets.DatasetDict(parts).save_to_disk(folder / "many")
    return folder


def test_a_dataset_comes_back_in_order(saved):
    docs = read({"type": "huggingface", "path": str(saved / "one"), "fields": {"text": "review"}})
    assert [doc.text for doc in docs] == BODIES
    assert docs[5].meta == {"label": 1, "tags": ["a", "5"]}
    assert {(doc.origin.file.rpartition("/")[2], doc.origin.start) for doc in docs} == {
        (f"data-0000{f}-of-00002.arrow", n) for f in range(2) for n in range(60)}  # fmt: skip


def test_splits_of_a_dataset_dict(saved):
    source = create("source", {"type": "huggingface", "path": str(saved / "many"), "fields": {"text": "review"}})
    assert [split for split, _ in source.located()] == ["train", "validation", None]
    assert [doc.text for shard in source.shards() for doc in source.read(shard)] == BODIES
    names = {path.name for path in source.files()}
    assert {"state.json", "dataset_info.json", "dataset_dict.json", "data-00000-of-00001.arrow"} <= names
    chosen = create("source", {"type": "huggingface", "path": {"test": str(saved / "many" / "validation")}, "fields": {"text": "review"}})
    assert [split for split, _ in chosen.located()] == ["test"]
    with pytest.raises(DataError, match="expected a field 'text', got the fields label, review, tags"):
        create("source", {"type": "huggingface", "path": str(saved / "many")}).check()


def stream(path, batches, *, form=ipc.new_stream):
    with form(path, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def batches(count: int, rows: int = 10) -> list[pa.RecordBatch]:
    return [pa.record_batch({"text": texts(rows, seed=i), "n": list(range(i * rows, i * rows + rows))}) for i in range(count)]


@pytest.mark.parametrize("form", [ipc.new_stream, ipc.new_file])
def test_batches_make_shards(folder, monkeypatch, form):
    stream("a.arrow", batches(12), form=form)
    whole = read({"type": "huggingface", "path": "a.arrow"})
    assert [doc.meta["n"] for doc in whole] == list(range(120))
    small_shards(monkeypatch, 3000)
    source = create("source", {"type": "huggingface", "path": "a.arrow"})
    assert len(source.shards()) > 3
    assert [doc for shard in source.shards() for doc in source.read(shard)] == whole


def test_a_cut_off_file_keeps_its_whole_batches(folder):
    stream("a.arrow", batches(6))
    data = (folder / "a.arrow").read_bytes()
    (folder / "a.arrow").write_bytes(data[: len(data) * 3 // 4])
    docs = read({"type": "huggingface", "path": "a.arrow"})
    kept = [doc.meta["n"] for doc in docs if not doc.rejection]
    assert kept == list(range(len(kept)))
    assert len(kept) in (30, 40)
    assert [doc.rejection.reason for doc in docs if doc.rejection] == ["bad_file"]
    (folder / "a.arrow").write_bytes(random.Random(0).randbytes(3000))
    assert [doc.rejection.reason for doc in read({"type": "huggingface", "path": "a.arrow"})] == ["bad_file"]
    with pytest.raises(DataError, match="expected an Arrow file of a dataset"):
        create("source", {"type": "huggingface", "path": "a.arrow"}).check()


def test_wrong_bytes_and_types_inside(folder):
    good = pa.array(["fine", "also"], pa.string())
    broken = pa.Array.from_buffers(pa.string(), 2, [None, good.buffers()[1], pa.py_buffer(b"fine\xff\xfeso")])
    stream("a.arrow", [pa.record_batch({"text": broken}), pa.record_batch({"text": pa.array([None, "ok"])})])
    assert [doc.rejection and doc.rejection.reason for doc in read({"type": "huggingface", "path": "a.arrow"})] == [None, "invalid_encoding", "null_text", None]
    outside = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\xff\xff\xff\x7f\x08\0\0\0"), pa.py_buffer(b"fineplus")])
    stream("b.arrow", [pa.record_batch({"text": outside})])
    assert [doc.rejection.reason for doc in read({"type": "huggingface", "path": "b.arrow"})] == ["bad_file"]
    stream("c.arrow", [pa.record_batch({"text": pa.array([1, 2])})])
    assert [doc.rejection.reason for doc in read({"type": "huggingface", "path": "c.arrow"})] == ["wrong_type", "wrong_type"]


def test_what_the_json_says_is_checked(folder):
    (folder / "d").mkdir()
    stream("d/data-00000-of-00001.arrow", batches(1))
    for content, message in (("{broken", "what save_to_disk writes"), ("[]", "what save_to_disk writes"), ("{}", "a list '_data_files', got none"),
                             (json.dumps({"_data_files": [{"filename": "gone.arrow"}]}), "the files that it names, got no gone.arrow"),
                             (json.dumps({"_data_files": [{"filename": "../x.arrow"}]}), "the files that it names"),
                             (json.dumps({"_data_files": []}), "at least one Arrow file"),
                             (json.dumps({"_indices_data_files": [{"filename": "i.arrow"}]}), "save it again with a present version")):  # fmt: skip
        (folder / "d" / "state.json").write_text(content)
        with pytest.raises(DataError, match=message):
            create("source", {"type": "huggingface", "path": "d"}).files()
    (folder / "d" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    assert len(read({"type": "huggingface", "path": "d"})) == 10
