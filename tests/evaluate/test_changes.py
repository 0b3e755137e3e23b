"""Before and after: the difference on the same items, by language, with an interval; and which model was made of which."""

from __future__ import annotations

import random

import pytest

from yanmo.core import files
from yanmo.evaluate.changes import changes
from yanmo.evaluate.subjects import subjects
from yanmo.tasks.language_modeling import LanguageModeling
from yanmo.tasks.minimal_pairs import MinimalPairs


def likelihoods(gain: float, **more) -> list[dict]:
    dice = random.Random(1)
    found = []
    for index in range(60):
        zh = index % 2 == 0
        nats = 100 + 40 * dice.random() - (gain if zh else -0.5) + 0.1 * dice.random()
        found.append({"id": str(index), "source": "", "language": "zh" if zh else "en", "nats": nats, "tokens": 40, "bytes": 60, **more})
    return found


def test_what_was_learned_and_what_was_forgotten():
    found = changes({"base": likelihoods(0.0), "made": likelihoods(30.0)}, {"made": "base"}, LanguageModeling())
    whole, en, zh = found
    assert [row.get("group") for row in found] == [None, "language=en", "language=zh"]
    assert {(row["model"], row["from"], row["metric"]) for row in found} == {("made", "base", "bits_per_byte")}
    assert whole["n"] == 60
    assert zh["difference"]["high"] < -0.5
    assert en["difference"]["value"] == pytest.approx(0.0, abs=1e-6), "the same items: what makes them hard is gone"
    assert zh["after"] - zh["before"] == pytest.approx(zh["difference"]["value"], abs=1e-6)
    assert zh["difference"]["low"] <= zh["difference"]["value"] <= zh["difference"]["high"]


def test_pairs_are_compared_by_accuracy():
    def judged(right: int) -> list[dict]:
        return [{"id": str(i), "label": "good", "predicted": "good" if i < right else None, "language": "en", "group": f"g={i % 2}"}
                for i in range(40)]  # fmt: skip

    found = changes({"base": judged(20), "made": judged(30)}, {"made": "base"}, MinimalPairs(path="nowhere.jsonl"))
    assert found[0]["difference"]["value"] == pytest.approx(0.25)
    assert found[0]["difference"]["low"] > 0
    assert {row.get("group") for row in found} == {None, "g=0", "g=1"}


def test_what_cannot_be_compared_is_left_out():
    base = likelihoods(0.0)
    assert changes({"base": base, "made": likelihoods(1.0, by="pseudo-likelihood")}, {"made": "base"}, LanguageModeling()) == []
    assert changes({"base": base[1:], "made": likelihoods(1.0)}, {"made": "base"}, LanguageModeling()) == []
    assert changes({"made": likelihoods(1.0)}, {"made": "base"}, LanguageModeling()) == []


def test_a_model_knows_what_it_was_made_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    for name, made_of in (("gpt", None), ("adapted", "gpt"), ("elsewhere", "models/base")):
        links = [{"role": "corpus", "from": "corpus", "digest": ""}]
        links += [{"role": "model", "from": made_of, "digest": ""}] if made_of else []
        files.write_json(run / name / "manifest.json", {"stage": name, "digest": "", "files": {}, "inputs": links})
    (tmp_path / "models/base").mkdir(parents=True)
    found = subjects([run / "gpt", run / "adapted", run / "elsewhere", tmp_path / "models/base"])
    assert [subject.origin(found) for subject in found] == [None, "gpt", "base", None]
    assert found[1].origin(found[1:]) is None
