"""The one Transformer as encoder, encoder-decoder and permuted model: who sees whom, state, gradients, settings that have no
effect are refused. Parity with published families is in test_families."""

import pytest
import torch

from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.store import load, save
from yanmo.models.transformer import TransformerModel
from yanmo.nn.state import DenseSlots

SMALL = {"depth": 2, "width": 48, "heads": 4, "head_size": 12}
ENCODER = {"architecture": "encoder", "norm": "layer", "norm_at": "post", "position": "learned", "mlp": "gelu", "qk_norm": False,
           "bias": "all", "embedding": {"norm": True, "types": 2}, "head": {"transform": True, "bias": True, "pooler": True, "pairs": True}}  # fmt: skip
SEQ2SEQ = {"architecture": "encoder-decoder", "position": "relative", "mlp": "relu", "qk_norm": False}
BOTH_NORMS = {"norm": {"type": "rms", "offset": True}, "norm_at": "sandwich", "mlp": "geglu", "embedding": {"scale": True},
              "attention": {"window": 3, "full_every": 2, "softcap": 20.0, "scale": 0.2}, "head": {"softcap": 10.0},
              "position": {"type": "rotary", "local_theta": 100.0}}  # fmt: skip
PARALLEL = {"norm": "layer", "norm_at": "parallel", "mlp": "gelu", "bias": "all", "qk_norm": False, "tie": False,
            "position": {"type": "rotary", "share": 0.5}}  # fmt: skip
PERMUTED = {"architecture": "encoder", "embedding": {"query": True}}
DECODERS = [BOTH_NORMS, PARALLEL, {"position": "alibi"}, {"position": "learned"}, {"position": "none"},
            {"attention": {"window": 2, "sinks": 1}}, {"mlp": {"type": "experts", "experts": 4}, "mlp_width": 32}, {"position": {"type": "rotary", "scaling": {"type": "dynamic", "factor": 2.0}}}]  # fmt: skip
EVERY = [ENCODER, SEQ2SEQ, {**SEQ2SEQ, "norm": "layer", "norm_at": "post", "position": "learned", "bias": "all", "decoder_depth": 1,
                            "embedding": {"norm": True}}, PERMUTED, *DECODERS]  # fmt: skip


def build(tokenizer, fields, context=24):
    model = TransformerModel(**SMALL, **fields).build(tokenizer, torch.Generator().manual_seed(0), context)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return model.eval()


def draw(tokenizer, *shape, seed=1):
    return torch.randint(4, tokenizer.size, shape, generator=torch.Generator().manual_seed(seed))


def inputs_for(model, tokenizer, rows=2, length=9):
    tokens = draw(tokenizer, rows, length)
    if model.kind == "encoder-decoder":
        return Inputs(tokens, source=Inputs(draw(tokenizer, rows, 7, seed=5)))
    if model.kind == "permuted":
        return Inputs(tokens, order=torch.arange(length).flip(0).expand(rows, length))
    return Inputs(tokens)


@pytest.mark.parametrize("fields", EVERY)
def test_it_is_counted_saved_opened_and_gives_the_same(fields, tokenizer, tmp_path):
    model = build(tokenizer, fields)
    assert sum(p.numel() for p in model.parameters()) == TransformerModel(**SMALL, **fields).complete(context=24).parameters(tokenizer.size)
    save(tmp_path / "model", model, tokenizer)
    opened = load(tmp_path / "model").model
    inputs = inputs_for(model, tokenizer)
    with torch.no_grad():
        torch.testing.assert_close(opened(inputs).logits, model(inputs).logits, rtol=0, atol=0)


@pytest.mark.parametrize("fields", EVERY)
def test_every_parameter_gets_a_gradient(fields, tokenizer):
    model = build(tokenizer, fields).train()
    inputs = inputs_for(model, tokenizer)
    if model.types is not None:
        inputs.types = (torch.arange(9) > 4).long().expand(2, 9)
    out = model(inputs)
    total = out.logits.log_softmax(-1)[..., 5].sum()
    if model.pairs is not None:
        total = total + model.pair_logits(out.hidden).log_softmax(-1)[:, 0].sum()
    total.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("fields", DECODERS)
