"""Figures of entities: seqeval's strict ones and nervaluate's on thousands of random and adversarial sequences."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest

from tests.text.test_tags import random_tags
from yanmo.text import tags
from yanmo.text.metrics import entities
from yanmo.text.metrics.bootstrap import interval

TYPES = ["PER", "地名", "geo-loc"]


def corpora(scheme: str) -> list[tuple[list[list[str]], list[list[str]]]]:
    """True and predicted tags of small corpora: nonsense, predictions near the truth, nothing at all, everything wrong."""
    rng = random.Random(1)
    found = []
    for _ in range(250):
        lengths = [rng.randint(1, 12) for _ in range(rng.randint(1, 6))]
        true = [random_tags(rng, scheme, n) for n in lengths]
        near = [[tag if rng.random() < 0.8 else random_tags(rng, scheme, 1)[0] for tag in row] for row in true]
        found.append((true, near))
        found.append((true, [random_tags(rng, scheme, n) for n in lengths]))
    nothing = [["O"] * 5]
    something = [tags.written([(0, 2, "PER"), (2, 5, "地名")], 5, scheme)]
    shifted = [tags.written([(0, 1, "PER"), (1, 5, "地名")], 5, scheme)]
    renamed = [tags.written([(0, 2, "geo-loc"), (2, 5, "PER")], 5, scheme)]
    return [*found, (something, something), (something, shifted), (something, renamed), (something, nothing), (nothing, something),
            (nothing, nothing)]  # fmt: skip


def table(true: list[list[str]], given: list[list[str]], scheme: str) -> np.ndarray:
    return sum((entities.counts(tags.entities(t, scheme), tags.entities(g, scheme), TYPES) for t, g in zip(true, given)),
               np.zeros((len(TYPES), 3), np.int64))  # fmt: skip


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_the_figures_are_seqevals(scheme):
    from seqeval.metrics.v1 import precision_recall_fscore_support
    from seqeval.scheme import IOB2, IOBES

    for true, given in corpora(scheme):
        counted = table(true, given, scheme)
        ours = {"micro": counted.sum(0)}
        settings = {"scheme": {"bio": IOB2, "bioes": IOBES}[scheme], "zero_division": 0}
        p, r, f, support = precision_recall_fscore_support(true, given, average="micro", **settings)
        assert entities.precision(ours["micro"]) == pytest.approx(p)
        assert entities.recall(ours["micro"]) == pytest.approx(r)
        assert entities.f1(ours["micro"]) == pytest.approx(f)
        assert ours["micro"][2] == support
        p, r, f, support = precision_recall_fscore_support(true, given, average=None, **settings)
        rows = sorted(entities.report(counted, TYPES), key=lambda row: row["label"])
        rows = [row for row in rows if row["support"] or row["predicted"]]
        for name, values in (("precision", p), ("recall", r), ("f1", f), ("support", support)):
            assert [row[name] for row in rows] == pytest.approx(list(values)), name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a mean over no type
            macro = precision_recall_fscore_support(true, given, average="macro", **settings)[2] if rows else 0.0
        assert entities.macro_f1(counted) == pytest.approx(macro)


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_the_figures_are_nervaluates(scheme):
    from nervaluate import Evaluator

    for true, given in corpora(scheme)[::5]:
        found = [[tags.entities(row, scheme) for row in side] for side in (true, given)]
        as_dicts = [[[{"start": a, "end": b - 1, "label": label} for a, b, label in row] for row in side] for side in found]
        said = Evaluator(*as_dicts, tags=TYPES, loader="dict").evaluate()
        counted = table(true, given, scheme)
        strict = said["overall"]["strict"]
        assert [strict.precision, strict.recall, strict.f1] == pytest.approx(
            [float(figure(counted.sum(0))) for figure in (entities.precision, entities.recall, entities.f1)])  # fmt: skip
        for label, results in said["entities"].items():
            row = counted[TYPES.index(label)]
            assert results["strict"].f1 == pytest.approx(float(entities.f1(row)))
        exact = said["overall"]["exact"]
        border = sum((entities.borders(t, g) for t, g in zip(*found)), np.zeros(3, np.int64))
        assert [exact.precision, exact.recall, exact.f1] == pytest.approx(
            [float(figure(border)) for figure in (entities.precision, entities.recall, entities.f1)])  # fmt: skip


def test_what_is_given_twice_counts_once():
    assert entities.counts([(0, 1, "a")], [(0, 1, "a"), (0, 1, "a")], ["a"]).tolist() == [[1, 1, 1]]
    assert entities.borders([(0, 1, "a")], [(0, 1, "b"), (0, 1, "a")]).tolist() == [1, 1, 1]


def test_a_type_that_is_not_listed_is_our_mistake():
    with pytest.raises(KeyError):
        entities.counts([(0, 1, "a")], [], ["b"])


def test_counts_of_many_resamples_are_scored_at_once():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 4, (50, 3, 3))
    rows[..., 1:] += rows[..., :1]
    whole = interval(lambda counts: entities.macro_f1(counts.sum(-3)), rows, resamples=100)
    assert whole.low <= whole.value <= whole.high
    assert whole.value == pytest.approx(float(entities.macro_f1(rows.sum(0))))
    assert entities.f1(rows[None].sum(1)).shape == (1, 3)
