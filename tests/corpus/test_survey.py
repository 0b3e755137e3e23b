"""What a look at a sample says, against what is there."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.corpus.corpora import texts, write_jsonl
from yanmo.core.registry import create
from yanmo.corpus.survey import spread, survey
from yanmo.stages.check import check, lines


@pytest.fixture
def source(folder):
    bodies = [body for body in texts(3000, seed=3) if len(body) > 60]
    write_jsonl(folder / "a.jsonl", [{"text": body, "n": i} for i, body in enumerate(bodies)] + ["{broken"])
    write_jsonl(folder / "b.jsonl", [{"text": body, "tag": "x"} for body in bodies[:50]] * 2)
    return bodies


def about(path: str, **settings):
    return create("source", {"type": "jsonl", "path": path, **settings})


def test_a_sample_stands_for_the_whole(source):
    found = survey([about("a.jsonl"), about("b.jsonl")], [create("step", {"type": "length", "min_chars": 100})], 2)
    first, second = found["sources"]
    assert first["documents"] == pytest.approx(len(source), rel=0.15)
    assert first["text_bytes"] == pytest.approx(sum(len(body.encode()) for body in source), rel=0.15)
    assert first["fields"] == {"text": "str", "n": "int"}
    assert second["fields"] == {"text": "str", "tag": "str"}
    assert set(first["languages"]) == {"en", "zh", "other"} or set(first["languages"]) == {"en", "zh"}
    assert second["exact_duplicates"] == 0.5
    assert second["near_duplicates"] == pytest.approx(0.5, abs=0.1)
    assert first["exact_duplicates"] == 0
    long = [body for body in [*source, *source[:50], *source[:50]] if len(body) >= 100]
    assert found["documents"] == pytest.approx(len(long), rel=0.15)
    assert found["text_bytes"] == pytest.approx(sum(len(body.encode()) for body in long), rel=0.15)
    assert set(found["dropped"]) == {"length.too_short"}
    assert found["seconds"] > 0
    assert found["disk_bytes"] > 0


def test_a_compressed_file_is_scaled_too(folder, source):
    with gzip.open(folder / "c.jsonl.gz", "wt", encoding="utf-8") as handle:
        handle.writelines(json.dumps({"text": body}, ensure_ascii=False) + "\n" for body in source)
    found = survey([about("c.jsonl.gz")], [], 1)
    assert found["documents"] == pytest.approx(len(source), rel=0.4)


def test_spread_takes_evenly_from_all_of_it():
    assert spread(list(range(10)), 4) == [0, 2, 5, 7]
    assert spread([1, 2], 4) == [1, 2]


RECIPE = """
name: x
stages:
  - corpus: {source: {type: jsonl, path: a.jsonl}, steps: [normalize]}
  - tokenizer: {type: bpe, size: 500}
"""


def test_check_shows_the_sample_and_the_tokens(folder, source):
    (folder / "x.yaml").write_text(RECIPE)
    report = check("x.yaml")
    assert report["ok"]
    assert not (folder / "runs").exists()
    json.dumps(report)
    tokens = report["tokens"]["tokenizer"]
    assert tokens["tokens"] == pytest.approx(report["data"]["corpus"]["text_bytes"] / tokens["bytes_a_token"], rel=0.01)
    shown = "\n".join(lines(report))
    assert "a.jsonl (jsonl): about" in shown
    assert "fields: text (str), n (int)" in shown
    assert "longer than a context" in shown
    (folder / "x.yaml").write_text(RECIPE.replace("a.jsonl", "nowhere"))
    report = check("x.yaml")
    assert not report["ok"]
    assert report["data"] == {}
