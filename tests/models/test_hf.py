"""Models that transformers knows and we do not: our attention in them where it gives their own logits, their own pass where it
does not; one engine for all; code that comes with a model is refused."""

import json

import pytest
import torch

from tests.inference.tiny import TEXTS, tokenizer
from yanmo.core.errors import DataError, RequestError
from yanmo.inference.engine import Engine, Request
from yanmo.inference.sampling import sampling
from yanmo.models import hf as adapter
from yanmo.models.base import Inputs
from yanmo.models.store import load, save
from yanmo.nn.state import DenseSlots

V = 400
SMALL = {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
         "max_position_embeddings": 96, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}  # fmt: skip
GROUPED = {**SMALL, "num_key_value_heads": 2}
ATTENDING = {
    "Olmo2ForCausalLM": ("Olmo2Config", GROUPED),
    "Phi3ForCausalLM": ("Phi3Config", {**GROUPED, "sliding_window": 6, "original_max_position_embeddings": 96}),
    "Starcoder2ForCausalLM": ("Starcoder2Config", {**GROUPED, "sliding_window": None}),
    "GraniteForCausalLM": ("GraniteConfig", {**GROUPED, "attention_multiplier": 0.3, "logits_scaling": 2.0}),
    "OPTForCausalLM": ("OPTConfig", {**SMALL, "ffn_dim": 48, "word_embed_proj_dim": 32}),
}
REREADING = {
    "MambaForCausalLM": ("MambaConfig", {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "pad_token_id": 0}),
    "XLNetLMHeadModel": ("XLNetConfig", {"vocab_size": V, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "pad_token_id": 0}),
    "MarianMTModel": ("MarianConfig", {"vocab_size": V, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
                                       "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 96,
                                       "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "forced_eos_token_id": None}),
}  # fmt: skip


def made(hf, name, config, folder):
    torch.manual_seed(0)
    model = getattr(hf, name)(getattr(hf, config[0])(**config[1])).eval()
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn(parameter.shape, generator=rng)
    model.save_pretrained(folder)
    return model


def greedy(model, request):
    """The whole row read again for each token."""
    row, source = list(request.ids), None if request.source is None else Inputs(torch.tensor([request.source]))
    with torch.no_grad():
        for _ in range(request.sampling.max_tokens):
            row.append(int(model(Inputs(torch.tensor([row]), source=source)).logits[0, -1, : tokenizer().size].argmax()))
    return row[len(request.ids) :]


@pytest.mark.parametrize("name", ATTENDING)
def test_our_attention_gives_their_logits(name, hf, tmp_path):
    theirs = made(hf, name, ATTENDING[name], tmp_path / "m")
    model = load(tmp_path / "m").model
    assert model.attends
    tokens = torch.randint(2, V, (2, 40), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(40) < torch.tensor([[40], [17]])
    with torch.no_grad():
        want = theirs(tokens).logits
        assert (model(Inputs(tokens, mask=mask)).logits - want)[mask].abs().max() < 1e-4
        slots, got = DenseSlots(model.state(), 2, 96), []
        for begin, end in ((0, 11), (11, 12), (12, 40)):
            got.append(model(Inputs(tokens[:, begin:end]), slots).logits)
            slots.advance(end - begin)
        assert (torch.cat(got, 1) - want).abs().max() < 1e-4
        documents = torch.tensor([0] * 15 + [1] * 25).expand(2, 40)
        positions = torch.cat([torch.arange(15), torch.arange(25)]).expand(2, 40)
        packed = model(Inputs(tokens, documents=documents, positions=positions)).logits
        assert (packed[:, 15:] - theirs(tokens[:, 15:]).logits).abs().max() < 1e-4
    save(tmp_path / "again", model, None)
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "again").model(Inputs(tokens)).logits, model(Inputs(tokens)).logits)


@pytest.mark.parametrize("name", [*ATTENDING, *REREADING])
def test_one_engine_gives_each_request_what_it_gets_alone(name, hf, tmp_path):
    made(hf, name, {**ATTENDING, **REREADING}[name], tmp_path / "m")
    model = load(tmp_path / "m").model
    assert model.attends == (name in ATTENDING)
    tok = tokenizer()
    requests = []
    for line, count in zip(TEXTS[:4], (9, 4, 12, 6)):
        ids, settings = tok.encode(line)[: 6 + count], sampling(max_tokens=count, temperature=0.0, ignore_eos=True)
        requests.append(Request([0, *ids[:2]], settings, [*ids, 1]) if model.kind == "encoder-decoder" else Request([1, *ids], settings))
    found = Engine(model, tok, slots=2, chunk=5, capacity=64).complete(requests)
    assert [one.ids for one in found] == [greedy(model, request) for request in requests]


def test_xlnet_predicts_the_next_token_from_those_before_it(hf, tmp_path):
    made(hf, "XLNetLMHeadModel", REREADING["XLNetLMHeadModel"], tmp_path / "m")
    model = load(tmp_path / "m").model
    tokens = torch.randint(2, V, (1, 12), generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[0, 7] = (changed[0, 7] + 5) % V
    with torch.no_grad():
        before, after = model(Inputs(tokens)).logits, model(Inputs(changed)).logits
    assert (before - after)[0, :7].abs().max() < 1e-5
    assert (before - after)[0, 7:].abs().amax(-1).min() > 1e-4


def test_encoders_of_other_families(hf, tmp_path):
    config = ("ElectraConfig", {**SMALL, "embedding_size": 16})
    theirs = made(hf, "ElectraForMaskedLM", config, tmp_path / "m")
    opened = load(tmp_path / "m")
    tokens = torch.randint(2, V, (2, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(20) < torch.tensor([[20], [9]])
    with torch.no_grad():
        want = theirs(tokens, attention_mask=mask.long()).logits
        assert (opened.model(Inputs(tokens, mask=mask)).logits - want)[mask].abs().max() < 1e-4
    assert opened.model.kind == "masked"
    labels = made(hf, "ElectraForSequenceClassification", ("ElectraConfig", {**config[1], "num_labels": 3}), tmp_path / "l")
    opened = load(tmp_path / "l")
    assert len(opened.labels) == 3
    with torch.no_grad():
        assert (opened.model(Inputs(tokens, mask=mask)) - labels(tokens, attention_mask=mask.long()).logits).abs().max() < 1e-4


def test_an_argument_that_we_do_not_know_is_never_dropped():
    adapter._now.inputs = Inputs(torch.ones(1, 2, dtype=torch.int64))
    one = torch.ones(1, 1, 2, 4)
    with pytest.raises(RequestError, match="s_aux"):
        adapter.attention(torch.nn.Identity().eval(), one, one, one, None, s_aux=torch.ones(1))


def test_a_model_whose_attention_is_not_ours_reads_its_own_way(hf, tmp_path, monkeypatch):
    """The trial is what decides: with our attention broken, the logits are still the model's."""
    theirs = made(hf, "Olmo2ForCausalLM", ATTENDING["Olmo2ForCausalLM"], tmp_path / "m")
    monkeypatch.setattr(adapter, "attend", lambda q, *_, **__: 1.01 * q)
    model = load(tmp_path / "m").model
    tokens = torch.randint(2, V, (1, 20), generator=torch.Generator().manual_seed(1))
    assert not model.attends
    with torch.no_grad():
        assert (model(Inputs(tokens)).logits - theirs(tokens).logits).abs().max() < 1e-4


def test_code_that_comes_with_a_model_is_refused_unless_asked_for(hf, tmp_path):
    made(hf, "Olmo2ForCausalLM", ATTENDING["Olmo2ForCausalLM"], tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}))
    (tmp_path / "m" / "mine.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
        "from transformers import Olmo2Config, Olmo2ForCausalLM\n"
        "class Config(Olmo2Config):\n    model_type = 'mine'\n"
        "class Model(Olmo2ForCausalLM):\n    config_class = Config\n"
    )
    with pytest.raises(DataError, match="trust_code=True"):
        load(tmp_path / "m")
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"architectures": ["Olmo2ForDreaming"]}, "a model that transformers knows"), ({"hidden_size": 64}, "of another shape"),
     ({"model_type": "olmo22"}, "a 'model_type' that we read"), ({"num_hidden_layers": 3}, "missing: model.layers.2")],
)  # fmt: skip
def test_a_folder_that_does_not_fit_is_said(change, said, hf, tmp_path):
    made(hf, "Olmo2ForCausalLM", ATTENDING["Olmo2ForCausalLM"], tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError) as caught:
        load(tmp_path / "m")
    assert said in caught.value.render("en")


def test_what_a_foreign_model_cannot_be_told_is_refused(hf, tmp_path):
    made(hf, "Olmo2ForCausalLM", ATTENDING["Olmo2ForCausalLM"], tmp_path / "m")
    model, tokens = load(tmp_path / "m").model, torch.ones(1, 4, dtype=torch.int64)
    for told in ({"prefix": torch.tensor([2])}, {"order": torch.arange(4)[None]}):
        with pytest.raises(RequestError, match=next(iter(told))):
            model(Inputs(tokens, **told))
