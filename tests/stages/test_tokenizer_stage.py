"""The tokenizer stage: flat settings, the training split alone, a bounded sample, the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from yanmo.core.console import Console
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.corpus.documents import iterate
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.characters import CharacterTokenizer
from yanmo.text.tokenizer import Tokenizer

RECIPE = """\
name: tiny
stages:
  - corpus: {{source: {{type: jsonl, path: data.jsonl}}, validation: 0.2, engine: {{type: local, workers: 1}}}}
  - tokenizer: {tokenizer}
"""
ENGLISH = "The whale number {n} rose out of the sea, and the ship turned {mark}.\n"
CORPUS = Path("runs/tiny/corpus")
CHINESE = "第{n}回话说天下大势，分久必合，合久必分{mark}。\n"


@pytest.fixture
def recipe(folder):
    """60 documents of both languages, each with three characters that no other one has."""
    with open("data.jsonl", "w", encoding="utf-8") as lines:
        for n in range(60):
            text = (CHINESE if n % 2 else ENGLISH).format(n=n, mark=chr(0x3400 + n) * 3)
            lines.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")

    def write(tokenizer: str = "{type: bpe, size: 300}", budget: str = "") -> str:
        (folder / "tiny.yaml").write_text(RECIPE.format(tokenizer=tokenizer) + budget, encoding="utf-8")
        return "tiny.yaml"

    return write


def run(path: str, directory: str = "runs/tiny", *overrides: str):
    return execute(load(path, list(overrides)), directory, console=Console(quiet=True))["stages"]


def made(directory: str = "runs/tiny", name: str = "tokenizer") -> Tokenizer:
    return Tokenizer.load(f"{directory}/{name}")


def plan(directory: str = "runs/tiny") -> dict:
    with open(f"{directory}/tokenizer/plan.json", encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{type: bpe, size: 300}", BpeTokenizer(type="bpe", size=300)),
        ("{size: 300, min_frequency: 5}", BpeTokenizer(type="bpe", size=300, min_frequency=5)),
        ("{}", BpeTokenizer(type="bpe")),
        ("", BpeTokenizer(type="bpe")),
        ("bpe", BpeTokenizer(type="bpe")),
        ("characters", CharacterTokenizer(type="characters")),
        ("{type: characters, min_count: 3, train_bytes: 99}", CharacterTokenizer(type="characters", min_count=3)),
    ],
)
def test_the_tokenizers_settings_are_written_as_the_stages(recipe, written, expected):
    stage = load(recipe(written)).stages[1].stage
    assert stage.tokenizer == expected
    assert type(stage.tokenizer) is type(expected)
    assert stage.train_bytes == (99 if "99" in written else 20_000_000)


def test_the_dump_is_flat_and_gives_the_same_recipe_again(recipe, folder):
    first = load(recipe("{type: characters, min_count: 3, train_bytes: 99}"))
    (folder / "again.yaml").write_text(first.dump(), encoding="utf-8")
    assert yaml.safe_load(first.dump())["stages"][1] == {
        "tokenizer": {"type": "characters", "special": [], "size": None, "min_count": 3, "train_bytes": 99, "corpus": None}
    }
    assert load("again.yaml").stages == first.stages


@pytest.mark.parametrize(
    ("written", "override", "stage"),
    [
        ("{type: bpe, size: 300}", "tokenizer.size=400", BpeTokenizer(type="bpe", size=400)),
        ("{}", "tokenizer.size=400", BpeTokenizer(type="bpe", size=400)),
        ("", "tokenizer.type=characters", CharacterTokenizer(type="characters")),
        ("characters", "tokenizer.min_count=4", CharacterTokenizer(type="characters", min_count=4)),
    ],
)
def test_overrides_address_the_tokenizers_settings(recipe, written, override, stage):
    assert load(recipe(written), [override]).stages[1].stage.tokenizer == stage


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{size: 100}", "tiny.yaml:4: stages.1.tokenizer.size: expected a number of at least 260, got 100"),
        ("{size: many}", "tiny.yaml:4: stages.1.tokenizer.size: expected a whole number, got 'many'"),
        ("{sise: 300}", "tiny.yaml:4: stages.1.tokenizer.sise: unknown key 'sise' - did you mean 'size'?"),
        ("{train_byte: 300}", "stages.1.tokenizer.train_byte: unknown key 'train_byte' - did you mean 'train_bytes'?"),
        ("{type: characters, min_frequency: 2}", "stages.1.tokenizer.min_frequency: unknown key 'min_frequency'"),
        ("{type: bqe}", "stages.1.tokenizer.type: unknown tokenizer 'bqe' - did you mean 'bpe'?"),
        ("{type: 3}", "stages.1.tokenizer.type: expected a name, got 3"),
        ("{tokenizer: {type: bpe}}", "stages.1.tokenizer.tokenizer: unknown key 'tokenizer'"),
        ("[bpe]", "stages.1.tokenizer: expected a mapping of settings, got ['bpe']"),
    ],
)
def test_mistakes_name_the_key_as_it_was_written(recipe, written, expected):
    with pytest.raises(RecipeError) as caught:
        load(recipe(written))
    assert expected in str(caught.value)


def test_a_stage_that_wraps_nothing_has_no_type(recipe):
    with pytest.raises(RecipeError, match=r"stages\.0\.corpus\.type: unknown key 'type'"):
        load(recipe(), ["corpus.type=corpus"])


def test_it_learns_from_the_training_split_alone(recipe):
    run(recipe("{type: characters, min_count: 1}"))
    known = {made().token(token) for token in range(260, made().size)}
    splits = {split: [row["text"] for row in iterate(CORPUS, split)] for split in ("train", "validation")}
    assert min(map(len, splits.values())) >= 5
    assert all(character in known for text in splits["train"] for character in text)
    assert not any(text[-3] in known or text[-4] in known for text in splits["validation"])


def test_the_same_recipe_gives_the_same_bytes_and_a_second_run_nothing(recipe, folder):
    assert run(recipe()) == {"corpus": "ran", "tokenizer": "ran"}
    assert run(recipe()) == {"corpus": "skipped", "tokenizer": "skipped"}
    run(recipe(), "runs/other")
    for name in ("tokenizer.json", "tokenizer_config.json", "plan.json"):
        assert (folder / "runs/tiny/tokenizer" / name).read_bytes() == (folder / "runs/other/tokenizer" / name).read_bytes()
    assert made().size == 300


@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_too_large_a_vocabulary_is_refused_with_what_is_possible(recipe, folder, kind):
    with pytest.raises(DataError) as caught:
        run(recipe(f"{{type: {kind}, size: 50000}}"))
    assert str(caught.value).startswith("tokenizer.size: expected a vocabulary of at most ")
    assert str(caught.value).endswith(" tokens for this text, got 50000 - ask for fewer, or give more text")
    assert not list((folder / "runs/tiny/tokenizer").glob("tokenizer*.json"))


def test_an_open_size_follows_from_the_text_and_the_budget(recipe):
    run(recipe("{}"))
    text_bytes = sum(len(row["text"].encode()) for row in iterate(CORPUS, "train"))
    assert plan() == {
        "text_bytes": text_bytes,
        "sample_bytes": text_bytes,
        "size": 512,
    }
    assert 260 < made().size <= 512
    run(recipe("{}", budget="budget: {minutes: 0.0001}\n"), "runs/hasty")
    assert plan("runs/hasty")["sample_bytes"] == 200  # of the text, in so short a time
    assert made("runs/hasty").size < made().size


def test_what_was_planned_is_kept_after_a_kill(recipe, folder):
    run(recipe("{}"))
    whole = (folder / "runs/tiny/tokenizer/tokenizer.json").read_bytes()
    for name in ("tokenizer.json", "manifest.json"):
        (folder / "runs/tiny/tokenizer" / name).unlink()
    assert run(recipe("{}")) == {"corpus": "skipped", "tokenizer": "ran"}
    assert (folder / "runs/tiny/tokenizer/tokenizer.json").read_bytes() == whole


def test_a_sample_is_spread_over_all_of_the_text_and_stays_below_its_bound(recipe):
    run(recipe("{type: characters, min_count: 1, train_bytes: 1200}"))
    assert plan()["sample_bytes"] == 1200 < plan()["text_bytes"]
    rows = list(iterate(CORPUS, "train"))
    known = {made().token(token) for token in range(260, made().size)}
    taken = [number for number, row in enumerate(rows) if any(0x3400 <= ord(c) < 0x3400 + 60 and c in known for c in row["text"])]
    size = sum(len(rows[number]["text"].encode()) for number in taken)
    assert 500 < size < 1200 + 100
    assert min(taken) < len(rows) / 4
    assert max(taken) > len(rows) / 2  # it is not the beginning alone


def test_one_document_larger_than_the_bound_is_taken_in_blocks(recipe, folder):
    texts = ["".join(ENGLISH.format(n=n, mark="") for n in range(3000)), "short one", "短"]
    (folder / "data.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    run(recipe("{size: 300, train_bytes: 30000}"), "runs/tiny", "corpus.validation=0")
    assert plan()["text_bytes"] > 5 * 30000
    assert made().size == 300


def test_a_corpus_may_be_a_folder_of_documents(recipe, folder):
    run(recipe())
    alone = "name: alone\nstages:\n  - tokenizer: {size: 300, corpus: runs/tiny/corpus/documents}\n"
    (folder / "alone.yaml").write_text(alone, encoding="utf-8")
    run("alone.yaml", "runs/alone")
    assert made("runs/alone").inner.to_str() == made().inner.to_str()


def test_a_corpus_without_training_text_is_refused(recipe, folder):
    (folder / "data.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="corpus: expected text in the training split, got none"):
        run(recipe("characters"), "runs/tiny", "corpus.validation=0.999")
