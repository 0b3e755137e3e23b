"""What lm-evaluation-harness asks of a server (its `local-completions`, recorded), and guidellm's way of asking."""

from __future__ import annotations

import json

import pytest
import torch

from tests.inference.tiny import KINDS, TEXTS, model, tokenizer
from yanmo.models.base import Inputs

TOK = tokenizer()
BORDER = TOK.eos_id


def logprobs_of(kind, ids):
    with torch.no_grad():
        return model(kind)(Inputs(torch.tensor([ids]))).logits[0].log_softmax(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_loglikelihood_of_token_ids_of_different_lengths(server, kind):
    """A continuation's log-likelihood and greedy flag, read as the harness reads them, against one pass in process."""
    pairs = [
        ("The ink is", " black and smooth"),
        ("床前", "明月光，"),
        ("Once upon a", " time"),
        ("春眠不觉", "xyz"),
        ("", "研墨"),
    ]
    encoded = [([BORDER, *TOK.encode(context)], TOK.encode(continuation)) for context, continuation in pairs]
    body = {
        "model": kind,
        "prompt": [c + k for c, k in encoded],
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }
    response = server.post("/v1/completions", body).json()
    flags = []
    for (context, continuation), choice in zip(encoded, sorted(response["choices"], key=lambda choice: choice["index"])):
        found = choice["logprobs"]
        ids = context + continuation
        assert len(found["token_logprobs"]) == len(found["top_logprobs"]) == len(found["tokens"]) == len(ids) + 1
        assert found["token_logprobs"][0] is None
        assert found["top_logprobs"][0] is None
        assert all(isinstance(value, float) for top in found["top_logprobs"][1:] for value in top.values())
        chosen = found["token_logprobs"][len(context) : -1]
        tops = found["top_logprobs"][len(context) : -1]
        greedy = all(value == max(top.values()) for value, top in zip(chosen, tops))
        expected = logprobs_of(kind, ids)[len(context) - 1 : -1]
        wanted = torch.tensor(continuation)
        assert sum(chosen) == pytest.approx(expected.gather(-1, wanted[:, None]).sum().item(), abs=1e-3)
        assert greedy == bool((expected.argmax(-1) == wanted).all())
        flags.append(greedy)
    if kind == "ngram":
        assert flags == [True, True, True, False, False]


def test_rolling_loglikelihood_of_text_counts_the_same(server):
    """Text prompts give the entries of the text's own tokens: what a client's tokenizer counts without special tokens."""
    text = TEXTS[5]
    body = {"model": "ngram", "prompt": [text], "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True}
    [choice] = server.post("/v1/completions", body).json()["choices"]
    ids = TOK.encode(text)
    assert len(choice["logprobs"]["token_logprobs"]) == len(ids) + 1
    expected = logprobs_of("ngram", [BORDER, *ids])
    for place in range(1, len(ids)):
        assert choice["logprobs"]["token_logprobs"][place] == pytest.approx(expected[place, ids[place]].item(), abs=1e-4)
    assert choice["text"].startswith(text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_entry_is_there_even_when_it_ends_the_answer(server, kind):
    for text in (TEXTS[0], TEXTS[6]):
        ids = [BORDER, *TOK.encode(text)]
        body = {"model": kind, "prompt": ids, "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True}
        [choice] = server.post("/v1/completions", body).json()["choices"]
        assert len(choice["logprobs"]["token_logprobs"]) == len(ids) + 1
        if kind == "ngram":
            assert choice["logprobs"]["tokens"][-1] == "<|endoftext|>"
            assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_reading_a_prompt_without_adding_to_it(server, stream):
    ids = [BORDER, *TOK.encode("床前明月光")]
    body = {"model": "ngram", "prompt": ids, "max_tokens": 0, "logprobs": 2, "echo": True, "stream": stream}
    response = server.post("/v1/completions", body)
    if stream:
        [chunk] = [json.loads(event[6:]) for event in response.text.split("\n\n")[:-2]]
        [choice] = chunk["choices"]
    else:
        [choice] = response.json()["choices"]
        assert response.json()["usage"] == {"prompt_tokens": len(ids), "completion_tokens": 0, "total_tokens": len(ids)}
    assert choice["text"] == "床前明月光"
    assert len(choice["logprobs"]["tokens"]) == len(ids)
    assert choice["finish_reason"] == "length"


def test_generate_until(server):
    body = {"model": "ngram", "prompt": [[BORDER, *TOK.encode(p)] for p in ("Once upon a time", "床前明月光，疑是地上霜。举头")], "max_tokens": 40,
            "temperature": 0, "stop": ["\n", "</s>", "<|endoftext|>", "ground", "低头"], "seed": 1234}  # fmt: skip
    choices = server.post("/v1/completions", body).json()["choices"]
    assert [choice["text"] for choice in choices] == [" there was a scholar who ", "望明月，"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "stop"]


def test_two_tokens_that_read_alike_do_not_hide_each_other(server):
    """A token's own log probability is the greatest of its entry exactly when it is the most probable token."""
    body = {"model": "lstm", "prompt": [BORDER, *TOK.encode("研墨🙂 ink")], "temperature": 0, "max_tokens": 8, "logprobs": 20, "echo": True,
            "ignore_eos": True}  # fmt: skip
    [choice] = server.post("/v1/completions", body).json()["choices"]
    generated = list(zip(choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]))[-8:]
    assert all(value == max(top.values()) for value, top in generated)
    assert all(20 <= len(top) <= 21 or len(top) < 20 for _, top in generated)


def test_the_remote_tokenizer(server):
    info = server.client.get("/tokenizer_info").json()
    assert (info["eos_token"], info["bos_token"], info["pad_token"]) == ("<|endoftext|>", "<|endoftext|>", "<|pad|>")
    assert "im_start" in info["chat_template"]
    ids = server.post("/tokenize", {"prompt": "研墨 ink", "add_special_tokens": False}).json()["tokens"]
    assert ids == TOK.encode("研墨 ink")
    assert server.post("/tokenize", {"prompt": "研墨 ink"}).json()["tokens"] == [BORDER, *ids]
    assert server.post("/detokenize", {"tokens": [*ids, BORDER]}).json()["prompt"] == "研墨 ink<|endoftext|>"


def test_chat_of_the_harness_and_of_guidellm(server):
    messages = [{"role": "user", "content": "ink"}]
    harness = {"messages": messages, "model": "lstm", "max_tokens": 5, "temperature": 0, "stop": ["\n\n"], "seed": 1234}
    assert server.post("/v1/chat/completions", harness).status_code == 200
    body = {"model": "lstm", "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}, "max_completion_tokens": 8,
            "ignore_eos": True, "messages": [{"role": "user", "content": [{"type": "text", "text": "ink"}]}]}  # fmt: skip
    events = server.post("/v1/chat/completions", body).text.split("\n\n")
    chunks = [json.loads(event[6:]) for event in events[:-2]]
    assert events[-2] == "data: [DONE]"
    assert all("usage" in chunk for chunk in chunks)
    assert chunks[-1]["usage"]["completion_tokens"] == 8
    vllm = {"model": "lstm", "prompt": "ink", "repetition_penalty": 1.0, "max_tokens": 4, "logprobs": None, "stream": True,
            "stream_options": {"include_usage": True}}  # fmt: skip
    assert server.post("/v1/completions", vllm).text.endswith("data: [DONE]\n\n")
