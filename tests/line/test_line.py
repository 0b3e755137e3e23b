"""The whole line on real text: what a run leaves, and every verb on it."""

from __future__ import annotations

import json
import math
import re
import time

import pyarrow.parquet as pq
import pytest

from tests.line.conftest import TOY, yanmo

MODELS = ("ngram-2", "ngram-3", "ngram-5", "ngram-characters", "lstm", "transformer")


def test_the_run_directory(toy):
    _, run = toy
    for name in ("recipe.yaml", "environment.json", "report.html", "card.md", "corpus/stats.json", "tokenizer/tokenizer.json",
                 "evaluate/results.json", "transformer/metrics.jsonl", "transformer/plan.json"):  # fmt: skip
        assert (run / name).is_file(), name
    for stage in ("corpus", "tokenizer", *MODELS, "intents", "intents-tfidf", "evaluate"):
        assert (run / stage / "manifest.json").is_file(), stage
    assert not list(run.rglob(".tmp-*"))


def test_every_document_can_be_walked_back_to_its_bytes(toy):
    folder, run = toy
    seen = 0
    for part in sorted((run / "corpus" / "documents").glob("*.parquet")):
        for row in pq.read_table(part).to_pylist():
            data = (folder / row["file"]).read_bytes()[row["start"] : row["end"]]
            assert json.loads(data)["text"][:10].strip() in row["text"] or row["text"][:10] in json.loads(data)["text"]
            seen += 1
    stats = json.loads((run / "corpus" / "stats.json").read_text())
    assert seen == stats["kept"]
    assert stats["in"] == stats["kept"] + sum(stats["dropped"].values()) + sum(stats["quarantined"].values())


def test_a_second_run_does_nothing_and_quickly(toy):
    folder, _ = toy
    started = time.monotonic()
    done = yanmo("run", "quickstart", *TOY, "--json", cwd=folder)
    assert set(json.loads(done.stdout)["stages"].values()) == {"skipped"}
    assert time.monotonic() - started < 3


def test_verify_and_the_dumped_recipe(toy):
    folder, run = toy
    assert json.loads(yanmo("verify", str(run), "--json", cwd=folder).stdout)["ok"]
    done = yanmo("run", str(run / "recipe.yaml"), "--run-dir", str(run), "--json", cwd=folder)
    assert set(json.loads(done.stdout)["stages"].values()) == {"skipped"}, done.stderr


def test_results_compare_every_model_on_the_same_bytes(toy):
    _, run = toy
    results = json.loads((run / "evaluate" / "results.json").read_text())
    rows = results["results"] if isinstance(results, dict) else results
    bits = {r["model"]: r for r in rows if r["metric"] == "bits_per_byte" and not r.get("group")}
    assert set(MODELS) <= set(bits)
    assert len({r["n"] for r in bits.values()}) == 1
    for row in bits.values():
        assert 0.5 < row["value"] < 9
        assert row["low"] <= row["value"] <= row["high"]
    scores = {r["model"]: r for r in rows if r["metric"] == "macro_f1" and not r.get("group")}
    assert {"intents", "intents-tfidf", "intents-majority"} <= set(scores)
    assert scores["intents-tfidf"]["value"] > scores["intents-majority"]["value"]


@pytest.mark.parametrize("stage", [name if name in ("ngram-5", "transformer") else pytest.param(name, marks=pytest.mark.slow) for name in MODELS])
@pytest.mark.parametrize("prompt", ["Call me", "话说天下大势"])
def test_generate_in_both_languages(toy, stage, prompt):
    folder, run = toy
    done = yanmo("generate", f"{run}/{stage}", prompt, "--max-tokens", "12", "--seed", "1", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert 0 < answer["tokens"] <= 12
    again = yanmo("generate", f"{run}/{stage}", prompt, "--max-tokens", "12", "--seed", "1", "--json", cwd=folder)
    assert json.loads(again.stdout)["text"] == answer["text"]


def test_predict_score_evaluate_compare(toy):
    folder, run = toy
    done = yanmo("predict", str(run), "turn on the light", "把客厅的灯打开", "--json", cwd=folder)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in lines] == ["turn on the light", "把客厅的灯打开"]
    assert all(0 < line["score"] <= 1 for line in lines)
    (folder / "text.txt").write_text("却说曹操 and the whale 🐋 e\u0301.\n", encoding="utf-8")
    scored = json.loads(yanmo("score", f"{run}/transformer", "text.txt", "--json", cwd=folder).stdout)
    assert scored["bytes"] == len((folder / "text.txt").read_bytes())
    assert math.isfinite(scored["bits_per_byte"])
    compared = yanmo("compare", str(run), str(run), cwd=folder)
    assert compared.returncode == 0, compared.stderr
    from yanmo.samples import path

    tested = yanmo("evaluate", f"{run}/intents-tfidf", "--task", "classify", "--data", str(path("intents") / "test.jsonl"), "--json", cwd=folder)
    assert tested.returncode == 0, tested.stderr
    assert {"accuracy", "macro_f1"} <= {row["metric"] for row in json.loads(tested.stdout)["results"]}


def test_python_does_what_the_verbs_do(toy):
    import yanmo as package

    _, run = toy
    model = package.load(run / "transformer")
    text = model.generate("Call me", max_tokens=8, temperature=0)
    assert text == package.load(str(run / "transformer")).generate("Call me", max_tokens=8, temperature=0)
    ids = model.tokenizer.encode("研墨 🖌️ grinds")
    assert model.tokenizer.decode(ids) == "研墨 🖌️ grinds"
    assert tuple(model.logits(ids).shape) == (len(ids), model.tokenizer.size)
    assert model.embed(["a", "墨"]).shape[0] == 2


def test_the_report_stands_alone(toy):
    _, run = toy
    html = (run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!#|data:)', html)
    for name in MODELS:
        assert name in html
    card = (run / "card.md").read_text(encoding="utf-8")
    assert "CC0-1.0" in card


def test_loading_what_is_no_model(toy):
    folder, run = toy
    for target in ("nowhere", str(run / "corpus"), str(folder / "data")):
        done = yanmo("generate", target, "x", cwd=folder)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
    done = yanmo("generate", f"{run}/intents", "x", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
