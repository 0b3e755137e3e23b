"""Vectors before each text: the same logits in training, in generation by slots, and in PEFT."""

import json

import pytest
import torch

from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.inference.engine import Engine, Request
from yanmo.inference.sampling import sampling
from yanmo.models import adapter, peft
from yanmo.models.base import Inputs
from yanmo.models.classifier import Classifier
from yanmo.models.recurrent import LstmModel
from yanmo.models.store import load, save
from yanmo.nn.state import DenseSlots

P = 5


def part(tokens=P):
    return create("adapter", {"type": "prompt", "tokens": tokens})


def base(tokenizer, kind="transformer", **settings):
    small = {"depth": 2, "width": 32, "heads": 4, "context": 48}
    qk = {"kv_heads": 2, "qk_norm": False} if kind == "transformer" else {}
    model = create("model", {"type": kind, **small, **qk, **settings}).build(tokenizer, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model.eval()


def made(tokenizer, rng, kind="transformer", labels=0, **settings):
    model = base(tokenizer, kind, **settings)
    if labels:
        model = Classifier(model, labels)
        model.initialise(rng)
    model = part().apply(model, rng)
    with torch.no_grad():
        adapter.backbone_of(model).prompt.mul_(1.7)
    return model.eval()


def tokens(tokenizer, rows=2, steps=12):
    return torch.arange(rows * steps).mul(11).remainder(tokenizer.size - 1).add(1).view(rows, steps)


def test_the_prompt_stands_before_each_row(tokenizer, rng):
    model = made(tokenizer, rng)
    ids = tokens(tokenizer)
    found = model(Inputs(ids))
    before = model.prompt.expand(2, -1, -1)
    whole = torch.cat([before, model.inner.embedding(ids)], 1)
    want = model.inner(Inputs(torch.zeros(2, P + 12, dtype=torch.int64), embeddings=whole))
    torch.testing.assert_close(found.logits, want.logits[:, P:])
    torch.testing.assert_close(found.hidden, want.hidden[:, P:])
    select = torch.rand(ids.shape, generator=rng) < 0.4
    torch.testing.assert_close(model(Inputs(ids), select=select).logits, want.logits[:, P:][select])
    torch.testing.assert_close(model.encode(Inputs(ids)), want.hidden[:, P:])
    longer = torch.cat([ids, ids[:, :3]], 1)
    mask = torch.arange(15) < torch.tensor([[12], [15]])
    torch.testing.assert_close(model(Inputs(longer, mask=mask)).logits[0, :12], found.logits[0])
    assert [name for name, _ in model.named_parameters()] == ["prompt"] == list(model.state_dict())
    assert model.context == 48 - P


def test_it_begins_as_tokens_of_the_model(tokenizer, rng):
    model = part().apply(base(tokenizer), rng)
    table = model.inner.embedding.weight
    assert all(bool((row == table).all(1).any()) for row in model.prompt)


@pytest.mark.parametrize("position", ["rotary", "learned", "alibi"])
def test_piece_by_piece_in_slots_it_is_the_whole(position, tokenizer, rng):
    model = made(tokenizer, rng, position=position)
    ids = tokens(tokenizer)
    with torch.no_grad():
        want = model(Inputs(ids)).logits
        slots = DenseSlots(model.state(), 2, 20)
        found = []
        for begin, end in ((0, 5), (5, 6), (6, 12)):
            found.append(model(Inputs(ids[:, begin:end]), slots).logits)
            slots.advance(end - begin)
        torch.testing.assert_close(torch.cat(found, 1), want, rtol=1e-4, atol=1e-5)
        uneven = DenseSlots(model.state(), 2, 20)  # rows of other lengths in one pass
        model(Inputs(ids[:1, :4]), uneven.at([0]))
        uneven.at([0]).advance(4)
        both = model(Inputs(torch.stack([ids[0, 4:7], ids[1, :3]])), uneven).logits
        torch.testing.assert_close(both, torch.stack([want[0, 4:7], want[1, :3]]), rtol=1e-4, atol=1e-5)
        model.prompt.add_(0.3)  # what was made of another prompt is made again
        slots = DenseSlots(model.state(), 2, 20)
        torch.testing.assert_close(model(Inputs(ids), slots).logits, model(Inputs(ids)).logits, rtol=1e-4, atol=1e-5)


def test_the_engine_writes_on_from_it(tokenizer, rng):
    model = made(tokenizer, rng)
    ids = tokens(tokenizer, 1)[0].tolist()
    engine = Engine(model, tokenizer, slots=2)
    tickets = [engine.submit(Request(start, sampling(max_tokens=6, temperature=0, ignore_eos=True))) for start in (ids, ids[:5])]
    for ticket in tickets:
        list(engine.stream(ticket))
    for ticket, start in zip(tickets, (ids, ids[:5])):
        row = list(start)
        with torch.no_grad():
            for _ in range(6):
                row.append(int(model(Inputs(torch.tensor([row]))).logits[0, -1].argmax()))
        assert ticket.tokens == row[len(start) :]


def test_only_the_prompt_learns(tokenizer, rng):
    model = made(tokenizer, rng, labels=3).train()
    optimizer = create("optimizer", {"type": "adamw", "lr": 0.1}).make(model)
    names = {name for name, _ in model.named_parameters()}
    assert names == {"backbone.prompt", "score.weight"}
    frozen = [tensor.clone() for tensor in adapter.shelved(model)]
    for _ in range(2):
        torch.nn.functional.cross_entropy(model(Inputs(tokens(tokenizer))), torch.tensor([0, 2])).backward()
        optimizer.step()
    assert len(optimizer.state) == 2
    assert all(torch.equal(a, b) for a, b in zip(frozen, adapter.shelved(model)))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(("kind", "labels"), [("transformer", 0), ("bert", 3), ("transformer", 3)])
def test_saved_it_opens_here_and_in_peft(kind, labels, tokenizer, rng, tmp_path, hf):
    theirs = pytest.importorskip("peft", reason="peft is not installed")
    save(tmp_path / "base", base(tokenizer, kind), tokenizer)
    model = load(tmp_path / "base").model
    if labels:
        model = Classifier(model, labels)
        model.initialise(rng)
    model = part().apply(model, rng).eval()
    names = ["a", "b", "文"][:labels]
    part().save(tmp_path / "adapter", model, "../base", tokenizer, names)
    ids = tokens(tokenizer)
    with torch.no_grad():
        want = model(Inputs(ids))
        opened = peft.opened(tmp_path / "adapter")
        got = opened.model(Inputs(ids))
    want, got = (getattr(found, "logits", found) for found in (want, got))
    torch.testing.assert_close(got, want)
    assert opened.labels == names
    cls = hf.AutoModelForSequenceClassification if labels else hf.AutoModelForCausalLM
    options = {"num_labels": 3, "pad_token_id": 0} if labels else {}
    other = theirs.PeftModel.from_pretrained(cls.from_pretrained(tmp_path / "base", **options), tmp_path / "adapter").eval()
    with torch.no_grad():
        logits = other(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    if labels:
        if kind == "bert":
            torch.testing.assert_close(logits, want, rtol=1e-4, atol=1e-4)
    else:
        torch.testing.assert_close(logits[:, P:], want, rtol=1e-4, atol=1e-4)


def test_what_cannot_have_one(tokenizer, rng, tmp_path):
    with pytest.raises(RequestError, match="takes vectors in the place of tokens"):
        part().apply(LstmModel(width=16).build(tokenizer, rng), rng)
    with pytest.raises(RequestError, match=r"adapter.tokens: expected fewer than the model's context of 48, got 48"):
        part(48).apply(base(tokenizer), rng)
    model = made(tokenizer, rng)
    with pytest.raises(RequestError, match="'documents' is needed and is not supported"):
        model(Inputs(tokens(tokenizer), documents=torch.zeros(2, 12, dtype=torch.int64)))
    save(tmp_path / "base", base(tokenizer, width=64), tokenizer)
    part().save(tmp_path / "adapter", model, "../base", None, [])
    with pytest.raises(RequestError, match="vectors of the model's width 64"):
        peft.opened(tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["num_virtual_tokens"] == P