def test_a_decoder_reads_by_chunks_as_it_reads_whole(fields, tokenizer):
    model, tokens = build(tokenizer, fields), draw(tokenizer, 3, 16)
    slots, done, got = DenseSlots(model.state(), 3, 24), [0, 0, 0], {0: [], 1: [], 2: []}
    with torch.no_grad():
        if "scaling" not in str(fields):  # (the dynamic one's angles depend on the length, in the published form too)
            whole = model(Inputs(tokens)).logits
        else:
            whole = model(Inputs(tokens[:, :16])).logits
        for counts in ([5, 2, 7], [1, 1, 1], [4, 3, 1]):
            chunk = torch.zeros(3, max(counts), dtype=torch.int64)
            for row, count in enumerate(counts):
                chunk[row, :count] = tokens[row, done[row] : done[row] + count]
            logits = model(Inputs(chunk, mask=torch.arange(max(counts)) < torch.tensor(counts)[:, None]), slots).logits
            slots.advance(counts)
            for row, count in enumerate(counts):
                got[row].append(logits[row, :count])
                done[row] += count
        for row in range(3):
            torch.testing.assert_close(torch.cat(got[row]), whole[row, : done[row]], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("fields", DECODERS)
def test_packed_documents_give_what_each_gives_alone(fields, tokenizer):
    model, tokens = build(tokenizer, fields), draw(tokenizer, 2, 15)
    documents = torch.tensor([0] * 4 + [1] * 6 + [2] * 5).expand(2, 15)
    with torch.no_grad():
        packed = model(Inputs(tokens, documents=documents)).logits
        for first, last in ((0, 4), (4, 10), (10, 15)):
            alone = model(Inputs(tokens[:, first:last])).logits
            torch.testing.assert_close(packed[:, first:last], alone, rtol=1e-4, atol=1e-4)


def test_an_encoder_sees_both_ways_and_no_padding(tokenizer):
    model, tokens = build(tokenizer, ENCODER), draw(tokenizer, 1, 9)
    mask = torch.arange(9)[None] < 6
    changed, padded = tokens.clone(), tokens.clone()
    changed[0, 5] = (changed[0, 5] - 3) % (tokenizer.size - 4) + 4
    padded[0, 6:] = tokenizer.pad_id
    with torch.no_grad():
        before = model(Inputs(tokens, mask=mask)).logits
        assert (model(Inputs(changed, mask=mask)).logits - before)[:, :6].abs().amax(-1).min() > 1e-4
        torch.testing.assert_close(model(Inputs(padded, mask=mask)).logits[:, :6], before[:, :6])
        torch.testing.assert_close(model(Inputs(tokens[:, :6])).logits, before[:, :6])


@pytest.mark.parametrize("position", ["relative", "learned", "rotary"])
def test_an_encoder_decoder_goes_on_from_slots_without_its_source(position, tokenizer):
    """Two rows with sources of different lengths: read once, remembered; then token by token."""
    model = build(tokenizer, {**SEQ2SEQ, "position": position})
    tokens, source = draw(tokenizer, 2, 6), draw(tokenizer, 2, 7, seed=5)
    mask = torch.arange(7) < torch.tensor([[7], [3]])
    with torch.no_grad():
        whole = model(Inputs(tokens, source=Inputs(source, mask=mask))).logits
        alone = model(Inputs(tokens[1:], source=Inputs(source[1:, :3]))).logits
        torch.testing.assert_close(whole[1:], alone, rtol=1e-4, atol=1e-5)
        slots = DenseSlots(model.state(), 2, 24)
        got = [model(Inputs(tokens[:, :2], source=Inputs(source, mask=mask)), slots).logits]
        slots.advance(2)
        for at in range(2, 6):
            got.append(model(Inputs(tokens[:, at : at + 1]), slots).logits)
            slots.advance(1)
        torch.testing.assert_close(torch.cat(got, 1), whole, rtol=1e-4, atol=1e-5)
        with pytest.raises(RequestError, match="a text for the encoder"):
            model(Inputs(tokens))


def test_a_permuted_model_predicts_from_lower_ranks_alone(tokenizer):
    model, tokens = build(tokenizer, PERMUTED), draw(tokenizer, 1, 9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))[None]
    with torch.no_grad():
        before = model(Inputs(tokens, order=order)).logits
        for at in range(9):
            changed = tokens.clone()
            changed[0, at] = (changed[0, at] - 3) % (tokenizer.size - 4) + 4
            moved = (model(Inputs(changed, order=order)).logits - before).abs().amax(-1)[0]
            assert (moved[order[0] <= order[0, at]][order[0][order[0] <= order[0, at]] > 0] == 0).all()  # (rank 0 sees itself)
            assert (moved[order[0] > order[0, at]] > 1e-5).all()


