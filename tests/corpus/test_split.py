"""Held-out documents: the fraction, stability, every source represented, equal texts on one side."""

from __future__ import annotations

import random

import pytest

from tests.corpus.corpora import chinese, english, texts, write_jsonl
from yanmo.core.console import Console
from yanmo.core.registry import create
from yanmo.corpus import split
from yanmo.corpus.engines.local import LocalEngine
from yanmo.corpus.step import apply


def decided(folder, sources, fraction=0.05, steps=()):
    """{source: [(text, split)]} of the kept documents."""
    made = [create("source", source) for source in sources]
    with LocalEngine(workers=1).session(folder, Console(quiet=True)) as session:
        docs = apply([create("step", step) for step in steps], session.read(made)).persist()
        chosen = split.decide(docs, fraction, made)
        found: dict[str, list] = {source.name: [] for source in made}
        for doc in docs.collect():
            if doc.rejection is None:
                found[doc.source].append((doc.text, chosen.of(doc)))
    return found


def source(folder, name, bodies):
    write_jsonl(folder / f"{name}.jsonl", [{"text": body} for body in bodies])
    return {"type": "jsonl", "path": f"{name}.jsonl", "name": name}


def held_out(rows):
    return {text for text, where in rows if where == "validation"}


def test_the_fraction_is_met_and_a_larger_one_contains_it(folder):
    one = source(folder, "one", texts(3000, seed=21))
    five, twenty = decided(folder / "a", [one])["one"], decided(folder / "b", [one], 0.2)["one"]
    assert 110 < len(held_out(five)) < 190
    assert 520 < len(held_out(twenty)) < 680
    assert held_out(five) < held_out(twenty)
    assert not held_out(decided(folder / "c", [one], 0.0)["one"])


def test_a_document_keeps_its_side_when_the_corpus_changes(folder):
    bodies = texts(900, seed=22)
    before = dict(decided(folder / "a", [source(folder, "one", bodies[:600])])["one"])
    rng = random.Random(0)
    rng.shuffle(bodies)
    after = dict(decided(folder / "b", [source(folder, "two", bodies)])["two"])
    assert all(after[body] == where for body, where in before.items())


@pytest.mark.parametrize("count", [5, 8, 25])
def test_every_source_with_a_few_documents_is_represented(folder, count):
    rng = random.Random(count)
    sources = [source(folder, f"s{i}", [english(rng, 20) if i % 2 else chinese(rng, 30) for _ in range(count)]) for i in range(12)]
    found = decided(folder / "parts", sources)
    forced = 0
    for name, rows in found.items():
        assert 1 <= len(held_out(rows)) < count, name
        natural = [text for text, _ in rows if split.place(create_id(text)) < 0.05 * 2**64]
        forced += not natural
        if not natural:
            smallest = min(rows, key=lambda row: split.place(create_id(row[0])))
            assert held_out(rows) == {smallest[0]}
    assert forced, "the rule had work to do"


def create_id(text):
    from yanmo.core.data import content_id

    return content_id(text)


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 1), (4, 1)])
def test_tiny_corpora(folder, count, expected):
    bodies = [body for body in texts(100, seed=23) if split.place(create_id(body)) > 0.05 * 2**64][:count]
    assert len(held_out(decided(folder / "parts", [source(folder, "one", bodies)])["one"])) == expected


def test_equal_texts_never_straddle_even_across_sources_that_were_topped_up(folder):
    bodies = [body for body in texts(200, seed=24) if split.place(create_id(body)) > 0.05 * 2**64]
    shared, rest = bodies[:6], bodies[6:]
    found = decided(folder / "parts", [source(folder, "a", shared), source(folder, "b", rest + shared * 2)])
    sides: dict[str, set[str]] = {}
    for rows in found.values():
        for text, where in rows:
            sides.setdefault(text, set()).add(where)
    assert all(len(where) == 1 for where in sides.values())
    assert held_out(found["a"])


def test_near_duplicates_cannot_straddle_after_deduplication(folder):
    rng = random.Random(25)
    bodies = [english(rng, 120) for _ in range(150)]
    bodies += [body + " and a few more words" for body in bodies]
    found = decided(folder / "parts", [source(folder, "a", bodies)], 0.3, ["minhash_dedup"])["a"]
    assert len(found) == 150
    sides: dict[str, set[str]] = {}
    for text, where in found:
        sides.setdefault(text[:100], set()).add(where)
    assert all(len(where) == 1 for where in sides.values())


def test_keeping_the_smallest_id_does_not_bias_the_split(folder):
    rng = random.Random(26)
    bodies = [english(rng, 60) for _ in range(400)]
    bodies = [f"{body} {' '.join(['tail'] * i)}" for body in bodies for i in range(4)]
    found = decided(folder / "parts", [source(folder, "a", bodies)], 0.25, ["minhash_dedup"])["a"]
    assert 380 <= len(found) <= 420
    assert 70 < len(held_out(found)) < 130


def test_files_that_the_recipe_assigns_stay(folder):
    bodies = texts(60, seed=27)
    source(folder, "a", bodies[:30])
    source(folder, "b", bodies[30:40])
    source(folder, "c", bodies[40:45])
    other = source(folder, "d", bodies[45:])
    assigned = {"type": "jsonl", "name": "x", "path": {"train": "a.jsonl", "validation": "b.jsonl", "test": "c.jsonl"}}
    found = decided(folder / "parts", [assigned, other])
    assert [where for _, where in found["x"]] == ["train"] * 30 + ["validation"] * 10 + ["test"] * 5
    assert held_out(found["d"])
