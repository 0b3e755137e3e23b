"""F1 and its kin are scikit-learn's, on thousands of random and adversarial cases."""

from __future__ import annotations

import numpy as np
import pytest

from yanmo.text.metrics.f1 import accuracy, confusion, f1, macro_f1, micro_f1, numbers, per_class, precision, recall


def cases():
    """(true, predicted, classes): uniform, skewed, one-sided, with classes that nobody has or nobody predicts."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        classes, count = int(rng.integers(1, 9)), int(rng.integers(1, 40))
        weights = rng.dirichlet(np.full(classes, rng.choice([0.1, 1.0, 10.0])), size=2)
        true, predicted = (rng.choice(classes, count, p=w) for w in weights)
        if rng.random() < 0.5:  # mostly right
            predicted = np.where(rng.random(count) < 0.8, true, predicted)
        yield true, predicted, classes
    for classes in (1, 2, 5):
        for true in range(classes):
            for predicted in range(classes):
                yield np.full(3, true), np.full(3, predicted), classes
    yield np.arange(5), np.arange(5), 5
    yield np.arange(5), (np.arange(5) + 1) % 5, 5
    yield np.array([0]), np.array([4]), 6


@pytest.mark.filterwarnings("ignore:A single label was found")  # scikit-learn's doubt about such cases, not its answer
def test_equal_to_scikit_learn():
    from sklearn import metrics

    for true, predicted, classes in cases():
        table = confusion(true, predicted, classes)
        every = list(range(classes))
        assert (table == metrics.confusion_matrix(true, predicted, labels=every)).all()
        p, r, f, n = metrics.precision_recall_fscore_support(true, predicted, labels=every, zero_division=0)
        np.testing.assert_allclose(precision(table), p, rtol=1e-12)
        np.testing.assert_allclose(recall(table), r, rtol=1e-12)
        np.testing.assert_allclose(f1(table), f, rtol=1e-12)
        assert (table.sum(1) == n).all()
        occurring = sorted({*true, *predicted})  # what scikit-learn averages over by default
        assert macro_f1(table) == pytest.approx(f[occurring].mean(), rel=1e-12)
        assert accuracy(table) == pytest.approx((true == predicted).mean(), rel=1e-12)
        assert micro_f1(table) == pytest.approx(accuracy(table), rel=1e-12)


def test_the_averages_are_scikit_learns_own():
    from sklearn import metrics

    for index, (true, predicted, classes) in enumerate(cases()):
        if index % 10 == 0:
            table = confusion(true, predicted, classes)
            assert macro_f1(table) == pytest.approx(
                metrics.f1_score(true, predicted, average="macro", zero_division=0), rel=1e-12
            )
            assert micro_f1(table) == pytest.approx(
                metrics.f1_score(true, predicted, average="micro", zero_division=0), rel=1e-12
            )


def test_many_resamples_at_one_time_score_as_each_alone():
    rng = np.random.default_rng(1)
    true, predicted = rng.integers(0, 4, (2, 3, 5, 20))
    table = confusion(true, predicted, 4)
    assert table.shape == (3, 5, 4, 4)
    for i in range(3):
        for j in range(5):
            alone = confusion(true[i, j], predicted[i, j], 4)
            assert (table[i, j] == alone).all()
            for metric in (accuracy, macro_f1, micro_f1, f1, precision, recall):
                assert (metric(table)[i, j] == metric(alone)).all()


def test_a_row_for_each_class_in_both_languages():
    labels = ["负面", "正面", "neutral"]
    true, predicted = numbers(["正面", "正面", "负面"], labels), numbers(["正面", "负面", "负面"], labels)
    assert per_class(confusion(true, predicted, 3), labels) == [
        {"label": "负面", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
        {"label": "正面", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
        {"label": "neutral", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    ]


def test_no_example_scores_nothing():
    table = confusion([], [], 3)
    assert table.shape == (3, 3)
    assert accuracy(table) == macro_f1(table) == micro_f1(table) == 0


def test_labels_outside_the_classes_are_our_mistake():
    with pytest.raises(AssertionError, match="labels that are no class"):
        numbers(["x"], ["y"])
    with pytest.raises(AssertionError, match="outside 0 … 1"):
        confusion([0, 2], [0, 1], 2)
    with pytest.raises(AssertionError, match="a predicted label"):
        confusion([0, 1], [0, -1], 2)
    with pytest.raises(AssertionError, match="true labels"):
        confusion([0, 1], [0], 2)
