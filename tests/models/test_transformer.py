"""The Transformer: its dial, its limits, packed documents, state, the chunked loss, torch.compile."""

import math

import pytest
import torch
from torch.nn import functional as F

from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.transformer import TransformerModel
from yanmo.nn import heads
from yanmo.nn.state import DenseSlots

SMALL = {"depth": 2, "width": 48, "heads": 4, "kv_heads": 2, "head_size": 8}
SHAPES = [
    {},
    {"qk_norm": False, "tie": False},
    {"mlp": "relu2"},
    {"kv_heads": 4, "position": {"type": "rotary", "theta": 500.0}},
]


def build(tokenizer, context=32, **fields):
    model = TransformerModel(**{**SMALL, **fields}).build(tokenizer, torch.Generator().manual_seed(0), context)
    with torch.no_grad():  # away from the initial symmetry: every path must matter
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return model.eval()


def draw(tokenizer, *shape):
    return torch.randint(4, tokenizer.size, shape, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------------------------------------ settings


def test_everything_follows_from_the_dial():
    part = TransformerModel(depth=6).complete(context=256)
    sizes = (part.depth, part.width, part.heads, part.kv_heads, part.head_size, part.mlp_width, part.context)
    assert sizes == (6, 384, 6, 6, 64, 1024, 256)
    assert TransformerModel(mlp="relu2", width=128).complete(depth=3).mlp_width == 512
    assert TransformerModel().complete(depth=4).width == 256
    assert TransformerModel(depth=2).complete(depth=4).width == 128  # what the recipe says, stands


@pytest.mark.parametrize("fields", SHAPES)
def test_parameters_are_counted_without_building(tokenizer, fields):
    model = build(tokenizer, **fields)
    assert sum(p.numel() for p in model.parameters()) == TransformerModel(**SMALL | fields).parameters(tokenizer.size)


def test_flops_are_six_a_weight_and_attention(tokenizer):
    part = TransformerModel(depth=6)
    weights = 6 * (4 * 384 * 384 + 3 * 384 * 1024) + 8192 * 384
    assert part.flops(8192, 256) == 6 * weights + 12 * 6 * 384 * 256


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"width": 100, "heads": 3}, "'heads' that divide the width 100, not 3"),
        ({"depth": 4, "kv_heads": 3}, "'kv_heads' that divide the 4 heads, not 3"),
        ({"head_size": 5}, "an even head size"),
        ({"depth": 0}, "a number of at least 1"),
        ({"mlp": "gelo"}, "did you mean 'gelu'?"),
        ({"widht": 64}, "did you mean 'width'?"),
    ],
)
def test_wrong_settings_are_said(fields, said):
    with pytest.raises(RecipeError) as caught:
        create("model", {"type": "transformer", **fields})
    assert said in caught.value.render("en")


def test_the_same_seed_gives_the_same_model_whatever_else_was_drawn(tokenizer):
    part = TransformerModel(**SMALL)
    first = part.build(tokenizer, torch.Generator().manual_seed(3), 16)
    torch.manual_seed(99)
    torch.rand(5)
    second = part.build(tokenizer, torch.Generator().manual_seed(3), 16)
    other = part.build(tokenizer, torch.Generator().manual_seed(4), 16)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


# ------------------------------------------------------------------------------------------------ limits


def test_longer_than_the_context_is_refused(tokenizer):
    model = build(tokenizer, context=8)
    with torch.no_grad():
        assert model(Inputs(draw(tokenizer, 1, 8))).logits.shape == (1, 8, tokenizer.size)
        with pytest.raises(RequestError, match="at most the model's 8 tokens, got 9 tokens"):
            model(Inputs(draw(tokenizer, 1, 9)))
        slots = DenseSlots(model.state(), 1, 9)
        model(Inputs(draw(tokenizer, 1, 8)), slots)
        slots.advance(8)
        with pytest.raises(RequestError, match="got 9 tokens"):
            model(Inputs(draw(tokenizer, 1, 1)), slots)


