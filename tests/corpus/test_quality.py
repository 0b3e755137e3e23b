"""A classifier fitted on the user's own examples: it tells good from bad, the same on every machine's every process."""

from __future__ import annotations

import json
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import ODD, chinese, english, run, small_shards, texts, write_jsonl
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.package import HOME
from yanmo.core.registry import create
from yanmo.corpus.classify.linear import BITS, features, fit
from yanmo.corpus.steps.quality import pieces, taken


def rows(name: str, file: str, count: int, size: int = 600) -> list[str]:
    """Pieces of a shipped sample."""
    found = []
    with open(HOME / "samples" / name / file, encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            found += [text[i : i + size] for i in range(0, len(text) - size, size)]
            if len(found) >= count:
                break
    return found[:count]


def spam(rng: random.Random) -> str:
    lines = ["Click here to WIN a FREE prize!!!", "Buy now >>> best price $$$", "点击这里免费领取大奖！！！", "加微信 888 立即购买，全网最低价", "Sign up | Log in | Cart (0)", "首页 | 登录 | 注册 | 购物车"]
    return "\n".join(f"{rng.choice(lines)} {rng.randrange(1000)}" for _ in range(rng.randint(4, 20)))


@pytest.fixture(scope="module")
def prose():
    return {"en": rows("moby_dick", "chapters.jsonl", 120), "zh": rows("sanguo", "chapters.jsonl", 120, 300)}


@pytest.fixture
def examples(folder, prose):
    rng = random.Random(1)
    good = prose["en"][:60] + prose["zh"][:60]
    write_jsonl(folder / "good.jsonl", [{"text": text} for text in good])
    write_jsonl(folder / "bad.jsonl", [{"text": spam(rng)} for _ in range(100)])
    return {"good": "good.jsonl", "bad": "bad.jsonl"}


# ---------------------------------------------------------------------------------------------- the classifier


def test_features_are_bounded_sorted_and_of_length_one():
    for text in ("a", "the quick brown fox", "却说曹操引军追赶", "mixed 混排 text", "👩‍👩‍👧‍👦", "x" * 100_000, *ODD):
        words, letters = features(text)
        for buckets, values in (words, letters):
            assert buckets.dtype == np.uint32
            assert values.dtype == np.float32
            assert (np.diff(buckets.astype(np.int64)) > 0).all()
            assert buckets.size == 0 or buckets.max() < 1 << BITS
            assert buckets.size == 0 or np.isclose(float(values @ values), 1, atol=1e-4)
    assert [buckets.size for buckets, _ in features("")] == [0, 0]
    assert features("A Fox")[0][0].tolist() == features("a fox")[0][0].tolist(), "words have no case"
    assert features("A Fox")[1][0].tolist() != features("a fox")[1][0].tolist(), "letters have"
    assert features("a b")[0][0].size == 3, "two words and their pair"
    assert features("好人")[0][0].size == 3, "two characters and their pair"


def test_it_tells_apart_what_it_has_not_seen(prose):
    rng = random.Random(2)
    model, how = fit(prose["en"][:60] + prose["zh"][:60], [spam(rng) for _ in range(100)])
    unseen = [model.probability(text) for text in prose["en"][60:] + prose["zh"][60:]]
    junk = [model.probability(spam(rng)) for _ in range(100)]
    assert min(unseen) > 0.5 > max(junk)
    assert (how.first, how.second) == (120, 100)
    assert how.accuracy > 0.97
    assert how.auc > 0.99
    assert all(0 <= p <= 1 for p in unseen + junk)


def test_held_out_figures_are_honest_where_nothing_can_be_learnt(prose):
    """Examples of both kinds from one urn: a coin's accuracy, although the fit itself would know every one by heart."""
    rng = random.Random(3)
    pool = texts(400, seed=8)
    rng.shuffle(pool)
    model, how = fit(pool[:200], pool[200:])
    assert sum(model.probability(text) > 0.5 for text in pool[:200]) > 180
    assert 0.35 < how.accuracy < 0.65
    assert 0.35 < how.auc < 0.65


def test_a_text_that_comes_twice_is_held_out_as_one():
    pool = texts(60, seed=4)
    _, how = fit(pool[:30] * 4, pool[30:] * 4)
    assert how.auc < 0.8, "copies on the other side of the fold would give it away"


def test_too_few_to_hold_any_out():
    _, how = fit(["one text"], ["another"])
    assert (how.accuracy, how.auc) == (None, None)


def test_auc_is_the_share_of_pairs_in_order():
    from sklearn.metrics import roc_auc_score

    from yanmo.corpus.classify.linear import _held_out, _matrix

    rng = random.Random(5)
    pool = [english(rng, 20) + (" harbour ships" if i % 3 else "") for i in range(90)]
    matrix = _matrix([features(text) for text in pool])
    labels, folds = np.array([int(i % 3 > 0) for i in range(90)]), np.arange(90) % 5
    how = _held_out(matrix, labels, folds)
    from yanmo.corpus.classify.linear import _solve

    scores = np.zeros(90)
    for fold in range(5):
        weights, bias = _solve(matrix[folds != fold], labels[folds != fold])
        scores[folds == fold] = matrix[folds == fold] @ weights + bias
    assert how.auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-4)
    assert how.accuracy == pytest.approx(((scores > 0) == labels).mean(), abs=1e-4)


