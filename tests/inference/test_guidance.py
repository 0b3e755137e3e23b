"""A classifier's advice while a text is written: the equation, rows that do not touch each other, control that grows with strength."""

from __future__ import annotations

import math
import random
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.evaluate.conftest import write
from tests.inference.tiny import model as tiny
from tests.inference.tiny import tokenizer
from yanmo.core.data import Example
from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.registry import create
from yanmo.evaluate.heads.text import TextHead
from yanmo.evaluate.sections import steering
from yanmo.inference.engine import Engine, Request
from yanmo.inference.guidance import Guide, guide_of, steered
from yanmo.inference.model import Model
from yanmo.inference.sampling import sampling
from yanmo.models.ngram import NgramModel
from yanmo.models.store import save
from yanmo.models.tfidf import TfidfModel
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.tokenizer import Tokenizer

WORDS = {"sea": ["sailor", "waves", "harbour", "船夫", "大海", "码头"], "hill": ["shepherd", "snow", "valley", "樵夫", "高山", "山谷"]}


def texts(label: str, seed: int, count: int = 24) -> list[str]:
    """Sentences about the sea or the hills, which begin alike: in English and in Chinese by turns."""
    rng, (who, what, where, 谁, 何, 处) = random.Random(seed), WORDS[label]
    made = []
    for number in range(count):
        if number % 2:
            first, then = rng.choice(["，", "里，"]), rng.choice(["唱歌", "沉默", "e\u0301"])
            made.append(f"清晨{first}{谁}望着{何}{then}，然后走向{处}。")
        else:
            made.append(f"In the morning the {who} {rng.choice(['saw', 'heard'])} the {what} and {rng.choice(['sang', 'slept 🙂'])} in the {where}.")
    return made


@cache
def words() -> Tokenizer:
    """One whose tokens are words and characters: a guide sees no difference between halves of a character."""
    return BpeTokenizer(size=380).train([line for label in WORDS for line in texts(label, 1)])


@cache
def built() -> tuple[NgramModel, TfidfModel, TfidfModel]:
    """A language model of both kinds of text, a guide that knows beginnings, and a judge of other texts."""
    tok = words()
    stream = [token for label in WORDS for line in texts(label, 1) for token in (tok.eos_id, *tok.encode(line))]
    language = NgramModel(order=6).fit(SimpleNamespace(tokens=np.array(stream, dtype=np.uint16)), tok, Path())
    examples = [Example(f"{label}{i}", {"text": line, "label": label}) for label in WORDS for i, line in enumerate(texts(label, 2))]
    examples += list(create("augment", {"type": "beginning", "copies": 3}).copies_of(examples))
    shown, labels = [e.fields["text"] for e in examples], [e.fields["label"] for e in examples]
    guide = TfidfModel().fit_texts(shown, labels, sorted(WORDS))
    judged = [(line, label) for label in WORDS for line in texts(label, 3)]
    judge = TfidfModel(terms={"words": (1, 1), "characters": (1, 2)}).fit_texts(*map(list, zip(*judged)), sorted(WORDS))
    return language, guide, judge


@pytest.fixture
def places(folder):
    language, guide, judge = built()
    save(Path("m"), language, words())
    save(Path("guide"), guide, None, labels=sorted(WORDS))
    save(Path("judge"), judge, None, labels=sorted(WORDS))
    prompts = ["In the morning the", "清晨，"]
    write(Path("t.jsonl"), [{"text": f"{prompt} …", "prompt": prompt, "scene": label} for prompt in prompts for label in WORDS for _ in range(4)])
    return {"type": "generation", "path": {"test": "t.jsonl"}, "attributes": ["scene"], "prefix": False, "max_tokens": 40, "guide": "guide",
            "judge": "judge", "reader": "m", "temperature": 1.0}  # fmt: skip


def test_the_logits_are_the_equation_s():
    seen: list[str] = []

    def weigh(contents):
        seen.extend(contents)
        return np.array([[0.25, 0.75] if content.endswith("a") else [0.5, 0.5] for content in contents])

    guide, tok = Guide(weigh, ("no", "yes"), candidates=6), tokenizer()
    logits = torch.randn(3, tok.size, generator=torch.Generator().manual_seed(0))
    logits[2, 5] = math.nan
    wishes = [guide.wish("yes", 2.0, tok.encode("床前")), None, guide.wish("no", 0.0)]
    found = steered(logits, wishes, [tok.encode("明"), [], []], tok)
    assert torch.equal(found[1], logits[1])  # nobody's wish
    assert seen
    assert all(content.startswith("床前明") for content in seen)  # at strength 0 nobody is asked
    own = logits[0].log_softmax(-1)
    best = own.topk(6)
    for token, value in zip(best.indices.tolist(), best.values.tolist()):
        chance = 0.75 if tok.decode([*tok.encode("床前明"), token]).rstrip("\ufffd").endswith("a") else 0.5
        assert float(found[0, token]) == pytest.approx(value + 2.0 * math.log(chance), abs=1e-5)
    assert int(torch.isfinite(found[0]).sum()) == 6 == int(torch.isfinite(found[2]).sum())
    assert not torch.isnan(found[2]).any()
    with pytest.raises(RequestError, match=r"guide: expected one of the classifier's labels, got 'yess'|did you mean 'yes'"):
        guide.wish("yess", 1.0)


