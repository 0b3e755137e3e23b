"""fastText's models read by ourselves, against the library: the same labels, the same probabilities, in any company."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import ODD, texts
from tests.corpus.test_repair import PROSE, samples
from yanmo.core.errors import DataError
from yanmo.corpus.classify import fasttext as module
from yanmo.corpus.classify.fasttext import Model
from yanmo.corpus.steps.language import shipped


@pytest.fixture(scope="module")
def model():
    return Model(shipped())


@pytest.fixture(scope="module")
def library():
    """The library's answer: (label, probability), or None."""
    import fasttext

    predict = fasttext.load_model(shipped()).f.predict

    def answer(text):
        found = predict(text.replace("\n", " ") + "\n", 1, 0.0, "strict")
        return (found[0][1].removeprefix("__label__"), found[0][0]) if found else None

    return answer


def same(ours, theirs):
    return (ours is None) == (theirs is None) and (ours is None or (ours[0] == theirs[0] and abs(ours[1] - theirs[1]) < 1e-4))


def test_every_text_has_the_librarys_label_and_probability(model, library):
    bodies = [*PROSE.values(), *ODD, *texts(200), *samples()[::23], "", " ", "\n", "a", "好", "x" * 5000, "字" * 5000, "\0a\0b", "\u3000", "__label__en", "</s>"]
    wrong = [(text[:40], found, library(text)) for text, found in zip(bodies, model.predict(bodies)) if not same(found, library(text))]
    assert wrong == []


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \t\v\0aeé好の")), max_size=60))
def test_any_text_has(model, library, text):
    ours, theirs = model.predict([text])[0], library(text)
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs[1] > 0.2:  # below, two labels may be as good as each other to the last digit
        assert same(ours, theirs)


def test_a_text_is_labelled_the_same_in_any_company(model):
    bodies = [*PROSE.values(), *texts(150), "long" * 500 + " and short", *samples()[:40]]
    together = model.predict(bodies)
    assert [Model(shipped()).predict([body])[0] for body in bodies[:12]] == together[:12]
    assert [model.predict([body])[0] for body in bodies] == together
    order = list(range(len(bodies)))
    random.Random(0).shuffle(order)
    fresh = Model(shipped())
    assert [fresh.predict([bodies[i] for i in order])[order.index(i)] for i in range(0, len(bodies), 40)] == together[::40]


def test_forgetting_and_pieces_change_nothing(model, monkeypatch):
    bodies = [*PROSE.values(), *texts(80)]
    before = model.predict(bodies)
    monkeypatch.setattr(module, "WORDS", 50)
    fresh = Model(shipped())
    assert [fresh.predict([body])[0] for body in bodies] == before
    assert fresh.used < 400
    monkeypatch.setattr(module, "PIECE", 200)  # of words, not of letters: only the groups get smaller
    assert Model(shipped()).predict([body for body in bodies if len(body) < 60]) == [b for b, body in zip(before, bodies) if len(body) < 60]


def test_long_stretches_take_linear_time_and_little_memory(model):
    import tracemalloc

    body = "".join(random.Random(1).choices(PROSE["modern"], k=400_000))
    tracemalloc.start()
    began = time.process_time()
    assert model.predict([body])[0][0] == "zh"
    assert time.process_time() - began < 10
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("change", ["empty", "magic", "cut", "cut late", "text", "kind"])
def test_files_that_are_no_model(folder, change):
    with open(shipped(), "rb") as handle:
        data = bytearray(handle.read())
    if change == "magic":
        data[0] ^= 1
    if change == "kind":
        data[8 + 4 * 7] = 1
    made = {"empty": b"", "cut": data[:1000], "cut late": data[:-100], "text": b"not a model at all" * 100}.get(change, data)
    (folder / "a.ftz").write_bytes(made)
    with pytest.raises(DataError, match=r"a\.ftz: expected a fastText model"):
        Model("a.ftz")


def test_the_tree_is_huffmans():
    counts = [50, 20, 12, 8, 5, 3, 2]
    paths = module._paths(counts)
    inner = len(counts) - 1
    lengths = (paths < 2 * inner).sum(1)
    assert sum(0.5**lengths) == 1
    assert (np.diff(lengths) >= 0).all()
    p = np.random.default_rng(0).random(inner)
    both = np.concatenate([p, 1 - p, [1]])
    assert np.isclose(both[paths].prod(1).sum(), 1), "the labels share all of the probability"
