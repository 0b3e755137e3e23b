"""What a request may say, and nothing else: an unknown field is an error that names it.

Fields of the OpenAI interface that we do not do are accepted with the value that asks for nothing (`NEUTRAL`) and refused
with any other, so that no request is answered with less than it asked for. Fields that describe the caller are ignored.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from yanmo.core.config import Settings, build, describe
from yanmo.inference.sampling import MAX_SEED, Number, Sampling
from yanmo.serve.errors import ApiError
from yanmo.serve.limits import Limits
from yanmo.text.chat import validate

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,), "suffix": ("",), "logit_bias": ({},), "frequency_penalty": (0,), "presence_penalty": (0,),
    "repetition_penalty": (1,), "response_format": ({"type": "text"},), "tools": ([],), "tool_choice": ("none", "auto"),
    "functions": ([],), "function_call": ("none", "auto"), "modalities": (["text"],), "audio": (), "prediction": (),
    "reasoning_effort": (), "service_tier": ("auto", "default"), "parallel_tool_calls": (True, False),
    "use_beam_search": (False,), "length_penalty": (1,), "min_tokens": (0,),
    "skip_special_tokens": (True,), "encoding_format": ("float",),
}  # fmt: skip
IGNORED = {"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "verbosity"}
TEXT = {"type": "string"}
IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
TEXTS = {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}
PROMPT = {"anyOf": [*TEXTS["anyOf"], IDS, {"type": "array", "items": IDS, "minItems": 1}]}
MESSAGES = {"type": "array", "minItems": 1, "items": {
    "type": "object", "required": ["role", "content"], "additionalProperties": False, "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant"]}, "name": TEXT, "content": {"anyOf": [TEXT, {
            "type": "array", "items": {"type": "object", "required": ["type", "text"],
                                       "properties": {"type": {"const": "text"}, "text": TEXT}}}]}}}}  # fmt: skip


def _stops(value: Any) -> Any:
    stops = [value] if isinstance(value, str) else value
    if isinstance(stops, list) and any(item == "" for item in stops):
        raise ValueError("stop strings that are not empty")
    return stops


def _prompts(value: Any) -> list[str | list[int]]:
    """A string, strings, token ids, or lists of token ids, as a list of prompts."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            return value
        if _ids(value):
            return [value]
        if all(isinstance(item, list) and item and _ids(item) for item in value):
            return value
    raise ValueError("a string, a list of strings, a list of token ids, or a list of such lists, not empty")


def _ids(value: list[Any]) -> bool:
    return all(type(item) is int and item >= 0 for item in value)  # a bool is no token id


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(item, str) for item in texts):
        raise ValueError("a string or a list of strings, not empty")
    return texts


class Body(Settings):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str | None = None


class StreamOptions(Settings):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False
    include_obfuscation: bool | None = False  # padding against size attacks: there is none to leave out


