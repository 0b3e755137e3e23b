"""Counts of pieces: exact where they fit, bounded where they do not, and what was left out is told."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.text import counts as module
from yanmo.text.bpe import CUT, BpeTokenizer, pieces
from yanmo.text.counts import count
from yanmo.text.unigram import UnigramTokenizer
from yanmo.text.wordpiece import WordPieceTokenizer

HAN = [chr(0x4E00 + index) for index in range(3000)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(texts=st.lists(st.text("ab 研墨\n1.", max_size=40), max_size=5))
def test_where_all_fits_the_counts_are_those_of_the_pieces(texts):
    made = count(texts, pieces, 10**9)
    assert made.pieces == Counter(piece for text in texts for piece, _ in CUT.pre_tokenize_str(text))
    assert made.held == sum(len(piece.encode()) for piece in made.pieces)
    assert (made.total, made.read) == (sum(map(len, texts)), sum(len(text.encode()) for text in texts))
    assert not made.notes()
    assert Counter(piece for batch in made.batches() for piece in batch) == made.pieces


def test_slices_of_a_long_text_give_the_pieces_of_the_whole(monkeypatch):
    text = "Call me Ishmael.\n\n  话说天下大势，分久必合。\nSome years ago\n" * 50
    whole = count([text], pieces, 10**9).pieces
    monkeypatch.setattr(module, "SLICE", 100)
    assert count([text], pieces, 10**9).pieces == whole


def test_one_line_without_end_is_cut_all_the_same(monkeypatch):
    monkeypatch.setattr(module, "SLICE", 100)
    assert max(map(len, module._slices("研" * 1000))) == 200
    assert "".join(module._slices("研" * 1000 + " " * 900)) == "研" * 1000 + " " * 900


def test_rare_words_give_way_and_frequent_ones_stay():
    rng = random.Random(0)
    rare = (" " + "".join(rng.choices("abcdefghij", k=12)) for _ in range(3000))
    text = "".join(word + " the sea" for word in rare)
    made = count([text[at : at + 500] for at in range(0, len(text), 500)], pieces, 8000)
    assert made.held <= 8000
    assert made.held == sum(len(piece.encode()) for piece in made.pieces)
    assert made.pieces[" the"] > 2800
    assert made.dropped > 20_000
    assert [str(note) for note in made.notes()] == [
        f"memory: {round(100 * made.dropped / made.total, 1)}% of the text's characters were in rare pieces that were not counted"
    ]


def test_rare_clauses_of_chinese_are_counted_in_parts():
    rng = random.Random(0)
    lines = ["，".join("天下" + "".join(rng.choices(HAN, k=9)) for _ in range(4)) for _ in range(500)]
    made = count(lines, pieces, 20_000)
    assert made.held <= 20_000
    assert made.parted > 10_000
    assert "counted in parts of 4" in str(made.notes()[0])


@pytest.mark.parametrize("part", [BpeTokenizer, WordPieceTokenizer, UnigramTokenizer])
def test_a_tokenizer_says_what_was_left_out_and_still_serves(part):
    rng = random.Random(0)
    lines = ["".join(rng.choices(HAN, k=12)) + " " + "".join(rng.choices("abcdefghij", k=20)) + " the sea" for _ in range(8000)]
    made = part(memory_mb=10).train(lines, at_most=600)
    assert made.notes or part is WordPieceTokenizer
    assert made.decode(made.encode("the sea")) == "the sea"
    assert len(made.encode(" the")) == 1
    assert not part().train(lines[:100], at_most=600).notes


SCRIPT = """
import random, resource, sys, json
from yanmo.core.registry import create
kind, hostile, megabytes, memory = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = random.Random(0)
han = [chr(0x4E00 + index) for index in range(6000)]
def lines():
    left = megabytes * 1_000_000
    while left > 0:
        line = "".join(rng.choices(han, k=2000)) if hostile == "chinese" else " ".join(
            "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=24)) for _ in range(100))
        left -= len(line.encode())
        yield line
part = create("tokenizer", {"type": kind, "memory_mb": memory})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = part.train(lines(), at_most=4096)
print(json.dumps({"mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, "notes": [str(n) for n in made.notes]}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("hostile", ["chinese", "unique"])
@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_memory_stays_within_what_is_asked_for(kind, hostile):
    done = subprocess.run([sys.executable, "-c", SCRIPT, kind, hostile, "12", "200"], text=True, capture_output=True, check=True,
                          cwd=Path(__file__).parents[2], env=None)  # fmt: skip
    found = json.loads(done.stdout)
    assert found["mb"] < 200
    assert found["notes"] or (kind, hostile) == ("wordpiece", "chinese")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
