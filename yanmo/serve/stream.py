"""Answers in the shapes of the OpenAI interface: whole, or as server-sent events while they are made.

`Shape` knows what a completion and a chat look like; `whole` and `events` know nothing of either. In a stream every chunk
has the same id; a chat begins each choice with one chunk that has the role; `finish_reason` comes once a choice; the usage
chunk has no choices; `data: [DONE]` ends it. An error after the first byte is an event of its own, and then the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from yanmo.core.errors import YanmoError
from yanmo.inference.engine import Event, Token
from yanmo.serve.errors import ApiError
from yanmo.serve.schema import ChatRequest, CompletionRequest, Generation

if TYPE_CHECKING:
    from yanmo.serve.worker import Job
    from yanmo.text.tokenizer import Tokenizer


class Choice:
    """One sequence of the answer as it grows. `read`: the ids that the model reads; `sent`: how many of them, at the end,
    the client sent (all but the border that begins a text); `echo`: the prompt's text, where it is asked for."""

    def __init__(self, index: int, read: list[int], sent: int, echo: str = ""):
        self.index, self.read, self.sent, self.echo = index, read, sent, echo
        self.text: list[str] = []
        self.tokens: list[Token] = []
        self.generated = 0
        self.offset = 0  # characters of the tokens told so far
        self.finish: str | None = None

    def note(self, event: Event) -> tuple[str, list[Token]]:
        """What an event adds: text and tokens, those of the prompt before the first where they are echoed."""
        text, tokens = event.text, []
        if event.prompt:
            sent = event.prompt[len(event.prompt) - self.sent :]
            tokens = [Token(sent[0].id), *sent[1:]] if sent else []  # nothing that the client sent precedes the first
        if self.echo:
            text, self.echo = self.echo + text, ""
        if event.token is not None:
            self.generated += 1
            tokens.append(event.token)
        self.text.append(text)
        self.tokens += tokens
        self.finish = event.finish
        return text, tokens


class Shape:
    """How one kind of answer is written."""

    object: str
    chunk: str
    prefix: str
    field: str  # of the request, which holds the prompt

    def __init__(self, request: Generation, model: str, tokenizer: Tokenizer):
        self.request, self.model, self.tokenizer = request, model, tokenizer
        self.id, self.created = f"{self.prefix}-{uuid.uuid4().hex}", int(time.time())

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def first(self, choice: Choice) -> dict[str, Any] | None:
        """What opens a choice of a stream, before anything is generated."""
        return None

    def piece(self, choice: Choice, text: str, tokens: list[Token], finish: str | None) -> dict[str, Any]:
        """One choice of a chunk."""
        raise NotImplementedError

    def whole(self, choice: Choice) -> dict[str, Any]:
        """One choice of an answer that was not streamed."""
        raise NotImplementedError


class CompletionShape(Shape):
    object = chunk = "text_completion"
    prefix, field = "cmpl", "prompt"
    request: CompletionRequest

    def piece(self, choice: Choice, text: str, tokens: list[Token], finish: str | None) -> dict[str, Any]:
        logprobs = None if self.request.logprobs is None else self._logprobs(choice, tokens)
        return {"index": choice.index, "text": text, "logprobs": logprobs, "finish_reason": finish}

    def whole(self, choice: Choice) -> dict[str, Any]:
        return self.piece(choice, "".join(choice.text), choice.tokens, choice.finish)

    def _logprobs(self, choice: Choice, tokens: list[Token]) -> dict[str, Any]:
        """The legacy layout: lists side by side. A token's own log probability is among its `top_logprobs`, as the very
        same float, so that a client may ask whether it is the greatest; of two tokens that read alike the greater stays."""
        names, offsets, tops = [], [], []
        for token in tokens:
            names.append(self.tokenizer.token(token.id))
            offsets.append(choice.offset)
            choice.offset += len(self.tokenizer.decode([token.id]))
            top: dict[str, float] | None = None
            if token.logprob is not None:
                top = {}
                for each, logprob in (*token.top, (token.id, token.logprob)):
                    name = self.tokenizer.token(each)
                    top[name] = max(logprob, top.get(name, logprob))
            tops.append(top)
        return {"tokens": names, "token_logprobs": [t.logprob for t in tokens], "top_logprobs": tops, "text_offset": offsets}


