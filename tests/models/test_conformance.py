"""What every language model in the registry must do, counted or trained: a new line in the table is tested at once."""

import math

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from torch.nn import functional as F

from yanmo.core.console import Console
from yanmo.core.registry import create, names, resolve
from yanmo.corpus.tokens import TokenShards
from yanmo.models.base import Inputs, LanguageModel, ModelPart
from yanmo.models.store import load, save
from yanmo.nn.state import DenseSlots

SMALL = {
    "transformer": {"depth": 2, "width": 64, "heads": 2},
    "hashed n-grams": {"type": "transformer", "depth": 2, "width": 64, "heads": 2, "embedding": {"grams": {"rows": 512}}},
    "rnn": {"depth": 1, "width": 64},
    "gru": {"depth": 1, "width": 64},
    "lstm": {"depth": 1, "width": 64},
    "bert": {"depth": 2, "width": 64, "heads": 2},
    "t5": {"depth": 2, "width": 64, "heads": 2},
    "bart": {"depth": 2, "width": 64, "heads": 2},
    "ngram": {"order": 4},
    "completion": {"order": 4},
}  # a name that is missing here is tested at its default size
LANGUAGE = [*(name for name in names("model") if resolve("model", name).language()), "hashed n-grams"]
TRAINED = [name for name in LANGUAGE if name not in names("model") or not resolve("model", name).counted]
# What reads both ways gives no next token: it is overfitted with its objective, in tests/objectives.
WRITERS = [name for name in TRAINED if getattr(create("model", {"type": name, **SMALL.get(name, {})}), "architecture", "") != "encoder"]


def part(name: str) -> ModelPart:
    return create("model", {"type": name, **SMALL.get(name, {})})


