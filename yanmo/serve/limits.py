"""What a request may cost before anything is computed for it, and the reading of its body within that.

Every bound is a setting with a default that suits a small machine; past one, the answer is 400 (or 413 for the body) and
names the field. A queue that is full answers 503 at once, with Retry-After.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import Request
from pydantic import Field

from yanmo.core.config import Settings
from yanmo.serve.errors import ApiError


class Limits(Settings):
    body: int = Field(default=8 * 2**20, gt=0)  # bytes
    seconds: float = Field(default=30, gt=0)  # for the whole body to arrive
    sequences: int = Field(default=256, gt=0)  # prompts × n of one request
    texts: int = Field(default=1024, gt=0)  # of one /v1/classify
    messages: int = Field(default=512, gt=0)
    stops: int = Field(default=16, gt=0)
    stop_length: int = Field(default=256, gt=0)  # characters
    logprobs: int = Field(default=20, gt=0)  # alternatives a token
    tokens: int = Field(default=16_384, gt=0)  # new ones a sequence; more is cut to this, or to the context
    queue: int = Field(default=256, ge=0)  # sequences that wait for a slot, each model
    drain: float = Field(default=60, ge=0)  # seconds that running requests have after SIGTERM


def _constant(name: str) -> None:
    raise ApiError(400, f"the body is not JSON: {name} is no JSON number")


async def read_json(request: Request, limits: Limits) -> dict[str, Any]:
    """The body as a mapping; 400, 408, 413 or 415 for what is none, without reading more than the limit."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise ApiError(415, f"expected content-type application/json, got {kind[:80]}")
    too_large = ApiError(413, f"the body is larger than {limits.body} bytes", code="request_too_large")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.body:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                body += part
                if len(body) > limits.body:
                    raise too_large
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {limits.seconds:g} seconds") from None
    try:
        data = json.loads(body.decode("utf-8"), parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(data, dict):
        raise ApiError(400, f"expected a JSON object, got {type(data).__name__}")
    return data
