"""`yanmo score` on every kind of model of the ladder: each by the measure that it has, and no two under one name."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import yanmo
from tests.objectives.tiny import CHINESE, ENGLISH, MIXED, tokenizer
from yanmo.cli import main
from yanmo.core import files
from yanmo.core.manifest import MANIFEST, record
from yanmo.core.registry import create
from yanmo.inference.scoring import score
from yanmo.models.store import load, save

LADDER = Path(yanmo.__file__).parent / "recipes" / "ladder.yaml"
STAGES = {stage["name"]: stage["pretrain"] for stage in yaml.safe_load(LADDER.read_text("utf-8"))["stages"] if "pretrain" in stage}
SMALL = {"width": 32, "heads": 2}
LIKELIHOODS = {"bits_per_byte", "perplexity", "tokens", "bytes"}
PSEUDO = {"pseudo_bits_per_byte", "pseudo_perplexity", "tokens", "bytes", "measure"}
MEASURES = {"bert": "pseudo-likelihood", "t5": "likelihood behind a gap", "bart": "likelihood behind a gap"}


def made(name, folder):
    """The recipe's model with small sizes, saved as pretraining saves it."""
    of, settings = tokenizer("bpe"), STAGES[name]["model"]
    part = create("model", {key: SMALL.get(key, value) for key, value in settings.items()})
    if part.counted:
        stream = [token for line in (ENGLISH, CHINESE) * 2 for token in (of.eos_id, *of.encode(line))]
        model = part.fit(SimpleNamespace(tokens=np.array(stream, np.uint16)), of, folder)
    else:
        model = part.build(of, torch.Generator().manual_seed(1), 32)
    objective = STAGES[name].get("objective", {"type": "causal"})["type"]
    save(folder / "model", model, of, extra={"objective": objective} if objective != "causal" else None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder")
    for name in STAGES:
        made(name, folder / name)
        files.write_json(folder / name / MANIFEST, {"stage": name, **record(folder / name, {"model": "model"})})
    files.write_text(folder / "recipe.yaml", recipe(STAGES))
    return folder


def recipe(names):
    return "name: tiny\nstages:\n" + "".join(f"  - {{name: {name}, pretrain: {{}}}}\n" for name in names)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "text.txt").write_text(ENGLISH[:90] + CHINESE[:30] + MIXED[:40], encoding="utf-8")
    return tmp_path / "text.txt"


def scored(capsys, *arguments):
    assert main(["score", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", STAGES)
def test_every_kind_of_the_ladder(run, file, capsys, name):
    found = scored(capsys, run / name, file)
    text = file.read_text("utf-8")
    by = MEASURES.get(name)
    pseudo = by == "pseudo-likelihood"
    assert set(found) == (PSEUDO if pseudo else LIKELIHOODS | ({"measure"} if by else set()))
    assert found.get("measure") == by
    expected = score(load(run / name), [text])
    assert expected.by == (by or "likelihood")
    assert (found["tokens"], found["bytes"]) == (len(tokenizer("bpe").encode(text)), len(text.encode()))
    key = "pseudo_bits_per_byte" if pseudo else "bits_per_byte"
    assert found[key] == pytest.approx(expected.likelihood.bits_per_byte, rel=1e-6)
    assert 0 < found[key] < 12
    # what a person reads says it too
    assert main(["score", str(run / name), str(file)]) == 0
    shown = capsys.readouterr().out
    assert ("both sides" in shown, "a single gap" in shown) == (pseudo, by == "likelihood behind a gap")
    assert f"{key} " in shown


def test_of_a_run_the_last_that_has_a_likelihood(run, file, capsys):
    """BERT stands behind GPT in the ladder, and BART last: its figure is a likelihood; a masked one is asked only alone."""
    assert scored(capsys, run, file) == scored(capsys, run / "bart", file)
    names = list(STAGES)
    before = (run / "recipe.yaml").read_text()
    try:
        files.write_text(run / "recipe.yaml", recipe(names[: names.index("bert") + 1]))
        assert scored(capsys, run, file) == scored(capsys, run / "gpt", file)
    finally:
        files.write_text(run / "recipe.yaml", before)


def test_a_long_text_of_a_masked_model_says_how_much_was_asked_for(run, file, capsys, monkeypatch):
    whole = scored(capsys, run / "bert", file)
    monkeypatch.setattr("yanmo.inference.scoring.POSITIONS", 32 * whole["tokens"] // 3 - 1)
    part = scored(capsys, run / "bert", file)
    assert part["every"] == 4  # every third would be a little more than POSITIONS
    assert part["pseudo_bits_per_byte"] == pytest.approx(whole["pseudo_bits_per_byte"], rel=0.2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "it has no tokenizer"),
        (lambda folder: edit(folder, lambda names: [name for name in names if name["content"] != "<mask>"]), "no special token to mask with"),
        (lambda folder: bare(folder), "it was saved without the head that predicts tokens"),
    ],
)
def test_a_masked_model_that_cannot_says_why(run, file, tmp_path, capsys, change, said):
    made("bert", tmp_path)
    change(tmp_path / "model")
    assert main(["score", str(tmp_path / "model"), str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "a model that can give texts a probability" in err
    assert said in err


def edit(folder, change):
    settings = files.read_json(folder / "tokenizer.json")
    settings["added_tokens"] = change(settings["added_tokens"])
    files.write_json(folder / "tokenizer.json", settings)
    config = files.read_json(folder / "tokenizer_config.json")
    config.pop("mask_token")
    files.write_json(folder / "tokenizer_config.json", config)
    config = files.read_json(folder / "config.json")
    config["yanmo"].pop("tokenizer")
    files.write_json(folder / "config.json", config)


def bare(folder):
    """A sentence encoder, as published: without the layers behind the hidden states."""
    of = tokenizer("bpe")
    part = create("model", {"type": "bert", "depth": 1, "width": 32, "heads": 2, "head": {}})
    save(folder, part.build(of, torch.Generator().manual_seed(1), 32), of)
    assert files.read_json(folder / "config.json")["architectures"] == ["BertModel"]


def test_a_masked_model_says_what_it_does_instead_of_generating(run, capsys):
    assert main(["generate", str(run / "bert"), "研墨"]) == 2
    assert "expected a model that can generate text, got bert: predicts hidden tokens" in capsys.readouterr().err
