"""Texts of any length in constant memory."""

import resource
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.inference.tiny import TEXTS, model, tokenizer
from yanmo.core.errors import RequestError
from yanmo.inference.engine import Engine, Request
from yanmo.inference.sampling import sampling
from yanmo.inference.streaming import endless, stream
from yanmo.models.base import Inputs
from yanmo.models.transformer import TransformerModel
from yanmo.nn.rolling import RollingSlots

TOK = tokenizer()
POSITIONS = [{"type": "rotary"}, {"type": "rotary", "scaling": {"type": "yarn", "factor": 4.0, "trained": 16}}, {"type": "alibi"},
             {"type": "relative", "buckets": 8, "distance": 64}, {"type": "none"}]  # fmt: skip


def windowed(window=12, sinks=0, context=32, **fields):
    settings = {"depth": 3, "width": 48, "heads": 4, "kv_heads": 2, "attention": {"window": window, "sinks": sinks}}
    built = TransformerModel(**settings, context=context, **fields).build(TOK, torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.ndim > 1:
                parameter *= 4  # sharper than a fresh model is, so that what is seen wrongly shows
    return built


def text(count: int) -> list[int]:
    ids = [token for line in TEXTS for token in (TOK.eos_id, *TOK.encode(line))]  # both languages, emoji, combining marks
    return (ids * (count // len(ids) + 1))[:count]


def whole(built, ids):
    with torch.no_grad():
        return built.logprobs(Inputs(torch.tensor([ids[:-1]])), torch.tensor([ids[1:]]))[0].numpy()


def streamed(built, ids, stretch=7):
    return np.concatenate(list(stream(built, iter(ids), stretch)))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("sinks", [0, 3])
def test_as_long_as_a_text_fits_it_is_the_plain_windowed_pass(position, sinks):
    built = windowed(sinks=sinks, position=position)
    ids = text(12 + sinks + 1)
    np.testing.assert_allclose(streamed(built, ids), whole(built, ids), atol=2e-4)


@pytest.mark.parametrize("position", POSITIONS)
def test_without_sinks_it_is_the_plain_windowed_pass_of_any_length(position):
    built, ids = windowed(position=position), text(300)
    longer = windowed(position=position, context=300)
    longer.load_state_dict(built.state_dict())
    np.testing.assert_allclose(streamed(built, ids), whole(longer, ids), atol=2e-4)


@pytest.mark.parametrize("position", POSITIONS)
def test_however_it_is_divided_a_text_gives_the_same(position):
    built, ids = windowed(sinks=3, position=position), text(120)
    alone = streamed(built, ids, 1)
    assert len(alone) == 119
    for stretch in (5, 64, 200):
        np.testing.assert_allclose(streamed(built, ids, stretch), alone, atol=2e-4)
    plain = windowed(sinks=3, position=position, context=120)
    if position["type"] != "none":  # the sinks stand nearer than they were read: another figure than the plain pass's
        plain.load_state_dict(built.state_dict())
        assert np.abs(alone - whole(plain, ids)).max() > 1e-3


def test_a_recurrent_model_carries_its_state_along():
    built, ids = model("lstm"), text(200)
    np.testing.assert_allclose(streamed(built, ids, 9), whole(built, ids), atol=2e-4)


def resident() -> int:
    """Bytes that the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory held now is read from /proc")
def test_memory_does_not_grow_with_the_text():
    """The slots' tensors are of one size, and the process needs no more for ten times the text."""
    built, line = windowed(window=28, sinks=4), text(997)
    sizes, peaks = [], []
    for count in (2_000, 20_000):
        slots = endless(built, 1, 128)
        assert isinstance(slots, RollingSlots)
        sizes.append({name: tuple(tensor.shape) for name, tensor in slots._storage.tensors.items()})
        forever = (line[i % 997] for i in range(count))
        held = [(len(part), resident()) for part in stream(built, forever)]
        assert sum(size for size, _ in held) == count - 1
        peaks.append(max(amount for _, amount in held))
    assert sizes[0] == sizes[1]
    assert set(sizes[0].values()) == {(1, 4 + 28 - 1 + 128 + 1, 2, 12)}
    assert peaks[1] - peaks[0] < 3e6  # bytes; keys and values of the rest of the longer text would be 10 million
    rotary = built.stack.position.full
    assert len(rotary._tables[0]) <= 256


@pytest.mark.parametrize(
    "fields", [{"attention": {"window": 8, "full_every": 2}}, {"attention": {}}, {"position": "learned"}, {"window": 40}],
)  # fmt: skip
def test_a_model_whose_memory_grows_is_refused(fields):
    built = TransformerModel(**{"depth": 2, "width": 48, "heads": 4, "context": 32, **fields}).build(TOK, torch.Generator()) \
        if "attention" in fields else windowed(**fields)  # fmt: skip
    with pytest.raises(RequestError, match="a window on every layer"):
        next(stream(built, text(10)))


def test_an_unknown_token_is_said():
    with pytest.raises(RequestError, match=f"from 0 to {TOK.size - 1}, got 9999"):
        list(stream(windowed(), [1, 2, 9999]))


def test_the_engine_goes_on_beyond_the_context():
    """Rows of different lengths, more tokens than the context: the same as each alone, and as reading what was written."""
    built = windowed(sinks=2)
    prompts = [text(50), text(9)[3:], text(31)]
    settings = sampling(max_tokens=60, temperature=0.0, ignore_eos=True)
    engine = Engine(built, TOK, slots=2, chunk=16, endless=True)
    found = [completion.ids for completion in engine.complete([Request(ids, settings) for ids in prompts])]
    for ids, answer in zip(prompts, found):
        assert len(answer) == 60
        alone = Engine(built, TOK, slots=1, chunk=5, endless=True).complete([Request(ids, settings)])[0].ids
        assert alone == answer
        slots = endless(built, 1, 200)
        with torch.no_grad():
            logits = built(Inputs(torch.tensor([[*ids, *answer]])), slots).logits[0, len(ids) - 1 : -1]
        assert logits.argmax(-1).tolist() == answer
    with pytest.raises(RequestError, match="a window on every layer"):
        Engine(model("transformer"), TOK, endless=True)


def test_log_probabilities_of_a_generator_come_as_it_is_read():
    taken = []

    def tokens():
        for token in text(10_000):
            taken.append(token)
            yield token

    first = list(islice(stream(windowed(), tokens(), 16), 2))
    assert [len(part) for part in first] == [16, 16]
    assert len(taken) == 33