class ChatShape(Shape):
    object, chunk = "chat.completion", "chat.completion.chunk"
    prefix, field = "chatcmpl", "messages"
    request: ChatRequest

    def first(self, choice: Choice) -> dict[str, Any]:
        return {"index": choice.index, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}

    def piece(self, choice: Choice, text: str, tokens: list[Token], finish: str | None) -> dict[str, Any]:
        delta = {"content": text} if text else {}
        return {"index": choice.index, "delta": delta, "logprobs": self._logprobs(tokens), "finish_reason": finish}

    def whole(self, choice: Choice) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(choice.text)}
        return {"index": choice.index, "message": message, "logprobs": self._logprobs(choice.tokens),
                "finish_reason": choice.finish}  # fmt: skip

    def _logprobs(self, tokens: list[Token]) -> dict[str, Any] | None:
        if not self.request.logprobs:
            return None

        def one(token: int, logprob: float | None) -> dict[str, Any]:
            return {"token": self.tokenizer.token(token), "logprob": logprob, "bytes": list(self.tokenizer.piece(token))}

        return {"content": [{**one(t.id, t.logprob), "top_logprobs": [one(*top) for top in t.top]} for t in tokens],
                "refusal": None}  # fmt: skip


def usage(choices: list[Choice], each: int) -> dict[str, int]:
    """Tokens read and made; a prompt of n choices is counted once."""
    prompt = sum(len(choice.read) for choice in choices[::each])
    completion = sum(choice.generated for choice in choices)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def whole(shape: Shape, job: Job, choices: list[Choice]) -> dict[str, Any]:
    async for index, event in job:
        choices[index].note(event)
    return {**shape.head(shape.object), "choices": [shape.whole(choice) for choice in choices],
            "usage": usage(choices, shape.request.n or 1)}  # fmt: skip


async def events(shape: Shape, job: Job, choices: list[Choice]) -> AsyncIterator[bytes]:
    options = shape.request.stream_options
    with_usage = bool(options and options.include_usage)
    running = bool(options and options.continuous_usage_stats)
    head, each = shape.head(shape.chunk), shape.request.n or 1

    def chunk(found: list[dict[str, Any]]) -> bytes:
        extra = {"usage": usage(choices, each)} if with_usage and (running or not found) else {}
        return sse({**head, "choices": found, **extra})

    try:
        for choice in choices:
            if (opening := shape.first(choice)) is not None:
                yield chunk([opening])
        async for index, event in job:
            text, tokens = choices[index].note(event)
            wants_tokens = shape.request.alternatives is not None
            if text or event.finish or (wants_tokens and tokens):
                yield chunk([shape.piece(choices[index], text, tokens, event.finish)])
    except YanmoError as error:
        yield sse(ApiError.of(error).body())
        return
    except ApiError as error:
        yield sse(error.body())
        return
    if with_usage:
        yield chunk([])
    yield b"data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """Server-sent events of a job. Whatever ends the response, a client that left included, ends the job."""

    def __init__(self, content: AsyncIterator[bytes], job: Job):
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self.job = job

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.job.cancel()


@contextlib.asynccontextmanager
async def watched(request: Request, job: Job) -> AsyncIterator[None]:
    """While an answer is made that is sent whole: ends the job when the client leaves."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        job.fail(ApiError(499, "the client left"))

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        job.cancel()


LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}  # many clients split events at these too


def sse(data: dict[str, Any]) -> bytes:
    line = json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(LINE_ENDS)
    return b"data: " + line.encode("utf-8") + b"\n\n"