@pytest.fixture(scope="module")
def shards(texts, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rows = {"id": ["a", "b"], "text": texts, "split": ["train"] * 2, "source": ["s"] * 2, "language": ["en", "zh"]}
    (folder / "documents").mkdir()
    parquet.write_table(pa.table(rows), folder / "documents" / "0.parquet")
    return TokenShards.build(folder, tokenizer, folder / "tokens", Console(quiet=True))


@pytest.fixture(scope="module", params=LANGUAGE)
def model(request, shards, tokenizer, tmp_path_factory):
    """Fitted, or built and shaken, so that it prefers something."""
    chosen = part(request.param)
    if chosen.counted:
        return chosen.fit(shards.split("train"), tokenizer, tmp_path_factory.mktemp("fit"))
    rng = torch.Generator().manual_seed(0)
    model = chosen.build(tokenizer, rng, 256)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return model.eval()


def given(model, tokens, **others) -> Inputs:
    """Inputs, for an encoder-decoder with a source that is the same for every row."""
    if model.kind == "encoder-decoder":
        others["source"] = Inputs(torch.tensor([[9, 5, 7, 6]]).expand(len(tokens), 4))
    return Inputs(tokens, **others)


def rows(texts, tokenizer, length=24):
    return torch.stack([torch.tensor([tokenizer.eos_id, *tokenizer.encode(text)][:length]) for text in texts])


def test_what_it_says_of_itself(model, tokenizer):
    assert isinstance(model, LanguageModel)
    assert model.vocabulary == tokenizer.size
    assert model.family in names("family")
    assert model.context is None or model.context > 0
    for spec in model.state().values():
        assert all(isinstance(size, int) for size in spec.shape)
        assert isinstance(spec.dtype, torch.dtype)


@torch.no_grad()
def test_logits_of_every_position_make_probabilities(model, texts, tokenizer):
    tokens = rows(texts, tokenizer)
    logits = model(given(model, tokens)).logits
    assert logits.shape == (*tokens.shape, tokenizer.size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    every = torch.arange(tokenizer.size)
    sums = [model.logprobs(given(model, tokens[:, :9]), every[i].expand(2, 9)).exp() for i in range(tokenizer.size)]
    torch.testing.assert_close(torch.stack(sums).sum(0), torch.ones(2, 9), rtol=0, atol=1e-4)


@torch.no_grad()
def test_logprobs_are_those_of_the_logits(model, texts, tokenizer):
    tokens = rows(texts, tokenizer)
    want = model(given(model, tokens[:, :-1])).logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
    got = model.logprobs(given(model, tokens[:, :-1]), tokens[:, 1:])
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_select_and_reduce(model, texts, tokenizer):
    tokens = rows(texts, tokenizer)
    whole = model(given(model, tokens)).logits
    select = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    torch.testing.assert_close(model(given(model, tokens), select=select).logits, whole[select], rtol=0, atol=1e-5)
    output = model(given(model, tokens), select=select, reduce=lambda logits, at: torch.stack([logits[:, 5], at.float()], 1))
    assert output.logits is None
    assert output.reduced[:, 1].tolist() == list(range(int(select.sum())))
    torch.testing.assert_close(output.reduced[:, 0], whole[select][:, 5], rtol=0, atol=1e-5)


@torch.no_grad()
def test_nothing_that_follows_is_seen(model, texts, tokenizer):
    if model.kind == "masked":
        pytest.skip("it reads both ways")
    tokens = rows(texts, tokenizer)
    changed = tokens.clone()
    changed[:, 15:] = tokens[[1, 0], 15:]
    before, after = model(given(model, tokens)).logits, model(given(model, changed)).logits
    torch.testing.assert_close(before[:, :15], after[:, :15], rtol=0, atol=1e-5)


@torch.no_grad()
def test_packed_documents_are_as_if_alone(model, texts, tokenizer):
    first, second = rows(texts, tokenizer)
    packed = torch.cat([first, second])[None]
    documents = torch.tensor([[0] * len(first) + [1] * len(second)])
    logits = model(given(model, packed, documents=documents)).logits[0]
    alone = torch.cat([model(given(model, row[None])).logits[0] for row in (first, second)])
    torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_padding_changes_nothing(model, texts, tokenizer):
    tokens = rows(texts, tokenizer)
    padded = tokens.clone()
    padded[0, 10:] = tokenizer.pad_id
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[0, 10:] = False
    logits = model(given(model, padded, mask=mask)).logits
    torch.testing.assert_close(logits[0, :10], model(given(model, tokens[:1, :10])).logits[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits[1], model(given(model, tokens[1:])).logits[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_state_carries_rows_of_different_lengths(model, texts, tokenizer):
    if model.kind == "masked":
        pytest.skip("it reads both ways")
    tokens = rows(texts, tokenizer)
    whole = model(given(model, tokens)).logits
    slots = DenseSlots(model.state(), 3, 24)
    for row, count in ((0, 5), (1, 11)):  # prompts of their own lengths
        view = slots.at([2 - row])
        view_logits = model(given(model, tokens[row : row + 1, :count]), view).logits
        view.advance(count)
        torch.testing.assert_close(view_logits[0], whole[row, :count], rtol=0, atol=1e-5)
    together = slots.at([2, 1])
    for step in range(6):
        logits = model(given(model, torch.stack([tokens[0, 5 + step], tokens[1, 11 + step]])[:, None]), together).logits
        together.advance(1)
        want = torch.stack([whole[0, 5 + step], whole[1, 11 + step]])
        torch.testing.assert_close(logits[:, 0], want, rtol=0, atol=1e-5)
    slots.copy([1], [0])  # a branch
    slots.reset([2])
    branch = model(given(model, tokens[1:, 17:20]), slots.at([0])).logits
    torch.testing.assert_close(branch[0], whole[1, 17:20], rtol=0, atol=1e-5)
    fresh = model(given(model, tokens[:1, :4]), slots.at([2])).logits
    torch.testing.assert_close(fresh[0], whole[0, :4], rtol=0, atol=1e-5)


@torch.no_grad()
def test_saved_and_opened_it_is_the_same_to_the_bit(model, texts, tokenizer, tmp_path):
    save(tmp_path / "a", model, tokenizer)
    save(tmp_path / "b", model, tokenizer)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    opened = load(tmp_path / "a")
    assert opened.generates
    tokens = rows(texts, tokenizer)
    assert torch.equal(opened.model(given(model, tokens)).logits, model(given(model, tokens)).logits)
    save(tmp_path / "c", opened.model, opened.tokenizer)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "c" / file.name).read_bytes()


# ------------------------------------------------------------------------------------------------ the trained ones


@pytest.mark.parametrize("name", TRAINED)
def test_it_is_the_seeds_alone(name, tokenizer):
    first, second, third = (part(name).build(tokenizer, torch.Generator().manual_seed(s), 64) for s in (1, 1, 2))
    for (key, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b), key
        assert a.isfinite().all(), key
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), third.parameters()))


@pytest.mark.parametrize("name", TRAINED)
def test_it_begins_near_the_uniform_guess(name, texts, tokenizer):
    chosen = create("model", name) if name in names("model") else part(name)  # at its default size
    model = chosen.build(tokenizer, torch.Generator().manual_seed(0), 256)
    tokens = rows(texts, tokenizer)
    with torch.no_grad():
        loss = -model.logprobs(given(model, tokens[:, :-1]), tokens[:, 1:]).mean(1)
    tied = name == "bart"  # a norm right before a tied head: at first it guesses the token that it has just read
    for each in loss.tolist():
        assert each == pytest.approx(math.log(tokenizer.size), rel=0.12 if tied else 0.05)


@pytest.mark.parametrize("name", WRITERS)
def test_it_overfits_two_examples_and_still_knows_them_when_opened(name, texts, tokenizer, tmp_path):
    model = part(name).build(tokenizer, torch.Generator().manual_seed(0), 256).train()
    encoded = [[tokenizer.eos_id, *tokenizer.encode(text), tokenizer.eos_id] for text in texts]
    tokens = torch.zeros(2, max(map(len, encoded)), dtype=torch.int64)
    for row, ids in zip(tokens, encoded):
        row[: len(ids)] = torch.tensor(ids)
    mask = torch.arange(tokens.shape[1] - 1) < torch.tensor([[len(ids) - 1] for ids in encoded])
    targets = tokens[:, 1:][mask]
    rate = 2e-3 if name == "t5" else 5e-3  # its scores are not divided by √D, so that they move the faster
    optimizer = create("optimizer", {"type": "adamw", "lr": rate, "weight_decay": 0.0}).make(model)
    for _ in range(250 if name == "t5" else 150):
        losses = model(
            given(model, tokens[:, :-1], mask=mask), select=mask,
            reduce=lambda logits, at: F.cross_entropy(logits, targets[at], reduction="none"),
        ).reduced  # fmt: skip
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
    assert losses.mean() < 0.05
    save(tmp_path / "model", model, tokenizer)
    opened = load(tmp_path / "model")
    for text, ids in zip(texts, encoded):
        prompt = ids[:4]
        slots = DenseSlots(opened.model.state(), 1, 256)
        written, fresh = list(prompt), torch.tensor([prompt])
        with torch.no_grad():
            while written[-1] != tokenizer.eos_id and len(written) < 200:
                fresh = opened.model(given(opened.model, fresh), slots).logits[:, -1:].argmax(-1)
                slots.advance(len(written) - slots.length(0))
                written.append(int(fresh))
        assert opened.tokenizer.decode(written) == text
