"""The mixing stage in a run: a small network and counts together are better than either, on text that neither has seen."""

import json
from pathlib import Path

import pytest

import yanmo
from yanmo import samples
from yanmo.cli import main
from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.execute import execute
from yanmo.core.recipe import load

STEPS = 60


def recipe(folder: Path, mix: str = "{counted: {type: ngram, order: 3}}", before: str = "") -> Path:
    """Real verse and prose in both languages, 300 documents."""
    rows = []
    for name, language in (("tang_poems", "zh"), ("state_of_the_union", "en")):
        lines = [line for path in sorted((Path(samples.__file__).parent / name).glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]
        rows += [{"text": json.loads(line)["text"][:1200], "language": language} for line in lines[:150]]
    (folder / "data.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    (folder / "r.yaml").write_text(f"""
name: r
seed: 1
stages:
  - corpus: {{source: {{type: jsonl, path: data.jsonl}}, validation: 0.2}}
  - tokenizer: {{type: bpe, size: 600}}
  - pretrain: {{model: {{type: transformer, depth: 1, width: 64, heads: 2}}, objective: {{type: causal, context: 64}},
                train: {{steps: {STEPS}, batch_tokens: 1024}}}}
{before}  - mix: {mix}
  - evaluate: {{tasks: [{{type: language_modeling}}], models: [pretrain, mix]}}
""", encoding="utf-8")  # fmt: skip
    return folder / "r.yaml"


def run(path: Path, directory: str = "runs/r", **options) -> Path:
    execute(load(path), directory, console=Console(quiet=True), **options)
    return Path(directory)


@pytest.mark.slow
def test_the_mixture_is_better_than_either_and_the_same_twice(folder, capsys):
    made = run(recipe(folder))
    nats = files.read_json(made / "mix" / "mixing.json")["nats_a_token"]
    assert nats["mixture"] < min(nats["network"], nats["counted"])
    results = files.read_json(made / "evaluate" / "results.json")
    bits = {row["model"]: row["value"] for row in results if row["metric"] == "bits_per_byte"}
    assert bits["mix"] < bits["pretrain"] - 0.02  # on documents that neither was made of
    assert yanmo.load(made).generate("春眠", max_tokens=5, temperature=0)
    assert main(["score", str(made), "data.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_byte"] > 0
    again = run(recipe(folder), directory="runs/again")
    for name in ("model/model.safetensors", "model/counted/model.safetensors", "model/network/model.safetensors", "mixing.json"):
        assert (again / "mix" / name).read_bytes() == (made / "mix" / name).read_bytes()


@pytest.mark.parametrize(
    ("mix", "said"),
    [("{counted: {type: lstm}}", "an n-gram model"), ("{tokens: 0}", "a number above 0"), ("{counted: {type: ngrams}}", "did you mean 'ngram'?")],
)
def test_what_cannot_be_mixed_is_refused_before_any_work(folder, mix, said):
    with pytest.raises((RecipeError, RequestError), match=said.replace("?", r"\?")):
        run(recipe(folder, mix))


def test_a_tokenizer_of_another_model_is_refused(folder):
    path = recipe(folder, before="  - {name: other, tokenizer: {type: characters}}\n")
    with pytest.raises(RequestError, match="the tokenizer that the model was trained with"):
        run(path)


def test_a_single_document_is_enough_where_it_is_long(folder):
    """`yanmo new` with one file: its end is what the gate is fitted to."""
    path = recipe(folder)
    rows = [json.loads(line)["text"] for line in (folder / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    held = [{"text": text} for text in rows[:20]]
    (folder / "data.jsonl").write_text(json.dumps({"text": "\n".join(rows[20:]) + " 🙂"}, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "held.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in held), encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace("validation: 0.2", "validation: 0")
                    .replace("{type: language_modeling}", "{type: language_modeling, path: held.jsonl}"), encoding="utf-8")  # fmt: skip
    made = run(path)
    found = files.read_json(made / "mix" / "mixing.json")
    assert found["documents"] == 1
    assert found["nats_a_token"]["mixture"] < min(found["nats_a_token"][name] for name in ("network", "counted"))
