"""Named entities: splits, refusals, rows with a tag for each token, windows, predictions back to the text's characters."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.data import Example, Prediction, Span
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.registry import create
from yanmo.tasks.gazetteer import Gazetteer
from yanmo.tasks.ner import Ner, decide
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.characters import CharacterTokenizer
from yanmo.text.wordpiece import WordPieceTokenizer

ROWS = [
    ("Marie Curie lived in Paris.", [(0, 11, "PER"), (21, 26, "LOC")]), ("居里夫人住在巴黎。", [(0, 4, "PER"), (6, 8, "LOC")]),
    ("naïve Zoe\u0301 🖌️ in São Paulo", [(6, 10, "PER"), (17, 26, "LOC")]), ("江泽民、李鹏到北京", [(0, 3, "PER"), (4, 6, "PER"), (7, 9, "LOC")]),
    ("no names, 没有名字", []), ("👩‍🔬居里", [(3, 5, "PER")]),
]  # fmt: skip


def write(name: str, rows: list) -> str:
    lines = [json.dumps({"text": text, "spans": spans}, ensure_ascii=False) for text, spans in rows]
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YANMO_LANG", "en")


@pytest.fixture(scope="module")
def tokenizers():
    texts = [text for text, _ in ROWS] * 3
    return {"characters": CharacterTokenizer(min_count=1).train(texts), "bpe": BpeTokenizer().train(texts, 300),
            "wordpiece": WordPieceTokenizer().train(texts, 120)}  # fmt: skip


def task(**changes) -> Ner:
    return Ner(**{"path": write("data.jsonl", ROWS), "validation": 0, "test": 0} | changes)


def spans(example: Example) -> list[tuple[int, int, str]]:
    return [(s.start, s.end, s.label) for s in example.fields["spans"]]


def certain(rows: list, count: int) -> list[tuple[int, int, np.ndarray]]:
    """What a model that is sure of the rows' own labels gives for the tokens that count."""
    return [(*row.places[i], np.eye(count)[row.label[i]]) for row in rows for i in range(len(row.tokens)) if row.trained[i]]


# ------------------------------------------------------------------------------------------------ data


def test_it_is_registered_and_names_its_tags():
    made = create("task", {"type": "ner", "path": write("data.jsonl", ROWS)})
    assert made.types() == ["LOC", "PER"]
    assert made.names() == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert task(scheme="bioes", labels=["PER", "LOC"]).names()[:5] == ["O", "B-PER", "I-PER", "E-PER", "S-PER"]
    assert made.labelled(made.names()).labels == ["LOC", "PER"]


def test_splits_are_carved_by_the_text_and_nothing_is_lost():
    rows = [(f"第{i}号 Mr. Zhang{i}", [(len(f"第{i}号 "), len(f"第{i}号 Mr. Zhang{i}"), "PER")]) for i in range(200)] * 2
    made = Ner(path=write("many.jsonl", rows))
    parts = {split: [e.fields["text"] for e in made.load(split)] for split in ("train", "validation", "test")}
    assert sum(map(len, parts.values())) == 400
    assert not set(parts["train"]) & set(parts["test"])
    assert 20 < len(parts["test"]) < 60
    assert made.check() == []
    assert [e.where for e in Ner(path="many.jsonl", validation=0, test=0).load("train")][:2] == ["many.jsonl:1", "many.jsonl:2"]


def test_groups_follow_a_field():
    Path("g.jsonl").write_text('{"text": "in Rome", "spans": [[3, 7, "LOC"]], "language": "en"}\n', encoding="utf-8")
    assert Ner(path="g.jsonl", validation=0, test=0).load("train")[0].fields["group"] == "language=en"


def test_types_unseen_in_training_are_refused_with_their_rows():
    write("train.jsonl", ROWS)
    write("test.jsonl", [("in Rome", [(3, 7, "LOK")]), ("好 Rome", [(2, 6, "GPE")])])
    with pytest.raises(DataError) as caught:
        Ner(path={"train": "train.jsonl", "test": "test.jsonl"}).check()
    assert str(caught.value) == (
        "test.jsonl:1: expected an entity of the types 'LOC', 'PER', got 'LOK' [3, 7); so too test.jsonl:2 ('GPE' [2, 6))"
        " - did you mean 'LOC'?")  # fmt: skip


