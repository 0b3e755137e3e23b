"""The HTTP server: an OpenAI-compatible interface to every model of a run.

    GET  /health              200, or 503 while draining or after an engine died
    GET  /v1/models           ids of the run's models; the last that can do a request is its default
    POST /v1/completions      text or token ids; echo and log probabilities as evaluation harnesses need them
    POST /v1/chat/completions
    POST /v1/classify         {"input": text or texts} → label, score, scores
    POST /tokenize, /detokenize, GET /tokenizer_info

`build_app` makes the application of opened models; `serve` opens a run, listens, and drains on SIGTERM: /health and new
requests answer 503 at once, running ones finish within the limit, exit status 0. A second signal ends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from yanmo.core.console import Console
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.core.package import VERSION
from yanmo.inference import engine
from yanmo.inference.model import Model, models, prompt_ids
from yanmo.serve import errors
from yanmo.serve.drain import listen, run
from yanmo.serve.errors import ApiError
from yanmo.serve.house import House
from yanmo.serve.limits import Limits, read_json
from yanmo.serve.schema import (
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    DetokenizeRequest,
    Generation,
    TokenizeRequest,
    parse,
)
from yanmo.serve.stream import ChatShape, Choice, CompletionShape, EventStream, Shape, events, watched, whole

EVENTS = {"description": "the answer, or with stream=true its events", "content": {"text/event-stream": {}}}


def build_app(models: dict[str, Model], *, limits: Limits | None = None, slots: int = 8) -> FastAPI:
    """The application that serves `models` (id → model), each that generates with an engine of `slots` slots."""
    limits = limits or Limits()
    house = House(models, limits, slots)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        house.open()
        yield
        house.close()

    app = FastAPI(title="Yanmo", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.router.responses = {code: {"description": "refused", "content": {"application/json": {"schema": errors.SCHEMA}}}
                            for code in (400, 404, 408, 413, 415, 500, 503)}  # fmt: skip
    app.state.house = house
    errors.install(app)

    async def accept(cls: type[Any], request: Request) -> Any:
        if house.draining:
            raise ApiError(503, "the server is shutting down", code="shutting_down", retry=5)
        return parse(cls, await read_json(request, limits), limits)

    @app.get("/health")
    async def health() -> JSONResponse:
        status = "ok" if house.healthy else "draining" if house.draining else "failed"
        return JSONResponse({"status": status, **house.load()}, 200 if house.healthy else 503)

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [house.card(name) for name in models]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        if name not in models:
            raise ApiError(404, f"no such model: {name[:80]!r}", "model", "model_not_found")
        return house.card(name)

    @app.post("/v1/completions", openapi_extra=_body(CompletionRequest), responses={200: EVENTS})
    async def completions(request: Request) -> Response:
        asked = await accept(CompletionRequest, request)
        name, model = house.find(asked.model, "generate")
        tokenizer, border = model.tokenizer, model.tokenizer.bos_id
        prompts = []
        for prompt in asked.prompt:
            ids = prompt if isinstance(prompt, list) else [border, *tokenizer.encode(prompt)]
            echo = ""
            if asked.echo:
                echo = tokenizer.decode(_known(ids, tokenizer.size)) if isinstance(prompt, list) else prompt
            prompts.append((ids, len(ids) - isinstance(prompt, str), echo))
        return await answer(request, asked, name, CompletionShape(asked, name, tokenizer), prompts)

    @app.post("/v1/chat/completions", openapi_extra=_body(ChatRequest), responses={200: EVENTS})
    async def chat(request: Request) -> Response:
        asked = await accept(ChatRequest, request)
        name, model = house.find(asked.model, "generate")
        ids = prompt_ids(asked.messages, model.tokenizer)
        return await answer(request, asked, name, ChatShape(asked, name, model.tokenizer), [(ids, len(ids), "")])

    async def answer(request: Request, asked: Generation, name: str, shape: Shape,
                     prompts: list[tuple[list[int], int, str]]) -> Response:  # fmt: skip
        each = asked.n or 1
        choices = [Choice(i * each + k, *prompt) for i, prompt in enumerate(prompts) for k in range(each)]
        wanted = [engine.Request(choice.read, asked.sampling(limits, choice.index % each)) for choice in choices]
        job = house.workers[name].submit(wanted, shape.field)
        if asked.stream:
            return EventStream(events(shape, job, choices), job)
        async with watched(request, job):
            return JSONResponse(await whole(shape, job, choices))

    @app.post("/v1/classify", openapi_extra=_body(ClassifyRequest))
    async def classify(request: Request) -> dict[str, Any]:
        asked = await accept(ClassifyRequest, request)
        name, model = house.find(asked.model, "classify")
        if house.queued and house.queued + len(asked.input) > limits.texts:
            raise ApiError(503, f"busy: {house.queued} texts are waiting", code="overloaded", retry=1)
        house.queued += len(asked.input)
        try:
            async with house.classifying:
                found = await asyncio.to_thread(model.predict, asked.input)
        finally:
            house.queued -= len(asked.input)
        data = [{"index": i, "label": p.label, "score": p.score, "scores": p.scores} for i, p in enumerate(found)]
        return {"object": "list", "model": name, "data": data}

    @app.get("/tokenizer_info")
    async def tokenizer_info(model: str | None = None) -> dict[str, Any]:
        tokenizer = house.find(model, "tokenize")[1].tokenizer
        return {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": tokenizer.bos, "eos_token": tokenizer.eos,
                "pad_token": tokenizer.pad, "chat_template": tokenizer.chat_template}  # fmt: skip

    @app.post("/tokenize", openapi_extra=_body(TokenizeRequest))
    async def tokenize(request: Request) -> dict[str, Any]:
        asked = await accept(TokenizeRequest, request)
        _, model = house.find(asked.model, "tokenize")
        ids = model.tokenizer.encode(asked.prompt)
        if asked.add_special_tokens:
            ids = [model.tokenizer.bos_id, *ids]
        return {"tokens": ids, "count": len(ids), "max_model_len": model.context}

    @app.post("/detokenize", openapi_extra=_body(DetokenizeRequest))
    async def detokenize(request: Request) -> dict[str, Any]:
        asked = await accept(DetokenizeRequest, request)
        tokenizer = house.find(asked.model, "tokenize")[1].tokenizer
        return {"prompt": tokenizer.decode(_known(asked.tokens, tokenizer.size), skip_special=False)}

    return app


def serve(path: str | Path, host: str = "127.0.0.1", port: int = 8000, *, slots: int = 8, limits: Limits | None = None) -> None:
    """Opens every model of `path`, listens, and serves until a signal has drained it. Port 0 takes a free one."""
    console, limits = Console(), limits or Limits()
    if slots < 1:
        raise RequestError("--slots", text("at least one"), str(slots))
    with listen(host, port) as listener:
        opened = models(path)
        app = build_app(opened, limits=limits, slots=slots)
        address = f"http://{host}:{listener.getsockname()[1]}"
        console.log(text("serving {models} on {address}", models=", ".join(opened), address=address))
        run(app, listener, limits.drain)
        console.log(text("served; all requests are done"))


def _body(cls: type[Any]) -> dict[str, Any]:
    """The request's schema for /openapi.json; the body itself is read and judged by `parse`."""
    schema = cls.model_json_schema()
    parts = schema.pop("$defs", {})

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).rpartition("/")[2]
            return parts[name] if name in parts else {key: whole(item) for key, item in value.items()}
        return [whole(item) for item in value] if isinstance(value, list) else value

    return {"requestBody": {"required": True, "content": {"application/json": {"schema": whole(schema)}}}}


def _known(ids: list[int], size: int) -> list[int]:
    """The ids, or ApiError 400 where one is not in the vocabulary."""
    wrong = next((token for token in ids if token >= size), None)
    if wrong is not None:
        raise ApiError(400, f"prompt: expected token ids from 0 to {size - 1}, got {wrong}", "prompt")
    return ids
