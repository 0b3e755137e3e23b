"""llama.cpp opens what we write and says what `transformers` says: greedy tokens and their log probabilities."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# In a process of its own: llama.cpp ends the process where it meets what it does not like, and logs to standard output.
ASK = """
import json, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.warmup, params.n_parallel = sys.argv[1], 256, False, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.fit_params = False
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(params)
found = []
for ids in json.loads(sys.argv[2]):
    asked = {"prompt": ids, "n_predict": 1, "temperature": 0, "n_probs": 5, "cache_prompt": False, "return_tokens": True,
             "ignore_eos": True, "post_sampling_probs": False}
    found.append(server.handle_completions(asked))
print("ANSWER" + json.dumps(found))
"""


def ask(file: Path, prompts: list[list[int]]) -> list[dict[int, float]]:
    """For each prompt the five likeliest next tokens with their log probabilities; none where llama.cpp holds the first one
    back, as it does with a token that only begins a character."""
    run = subprocess.run([sys.executable, "-c", ASK, str(file), json.dumps(prompts)], capture_output=True, text=True, timeout=400)
    assert "ANSWER" in run.stdout, run.stderr[-2000:]
    answers = json.loads(run.stdout.split("ANSWER")[1])
    steps = [(answer["choices"][0]["logprobs"] or {"content": []})["content"] for answer in answers]
    return [{each["id"]: each["logprob"] for each in step[0]["top_logprobs"]} if step else {} for step in steps]


@pytest.mark.parametrize("kind", ["Llama", "Qwen3", "Gemma3", "GPTNeoX"])
def test_llama_cpp_says_what_transformers_says(tmp_path, kind):
    pytest.importorskip("xllamacpp")
    import torch
    import transformers

    from yanmo.models.gguf.plan import planned
    from yanmo.models.gguf.vocabulary import metadata
    from yanmo.models.gguf.writer import write
    from yanmo.models.weights.folder import read_tensors
    from yanmo.samples import path
    from yanmo.text.bpe import BpeTokenizer

    texts = [json.loads(line)["text"] for name in ("moby_dick", "sanguo") for line in (path(name) / "chapters.jsonl").read_text("utf-8").splitlines()[:8]]
    tokenizer = BpeTokenizer(size=1024).train(texts)
    settings = {"vocab_size": 1024, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
                "num_key_value_heads": 2, "max_position_embeddings": 256, "head_dim": 64}  # fmt: skip
    if kind == "Gemma3":
        settings |= {"query_pre_attn_scalar": 64, "sliding_window": 128, "num_hidden_layers": 7}
    if kind == "GPTNeoX":
        settings = {key: value for key, value in settings.items() if key not in ("head_dim", "num_key_value_heads")} | {"rotary_pct": 0.5}
    config = getattr(transformers, "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config")(**settings)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.1 if "norm" in name else 0.08))
    model.save_pretrained(tmp_path / "hf")
    described = json.loads((tmp_path / "hf/config.json").read_text())
    keys, tensors = planned(described, read_tensors(tmp_path / "hf"), "f32", "config.json")
    words, _ = metadata(tokenizer, 1024)
    write(tmp_path / "model.gguf", keys | words, tensors)
    prompts = [tokenizer.encode(text)[:20] for text in ("Call me Ishmael. Some years ago", "话说天下大势，分久必合", "研墨 and ink 🐋 e\u0301")]
    rows = []
    for ids in prompts:  # each with what follows greedily, step by step
        for _ in range(10):
            with torch.no_grad():
                rows.append((list(ids), model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)))
            ids.append(int(rows[-1][1].argmax()))
    answers = ask(tmp_path / "model.gguf", [ids for ids, _ in rows])
    assert sum(map(bool, answers)) >= len(rows) // 2
    for (_, expected), answer in zip(rows, answers):
        if answer:
            best = expected.topk(2)
            assert max(answer, key=answer.get) == int(best.indices[0]) or float(best.values[0] - best.values[1]) < 1e-3, "only a tie may fall otherwise"
            for token, logprob in answer.items():
                assert logprob == pytest.approx(float(expected[token]), abs=5e-3)


@pytest.mark.skipif(not os.environ.get("YANMO_MODELS"), reason="YANMO_MODELS names no folder with SmolLM2-135M-Instruct as GGUF")
def test_the_real_smollm2_is_read_as_the_gguf_package_reads_it():
    import numpy as np

    from yanmo.models.gguf.reader import Gguf

    gguf = pytest.importorskip("gguf")
    file = next(Path(os.environ["YANMO_MODELS"]).rglob("SmolLM2*.gguf"))
    ours, theirs = Gguf(file), gguf.GGUFReader(file)
    assert set(ours.tensors) == {tensor.name for tensor in theirs.tensors}
    for tensor in theirs.tensors:
        assert np.array_equal(ours.numbers(tensor.name), gguf.dequantize(tensor.data, tensor.tensor_type)), tensor.name
    assert ours.metadata == {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}


PROMPTS = (
    "What is the capital of France?", "Name three primary colors.", "What is 12 plus 30?", "Write a haiku about ink.",
    "Who wrote Moby-Dick?", "Translate 'good morning' into French.", "What is the boiling point of water in Celsius?",
    "List the days of the week.", "Explain gravity to a child in one sentence.", "What is the opposite of hot?",
    "Give me a synonym for happy.", "How many legs does a spider have?", "What language is spoken in Brazil?",
    "Write one sentence about a whale.", "What is the largest planet?", "Spell the word 'necessary'.",
    "What comes after Wednesday?", "你好", "Complete: Roses are red,", "What does the emoji 🐋 show?",
)  # fmt: skip


@pytest.mark.skipif(not os.environ.get("YANMO_MODELS"), reason="YANMO_MODELS names no folder with SmolLM2-135M-Instruct as GGUF")
def test_the_real_smollm2_answers_twenty_prompts_as_llama_cpp_does():
    """Greedy tokens, each step asked behind our own tokens so far. Ours are float32 of the file's numbers; llama.cpp multiplies
    4-bit numbers by 8-bit activations, so that only choices which are close may fall otherwise."""
    pytest.importorskip("xllamacpp")
    import torch

    import yanmo
    from yanmo.models.base import Inputs
    from yanmo.text.chat import render

    file = next(Path(os.environ["YANMO_MODELS"]).rglob("SmolLM2*.gguf"))
    model = yanmo.load(file)
    module, tokenizer = model.loaded.model, model.tokenizer
    steps, same, close = 12, 0, []
    rows = []
    with torch.inference_mode():
        for prompt in PROMPTS:
            ids = render([{"role": "user", "content": prompt}], tokenizer)
            for _ in range(steps):
                logs = module(Inputs(torch.tensor([ids]))).logits[0, -1].log_softmax(-1)
                rows.append((list(ids), logs))
                ids.append(int(logs.argmax()))
                if ids[-1] in tokenizer.ends:
                    break
    answers = ask(file, [ids for ids, _ in rows])
    for (_, logs), answer in zip(rows, answers):
        if not answer:
            continue
        best = logs.topk(2)
        if max(answer, key=answer.get) == int(best.indices[0]):
            same += 1
        else:
            close.append(float(best.values[0] - best.values[1]))
    told = f"{same} of {same + len(close)} tokens are the same; the others' margins are {[round(gap, 3) for gap in sorted(close)]} nats"
    print(told)
    assert same >= 0.95 * (same + len(close)), told
    assert max(close, default=0.0) < 0.5, told
