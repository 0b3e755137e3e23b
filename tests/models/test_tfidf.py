"""TF-IDF and logistic regression: terms of both scripts, scikit-learn's numbers, the same model after reading."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo import samples
from yanmo.core.errors import CorruptError, DataError, RecipeError
from yanmo.core.registry import create
from yanmo.models import store
from yanmo.models.tfidf import Terms, TfidfFamily, TfidfModel

TEXTS = ["Turn on the light", "turn the LIGHT on 💡", "close the door", "close that door now", "打开客厅的灯", "把灯打开", "关上门", "请把门关上 🚪", "cafe\u0301 lights"]
OF = ["on", "on", "close", "close", "on", "on", "close", "close", "on"]


def rows(part: str) -> list[dict]:
    lines = (samples.path("intents") / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


# ------------------------------------------------------------------------------------------------ terms


def test_words_and_pairs_of_words():
    words, _ = Terms().of("The cat, the HAT.")
    assert words == {"the": 2, "cat": 1, "hat": 1, "the cat": 1, "cat the": 1, "the hat": 1}


def test_characters_side_by_side_within_a_stretch():
    _, letters = Terms(characters=(1, 2)).of("ab a")
    assert letters == {"a": 2, "b": 1, " a": 2, "ab": 1, "b ": 1, "a ": 1}


def test_chinese_is_read_by_characters():
    words, letters = Terms().of("打开LED灯，好")
    assert words == {"led": 1}
    assert {"打", "打开", "灯,", " 打开l", "led灯"} <= set(letters)
    assert max(map(len, letters)) == 4


def test_forms_of_one_text_have_the_same_terms():
    assert Terms().of("Ｃａｆé ＯＮ") == Terms().of("cafe\u0301 on")
    assert Terms().of("STRASSE") == Terms().of("straße")


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet=st.characters() | st.sampled_from("灯光，。の한 \t\n\u0301\ud800👩‍👩‍👧")))
def test_any_string_has_terms(content):
    words, letters = Terms().of(content)
    for term in [*words, *letters]:
        term.encode("utf-8")
        assert term.strip()
    assert sum(words.values()) >= 0
    assert all(len(term) <= 4 for term in letters)


# ------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("sublinear", [True, False])
@pytest.mark.parametrize("labels", [["close", "on"], ["a", "b", "c"]])
def test_probabilities_are_those_of_scikit_learn(sublinear, labels):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    texts = [text.lower() for text in TEXTS]
    of = [labels[number % len(labels)] for number in range(len(texts))] if len(labels) > 2 else OF
    # the same words: those of Latin letters, of any length, in runs of one or two
    words = TfidfVectorizer(token_pattern=r"[a-zé]+", ngram_range=(1, 2), sublinear_tf=sublinear)
    letters = TfidfVectorizer(analyzer=lambda text: list(Terms().of(text)[1].elements()), sublinear_tf=sublinear)
    texts = [text.replace("e\u0301", "é") for text in texts]
    oracle = make_pipeline(make_union(words, letters), LogisticRegression(C=10.0, max_iter=500)).fit(texts, of)
    model = TfidfModel(terms=Terms(sublinear=sublinear)).fit_texts(texts, of, labels)
    unseen = [*texts, "open the door, the light", "灯和门", "🚪", ""]
    np.testing.assert_allclose(model.probabilities(unseen), oracle.predict_proba(unseen), atol=1e-4)


def test_rows_sum_to_one_and_depend_on_their_own_text_alone(monkeypatch):
    model = TfidfModel().fit_texts(TEXTS, OF, ["close", "on"])
    texts = [*TEXTS, "", "???", "完全没见过"]
    found = model.probabilities(texts)
    assert found.shape == (len(texts), 2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    monkeypatch.setattr("yanmo.models.tfidf.BATCH", 2)
    np.testing.assert_array_equal(model.probabilities(texts), found)
    np.testing.assert_array_equal(np.concatenate([model.probabilities([text]) for text in texts]), found)
    assert model.probabilities([]).shape == (0, 2)


def test_labels_without_texts_get_nothing():
    model = TfidfModel().fit_texts(TEXTS, OF, ["close", "never", "on"])
    found = model.probabilities(TEXTS)
    assert (found[:, 1] == 0).all()
    assert [["close", "never", "on"][row] for row in found.argmax(1)] == OF
    only = TfidfModel().fit_texts(["a", "b"], ["x", "x"], ["w", "x"])
    np.testing.assert_array_equal(only.probabilities(["a", "z"]), [[0, 1], [0, 1]])


def test_texts_without_terms_leave_the_shares():
    model = TfidfModel().fit_texts(["", " ", "\n", ""], ["x", "x", "y", "x"], ["x", "y"])
    np.testing.assert_allclose(model.probabilities(["", "new"]), [[0.75, 0.25]] * 2)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_two_examples_are_learned(language):
    texts = {"en": ["turn on the light", "close the door"], "zh": ["打开灯", "关上门"]}[language]
    model = TfidfModel().fit_texts(texts, ["on", "close"], ["close", "on"])
    assert model.probabilities(texts).argmax(1).tolist() == [1, 0]


def test_real_intents_are_told_apart_in_both_languages():
    train, held = rows("train")[:2500], rows("validation")
    labels = sorted({row["label"] for row in train})
    model = TfidfModel().fit_texts([row["text"] for row in train], [row["label"] for row in train], labels)
    found = model.probabilities([row["text"] for row in held]).argmax(1)
    for language in ("en", "zh"):
        right = [labels[number] == row["label"] for number, row in zip(found, held) if row["language"] == language]
        assert np.mean(right) > 0.75


def test_balanced_weights_favour_the_rare_label():
    texts, of = [*TEXTS[:2] * 10, TEXTS[2]], ["on"] * 20 + ["close"]
    plain, balanced = (TfidfModel(class_weight=w).fit_texts(texts, of, ["close", "on"]) for w in (None, "balanced"))
    assert balanced.probabilities(["the"])[0, 0] > plain.probabilities(["the"])[0, 0]


def test_rare_terms_are_left_out():
    model = TfidfModel(min_texts=2).fit_texts(TEXTS, OF, ["close", "on"])
    words, letters = model.vocabularies
    assert words == ["close", "door", "light", "on", "the", "the light", "turn"]
    assert "灯" in letters
    assert "客" not in letters


# ------------------------------------------------------------------------------------------------ on disk


def test_saved_and_read_it_is_the_same_and_needs_no_scikit_learn(tmp_path):
    model = TfidfModel().fit_texts(TEXTS, OF, ["close", "关", "on"])
    store.save(tmp_path / "a", model, None)
    store.save(tmp_path / "b", TfidfModel().fit_texts(TEXTS, OF, ["close", "关", "on"]), None)
    loaded = store.load(tmp_path / "a")
    unseen = [*TEXTS, "", "close 灯 🚪"]
    np.testing.assert_array_equal(loaded.model.probabilities(unseen), model.probabilities(unseen))
    assert loaded.labels == loaded.model.labels == ["close", "关", "on"]
    assert loaded.config["model_type"] == "yanmo_tfidf"
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    code = f"import sys; from yanmo.models import store; print(store.load({str(tmp_path / 'a')!r}).model.probabilities(['打开灯']).argmax(), 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]


def test_parts_that_do_not_fit_together_are_refused(tmp_path):
    store.save(tmp_path / "a", TfidfModel().fit_texts(TEXTS, OF, ["close", "on"]), None)
    config = json.loads((tmp_path / "a/config.json").read_text())
    terms = json.loads((tmp_path / "a/terms.json").read_text())
    terms["words"].pop()
    (tmp_path / "a/terms.json").write_text(json.dumps(terms))
    with pytest.raises(CorruptError, match="fit together"):
        store.load(tmp_path / "a")
    (tmp_path / "a/terms.json").write_text("{")
    with pytest.raises(CorruptError):
        TfidfFamily().read(tmp_path / "a", config)
    (tmp_path / "a/terms.json").unlink()
    with pytest.raises(DataError, match=r"no terms\.json"):
        TfidfFamily().read(tmp_path / "a", config)


@pytest.mark.parametrize("settings", [{"C": 0}, {"terms": {"words": [2, 1]}}, {"terms": {"characters": [0, 4]}}, {"min_texts": 0}, {"class_weight": "some"}])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(RecipeError):
        create("model", {"type": "tfidf", **settings})


def test_settings_come_from_a_recipe():
    part = create("model", {"type": "tfidf", "terms": {"words": None, "characters": [2, 3]}, "C": 1})
    model = part.fit_texts(TEXTS, OF, ["close", "on"])
    assert model.vocabularies[0] == []
    assert {len(term) for term in model.vocabularies[1]} == {2, 3}
    assert model.probabilities(TEXTS).argmax(1).tolist() == [int(label == "on") for label in OF]
    with pytest.raises(DataError, match="unknown label"):
        part.fit_texts(TEXTS, ["no", *OF[1:]], ["close", "on"])