def test_leakage_is_warned_of_with_the_rows():
    write("train.jsonl", ROWS)
    write("test.jsonl", [("something else", []), (" " + ROWS[1][0] + " ", [(1, 5, "PER"), (7, 9, "LOC")]), ROWS[0]])
    [said] = Ner(path={"train": "train.jsonl", "test": "test.jsonl"}, validation=0).check()
    assert str(said) == "test: 2 of 3 texts also stand in the training data (test.jsonl:2 = train.jsonl:2, test.jsonl:3 = train.jsonl:1)"


def test_contradictions_and_types_without_an_entity_are_said():
    write("twice.jsonl", [*ROWS, (ROWS[0][0], [(0, 5, "PER")])])
    said = [str(concern) for concern in Ner(path="twice.jsonl", validation=0, test=0, labels=["PER", "LOC", "ORG"]).check()]
    assert said == ["no training text has an entity 'ORG'",
                    "1 training texts stand there with other entities elsewhere (first: twice.jsonl:1 and twice.jsonl:7)"]  # fmt: skip


@pytest.mark.parametrize("changes", [{"labels": []}, {"labels": ["a", "a"]}, {"path": {"dev": "x"}}, {"scheme": "bmes"}, {"format": "csv"}])
def test_bad_settings(changes):
    with pytest.raises(RecipeError):
        create("task", {"type": "ner", "path": "data.jsonl"} | changes)


# ------------------------------------------------------------------------------------------------ rows and back


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
@pytest.mark.parametrize("name", ["characters", "bpe", "wordpiece"])
@pytest.mark.parametrize("length", [6, 9, 1000])
def test_true_tags_decode_to_the_very_entities_whatever_the_windows(tokenizers, name, scheme, length):
    made, tokenizer = task(scheme=scheme), tokenizers[name]
    for example in made.load("train"):
        rows = made.encode(example, tokenizer, length)
        assert len(rows) > 1 or length == 1000 or len(tokenizer.encode(example.fields["text"])) <= length
        for row in rows:
            assert len(row.tokens) == len(row.label) == len(row.trained) == len(row.places) <= length
            assert all((tag >= 0) == counts for tag, counts in zip(row.label, row.trained))
        outputs = certain(rows, len(made.names()))
        found = made.decode(outputs, example)
        kept = made.reachable(example, tokenizer)
        assert len(set(found.spans) & set(example.fields["spans"])) == kept
        if name == "characters":  # a token a character
            assert found.spans == example.fields["spans"]
        assert found.score == (1.0 if outputs else None)


def test_an_entity_within_a_token_cannot_be_reached():
    tokenizer = WordPieceTokenizer().train(["london londoners"] * 9, 60)
    write("inside.jsonl", [("londoners", [(0, 3, "LOC")])])
    made = Ner(path="inside.jsonl", validation=0, test=0)
    assert made.reachable(made.load("train")[0], tokenizer) == 0


def test_rows_without_spans_have_no_labels(tokenizers):
    [row] = task().encode(Example("x", {"text": "巴黎 in spring"}), tokenizers["characters"], 100)
    assert row.label is None
    assert sum(row.trained) == len("巴黎inspring")


def test_windows_count_each_token_once(tokenizers):
    long = "".join(f"{i}年江泽民到了北京。" for i in range(60))
    at = [i for i in range(len(long)) if long.startswith("江泽民", i)]
    write("long.jsonl", [(long, [span for i in at for span in ((i, i + 3, "PER"), (i + 5, i + 7, "LOC"))])])
    made = Ner(path="long.jsonl", validation=0, test=0)
    [example] = made.load("train")
    rows = made.encode(example, tokenizers["characters"], 64)
    assert len(rows) > 10
    counted = [row.places[i] for row in rows for i in range(len(row.tokens)) if row.trained[i]]
    assert list(dict.fromkeys(counted)) == [(i, i + 1) for i in range(len(long))]
    assert len(counted) == len(tokenizers["characters"].encode(long))
    assert made.decode(certain(rows, 5), example).spans == example.fields["spans"]


