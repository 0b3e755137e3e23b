"""Every objective in a run: trained by a recipe, resumed, and evaluated beside the others without mixing what is not alike."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import RequestError
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.evaluate.compare import compare
from yanmo.models.store import load as open_model
from yanmo.train.records.metrics import read

TEXTS = [
    "Call me Ishmael. Some years ago, never mind how long precisely, having little money in my purse. 🐋",
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦；及秦灭之后，楚汉分争，又并入于汉。",
    "It is a way I have of driving off the spleen — café, e\u0301te\u0301 — and regulating the circulation. So I go.",
]
SIZE = "depth: 1, width: 32, heads: 2"
STAGES = {
    "bert": f"model: {{type: transformer, {SIZE}, architecture: encoder, embedding: {{types: 2}}, head: {{pooler: true, pairs: true}}}}, "
            "objective: {type: masked, context: 48, next_sentence: sop, whole_word: true}",
    "t5": f"model: {{type: transformer, {SIZE}, architecture: encoder-decoder}}, objective: {{type: span_corruption, context: 40}}",
    "bart": f"model: {{type: transformer, {SIZE}, architecture: encoder-decoder}}, objective: {{type: denoise, context: 40}}",
    "xlnet": f"model: {{type: transformer, {SIZE}, architecture: encoder, embedding: {{query: true}}}}, objective: {{type: permuted, context: 40}}",
    "prefix": f"model: {{type: transformer, {SIZE}}}, objective: {{type: prefix, context: 40}}",
    "lstm": "model: {type: lstm, depth: 1, width: 32}, objective: {type: causal, context: 24, carry: true}",
}  # fmt: skip
TRAIN = "train: {steps: 6, batch_tokens: 400, validate_every: 3}"


def recipe(folder: Path, evaluate: str = "") -> Path:
    rows = [{"text": f"{text} {i}", "language": "en" if text.isascii() else "zh"} for i in range(10) for text in TEXTS]
    (folder / "data.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    pairs = [{"sentence_good": "He goes.", "sentence_bad": "He go.", "linguistics_term": "agreement"},
             {"sentence_good": "他把书放在桌上。", "sentence_bad": "他把书放桌上在。", "linguistics_term": "order"}]  # fmt: skip
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in pairs), encoding="utf-8")
    special = ", ".join(f'"{name}"' for name in ["<mask>", *(f"<extra_id_{i}>" for i in range(12))])
    stages = "\n".join(f"  - {{name: {name}, pretrain: {{{settings}, {TRAIN}}}}}" for name, settings in STAGES.items())
    (folder / "r.yaml").write_text(
        f"name: r\nseed: 1\nstages:\n  - corpus: {{source: {{type: jsonl, path: data.jsonl}}, validation: 0.3}}\n"
        f"  - tokenizer: {{type: characters, special: [{special}]}}\n{stages}\n{evaluate}", encoding="utf-8"
    )  # fmt: skip
    return folder / "r.yaml"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objectives")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        written = recipe(folder, "  - evaluate: {tasks: [{type: language_modeling}, {type: minimal_pairs, path: pairs.jsonl}]}\n")
        execute(load(written), "runs/r", console=Console(quiet=True))
    return folder / "runs/r"


@pytest.mark.parametrize("name", STAGES)
def test_each_objective_trains_its_model(name, made):
    told = files.read_json(made / name / "training.json")
    assert told["steps"] == 6
    assert [v["step"] for v in told["validations"]] == [3, 6]
    lines = [line for line in read(made / name / "metrics.jsonl") if "loss" in line]
    assert len(lines) == 6
    assert open_model(made / name).model.kind == {"bert": "masked", "t5": "encoder-decoder", "bart": "encoder-decoder", "xlnet": "permuted"}.get(
        name, "causal"
    )
    if name == "bert":
        assert {"accuracy", "pair_accuracy", "pair_loss"} <= set(lines[0])
        assert "pair_accuracy" in told["validations"][0]
        assert lines[0]["pair_loss"] == pytest.approx(0.69, abs=0.1)
    if name in ("bert", "t5", "bart"):
        assert told["validations"][0]["loss"] > 0
    else:
        assert told["validations"][0]["bits_per_byte"] > 0
    if name == "lstm":
        newest = max((made / name / "checkpoints").glob("step-*"))
        assert set(load_file(newest / "carried.safetensors")) == {"hidden", "cell"}


def test_masked_models_have_figures_of_their_own_name(made):
    rows = files.read_json(made / "evaluate/results.json")
    metrics = {}
    for row in rows:
        if row["task"] == "language_modeling":
            metrics.setdefault(row["model"], set()).add(row["metric"])
    assert metrics.pop("bert") == {"pseudo_bits_per_byte", "pseudo_perplexity"}
    assert metrics.pop("chance") == {"bits_per_byte"}
    assert set(metrics) == {"t5", "bart", "xlnet", "prefix", "lstm"}
    assert all(found == {"bits_per_byte", "perplexity"} for found in metrics.values())
    tables = files.read_json(made / "evaluate/tables.json")["tasks"]["language_modeling"]
    assert "bert" not in {tables["best"], *tables["behind"]}
    assert tables["models"]["bert"]["by"] == "pseudo-likelihood"
    assert tables["models"]["t5"]["by"] == "likelihood behind a gap"
    report = (made / "report.html").read_text(encoding="utf-8")
    assert "Masked models" in report
    assert "no probability of the text" in report


def test_minimal_pairs_are_judged_by_every_kind(made):
    rows = [row for row in files.read_json(made / "evaluate/results.json") if row["task"] == "minimal_pairs"]
    whole = {row["model"]: row["value"] for row in rows if "group" not in row}
    assert set(whole) == {*STAGES, "chance"}
    assert whole["chance"] == 0.5
    assert {row["group"] for row in rows if "group" in row} == {"linguistics_term=agreement", "linguistics_term=order"}
    answers = [json.loads(line) for line in (made / "evaluate/answers/bert/minimal_pairs.jsonl").read_text().splitlines()]
    assert [answer["predicted"] == "good" for answer in answers] == [answer["score"] > 0 for answer in answers]
    assert "Accuracy by phenomenon" in (made / "report.html").read_text(encoding="utf-8")


def test_runs_with_such_figures_can_be_compared(made):
    found = {(row["model"], row["metric"]): row["difference"] for row in compare(made, made) if not row.get("group")}
    assert found["bert", "pseudo_bits_per_byte"] == {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    assert found["lstm", "accuracy"]["value"] == 0.0


def test_the_same_recipe_gives_the_same_bytes(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    execute(load(recipe(tmp_path)), "runs/again", console=Console(quiet=True))
    for name in STAGES:
        again = tmp_path / "runs/again" / name / "model/model.safetensors"
        assert again.read_bytes() == (made / name / "model/model.safetensors").read_bytes(), name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("bert.model.architecture=decoder", "expected a model of the kind masked, got causal - a transformer is one with 'architecture: encoder'"),
        ("bert.model.head={}", "next_sentence: expected a model that judges pairs of sentences"),
        ("t5.objective.context=300", "expected a tokenizer with 17 special tokens <extra_id_0> …, got 12"),
        ("tokenizer.special=[]", "expected a tokenizer with a special token <mask>, got none - add it to the tokenizer's 'special'"),
        ("prefix.model.architecture=encoder", "expected a model of the kind causal, got masked"),
    ],
)
def test_what_does_not_fit_is_said_before_any_step(changed, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=message):
        execute(load(recipe(tmp_path), [changed, "bert.train.steps=1", "t5.train.steps=1", "bart.train.steps=1", "xlnet.train.steps=1"]),
                "runs/r", console=Console(quiet=True))  # fmt: skip
    assert not list(Path("runs/r").glob(changed.partition(".")[0] + "/metrics.jsonl"))


def test_lanes_need_a_corpus_in_its_own_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="a corpus without a mixture or weights of sources"):
        execute(load(recipe(tmp_path), ["lstm.mixture={temperature: 2}", *(f"{n}.train.steps=1" for n in STAGES)]), "runs/r",
                console=Console(quiet=True))  # fmt: skip
