"""A run as a page of Markdown, and the table of many pages: everything from the run's own files, the same bytes every time."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from yanmo.cli.app import app
from yanmo.core import files
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.errors import DataError
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.evaluate import recipe_page, standing
from yanmo.evaluate.compare import compare
from yanmo.evaluate.recipe_page import command, index, page, record_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(run, tmp_path, monkeypatch):
    """The run, to be changed."""
    monkeypatch.setenv("YANMO_LANG", "en")
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_a_page_has_every_model_with_its_figure_its_reference_and_what_it_took(run, monkeypatch):
    monkeypatch.setenv("YANMO_LANG", "en")
    content = page(record_of(run))
    assert content == page(record_of(str(run)))
    assert str(run.parent) not in content
    assert not re.search(r"(?<![\w`(])/(tmp|home|root)/", content)
    assert "not complete" not in content
    table = content.split("## classify\n\n")[1].split("\n\n")[0]
    rows = {line.split(" | ")[0].strip("|* "): line for line in table.split("\n")}
    for row in json.loads((run / "evaluate/results.json").read_text()):
        if row["metric"] == "macro_f1" and not row.get("group"):
            assert f"{row['value']:.3f}" in rows[row["model"]]
    assert "| tuned | ours |" in content
    assert "| tfidf | baseline |" in content
    assert "| *majority* | floor |" in content
    assert "| classify | Lamps (data/labels/) | Apache-2.0 | 60 | 10 | 31 | test.jsonl `" in content
    sources = files.read_json(run / "evaluate/manifest.json")["sources"]
    assert sources
    assert all(f"`{source['sha256'][:12]}`" in content for source in sources)
    assert "| corpus | en.jsonl | en | CC0-1.0 | 40 |" in content
    assert "Warning: test: 1 of 31 texts" in content
    commit = files.read_json(run / "environment.json")["commit"]
    assert f"Commit: {commit or 'an installed package, no commit'}." in content
    tuned = record_of(run)
    spent = standing.cost(tuned, "tuned")
    known = {m["stage"]: m for m in tuned.manifests}
    assert spent.seconds == pytest.approx(known["tuned"]["seconds"] + known["trained"]["seconds"])  # it went on from `trained`
    assert spent.processor == pytest.approx(sum(known[name]["cost"]["cpu_seconds"] for name in ("tuned", "trained")))
    assert spent.method in ("estimated", "measured")
    assert re.search(r"\| tfidf \| baseline \|.*Wh \| (estimated|measured) \| cpu \|", content)


def test_the_difference_to_the_best_baseline_is_the_one_of_the_paired_comparison(run, tmp_path, monkeypatch):
    """The same two models as two runs, where `compare` holds them against each other."""
    record = record_of(run)
    found = standing.reference(record, "classify", "tuned")
    assert found is not None
    assert found.model == "tfidf"
    one = Path(shutil.copytree(run, tmp_path / "one"))
    shutil.copytree(run / "evaluate/answers/tfidf", one / "evaluate/answers/tuned", dirs_exist_ok=True)
    results = files.read_json(one / "evaluate/results.json")
    kept = [row for row in results if row["model"] != "tuned"] + [{**row, "model": "tuned"} for row in results if row["model"] == "tfidf"]
    files.write_json(one / "evaluate/results.json", kept)
    (row,) = [row for row in compare(one, run)
              if (row["model"], row["task"], row["metric"]) == ("tuned", "classify", "macro_f1") and "group" not in row]  # fmt: skip
    assert row["difference"] == found.difference
    assert found.difference["low"] <= found.difference["value"] <= found.difference["high"]
    assert standing.reference(record, "classify", "tfidf") is None
    assert standing.reference(record, "classify", "majority") is None
    floor = standing.reference(record, "language_modeling", "counted")
    assert floor is not None
    assert (floor.model, floor.difference["p"]) == ("chance", None)  # no baseline and no origin: a floor, which answers nothing


def test_a_group_has_as_many_items_as_the_metric_asked(copy):
    path = copy / "evaluate/results.json"
    rows = json.loads(path.read_text())
    known = next(row for row in rows if (row["model"], row["metric"]) == ("tuned", "macro_f1") and not row.get("group"))
    rows += [{**known, "group": "language=en", "n": 20}, {**known, "group": "language=en", "n": 7, "metric": "accuracy"}]
    files.write_json(path, rows)
    assert "| macro-F1 | English (n = 20) |" in page(record_of(copy))


def test_a_run_that_is_not_complete_says_so(copy):
    (copy / "tuned" / "manifest.json").unlink()
    (copy / "evaluate" / "manifest.json").unlink()
    content = page(record_of(copy))
    assert "**This run is not complete: tuned, evaluate not finished." in content
    shutil.rmtree(copy / "evaluate")
    bare = page(record_of(copy))
    assert "## classify" not in bare
    assert "| corpus | en.jsonl |" in bare
    (copy / "tuned2").mkdir()
    assert "not complete" in index({"small.md": bare}, ["small", "grpo"])
    (copy / "corpus" / "stats.json").unlink()  # a finished stage whose file is gone is not whole
    assert "corpus, tuned, evaluate not finished" in page(record_of(copy))


def test_what_is_unknown_is_said_to_be_unknown(copy):
    (copy / "tuned" / "cost.json").unlink()
    manifest = files.read_json(copy / "tuned/manifest.json")
    files.write_json(copy / "tuned/manifest.json", {key: value for key, value in manifest.items() if key != "cost"})
    line = next(line for line in page(record_of(copy)).split("\n") if line.startswith("| tuned | ours |"))
    assert "| – | unknown | unknown |" in line


def test_the_command_keeps_no_place_of_the_machine(copy):
    environment = files.read_json(copy / "environment.json")
    for given, shown in (("yanmo run /elsewhere/数据/sums.yaml --run-dir /elsewhere/x a.b=1 --json", "yanmo run sums.yaml a.b=1"),
                         ("yanmo run grpo --run-dir=/elsewhere/x 'align.objective={type: ppo}'", "yanmo run grpo 'align.objective={type: ppo}'")):  # fmt: skip
        files.write_json(copy / "environment.json", {**environment, "command": given})
        assert command(record_of(copy)) == shown


@pytest.mark.slow  # two interpreters are started
def test_the_tool_writes_pages_and_their_table(run, tmp_path):
    def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(ROOT / "tools/recipe_tables.py"), *arguments], capture_output=True, text=True, check=False)

    docs = tmp_path / "文档"
    assert tool(str(run), "--docs", str(docs)).returncode == 0
    made = {path.name: path.read_bytes() for path in docs.iterdir()}
    assert sorted(made) == ["README.md", "small.md"]
    assert b"| [small](small.md) |" in made["README.md"]
    assert b"| grpo | not run |" in made["README.md"]
    record = record_of(run)
    assert made == {"README.md": index({"small.md": page(record)}, sorted(p.stem for p in (ROOT / "yanmo/recipes").glob("*.yaml"))).encode(),
                    "small.md": page(record).encode()}  # fmt: skip
    wrong = tool(str(tmp_path), "--docs", str(docs))
    assert wrong.returncode == 1
    assert "expected a run directory, got no recipe.yaml in it" in wrong.stderr


def test_a_page_of_another_make_is_refused():
    with pytest.raises(DataError, match=r"other\.md: expected a page that was made from a run"):
        index({"other.md": "# typed"}, [])


def test_compare_prints_markdown(run, monkeypatch):
    monkeypatch.setenv("YANMO_LANG", "en")
    runner = CliRunner()
    assert runner.invoke(app, ["compare", str(run), "--format", "markdown"]).output == page(record_of(run))
    both = runner.invoke(app, ["compare", str(run), str(run), "--format", "markdown"]).output.split("\n")
    assert both[0] == "| task | model | metric | first | second | difference |"
    assert any(line.startswith("| classify | tfidf | macro-F1 |") and "+0.0000 [+0.0000, +0.0000]" in line for line in both)
    refused = runner.invoke(app, ["compare", str(run), "--format", "markdown", "--json"])
    assert refused.exit_code != 0
    assert runner.invoke(app, ["compare", str(run), "--format", "html"]).exit_code == 2


@pytest.mark.slow
def test_an_alignment_shows_its_reward_before_and_after_and_the_optimum(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YANMO_LANG", "en")
    task = {"type": "prompts", "path": {"train": "samples/sums/train.jsonl", "validation": "samples/sums/held.jsonl",
                                        "test": "samples/sums/held.jsonl"}, "max_tokens": 4, "temperature": 1}  # fmt: skip
    train = {"steps": 2, "optim": {"type": "adamw", "lr": 0.001}}
    recipe = {"name": "sums", "seed": 0, "stages": [
        {"corpus": {"source": {"type": "jsonl", "path": "samples/sums/texts.jsonl"}, "engine": {"type": "local", "workers": 1}, "validation": 0.02}},
        {"tokenizer": {"type": "characters", "min_count": 1}},
        {"name": "base", "pretrain": {"model": {"type": "transformer", "depth": 1, "width": 32, "heads": 2},
                                      "objective": {"type": "causal", "context": 32}, "train": {"steps": 4, "batch_tokens": 256}}},
        {"align": {"objective": {"type": "grpo", "group": 4, "prompts": 4, "max_tokens": 4, "kl": 0.01}, "task": task,
                   "reward": {"type": "number"}, "train": train}},
        {"evaluate": {"models": ["base", "align"], "tasks": [task], "samples": []}},
    ]}  # fmt: skip
    execute(parse(recipe, Place()), "run", console=Console(quiet=True), force=True)
    content = page(record_of("run"))
    assert "The best that can be reached: 1.000." in content
    found = next(line for line in content.split("\n") if line.startswith("| align | grpo | reward |")).split(" | ")
    before = files.read_json(Path("run/align/before.json"))["figures"]["reward"]
    assert float(found[5]) == pytest.approx(before, abs=5e-4)
    assert "| align | base | prompts |" in content
    assert re.search(r"\| align \| ours \|.*\| base \|", content)
    assert "| *commonest* | floor |" in content
    assert recipe_page.summary(record_of("run"))["tasks"]["prompts"]["n"] == files.read_json(Path("run/evaluate/tables.json"))["tasks"]["prompts"]["n"]