def test_a_doubtful_model_still_writes_what_the_scheme_can_write():
    names = ["O", "B-PER", "I-PER"]
    places = [(0, 1), (1, 2), (2, 3), (4, 5)]
    loud = [(*places[0], [0.1, 0.2, 0.7]), (*places[1], [0.1, 0.1, 0.8]), (*places[2], [0.6, 0.2, 0.2]), (*places[3], [0.3, 0.3, 0.4])]
    found = decide("江泽民 到", names, loud)
    assert found.spans[0] == Span(0, 2, "PER")
    assert 0 < found.score < 1
    assert decide("江泽民 到", names, [(*places[0], [np.nan, 0.0, 0.0])]) == Prediction("江泽民 到")
    assert decide("", names, []) == Prediction("")


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from("江泽民 New\u0301👩\u200d🔬"), min_size=1, max_size=40), st.randoms())
def test_whatever_is_predicted_lies_within_the_text_in_order_without_spaces(content, random_):
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    outputs = [(i, i + 1, [random_.random() for _ in names]) for i, character in enumerate(content) if not character.isspace()]
    behind = 0
    for span in decide(content, names, outputs).spans:
        assert behind <= span.start < span.end <= len(content)
        assert content[span.start : span.end].strip() == content[span.start : span.end]
        behind = span.end


# ------------------------------------------------------------------------------------------------ scores


def test_scores():
    made = task()
    examples = made.load("train")
    right = [(e, Prediction(e.fields["text"], spans=e.fields["spans"])) for e in examples]
    assert {made.score(right)[name] for name in ("entity_f1", "precision", "recall", "macro_f1", "boundary_f1")} == {1.0}
    nothing = made.score([(e, Prediction(e.fields["text"])) for e in examples])
    assert nothing["entity_f1"] == nothing["precision"] == nothing["recall"] == 0.0
    assert nothing["entities"] == 10
    renamed = [(e, Prediction(e.fields["text"], spans=tuple(Span(s.start, s.end, "ORG") for s in e.fields["spans"]))) for e in examples]
    assert made.score(renamed)["entity_f1"] == 0.0
    assert made.score(renamed)["boundary_f1"] == 1.0
    json.dumps(made.score(renamed), allow_nan=False)


# ------------------------------------------------------------------------------------------------ names by heart


def examples(rows: list) -> list[Example]:
    return [Example(str(i), {"text": text, "spans": tuple(Span(*span) for span in found)}) for i, (text, found) in enumerate(rows)]


def test_a_gazetteer_finds_the_names_of_the_training_texts():
    book = Gazetteer.of(examples(ROWS))
    for text, found in ROWS[:4]:
        assert [(s.start, s.end, s.label) for s in book.find(text)] == found
    assert book.find("Parisian friends of Marie Curie-Sklodowska") == ()  # only whole words
    assert book.find("李鹏和江泽民") == (Span(0, 2, "PER"), Span(3, 6, "PER"))
    assert book.find("") == ()


def test_what_is_mostly_no_entity_is_none():
    rows = [("may I", []), ("may be", []), ("in may", []), ("May Day with may", [(13, 16, "PER")]), ("Li 李", [(0, 2, "PER")]), ("Li", [])]
    book = Gazetteer.of(examples(rows))
    assert book.entries == {"Li": "PER"}  # of equals an entity rather than none


def test_the_longest_name_wins():
    rows = [("New York", [(0, 8, "LOC")]), ("York", [(0, 4, "PER")]), ("York", [(0, 4, "LOC")]), ("York", [(0, 4, "LOC")])]
    assert Gazetteer.of(examples(rows)).find("York in New York") == (Span(0, 4, "LOC"), Span(8, 16, "LOC"))


def test_random_entities_come_back_by_heart():
    rng = random.Random(0)
    text = "".join(chr(0x4E00 + 7 * i) for i in range(300))
    found = [(i, i + 1 + rng.randrange(3), "PER") for i in range(0, 290, 7)]
    book = Gazetteer.of(examples([(text, found)]))
    assert {(s.start, s.end, s.label) for s in book.find(text)} == set(found)