def test_the_same_examples_give_the_same_weights(prose):
    good, bad = prose["en"][:30], prose["zh"][:30]
    first, second = fit(good, bad)[0], fit(good, bad)[0]
    assert first.weights.tobytes() == second.weights.tobytes()
    assert first.bias == second.bias
    assert first.weights.dtype == np.float32
    assert first.weights.nbytes == 1 << 20
    travelled = pickle.loads(pickle.dumps(first))
    assert [travelled.probability(text) for text in ODD] == [first.probability(text) for text in ODD]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=200))
def test_any_text_has_a_probability(text):
    model = _small()
    assert 0 <= model.probability(text) <= 1


_made = []


def _small():
    if not _made:
        rng = random.Random(6)
        _made.append(fit([english(rng, 20) for _ in range(12)], [chinese(rng, 40) for _ in range(12)])[0])
    return _made[0]


# ---------------------------------------------------------------------------------------------- the step


@pytest.fixture
def source(folder, monkeypatch, prose):
    rng = random.Random(7)
    bodies = prose["en"][60:80] + prose["zh"][60:80] + [spam(rng) for _ in range(40)]
    write_jsonl(folder / "a.jsonl", [{"text": body, "scores": {"other": 1}} for body in bodies])
    small_shards(monkeypatch, 8000)
    return {"type": "jsonl", "path": "a.jsonl"}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_good_stays_and_bad_is_dropped(folder, examples, source, workers):
    docs = run(folder / "parts", source, [{"type": "quality", **examples}], workers)
    assert [doc.rejection is None for doc in docs] == [True] * 40 + [False] * 40
    assert {doc.rejection.reason for doc in docs[40:]} == {"low_quality"}
    assert all(doc.rejection.value == doc.meta["scores"]["quality"] < 0.5 for doc in docs[40:])
    assert all(doc.meta["scores"]["quality"] >= 0.5 and doc.meta["scores"]["other"] == 1 for doc in docs[:40])


def test_thresholds(folder, examples, source):
    def found(place, **given):
        docs = run(folder / place, source, [{"type": "quality", **examples, **given}])
        return [doc.rejection and doc.rejection.reason for doc in docs], docs

    assert found("none", min_score=0)[0] == [None] * 80
    assert set(found("all", min_score=1)[0]) == {"low_quality"}
    good = [doc.meta["scores"]["quality"] for doc in found("plain")[1]]
    reasons, docs = found("toxic", name="toxicity", max_score=0.5)
    assert reasons == [None] * 40 + ["high_toxicity"] * 40
    assert [doc.meta["scores"]["toxicity"] for doc in docs] == [round(1 - score, 4) for score in good]
    with pytest.raises(RecipeError, match="not both"):
        create("step", {"type": "quality", **examples, "min_score": 0.5, "max_score": 0.5})
    with pytest.raises(RecipeError, match="name"):
        create("step", {"type": "quality", **examples, "name": "not a name"})


def test_two_classifiers_in_a_row(folder, examples, source):
    steps = [{"type": "quality", **examples, "min_score": 0}, {"type": "quality", **examples, "name": "toxicity", "max_score": 0.5}]
    docs = run(folder / "parts", source, steps)
    assert set(docs[0].meta["scores"]) == {"other", "quality", "toxicity"}
    assert sum(doc.rejection is not None for doc in docs) == 40


