"""Search for settings: what may be asked, and a small search of real trainings, broken off and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.cli import main
from yanmo.core import files
from yanmo.core.errors import RequestError, RunError
from yanmo.stages.search import Space, link, search, table

RECIPE = """
name: tiny
seed: 0
stages:
  - corpus: {source: {type: jsonl, path: d.jsonl}, steps: []}
  - tokenizer: {type: characters}
  - {name: label, finetune: {model: {type: cnn, embedding: 8, filters: 8, widths: [1, 2]}, task: {type: classify, path: d.jsonl}, train: {steps: 6, validate_every: 2, threads: 1}}}
"""


@pytest.fixture(autouse=True)
def _recipe(folder):
    rows = [{"text": f"{'good 好' if i % 2 else 'bad 坏'} number {i} 💡", "label": "ab"[i % 2]} for i in range(60)]
    Path("d.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    Path("tiny.yaml").write_text(RECIPE, "utf-8")


@pytest.mark.parametrize(("written", "space"), [
    ("a.lr=1e-4..1e-1", Space("a.lr", 1e-4, 1e-1, log=True)),
    ("a.train.optim.lr=0.5..0.9", Space("a.train.optim.lr", 0.5, 0.9)),
    ("a.depth=1..4", Space("a.depth", 1, 4)),
    ("a.width=16..512", Space("a.width", 16, 512, log=True)),
    ("a.model.type=cnn,lstm", Space("a.model.type", choices=("cnn", "lstm"))),
    ("a.widths=[1, 2],[3]", Space("a.widths", choices=([1, 2], [3]))),
])  # fmt: skip
def test_what_a_setting_may_be_is_read_from_one_string(written, space):
    assert Space.parse(written) == space


@pytest.mark.parametrize("written", ["a", "a=1..2", "a.b=2..1", "a.b=x..y", "a.b=1", "a.b=", "a.b=true..false", ".b=1..2"])
def test_what_is_no_range_is_refused(written):
    with pytest.raises(RequestError, match=r"--set: expected 'stage\.key=low\.\.high' or 'stage\.key=a,b,c'"):
        Space.parse(written)


def test_settings_are_numbers_of_four_digits_and_choices_come_back():
    assert Space.parse("a.lr=1e-4..1e-1").setting(0.00123456) == 0.001235
    assert Space.parse("a.depth=1..4").setting(3) == 3
    assert Space.parse("a.widths=[1, 2],[3]").setting("[1, 2]") == [1, 2]


def test_stages_and_keys_that_are_not_there_are_said_before_anything_runs():
    for sets, message in ((["labl.train.steps=1..9"], "no stage 'labl' in the recipe - did you mean 'label'"),
                          (["label.modle.type=cnn,lstm"], "unknown key 'modle'"), ([], "at least one setting and one trial")):
        with pytest.raises(RequestError, match=message):
            search("tiny.yaml", sets, 2)
    assert not Path("runs").exists()


def test_what_is_shared_is_linked_and_own_files_are_not(folder):
    for name in ("run/corpus/a.txt", "run/recipe.yaml", "run/tokens/x/t.bin"):
        files.write_text(Path(name), name)
    link(Path("run"), Path("trial"))
    assert [p.relative_to("trial").as_posix() for p in files.files(Path("trial"))] == [
        ".lock", "corpus/a.txt", "tokens/x/t.bin"]  # fmt: skip
    assert Path("trial/corpus/a.txt").stat().st_ino == Path("run/corpus/a.txt").stat().st_ino


def test_the_table_has_the_best_first():
    trials = [{"number": n, "settings": {"a.b": n}, "state": s, "value": v, "validations": {"4": 0.1}, "seconds": 1.0}
              for n, s, v in ((0, "complete", 0.5), (1, "pruned", 0.9), (2, "complete", 0.7), (3, "failed", None))]  # fmt: skip
    rows = table({"metric": "macro_f1", "higher_is_better": True, "trials": trials})
    assert rows[0] == ["trial", "macro_f1", "state", "steps", "seconds", "a.b"]
    assert [row[0] for row in rows[1:]] == ["2", "0", "1", "3"]


@pytest.mark.slow
def test_a_search_goes_on_where_it_was_and_finds_the_rate_that_learns(capsys):
    sets = ["--set", "label.train.optim={type: adamw, lr: 0.02},{type: adamw, lr: 0.002}"]
    assert main(["search", "tiny.yaml", *sets, "--trials", "2", "--quiet", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert [trial["state"] for trial in first["trials"]] == ["complete"] * 2
    assert main(["search", "tiny.yaml", *sets, "--trials", "4", "--quiet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"][:2] == first["trials"]
    assert len(found["trials"]) == 4
    best = found["trials"][found["best"]]
    assert best["value"] == max(t["value"] for t in found["trials"] if t["state"] == "complete")
    assert all(sorted(map(int, t["validations"])) == [2, 4, 6] for t in found["trials"] if t["state"] == "complete")
    assert {t["settings"]["label.train.optim"]["lr"] for t in found["trials"]} <= {0.02, 0.002}
    assert "label.train.optim=" in found["command"]
    corpus = Path("runs/tiny-search/shared/run/corpus/manifest.json")
    assert Path("runs/tiny-search/trials/0/run/corpus/manifest.json").stat().st_ino == corpus.stat().st_ino  # made once
    with pytest.raises(RunError, match="a search of the same settings"):
        search("tiny.yaml", ["label.train.steps=2,4"], 4)
