"""Every published family on tiny shared random weights: what `transformers` saves we open and compute alike, padded, packed
and cached; what we save it opens and computes alike."""

import json

import pytest
import torch

from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.classifier import Classifier
from yanmo.models.store import load, save
from yanmo.nn.state import DenseSlots

V, L = 90, 40
SMALL = {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
         "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
GROUPED = {**SMALL, "num_key_value_heads": 2, "head_dim": 16}
DECODERS = {
    "Mistral": {**GROUPED, "sliding_window": 7},
    "Qwen2": GROUPED,
    "Mixtral": {**GROUPED, "num_local_experts": 4},
    "Qwen3Moe": {**GROUPED, "num_experts": 5, "num_experts_per_tok": 3, "moe_intermediate_size": 16, "norm_topk_prob": True},
    "Qwen3Moe plain": {**GROUPED, "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "Gemma2": {**GROUPED, "sliding_window": 7, "query_pre_attn_scalar": 12, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    "Gemma3": {**GROUPED, "num_hidden_layers": 7, "sliding_window": 7, "query_pre_attn_scalar": 12},
    "GPT2": {"vocab_size": V, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2},
    "GPTNeoX": {**SMALL, "rotary_pct": 0.5},
    "GPTNeoX untied": {**SMALL, "tie_word_embeddings": False},
}
SEQ2SEQ = {
    "T5": {"vocab_size": V, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4,
           "decoder_start_token_id": 0},
    "T5 1.1": {"vocab_size": V, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0,
               "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "scale_decoder_outputs": False},
    "Bart": {"vocab_size": V, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
             "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64, "scale_embedding": True},
}  # fmt: skip
ENCODERS = {
    "BertForMaskedLM": SMALL,
    "BertForPreTraining": SMALL,
    "BertModel": SMALL,
    "RobertaForMaskedLM": {**SMALL, "pad_token_id": 1, "type_vocab_size": 1},
}


def made(cls, config, folder):
    """A model of theirs with weights that matter everywhere, saved."""
    torch.manual_seed(0)
    model = cls(config).eval()
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
        for name, buffer in model.named_buffers():
            if name == "final_logits_bias":
                buffer += torch.randn(buffer.shape, generator=rng)
    model.save_pretrained(folder)
    return model


def rows(low=3):
    mask = torch.arange(L) < torch.tensor([[L], [11], [26]])
    return torch.randint(low, V, (3, L), generator=torch.Generator().manual_seed(2)).masked_fill(~mask, 0), mask


def close(got, want):
    assert (got - want).abs().max() < 1e-4


def decoder(hf, case, folder):
    name = case.split()[0]
    config = {"Gemma3": "Gemma3TextConfig"}.get(name, f"{name}Config")
    heads = {"GPT2": "GPT2LMHeadModel"}.get(name, f"{name}ForCausalLM")
    return made(getattr(hf, heads), getattr(hf, config)(**DECODERS[case]), folder)


@pytest.mark.parametrize("case", DECODERS)
def test_decoders_padded_cached_and_back(case, hf, tmp_path):
    theirs = decoder(hf, case, tmp_path / "theirs")
    opened = load(tmp_path / "theirs")
    model, (tokens, mask) = opened.model, rows()
    with torch.no_grad():
        want = theirs(tokens, attention_mask=mask.long()).logits
        close(model(Inputs(tokens, mask=mask)).logits[mask], want[mask])
        slots, done = DenseSlots(model.state(), 3, 64), [0, 0, 0]
        for counts in ([17, 5, 9], *[[1, 1, 1]] * 6, [17, 0, 11]):
            chunk = torch.zeros(3, max(counts), dtype=torch.int64)
            for row, count in enumerate(counts):
                chunk[row, :count] = tokens[row, done[row] : done[row] + count]
            cached = model(Inputs(chunk, mask=torch.arange(max(counts)) < torch.tensor(counts)[:, None]), slots).logits
            slots.advance(counts)
            for row, count in enumerate(counts):
                if count:
                    close(cached[row, :count], want[row, done[row] : done[row] + count])
                done[row] += count
        documents = torch.tensor([0] * 13 + [1] * 20 + [2] * 7)[None]
        packed = model(Inputs(tokens[:1], documents=documents)).logits
        for first, last in ((0, 13), (13, 33), (33, 40)):
            close(packed[:, first:last], theirs(tokens[:1, first:last]).logits)
        save(tmp_path / "ours", model, None)
        again = type(theirs).from_pretrained(tmp_path / "ours").eval()
        close(again(tokens, attention_mask=mask.long()).logits[mask], want[mask])
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == theirs.config.model_type


@pytest.mark.parametrize("case", SEQ2SEQ)
def test_encoder_decoders_padded_cached_and_back(case, hf, tmp_path):
    name = case.split()[0]
    theirs = made(getattr(hf, f"{name}ForConditionalGeneration"), getattr(hf, f"{name}Config")(**SEQ2SEQ[case]), tmp_path / "theirs")
    model, (source, mask) = load(tmp_path / "theirs").model, rows()
    tokens = torch.randint(3, V, (3, 9), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        want = theirs(input_ids=source, attention_mask=mask.long(), decoder_input_ids=tokens).logits
        close(model(Inputs(tokens, source=Inputs(source, mask=mask))).logits, want)
        slots = DenseSlots(model.state(), 3, 16)
        close(model(Inputs(tokens[:, :4], source=Inputs(source, mask=mask)), slots).logits, want[:, :4])
        slots.advance(4)
        for at in range(4, 9):
            close(model(Inputs(tokens[:, at : at + 1]), slots).logits, want[:, at : at + 1])
            slots.advance(1)
        save(tmp_path / "ours", model, None)
        again = type(theirs).from_pretrained(tmp_path / "ours").eval()
        close(again(input_ids=source, attention_mask=mask.long(), decoder_input_ids=tokens).logits, want)


@pytest.mark.parametrize("case", ENCODERS)
def test_encoders_padded_and_back(case, hf, tmp_path):
    config = getattr(hf, f"{case.removesuffix('Model').split('For')[0]}Config")(**ENCODERS[case])
    theirs = made(getattr(hf, case), config, tmp_path / "theirs")
    model, (tokens, mask) = load(tmp_path / "theirs").model, rows()
    tokens = tokens.masked_fill(~mask, config.pad_token_id)
    types = (torch.arange(L) > 8).long().expand(3, L) * (config.type_vocab_size - 1)
    inputs = Inputs(tokens, mask=mask, types=types)
    for form in ("theirs", "ours"):
        with torch.no_grad():
            want = theirs(tokens, attention_mask=mask.long(), token_type_ids=types)
            ours = model(inputs)
            if case == "BertModel":
                close(model.encode(inputs)[mask], want.last_hidden_state[mask])
                close(model.pool(inputs), want.pooler_output)
            else:
                logits = want.prediction_logits if case == "BertForPreTraining" else want.logits
                close(ours.logits[mask], logits[mask])
            if case == "BertForPreTraining":
                close(model.pair_logits(ours.hidden), want.seq_relationship_logits)
        if form == "theirs":
            save(tmp_path / "ours", model, None)
            theirs = type(theirs).from_pretrained(tmp_path / "ours").eval()


@pytest.mark.parametrize("name", ["Bert", "Roberta"])
def test_encoders_that_label_texts(name, hf, tmp_path):
    config = getattr(hf, f"{name}Config")(**{**SMALL, "pad_token_id": 1}, num_labels=3)
    theirs = made(getattr(hf, f"{name}ForSequenceClassification"), config, tmp_path / "theirs")
    model, (tokens, mask) = load(tmp_path / "theirs").model, rows()
    tokens = tokens.masked_fill(~mask, 1)
    with torch.no_grad():
        want = theirs(tokens, attention_mask=mask.long()).logits
        close(model(Inputs(tokens, mask=mask)), want)
        save(tmp_path / "ours", model, None, labels=["好", "坏", "so-so"])
        again = type(theirs).from_pretrained(tmp_path / "ours").eval()
        close(again(tokens, attention_mask=mask.long()).logits, want)


@pytest.mark.parametrize("case", ["T5", "Bart", "BertForMaskedLM"])
def test_a_classifier_that_the_family_does_not_have_is_saved_as_ours(case, hf, tmp_path, rng):
    name = case.split("For")[0]
    cls = getattr(hf, case if "For" in case else f"{name}ForConditionalGeneration")
    made(cls, getattr(hf, f"{name}Config")(**(SEQ2SEQ.get(case) or ENCODERS[case])), tmp_path / "theirs")
    model, (tokens, mask) = Classifier(load(tmp_path / "theirs").model, 3).eval(), rows()
    model.initialise(rng)
    save(tmp_path / "ours", model, None, labels=["a", "b", "c"])
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == "yanmo_transformer"
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "ours").model(Inputs(tokens, mask=mask)), model(Inputs(tokens, mask=mask)), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "fields"), [("bert", {}), ("bert", {"head": {"transform": True, "bias": True}}), ("t5", {}), ("t5", {"tie": True}),
                                              ("bart", {}), ("transformer", {"mlp": "relu2"})])  # fmt: skip
def test_models_from_scratch_open_elsewhere(name, fields, hf, tokenizer, tmp_path, rng):
    model = create("model", {"type": name, "depth": 2, "width": 32, "heads": 4, **fields}).build(tokenizer, rng, 32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    save(tmp_path / "model", model, tokenizer)
    kind = json.loads((tmp_path / "model" / "config.json").read_text())["model_type"]
    assert kind == {"transformer": "yanmo_transformer"}.get(name, name)
    if name == "transformer":
        return  # only ours
    tokens = torch.randint(4, tokenizer.size, (2, 9), generator=rng)
    auto = {"bert": hf.AutoModelForMaskedLM}.get(name, hf.AutoModelForSeq2SeqLM)
    theirs = auto.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    with torch.no_grad():
        if name == "bert":
            close(model(Inputs(tokens)).logits, theirs(tokens).logits)
        else:
            source = torch.randint(4, tokenizer.size, (2, 7), generator=rng)
            close(model(Inputs(tokens, source=Inputs(source))).logits, theirs(input_ids=source, decoder_input_ids=tokens).logits)