def test_the_report(examples, folder):
    found = create("step", {"type": "quality", **examples}).report()
    assert found["name"] == "quality"
    assert (found["good"], found["bad"]) == (120, 100)
    assert found["held_out_accuracy"] > 0.97
    assert found["held_out_auc"] > 0.99


def test_examples_of_every_kind_of_file(folder, prose):
    (folder / "good").mkdir()
    for i, text in enumerate(prose["en"][:4]):
        (folder / "good" / f"{i}.txt").write_text(text, encoding="utf-8")
    write_jsonl(folder / "good" / "more.jsonl", [{"body": text} for text in prose["zh"][:10]])
    (folder / "good" / "LICENSE").write_text("not an example")
    (folder / "bad.csv").write_text("body,n\n" + "".join(f"buy now {i},1\n" for i in range(12)), encoding="utf-8")
    step = create("step", {"type": "quality", "good": "good", "bad": ["bad.csv"], "fields": {"text": "body"}})
    step.check()
    assert {path.name for path in step.files()} == {"0.txt", "1.txt", "2.txt", "3.txt", "more.jsonl", "bad.csv"}
    assert (step.report()["good"], step.report()["bad"]) == (14, 12)
    capped = create("step", {"type": "quality", "good": "good", "bad": "bad.csv", "fields": {"text": "body"}, "examples": 11})
    assert (capped.report()["good"], capped.report()["bad"]) == (11, 11)


def test_a_book_is_cut_into_pieces(prose):
    book = "\n".join(line + "." for text in prose["en"][:20] for line in text.split(". "))
    cut = list(pieces(book))
    assert "".join(cut) == book
    assert all(1000 <= len(piece) < 3000 for piece in cut[:-1])
    assert len(cut[-1]) >= 500
    assert list(pieces("short")) == ["short"]
    assert list(pieces(" \n ")) == list(pieces("")) == []
    assert list(pieces("x" * 5000)) == ["x" * 5000]


@pytest.mark.parametrize(("good", "message"), [
    (None, r"good\.jsonl: expected a file, a folder or a glob, got no such path"), ([], r"good\.jsonl: expected at least 10 examples, got 0"),
    ([{"text": f"only {i}"} for i in range(9)], r"good\.jsonl: expected at least 10 examples, got 9"),
    ([{"body": "x"}] * 20, r"expected a field 'text', got the fields body"), (["{broken"] * 20, r"expected one JSON object a line"),
])  # fmt: skip
def test_examples_that_do_not_do(folder, examples, good, message):
    (folder / "good.jsonl").unlink()
    if good is not None:
        write_jsonl(folder / "good.jsonl", good)
    with pytest.raises(DataError, match=message):
        create("step", {"type": "quality", **examples}).check()


def test_changed_examples_are_read_again(folder, examples):
    step = create("step", {"type": "quality", **examples})
    before = step.classifier()[0]
    write_jsonl(folder / "bad.jsonl", [{"text": f"quite another kind of text, number {i}"} for i in range(30)])
    after = step.classifier()[0]
    assert before.weights.tobytes() != after.weights.tobytes()


def test_the_cap_takes_the_same_whatever_the_order(folder, examples):
    from yanmo.corpus.words import lists

    lines = (folder / "good.jsonl").read_bytes().splitlines()
    write_jsonl(folder / "back.jsonl", lines[::-1])
    assert taken(lists.stamp("good.jsonl"), (), 20) == taken(lists.stamp("back.jsonl"), (), 20)


def test_importing_the_step_is_light():
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", "import sys, yanmo.corpus.steps.quality; print({'sklearn', 'scipy', 'torch'} & set(sys.modules))"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "set()"


def test_a_killed_try_goes_on_inside_a_file(folder, examples, source, monkeypatch):
    """The step's function carries the classifier with it, and is still known as one that takes a document and gives one."""
    from yanmo.corpus.engines import growing, parts

    monkeypatch.setattr(parts, "BATCH_ROWS", 7)
    whole = run(folder / "whole", source, [{"type": "quality", **examples}])
    seen = []
    add = growing.Growing.add

    def stopping(self, *args):
        add(self, *args)
        seen.append(self.count)
        if len(seen) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(growing.Growing, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(folder / "parts", source, [{"type": "quality", **examples}])
    assert list((folder / "parts").rglob("*.arrow.part")), "what was done is kept"
    again = run(folder / "parts", source, [{"type": "quality", **examples}])
    assert again == whole