class Generation(Body):
    """What completions and chat share."""

    max_tokens: int | None = Field(default=None, ge=0)
    temperature: Number | None = Field(default=1.0, ge=0, le=2)
    top_p: Number | None = Field(default=1.0, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    min_p: Number | None = Field(default=0.0, ge=0, le=1)
    n: int | None = Field(default=1, ge=1)
    seed: int | None = Field(default=None, ge=-MAX_SEED - 1, le=MAX_SEED)
    stop: Annotated[list[str] | None, BeforeValidator(_stops)] = None
    ignore_eos: bool | None = False
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    @property
    def alternatives(self) -> int | None:
        """How many alternatives to give beside each token's log probability; None: no log probabilities."""
        raise NotImplementedError

    @property
    def echoes(self) -> bool:
        return False

    def sampling(self, limits: Limits, index: int) -> Sampling:
        """The settings of choice `index`: with a seed, each choice has one of its own that follows from it."""
        wanted = limits.tokens if self.max_tokens is None else min(self.max_tokens, limits.tokens)
        return Sampling(
            max_tokens=wanted, temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p, top_k=self.top_k if self.top_k and self.top_k > 0 else None,
            min_p=self.min_p or 0.0, seed=None if self.seed is None else (self.seed + index) % (MAX_SEED + 1),
            stop=self.stop or [], ignore_eos=bool(self.ignore_eos), logprobs=self.alternatives,
            prompt_logprobs=self.echoes and self.alternatives is not None,
        )  # fmt: skip


class CompletionRequest(Generation):
    prompt: Annotated[Any, BeforeValidator(_prompts), WithJsonSchema(PROMPT)]
    max_tokens: int | None = Field(default=16, ge=0)
    echo: bool | None = False
    logprobs: int | None = Field(default=None, ge=0)

    @property
    def alternatives(self) -> int | None:
        return self.logprobs

    @property
    def echoes(self) -> bool:
        return bool(self.echo)


class ChatRequest(Generation):
    messages: Annotated[list[Any], WithJsonSchema(MESSAGES)]
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(default=None, ge=0)

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None


class ClassifyRequest(Body):
    input: Annotated[list[str], BeforeValidator(_texts), WithJsonSchema(TEXTS)]


class TokenizeRequest(Body):
    prompt: str
    add_special_tokens: bool = True


class DetokenizeRequest(Body):
    tokens: list[Annotated[int, Field(ge=0)]]


def parse(cls: type[Any], data: dict[str, Any], limits: Limits) -> Any:
    """The body as a request of `cls`; a RequestError or an ApiError names the first field that is wrong."""
    data = {key: value for key, value in data.items() if key not in IGNORED}
    for key, neutral in NEUTRAL.items():
        if key in data and key not in cls.model_fields:
            value = data.pop(key)
            if value is not None and not any(value is item or (value == item and type(value) is not bool) for item in neutral):
                raise ApiError(400, f"{key}: {describe(value)} is not supported here - leave it out", key, "unsupported_value")
    request = build(cls, data)
    if isinstance(request, Generation):
        _well_formed("stop", request.stop or [])
        _bound("stop", len(request.stop or []), limits.stops, "stop strings")
        _bound("stop", max(map(len, request.stop or [""])), limits.stop_length, "characters in a stop string")
        _bound("logprobs" if isinstance(request, CompletionRequest) else "top_logprobs", request.alternatives or 0,
               limits.logprobs, "alternatives a token")  # fmt: skip
        _bound("n", request.n or 1, limits.sequences, "choices")
        if request.stream_options is not None and not request.stream:
            raise ApiError(400, "stream_options: only with stream=true", "stream_options")
    if isinstance(request, CompletionRequest):
        _bound("prompt", len(request.prompt) * (request.n or 1), limits.sequences, "prompts × n")
        _well_formed("prompt", (item for item in request.prompt if isinstance(item, str)))
        if request.max_tokens == 0 and not request.echo:
            raise ApiError(400, "max_tokens: expected at least 1 (0 only with echo), got 0", "max_tokens")
    elif isinstance(request, ChatRequest):
        request = _checked_chat(request, limits)
    elif isinstance(request, ClassifyRequest):
        _bound("input", len(request.input), limits.texts, "texts")
        _well_formed("input", request.input)
    elif isinstance(request, TokenizeRequest):
        _well_formed("prompt", [request.prompt])
    return request


def _checked_chat(request: ChatRequest, limits: Limits) -> ChatRequest:
    """The request with its messages as role and plain text; a developer is a system, as in the OpenAI interface."""
    _bound("messages", len(request.messages), limits.messages, "messages")
    for index, message in enumerate(request.messages):
        extra = sorted(set(message) - {"role", "content", "name"}) if isinstance(message, dict) else []
        if extra:
            field = f"messages[{index}].{extra[0]}"
            raise ApiError(400, f"{field}: not supported here - leave it out", field)
    given = [{**m, "role": "system"} if isinstance(m, dict) and m.get("role") == "developer" else m for m in request.messages]
    messages = validate(given)
    _well_formed("messages", (message["content"] for message in messages))
    if messages[-1]["role"] != "user":
        raise ApiError(400, f"messages: expected a last message of role 'user', got '{messages[-1]['role']}'", "messages")
    for before, after in itertools.pairwise(messages):
        if before["role"] == after["role"] == "assistant":
            raise ApiError(400, "messages: expected turns that alternate, got two of role 'assistant' in a row", "messages")
    if request.top_logprobs is not None and not request.logprobs:
        raise ApiError(400, "top_logprobs: only with logprobs=true", "top_logprobs")
    if request.max_tokens == 0:
        raise ApiError(400, "max_tokens: expected at least 1, got 0", "max_tokens")
    tokens = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    return request.model_copy(update={"messages": messages, "max_tokens": tokens})


def _bound(field: str, given: int, limit: int, what: str) -> None:
    if given > limit:
        raise ApiError(400, f"{field}: expected at most {limit} {what}, got {given}", field)


def _well_formed(field: str, texts: Iterable[str]) -> None:
    for item in texts:
        try:
            item.encode("utf-8")
        except UnicodeEncodeError:
            raise ApiError(400, f"{field}: expected well-formed Unicode, got a lone surrogate", field) from None
