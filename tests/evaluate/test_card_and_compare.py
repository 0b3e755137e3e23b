"""The model card's contents, and two runs side by side."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.evaluate.conftest import make, write_data
from yanmo.core.errors import RequestError
from yanmo.evaluate.card import card, table
from yanmo.evaluate.compare import compare, curves, evaluated, picture
from yanmo.evaluate.compare import table as side_by_side
from yanmo.evaluate.record import Record


def test_the_card_names_every_licence_and_figure(run):
    content = (run / "card.md").read_text(encoding="utf-8")
    assert content == (run / "evaluate" / "card.md").read_text(encoding="utf-8") == card(Record(run, run / "evaluate"))
    for line in ("# Model card: small", "| en.jsonl | en | CC0-1.0 | 42 | 40 |", "| zh.jsonl | zh | not stated | 42 |", "Apache-2.0",
                 "data/labels/ (test.jsonl, train.jsonl, validation.jsonl): Lamps", "seed 0", "| stage | time | energy |",
                 "| estimated | unknown |" if "| estimated |" in content else "| measured | unknown |", "other stages",
                 "| macro-F1 |", "| *chance* | 8.000 |", "Warning: test: 1 of 31 texts", "torch"):  # fmt: skip
        assert line in content, line
    for row in json.loads((run / "evaluate/results.json").read_text()):
        if row["metric"] in ("bits_per_byte", "macro_f1", "accuracy"):
            assert f"{row['value']:.3f}" in content
    known = [json.loads((run / stage / "cost.json").read_text()) for stage in ("corpus", "tuned")]
    assert all(cost["joules"] >= 0 for cost in known)
    digests = re.findall(r"`([0-9a-f]{64})`", content)
    assert len(digests) == 9  # every stage before the evaluation
    assert str(run) not in content


def test_a_card_without_accounts_says_that_nothing_was_measured(run, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "copy")
    for cost in (tmp_path / "copy").glob("*/cost.json"):
        cost.unlink()
    assert "Not measured, and not estimated." in card(Record(tmp_path / "copy", tmp_path / "copy" / "evaluate"))


def test_energy_and_carbon_stand_in_the_card(run, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setenv("YANMO_LANG", "zh")
    shutil.copytree(run, tmp_path / "副本")
    path = tmp_path / "副本" / "tuned" / "cost.json"
    path.write_text(json.dumps({"seconds": 60.0, "joules": 7.2e6, "method": "measured", "grams": 1164.6, "country": "CHN"}))
    content = card(Record(tmp_path / "副本", tmp_path / "副本" / "evaluate"))
    assert "2\u00a0kWh" in content
    assert "| 1.16 kg (CHN) |" in content


def test_a_table_cannot_be_broken_by_its_cells():
    assert table(["a|b", "n"], [["x\ny|z <i>", 1]], right=[1]) == "| a\\|b | n |\n|---|---:|\n| x y\\|z &lt;i> | 1 |"


def test_a_run_compared_with_itself_differs_by_nothing(run):
    rows = compare(run, str(run))
    assert {row["model"] for row in rows} >= {"counted", "trained", "tuned", "chance", "majority", "majority-model"}
    for row in rows:
        assert row["first"] == row["second"]
        assert row["difference"]["value"] == 0
    paired = [row for row in rows if row["difference"]["low"] is not None]
    assert {(row["model"], row["metric"]) for row in paired} >= {
        ("trained", "bits_per_byte"),
        ("tfidf", "macro_f1"),
        ("tuned", "accuracy"),
    }
    shown = side_by_side(rows)
    assert "+0.0000 [+0.0000, +0.0000]" in shown
    assert "language=" not in shown


def test_another_run_is_compared_item_by_item_where_the_items_are_the_same(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data()
    other = make(tmp_path / "other", models=["counted-characters", "majority"])
    # more n-grams make another model of the same name: swap the two counted models' answers
    shutil.copy(
        run / "evaluate/answers/counted/language_modeling.jsonl",
        other / "evaluate/answers/counted-characters/language_modeling.jsonl",
    )
    rows = {(row["model"], row["metric"]): row for row in compare(run, other) if not row.get("group")}
    assert rows["trained", "bits_per_byte"]["second"] is None
    assert rows["trained", "bits_per_byte"]["difference"] is None
    change = rows["counted-characters", "bits_per_byte"]["difference"]
    assert change["value"] == 0  # the lines of results.json say so
    assert change["low"] is not None
    assert change["low"] != change["high"]  # computed from the answers, item by item
    side_by_side(compare(run, other))


def test_pictures_of_runs(run):
    assert picture([run, run], kind="png").startswith(b"\x89PNG")
    svg = picture([run]).decode()
    assert "counted-characters" in svg
    assert "tfidf" in picture([run], metric="macro_f1").decode()
    assert "trained" in curves(run).decode()
    with pytest.raises(RequestError):
        picture([run], metric="rouge")


def test_what_was_not_evaluated_is_refused(run, tmp_path):
    assert evaluated(run / "evaluate").evaluation == run / "evaluate"
    for place, given in ((tmp_path, "no results.json in it"), (tmp_path / "nowhere", "no such folder")):
        with pytest.raises(RequestError, match=given) as caught:
            compare(run, place)
        assert caught.value.exit_status == 2
