"""The majority class: shares of the training labels, whatever the text."""

from __future__ import annotations

import numpy as np
import pytest

from yanmo.core.errors import CorruptError, DataError
from yanmo.core.registry import create
from yanmo.models import store
from yanmo.models.majority import MajorityFamily

TEXTS = ["turn on the light", "打开灯", "close the door", "关门 🚪", "e\u0301teins"]
OF = ["on", "on", "close", "close", "on"]


def test_probabilities_are_the_shares_of_the_labels():
    model = create("model", "majority").fit_texts(TEXTS, OF, ["close", "never", "on"])
    found = model.probabilities(["任何", "anything", ""])
    np.testing.assert_array_equal(found, [[0.4, 0, 0.6]] * 3)
    assert model.labels == ["close", "never", "on"]
    assert model.probabilities([]).shape == (0, 3)


def test_the_first_of_equally_frequent_labels_wins():
    model = create("model", "majority").fit_texts(["a", "b"], ["y", "x"], ["x", "y"])
    assert model.probabilities(["c"])[0].argmax() == 0


def test_saved_and_read_it_is_the_same(tmp_path):
    model = create("model", "majority").fit_texts(TEXTS, OF, ["close", "关", "on"])
    store.save(tmp_path / "a", model, None)
    store.save(tmp_path / "b", model, None)
    loaded = store.load(tmp_path / "a")
    np.testing.assert_array_equal(loaded.model.probabilities(TEXTS), model.probabilities(TEXTS))
    assert loaded.labels == loaded.model.labels == ["close", "关", "on"]
    assert loaded.config["model_type"] == "yanmo_majority"
    assert not loaded.generates
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    with pytest.raises(CorruptError, match="2 numbers"):
        MajorityFamily().read(tmp_path / "a", {"id2label": {"0": "a", "1": "b"}})


def test_no_texts_and_unknown_labels_are_refused():
    part = create("model", "majority")
    with pytest.raises(DataError, match="some labelled texts"):
        part.fit_texts([], [], ["a", "b"])
    with pytest.raises(DataError, match="unknown label 'postive' - did you mean 'positive'"):
        part.fit_texts(["a"], ["postive"], ["negative", "positive"])