def test_a_permuted_model_reads_from_left_to_right_where_no_order_is_given(tokenizer):
    """Its logits about the next token are those that the factorisation 0, 1, 2 … gives, also chunk by chunk."""
    model, tokens = build(tokenizer, PERMUTED), draw(tokenizer, 2, 9)
    with torch.no_grad():
        want = model(Inputs(tokens, order=torch.arange(9).expand(2, 9))).logits[:, 1:]
        got = model(Inputs(tokens)).logits
        torch.testing.assert_close(got[:, :-1], want, rtol=1e-4, atol=1e-5)
        slots, parts = DenseSlots(model.state(), 2, 24), []
        for begin, end in ((0, 4), (4, 5), (5, 9)):
            parts.append(model(Inputs(tokens[:, begin:end]), slots).logits)
            slots.advance(end - begin)
        torch.testing.assert_close(torch.cat(parts, 1), got, rtol=1e-4, atol=1e-5)
        changed = tokens.clone()
        changed[:, 5] = (changed[:, 5] - 3) % (tokenizer.size - 4) + 4
        assert (model(Inputs(changed)).logits[:, :5] == got[:, :5]).all()
        pooled = model.pool(Inputs(tokens))
        assert (model.pool(Inputs(changed)) - pooled).abs().min() > 0  # as an encoder it sees both ways


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"attention": {"sinks": 4}}, "a 'window', without which 'sinks' has no effect"),
        ({"attention": {"full_every": 2}}, "a 'window', without which 'full_every' has no effect"),
        ({"decoder_depth": 2}, "'architecture: encoder-decoder', without which 'decoder_depth' has no effect"),
        ({"embedding": {"query": True}}, "'architecture: encoder', without which 'embedding.query' has no effect"),
        ({**PERMUTED, "attention": {"window": 3}}, "'attention.window' left out with 'embedding.query'"),
        ({"position": "alibi", "attention": {"softcap": 20.0}}, "'attention.softcap' left out with 'position' relative or alibi"),
        ({"head": {"pairs": True}}, "a 'pooler', from which 'pairs' are judged"),
        ({"architecture": "encoder-decoder", "norm_at": "parallel"}, "'norm_at' pre or post"),
        ({"position": {"type": "rotari"}}, "did you mean 'rotary'?"),
        ({"position": {"type": "rotary", "scaling": {"type": "yarm", "factor": 2}}}, "one of 'linear', 'dynamic', 'yarn', 'llama3'"),
        ({"attention": {"windows": 4}}, "did you mean 'window'?"),
    ],
)  # fmt: skip
def test_settings_without_effect_or_sense_are_refused(fields, said):
    with pytest.raises(RecipeError) as caught:
        create("model", {"type": "transformer", **fields})
    assert said in caught.value.render("en")


def test_experts_are_penalised_for_uneven_use_and_only_while_training(tokenizer):
    model = build(tokenizer, {"mlp": {"type": "experts", "experts": 4, "active": 1, "balance": 0.5}, "mlp_width": 32})
    inputs = Inputs(draw(tokenizer, 2, 12))
    assert model(inputs).penalty is None
    model.train()
    uneven = model(inputs).penalty
    uneven.backward()
    assert model.stack.blocks[0].mlp.router.weight.grad.abs().sum() > 0
    with torch.no_grad():
        for block in model.stack.blocks:
            block.mlp.router.weight.zero_()  # the odds are even, the choice is not
    even = model(inputs).penalty
    assert even.item() == pytest.approx(0.5 * 2)  # 1 a layer, two layers
    assert uneven > even