def test_padding_beyond_the_context_asks_for_nothing(tokenizer):
    """A row with 7 of 8 tokens gets one more beside a row that gets four."""
    model = build(tokenizer, context=8)
    tokens = draw(tokenizer, 2, 8)
    with torch.no_grad():
        whole = model(Inputs(tokens)).logits
        slots = DenseSlots(model.state(), 2, 8)
        for row, count in ((0, 7), (1, 2)):
            part = slots.at([row])
            model(Inputs(tokens[row : row + 1, :count]), part)
            part.advance(count)
        chunk = torch.stack([tokens[0, [7, 0, 0, 0]], tokens[1, 2:6]])
        mask = torch.tensor([[True, False, False, False], [True] * 4])
        out = model(Inputs(chunk, mask=mask), slots).logits
        slots.advance([1, 4])
        torch.testing.assert_close(out[0, 0], whole[0, 7], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(out[1], whole[1, 2:6], rtol=1e-4, atol=1e-5)
        with pytest.raises(RequestError, match="got 10 tokens"):
            model(Inputs(chunk, mask=mask), slots)


def test_a_context_beyond_the_models_is_refused_before_training(tokenizer, rng):
    with pytest.raises(RequestError, match="at most the model's 16 tokens, got 32"):
        TransformerModel(**SMALL, context=16).build(tokenizer, rng, 32)
    assert TransformerModel(**SMALL, context=64).build(tokenizer, rng, 32).context == 64


def test_padding_on_the_left_is_our_mistake(tokenizer):
    mask = torch.tensor([[False, True, True]])
    with pytest.raises(AssertionError, match="padding stands on the right"):
        build(tokenizer)(Inputs(draw(tokenizer, 1, 3), mask=mask))


# ------------------------------------------------------------------------------------------------ who sees whom


@pytest.mark.parametrize("fields", SHAPES)
def test_no_position_sees_what_follows(tokenizer, fields):
    model, tokens = build(tokenizer, **fields), draw(tokenizer, 1, 12)
    changed = tokens.clone()
    changed[0, 7] = (changed[0, 7] - 3) % (tokenizer.size - 4) + 4
    with torch.no_grad():
        before, after = model(Inputs(tokens)).logits, model(Inputs(changed)).logits
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=1e-5)
    assert (before[:, 7:] - after[:, 7:]).abs().amax(-1).min() > 1e-3


