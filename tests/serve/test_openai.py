"""The `openai` client against a real server: what it asks, what it gets, in English and in Chinese."""

from __future__ import annotations

import concurrent.futures
import json

import openai
import pytest

from tests.inference.tiny import KINDS, LABELS, TEXTS, tokenizer
from yanmo.inference.model import Model
from yanmo.serve.stream import sse

TOK = tokenizer()


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_the_models_of_the_run_in_its_order(client):
    assert [model.id for model in client.models.list()] == [*KINDS, "finetune"]
    assert client.models.retrieve("transformer").model_dump()["context"] == 96
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["The ink stick", "春眠不觉晓，"])
def test_a_completion_is_what_the_model_says_in_process(client, run, kind, prompt):
    request = {"temperature": 0.8, "top_p": 0.9, "seed": 7, "max_tokens": 24}
    found = client.completions.create(model=kind, prompt=prompt, **request)
    assert found.choices[0].text == Model.open(run / kind).generate(prompt, **request)
    assert found.usage.prompt_tokens == len(TOK.encode(prompt)) + 1
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert found.choices[0].finish_reason in ("stop", "length")
    assert (found.choices[0].finish_reason == "length") <= (found.usage.completion_tokens == 24)


def test_the_default_model_is_the_last_that_can(server):
    assert server.post("/v1/completions", {"prompt": "a"}).json()["model"] == "transformer"
    assert server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}).json()["model"] == "transformer"
    assert server.post("/v1/classify", {"input": "a"}).json()["model"] == "finetune"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", ["Tell me of the ink.", "举头望明月，", "研墨 🙂 and café"])
def test_a_streamed_chat_is_whole_characters_that_join_to_the_answer(client, run, kind, content):
    messages = [{"role": "system", "content": "写诗"}, {"role": "user", "content": content}]
    request = {"temperature": 1.0, "seed": 3, "max_tokens": 60, "extra_body": {"ignore_eos": True}}
    if kind == "transformer":
        request["max_tokens"] = 20
    whole = client.chat.completions.create(model=kind, messages=messages, **request)
    stream = client.chat.completions.create(
        model=kind, messages=messages, stream=True, stream_options={"include_usage": True}, **request
    )
    chunks = list(stream)
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert whole.choices[0].message.content == Model.open(run / kind).chat(
        messages, temperature=1.0, seed=3, max_tokens=request["max_tokens"], ignore_eos=True
    )
    assert not any("\ufffd" in (delta.content or "") for delta in deltas)
    assert len({chunk.id for chunk in chunks}) == 1
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert deltas[0].content == ""
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_n_gram_speaks_english_and_chinese(client):
    english = client.completions.create(model="ngram", prompt="Once upon a time", temperature=0, max_tokens=12)
    assert TEXTS[1].removeprefix("Once upon a time").startswith(english.choices[0].text[:20])
    stream = client.completions.create(model="ngram", prompt="床前明月光，", temperature=0, max_tokens=30, stream=True)
    text = "".join(chunk.choices[0].text for chunk in stream)
    assert text == "疑是地上霜。举头望明月，低头思故乡。"


def test_n_choices_differ_follow_from_the_seed_and_do_not_depend_on_the_batch(client):
    request = {"model": "lstm", "max_tokens": 12, "temperature": 1.0, "seed": 5}
    three = client.completions.create(prompt=["ink", "研墨", ""], n=3, **request)
    assert [choice.index for choice in three.choices] == list(range(9))
    assert len({choice.text for choice in three.choices[:3]}) == 3
    one = client.completions.create(prompt="研墨", n=2, **request)
    assert [choice.text for choice in one.choices] == [three.choices[3].text, three.choices[4].text]
    assert three.usage.prompt_tokens == sum(len(TOK.encode(p)) + 1 for p in ("ink", "研墨", ""))
    ids = client.completions.create(prompt=[[TOK.eos_id, *TOK.encode(p)] for p in ("ink", "研墨", "")], n=3, **request)
    assert ids.choices == three.choices  # ids are taken as they are
    stream = client.completions.create(prompt=["ink", "研墨", ""], n=3, stream=True, **request)
    joined = [""] * 9
    for chunk in stream:
        for choice in chunk.choices:
            joined[choice.index] += choice.text
    assert joined == [choice.text for choice in three.choices]


