"""Columns against those of pyarrow's own conversion, and what that conversion would load."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.corpus.engines import columns
from yanmo.corpus.engines.columns import column, numbers, values

WORDS = st.text(st.characters(exclude_categories=["Cs"]))
KINDS = [
    (pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.string(), WORDS),
    (pa.large_string(), WORDS),
    (pa.binary(), st.binary()),
    (pa.map_(pa.string(), pa.float64()), st.dictionaries(WORDS, st.floats(allow_nan=False))),
]


@settings(deadline=None)  # the first one loads pandas
@given(st.data(), st.sampled_from(KINDS), st.booleans())
def test_columns_are_those_of_pyarrow(data, kind, nullable):
    given_ = data.draw(st.lists(kind[1] | st.none() if nullable else kind[1]))
    found, expected = column(given_, kind[0]), pa.array([list(v.items()) if isinstance(v, dict) else v for v in given_], kind[0])
    found.validate(full=True)
    assert (found.type, found.null_count) == (expected.type, expected.null_count)
    assert found.equals(expected)
    start = data.draw(st.integers(0, len(given_)))
    for part in (found, found.slice(start), found.slice(0, start)):
        assert values(part) == part.to_pylist()
        assert [type(value) for value in values(part)] == [type(value) for value in part.to_pylist()]


def test_other_types_come_back_too():
    for one in (pa.array([True, None]), pa.array([3, -1], pa.int16()), pa.array([[1], []]), pa.array([None, None]), pa.array([], pa.string())):
        assert values(one) == one.to_pylist()


@pytest.mark.parametrize("texts", [["plain"], ["", None, "混排 mixed", "e\u0301 👩‍👩‍👧‍👦"], ["नमस्ते", "שלום"], [], [None]])
def test_text_of_every_script(texts):
    for kind in (pa.string(), pa.large_string()):
        assert column(texts, kind).to_pylist() == texts == values(column(texts, kind))
        assert column(tuple(texts), kind).to_pylist() == texts


def test_arrays_of_numbers_are_taken_as_they_are():
    assert numbers(np.array([3, -1], np.int16)).equals(pa.array([3, -1], pa.int16()))


@pytest.mark.parametrize(("wrong", "kind"), [
    ([1.5], pa.int64()), (["1"], pa.int64()), (["1"], pa.float64()), ([1], pa.string()), ([b"a"], pa.string()), (["a"], pa.binary()),
    ([None, 0], pa.string()),
])  # fmt: skip
def test_values_of_another_type_are_refused(wrong, kind):
    """`pa.array` would make 1 of 1.5, and text of bytes."""
    with pytest.raises(TypeError):
        column(wrong, kind)


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(UnicodeEncodeError):
        column(["\ud800"], pa.string())


def test_a_batch_too_large_for_its_offsets_is_refused(monkeypatch):
    monkeypatch.setattr(columns, "MOST", 5)
    with pytest.raises(OverflowError, match="6 bytes in one batch"):
        column(["abc", "def"], pa.string())
    assert column(["abc", "def"], pa.large_string()).to_pylist() == ["abc", "def"]


SCRIPT = """
import sys
from tests.corpus import functions
from tests.corpus.corpora import made, write_jsonl
from pathlib import Path

write_jsonl(Path("a.jsonl"), [{"text": "some words and again " * n + "the end"} for n in range(2, 50)])
made({"type": "jsonl", "path": "a.jsonl"}, "run", steps=["repair", {"type": "gopher_quality", "min_doc_words": 1, "min_stop_words": 0}, "minhash_dedup"])
print({"pandas", "rjieba"} & set(sys.modules))
"""


@pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")
def test_a_corpus_is_made_without_pandas(folder):
    from pathlib import Path

    (folder / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"})  # fmt: skip
    assert done.stdout == "set()\n"
