"""What a model has learned from, looked up while it writes: the rule by hand, states as the model has them, and a network that
knows nothing by heart saying what it remembers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from yanmo.core.data import Example
from yanmo.core.errors import CorruptError, RequestError
from yanmo.core.registry import create
from yanmo.inference import memory
from yanmo.inference.memory import Memory, Recollection
from yanmo.inference.model import start_of
from yanmo.inference.writing import answered
from yanmo.models import nearest
from yanmo.models.base import Inputs
from yanmo.models.nearest import NearestWriter
from yanmo.models.store import load, save

PAIRS = [("turn on the light", "打开灯"), ("close the door 🚪", "关上门🚪"), ("cafe\u0301 open", "咖啡馆 开"), ("what is the time", "现在几点"),
         ("冷 is cold", "冷")]  # fmt: skip
TOKENIZER = create("tokenizer", {"type": "characters", "min_count": 1}).train([side for pair in PAIRS for side in pair])


@pytest.fixture(params=["encoder-decoder", "decoder"])
def loaded(request, tmp_path):
    """A network as it was drawn."""
    settings = {"type": "transformer", "architecture": request.param, "depth": 2, "width": 32, "heads": 2, "context": 96}
    model = create("model", settings).build(TOKENIZER, torch.Generator().manual_seed(5))
    save(tmp_path / "m", model, TOKENIZER)
    nearest.save(tmp_path / "m", PAIRS)
    return load(tmp_path / "m")


def task(**settings):
    return create("task", {"type": "translate", "path": "x", "template": "{text}", "max_tokens": 16, **settings})


def texts(*contents):
    return [Example(str(at), {"text": content}, f"a:{at}") for at, content in enumerate(contents)]


def test_the_rule_by_hand():
    rng = np.random.default_rng(0)
    states, tokens, alike = rng.normal(size=(40, 6)), rng.integers(0, 9, 40), rng.uniform(0.1, 1, 40)
    hidden, logprobs = rng.normal(size=(3, 6)), np.log(rng.dirichlet(np.ones(9), 3))
    logprobs[0, 4] = -np.inf
    found = Recollection(*(torch.tensor(x) for x in (states.astype(np.float32), tokens, np.log(alike).astype(np.float32))), weight=0.3)
    made = found.mixed(torch.tensor(logprobs), torch.tensor(hidden)).exp().numpy()
    for row, state in enumerate(hidden):
        apart = ((state - states) ** 2).sum(1) / (states**2).sum(1).mean()
        near = np.argsort(apart)[: memory.NEAREST]
        worth = alike[near] * np.exp(-apart[near] / memory.TEMPERATURE)
        wanted = 0.7 * np.exp(logprobs[row]) + 0.3 * np.bincount(tokens[near], worth / worth.sum(), 9)
        np.testing.assert_allclose(made[row], wanted, rtol=1e-4, atol=1e-7)


def test_states_are_the_models_own(loaded):
    store = Memory(loaded, task(), NearestWriter(PAIRS, "characters"))
    content, answer = PAIRS[1]
    found = store.recollection("the door 🚪", 0.5)
    ids = [*TOKENIZER.encode(answer), TOKENIZER.eos_id]
    if loaded.model.kind == "encoder-decoder":
        source = TOKENIZER.add_special(TOKENIZER.encode(content)).ids
        row, begin = [start_of(loaded), *ids[:-1]], 0
        inputs = Inputs(torch.tensor([row]), source=Inputs(torch.tensor([source])))
    else:
        prompt = [TOKENIZER.bos_id, *TOKENIZER.encode(content)]
        row, begin = [*prompt, *ids[:-1]], len(prompt) - 1
        inputs = Inputs(torch.tensor([row]))
    with torch.inference_mode():
        hidden = loaded.model(inputs).hidden[0, begin:]
    assert found.tokens[: len(ids)].tolist() == ids, "the most similar text stands first"
    torch.testing.assert_close(found.states[: len(ids)], hidden, rtol=2e-3, atol=2e-3)
    closeness = found.closeness[: len(ids)]
    assert closeness.unique().numel() == 1
    assert float(closeness[0]) == pytest.approx(np.log(store.known.similar("the door 🚪", 1)[1][0]), abs=1e-5)


def test_a_network_that_knows_nothing_says_what_it_remembers(loaded):
    asked = texts(*(content for content, _ in PAIRS))
    for settings in [{}, {"beams": 3, "length_penalty": 1.2}][: 2 if loaded.model.kind == "encoder-decoder" else 1]:
        said = [found.text for found in answered(loaded, task(memory=0.999, **settings), asked)]
        assert said == [answer for _, answer in PAIRS]
        assert [found.text for found in answered(loaded, task(**settings), asked)] != said


def test_an_answer_does_not_depend_on_the_others(loaded):
    asked = texts("turn on the door", "what is open", "?", "time 🚪 cafe\u0301", "完全不同")
    own = task(beams=3, memory=0.6)
    together = [found.text for found in answered(loaded, own, asked)]
    assert together == [answered(loaded, own, [example])[0].text for example in asked]


def test_where_nothing_is_alike_the_model_writes_alone(loaded):
    store = Memory(loaded, task(), NearestWriter(PAIRS, "characters"))
    assert store.recollection("完全不同", 0.5) is None
    asked = texts("完全不同")
    assert answered(loaded, task(beams=2, memory=0.9), asked) == answered(loaded, task(beams=2), asked)


def test_states_that_are_too_many_are_read_again(loaded, monkeypatch):
    store = Memory(loaded, task(), NearestWriter(PAIRS, "characters"))
    first = store.recollection("the door", 0.5)
    monkeypatch.setattr(memory, "KEPT", 1)
    store.recollection("the light", 0.5)
    assert not store._kept
    again = store.recollection("the door", 0.5)
    torch.testing.assert_close(again.states, first.states)
    assert again.tokens.tolist() == first.tokens.tolist()


@pytest.mark.parametrize("content", ["", "{}\n", '{"prompt": "a"}\n', '{"prompt": "a", "answer": 3}\n', "\x00\n", "[1]\n"])
def test_pairs_that_are_none(loaded, content):
    (loaded.folder / nearest.KNOWN).write_text(content, encoding="utf-8")
    with pytest.raises(CorruptError, match=nearest.KNOWN):
        answered(loaded, task(memory=0.5), texts("a"))


def test_a_model_without_hidden_states_says_so(loaded, monkeypatch):
    """As others' architectures are read: logits alone."""
    forward = type(loaded.model).forward

    def bare(self, *args, **settings):
        output = forward(self, *args, **settings)
        output.hidden = None
        return output

    monkeypatch.setattr(type(loaded.model), "forward", bare)
    with pytest.raises(RequestError, match=r"hidden states.*leave out 'memory'"):
        answered(loaded, task(memory=0.5), texts("turn on"))
