"""Which models are at hand: baselines and small networks by task, and what lies in folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.registry import create, lookup, names
from yanmo.stages.candidates import NETWORKS, at_hand, below, small


def put(place: Path) -> Path:
    """A folder that looks like a model's."""
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps({"model_type": "yanmo_lstm"}), "utf-8")
    return place


def task(folder, kind="classify"):
    return create("task", {"type": kind, "path": str(folder / "none.jsonl")})


@pytest.mark.parametrize("head", sorted(NETWORKS))
def test_every_task_that_is_tuned_has_a_network_to_start_from(head):
    for name in NETWORKS[head]:
        assert small(name, head).kind == "scratch"


def test_no_task_that_is_tuned_is_forgotten():
    assert set(NETWORKS) >= set(names("tuning"))


def test_baselines_are_fitted_and_not_trained():
    kinds = [name for name in names("model") if getattr(lookup("model", name), "tasks", ())]
    assert set(kinds) >= {"majority", "tfidf", "crf", "retrieval", "lead", "textrank", "dictionary", "nearest"}
    assert [small(name, "classify").kind for name in kinds] == ["baseline"] * len(kinds)
    assert {task for name in kinds for task in lookup("model", name).tasks} <= set(names("task"))


def test_without_names_baselines_networks_and_what_lies_in_runs_and_models(folder):
    put(folder / "runs" / "家" / "lstm" / "model")
    put(folder / "runs" / "家" / "lstm" / "checkpoints" / "step-10")
    put(folder / "models" / "pack" / "little")
    (folder / "models" / "a.gguf").write_bytes(b"GGUF")
    put(folder / "elsewhere")
    found = at_hand(task(folder))
    assert [each.name for each in found] == ["majority", "tfidf", "cnn", "lstm", "transformer", "runs/家/lstm/model", "a", "little"]
    assert [each.kind for each in found[:5]] == ["baseline", "baseline", "scratch", "scratch", "scratch"]
    assert {each.kind for each in found[5:]} == {"trained"}


def test_a_place_named_twice_is_tried_once_and_equal_names_are_told_apart(folder):
    one, other = put(folder / "a" / "模型"), put(folder / "b" / "模型")
    found = at_hand(task(folder), ["a/模型", "a", "b", "lstm", "lstm"])
    assert [each.name for each in found] == ["模型", "b/模型", "lstm", "lstm-2"]
    assert [each.folder for each in found[:2]] == [one.relative_to(folder), other.relative_to(folder)]


def test_settings_in_braces_are_a_part(folder):
    [found] = at_hand(task(folder), ["{type: gru, depth: 1, width: 24}"])
    assert (found.name, found.kind, found.part.width) == ("gru", "scratch", 24)


@pytest.mark.parametrize(("asked", "told"), [
    ("lstmm", "did you mean 'lstm'"), ("no/such/folder", "a model's type or a place"), ("{type", "a name, or settings"),
    ("{1: 2}", "a name, or settings"),
])  # fmt: skip
def test_a_name_that_is_nothing_is_said(folder, asked, told):
    with pytest.raises(RequestError, match=told):
        at_hand(task(folder), [asked])


def test_wrong_settings_of_a_part_are_said(folder):
    with pytest.raises(RecipeError, match="widht"):
        at_hand(task(folder), ["{type: lstm, widht: 3}"])


def test_a_folder_without_a_model_is_said(folder):
    (folder / "empty" / "inside").mkdir(parents=True)
    assert below(folder / "empty") == []
    with pytest.raises(RequestError, match="no model in empty"):
        at_hand(task(folder), ["empty"])
