"""What we save, `transformers` opens, and greedy decoding there and here gives the same tokens."""

from __future__ import annotations

import pytest
import torch

import yanmo
from tests.inference.tiny import TEXTS, tokenizer
from yanmo.inference.engine import Engine, Request
from yanmo.inference.sampling import sampling
from yanmo.models.store import save
from yanmo.models.transformer import TransformerModel


@pytest.mark.parametrize(("family", "options"), [("qwen3", {"kv_heads": 2}), ("llama", {"qk_norm": False, "tie": False})])
def test_greedy_tokens_equal_those_of_transformers_generate(tmp_path, family, options):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    part = TransformerModel(depth=3, width=64, heads=4, context=128, **options)
    built = part.build(tokenizer(), torch.Generator().manual_seed(5))
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.ndim > 1:
                parameter *= 5
    save(tmp_path / "m", built, tokenizer())
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32).eval()
    assert theirs.config.model_type == family
    their_tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    ours = yanmo.load(tmp_path / "m").loaded
    prompts = [TEXTS[0], TEXTS[5], "研墨 and 🙂", "a"]
    requests = []
    expected = []
    for prompt in prompts:
        ids = [ours.tokenizer.eos_id, *ours.tokenizer.encode(prompt)]
        assert ids[1:] == their_tokenizer(prompt, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            whole = theirs.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                                    max_new_tokens=40, do_sample=False)  # fmt: skip
        expected.append(whole[0, len(ids) :].tolist())
        requests.append(Request(ids, sampling(max_tokens=40, temperature=0.0)))
    found = Engine(ours.model, ours.tokenizer, slots=3, chunk=16).complete(requests)
    assert [c.ids for c in found] == expected
    assert len({tuple(c.ids) for c in found}) == len(prompts)