def test_together_is_as_one_after_the_other(client):
    requests = [{"model": KINDS[i % 3], "prompt": TEXTS[i % len(TEXTS)][: 10 + i], "temperature": (i % 4) / 3, "seed": i,
                 "max_tokens": 8 + i} for i in range(24)]  # fmt: skip

    def text(request):
        return client.completions.create(**request).choices[0].text

    alone = [text(request) for request in requests]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        together = list(pool.map(text, requests))
    assert together == alone


def test_content_may_come_in_parts_and_either_name_of_the_limit_counts(client):
    def ask(content, **limit):
        return client.chat.completions.create(
            model="lstm", messages=[{"role": "user", "content": content}], temperature=0, **limit
        )

    parts = [{"type": "text", "text": "研"}, {"type": "text", "text": "墨"}]
    assert ask(parts, max_completion_tokens=6).choices[0].message == ask("研墨", max_tokens=6).choices[0].message
    assert ask("研墨", max_completion_tokens=3).usage.completion_tokens <= 3
    developer = [{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}]
    system = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    first, second = (
        client.chat.completions.create(model="lstm", messages=m, temperature=0, max_tokens=5) for m in (developer, system)
    )
    assert first.choices == second.choices


def test_log_probabilities_of_a_chat_give_bytes_that_join_to_the_text(client):
    found = client.chat.completions.create(model="ngram", messages=[{"role": "user", "content": "春"}], temperature=0,
                                           max_tokens=12, logprobs=True, top_logprobs=4)  # fmt: skip
    content = found.choices[0].logprobs.content
    special = [name.encode() for name in TOK.special]
    joined = b"".join(bytes(token.bytes) for token in content if bytes(token.bytes) not in special)
    assert joined.decode("utf-8", "ignore") == found.choices[0].message.content
    for token in content:
        assert len(token.top_logprobs) == 4
        assert token.top_logprobs[0].logprob == token.logprob
    plain = client.chat.completions.create(
        model="ngram", messages=[{"role": "user", "content": "春"}], max_tokens=2, logprobs=True
    )
    assert plain.choices[0].logprobs.content[0].top_logprobs == []


def test_labels(server):
    found = server.post("/v1/classify", {"model": "finetune", "input": ["把灯打开", "play music"]}).json()
    assert [item["index"] for item in found["data"]] == [0, 1]
    for item in found["data"]:
        assert list(item["scores"]) == LABELS
        assert item["score"] == item["scores"][item["label"]] == max(item["scores"].values())
    alone = server.post("/v1/classify", {"input": "play music"}).json()
    assert alone["data"][0]["label"] == found["data"][1]["label"]
    assert server.post("/v1/classify", {"model": "ngram", "input": "x"}).status_code == 400


def test_streams_are_server_sent_events_to_the_letter(server):
    body = {"model": "ngram", "messages": [{"role": "user", "content": "研墨"}], "stream": True, "max_tokens": 5, "n": 2,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True}}  # fmt: skip
    response = server.post("/v1/chat/completions", body)
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert all(event.startswith("data: ") for event in events)
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    for index in (0, 1):
        mine = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert [choice["finish_reason"] for choice in mine[:-1]] == [None] * (len(mine) - 1)
        assert mine[-1]["finish_reason"] in ("length", "stop")
        assert all("role" not in choice["delta"] for choice in mine[1:])
    totals = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert totals == sorted(totals)
    assert chunks[-1]["choices"] == []


def test_an_event_is_one_line_for_every_client():
    """Clients that split lines as Python does would break an event at U+2028; JSON may escape it."""
    event = sse({"text": "a\u2028b\u2029c\x85d\x1c研\n🙂"}).decode()
    assert len(event.splitlines()) == 2
    assert json.loads(event[6:]) == {"text": "a\u2028b\u2029c\x85d\x1c研\n🙂"}