def test_packed_documents_do_not_see_each_other(tokenizer):
    """A change in the middle document moves every later logit of it and none of its neighbours'; each document gives what
    it gives alone."""
    model, tokens = build(tokenizer), draw(tokenizer, 2, 15)
    documents = torch.tensor([0] * 4 + [1] * 6 + [2] * 5).expand(2, 15)
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] - 3) % (tokenizer.size - 4) + 4
    with torch.no_grad():
        before = model(Inputs(tokens, documents=documents)).logits
        after = model(Inputs(changed, documents=documents)).logits
        moved = (before - after).abs().amax(-1)
        assert moved[:, :5].max() == 0
        assert moved[:, 10:].max() == 0
        assert moved[:, 5:10].min() > 1e-3
        for first, last in ((0, 4), (4, 10), (10, 15)):
            alone = model(Inputs(tokens[:, first:last])).logits
            torch.testing.assert_close(before[:, first:last], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fields", SHAPES)
def test_prefill_and_decoding_at_different_lengths_equal_the_whole_row(tokenizer, fields):
    model, tokens = build(tokenizer, **fields), draw(tokenizer, 3, 20)
    lengths, done = [20, 9, 14], [0, 0, 0]
    slots = DenseSlots(model.state(), 5, 20)
    with torch.no_grad():
        whole = model(Inputs(tokens)).logits
        for counts in ([7, 3, 5], [2, 1, 6], [1, 1, 1], [1, 1, 1], [1, 1, 1], [8, 2, 0]):
            chunk = torch.zeros(3, max(counts), dtype=torch.int64)
            mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
            for row, count in enumerate(counts):
                chunk[row, :count] = tokens[row, done[row] : done[row] + count]
            view = slots.at([4, 0, 2])
            logits = model(Inputs(chunk, mask=mask), view).logits
            view.advance(counts)
            for row, count in enumerate(counts):
                got, want = logits[row, :count], whole[row, done[row] : done[row] + count]
                torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
                done[row] += count
    assert done == lengths


# ------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("fields", SHAPES)
def test_the_chunked_loss_and_its_gradients_are_the_whole_ones(tokenizer, fields, monkeypatch):
    monkeypatch.setattr(heads, "ELEMENTS", tokenizer.size * 7)
    model, tokens = build(tokenizer, **fields).train(), draw(tokenizer, 4, 13)
    flat = tokens[:, 1:].reshape(-1)
    inputs = Inputs(tokens[:, :-1])
    loss = F.cross_entropy(model(inputs).logits.flatten(0, 1), flat)
    want = torch.autograd.grad(loss, list(model.parameters()))
    output = model(inputs, reduce=lambda logits, at: F.cross_entropy(logits, flat[at], reduction="none"))
    assert output.logits is None
    torch.testing.assert_close(output.reduced.mean(), loss)
    got = torch.autograd.grad(output.reduced.mean(), list(model.parameters()))
    for (name, _), one, other in zip(model.named_parameters(), got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo itself looks, and hides the warning
def test_one_compilation_serves_all_blocks_and_gives_the_same_gradients(tokenizer):
    model, tokens = build(tokenizer, depth=3).train(), draw(tokenizer, 2, 13)
    flat = tokens[:, 1:].reshape(-1)

    def step():
        output = model(Inputs(tokens[:, :-1]), reduce=lambda x, at: F.cross_entropy(x, flat[at], reduction="none"))
        return output.reduced.sum(), torch.autograd.grad(output.reduced.sum(), list(model.parameters()))

    want = step()
    graphs = []

    def count(graph, example):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    try:
        for region in model.regions():
            region.compile(backend=count, fullgraph=True, dynamic=False)
        got = step()
    finally:
        torch._dynamo.reset()
    assert len(graphs) == 1
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_dropout_is_for_training_only(tokenizer):
    model, tokens = build(tokenizer, dropout=0.5), draw(tokenizer, 1, 8)
    with torch.no_grad():
        assert torch.equal(model(Inputs(tokens)).logits, model(Inputs(tokens)).logits)
        model.train()
        assert not torch.equal(model(Inputs(tokens)).logits, model(Inputs(tokens)).logits)


# ------------------------------------------------------------------------------------------------ what is in effect


def test_a_model_says_how_far_it_sees_and_how_it_tells_positions():
    plain = TransformerModel(**SMALL, context=64).describe()
    assert plain == {"context": 64, "position": "rotary", "layers": {"full": 2, "window": 0}, "theta": 10_000.0}
    scaling = {"type": "yarn", "factor": 8.0, "trained": 128}
    told = TransformerModel(depth=6, context=1024, attention={"window": 100, "sinks": 4, "full_every": 3},
                            position={"type": "rotary", "theta": 500.0, "scaling": scaling}).describe()  # fmt: skip
    assert told["layers"] == {"full": 2, "window": 4}
    assert (told["window"], told["sinks"], told["context"]) == (100, 4, 1024)
    wavelength = 8 * 2 * math.pi * 500 ** (62 / 64)  # the slowest pair turns 8 times slower than trained
    assert told["scaling"] == {**scaling, "slowest_wavelength": round(wavelength), "attention_factor": 1.2079}
    dynamic = TransformerModel(depth=1, context=64, position={"type": "rotary", "scaling": {"type": "dynamic", "factor": 2.0}})
    assert dynamic.describe()["scaling"]["trained"] == 64  # its own context, where none is given: no effect below it
    assert TransformerModel(position="alibi", context=64).describe()["position"] == "alibi"


def test_a_dynamic_scaling_from_a_shorter_length_has_no_published_form(tokenizer):
    """transformers stretches from `max_position_embeddings` on and knows no other length."""
    for trained, family in ((None, "qwen3"), (32, "qwen3"), (16, "yanmo_transformer")):
        position = {"type": "rotary", "scaling": {"type": "dynamic", "factor": 2.0, "trained": trained}}
        assert build(tokenizer, context=32, position=position).family == family