@pytest.mark.parametrize("kind", ["transformer", "lstm", "ngram"])
def test_rows_are_as_they_would_be_alone(kind):
    _, classifier, _ = built()
    tok = tokenizer()
    guide = Guide(lambda contents: classifier.probabilities(list(contents)), tuple(sorted(WORDS)), 8)
    settings = sampling(max_tokens=10, temperature=0.9, seed=4, ignore_eos=True)
    requests = [Request([tok.bos_id, *tok.encode(prompt)], settings, wish=wish)
                for prompt, wish in (("清晨", guide.wish("sea", 3.0)), ("In the", None), ("清晨", guide.wish("hill", 3.0)), ("清晨", None))]  # fmt: skip
    together = [found.ids for found in Engine(tiny(kind), tok, slots=4).complete(requests)]
    assert together == [Engine(tiny(kind), tok, slots=1).complete([request])[0].ids for request in requests]
    plain = Engine(tiny(kind), tok, slots=2).complete([Request(requests[1].ids, settings)])
    assert plain[0].ids == together[1]


def test_control_grows_with_strength_and_is_held_against_fluency(places):
    task, head, opened = create("task", {**places, "strength": [0, 1, 6]}), TextHead(), Model.open("m")
    assert task.check() == []
    lines = head.answer(opened, task, task.load("test"))
    rows = {(row["metric"], row.get("group")): row for row in head.scored("m", "generation", lines, task)}
    control = [rows["control", f"strength={strength}"]["value"] for strength in (0, 1, 6)]
    assert control[0] == 0.5  # the same text, whatever is asked for
    assert control[0] <= control[1] <= control[2] == 1.0
    assert rows["control", None]["value"] == control[2]
    assert [rows["fluency", f"strength={strength}"]["n"] for strength in (0, 1, 6)] == [16] * 3
    assert lines == head.answer(opened, task, task.load("test"))
    by = {line["label"] + line["text"]: line for line in lines}
    assert "大海" in by["sea清晨，"]["answer"]
    assert "高山" in by["hill清晨，"]["answer"]
    assert "waves" in by["seaIn the morning the"]["answer"]
    record = SimpleNamespace(results=[*rows.values()], groups=lambda name: list(dict.fromkeys(g for _, g in rows if g)),
                             figure=lambda model, name, metric, group: rows.get((metric, group)))  # fmt: skip
    page = steering.section(record, "generation")
    assert "Control against fluency" in page
    assert page.count('<th scope="row">m</th>') == 3


def test_wrong_guides_and_settings(places):
    head, opened = TextHead(), Model.open("m")
    with pytest.raises(RequestError, match=r"m: expected a model that labels texts, got yanmo_ngram"):
        guide_of(opened, "m")
    task = create("task", {**places, "judge": "guide"})
    assert "the judge is the guide itself" in str(task.check()[0])
    write(Path("t.jsonl"), [{"text": "清晨 …", "prompt": "清晨", "scene": "hills"}])
    with pytest.raises(RequestError, match=r"guide: expected one of the classifier's labels, got hills - did you mean 'hill'\?"):
        head.answer(opened, create("task", places), create("task", places).load("test"))
    for wrong in ({"guide": None, "strength": 1.0}, {"attributes": []}, {"strength": []}, {"strength": [1, 1]}, {"strength": -1}, {"candidates": 1},
                  {"beams": 2, "temperature": 0.0}):  # fmt: skip
        with pytest.raises(RecipeError):
            create("task", {**places, **wrong})


def test_beginnings_are_beginnings():
    [en, zh] = [Example("a", {"text": "the ink 🙂 is black, e\u0301", "label": "x"}), Example("b", {"text": "研墨是写字之前", "label": "y"})]
    made = list(create("augment", {"type": "beginning", "copies": 6, "share": 0.3}).copies_of([en, zh]))
    assert {e.fields["label"] for e in made} == {"x", "y"}
    for copy in made:
        whole = (en if copy.fields["label"] == "x" else zh).fields["text"]
        assert whole.startswith(copy.fields["text"])
        assert 2 <= len(copy.fields["text"]) < len(whole)
