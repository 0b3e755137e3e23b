"""Many requests, one model: continuous batching over slots, for every kind of model.

    submit ──> waiting ──admit──> a slot: prefill, chunk by chunk ──> decode, one token a step ──> retire

A step admits what fits, reads one chunk of the prompts that are not read yet, decodes one token for every row that is
past its prompt, and retires the rows that are done; a request joins and leaves between any two steps. What a model
remembers lies in `DenseSlots` (keys and values, h and c, last tokens): the engine knows no kind of model.

Prompts are prefilled in chunks of equal length without padding, and each row samples with its own generator, so a request
gets the text that it would get alone (to the rounding of float32 matrix products, whose order depends on the batch).
Occupied slots are kept side by side, so that attention reads its keys and values as a view, without a copy.

An engine belongs to one thread; `yanmo.serve.worker` gives it one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from yanmo.core.errors import RequestError, WorkError, YanmoError
from yanmo.core.messages import Text, text
from yanmo.inference.guidance import Wish, steered
from yanmo.inference.likelihood import device_of
from yanmo.inference.sampling import Draws, Sampling, choose, top_logprobs
from yanmo.inference.streaming import endless as endless_slots
from yanmo.inference.transcript import Transcript
from yanmo.models.base import Inputs, LanguageModel
from yanmo.nn.state import DenseSlots
from yanmo.text.tokenizer import Tokenizer

UNBOUNDED = 1024  # new tokens for a request without max_tokens to a model without a context limit
LOGITS = 16_000_000  # numbers that a pass may hold where every position of a prompt needs its logits
STORAGE = 2**31  # bytes that the slots take at most where no capacity is given


@dataclass(frozen=True)
class Request:
    ids: Sequence[int]  # the prompt as the model reads it; of an encoder-decoder, what its decoder begins with
    sampling: Sampling = field(default_factory=Sampling)
    source: Sequence[int] | None = None  # what an encoder-decoder's encoder reads
    wish: Wish | None = None  # a label that a classifier shall find in the text (`guidance.py`)


@dataclass(frozen=True, slots=True)
class Token:
    """A token, its log probability in nats (None where nothing precedes it), and the most probable ones instead of it."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """What one step gave one request. The last event of a request has `finish`: 'stop', 'length', or 'error'."""

    ticket: Ticket
    text: str = ""
    token: Token | None = None
    prompt: tuple[Token, ...] | None = None  # with prompt_logprobs, once, when the prompt has been read
    finish: str | None = None
    error: YanmoError | None = None


@dataclass(eq=False, slots=True)
class Ticket:
    """A request on its way through the engine."""

    request: Request
    draws: Draws
    transcript: Transcript
    limit: int  # new tokens at most
    row: int = -1  # its slot; -1: it waits, or it is over
    read: int = 0  # tokens of the prompt that the model has read
    tokens: list[int] = field(default_factory=list)
    prompt: list[Token] = field(default_factory=list)
    finish: str | None = None
    inbox: deque[Event] = field(default_factory=deque)  # for whoever reads through `stream`

    @property
    def remaining(self) -> int:
        return len(self.request.ids) - self.read


@dataclass(frozen=True)
class Completion:
    """A whole answer: what was generated for one request."""

    text: str
    tokens: list[Token]
    prompt: tuple[Token, ...] | None
    finish: str

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]


class Engine:
    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, slots: int = 8, capacity: int | None = None, chunk: int = 512,
                 endless: bool = False):  # fmt: skip
        """`capacity`: tokens for which a slot has room, by default the model's context as far as memory allows;
        `chunk`: prompt tokens that one step reads, so that a long prompt does not hold up the others; `endless`: prompts and
        answers of any length in constant memory, by a model that can (`streaming.endless`)."""
        if model.kind == "masked":
            raise RequestError("engine", text("a model that generates from left to right"), model.kind)
        if slots < 1:
            raise RequestError("slots", text("at least one"), str(slots))
        self.model, self.tokenizer, self.chunk = model.eval(), tokenizer, chunk
        self.device = device_of(model)
        self.rows = slots
        self.context: int | None = None  # tokens of prompt and answer together
        if endless:
            assert capacity is None, "endless slots have their own capacity"
            self.slots = endless_slots(model, slots, chunk)
        else:
            self.slots, self.context = self._allocate(slots, capacity)
        self.ends = set(tokenizer.ends)  # the tokens that end an answer
        self.waiting: deque[Ticket] = deque()
        self.running: list[Ticket] = []  # running[i] is in slot i
        self._views: dict[tuple[int, ...], DenseSlots] = {}

    def _allocate(self, slots: int, capacity: int | None) -> tuple[DenseSlots, int | None]:
        """Slots that hold whole texts, and how long those may be."""
        model, spec = self.model, self.model.state()
        per_token = sum(s.dtype.itemsize * torch.Size(s.shape).numel() for s in spec.values() if s.per_token)
        if capacity is None and per_token:
            capacity = max(1, STORAGE // (per_token * slots))
        bounds = [bound for bound in (model.context, capacity) if bound]
        context = min(bounds) if bounds else None
        room = (context or 0) if per_token else 2**62  # state of one size holds any number of tokens
        return DenseSlots(spec, slots, room, self.device), context

    # ------------------------------------------------------------------------------------------------ requests

    def check(self, request: Request) -> None:
        """RequestError where the request can never be served: no token, an unknown one, more than the context."""
        if not request.ids:
            raise RequestError("prompt", text("at least one token"), text("none"))
        if (request.source is None) == (self.model.kind == "encoder-decoder"):
            given = (text("none"), text("one")) if request.source is None else (text("one"), text("none"))
            raise RequestError("source", given[1], given[0])
        size = self.model.vocabulary
        if request.source is not None:
            check_ids("source", request.source, size, self.model.context, text("shorten the text"))
        check_ids("prompt", request.ids, size, self.context, text("shorten the prompt"))

    def submit(self, request: Request) -> Ticket:
        self.check(request)
        settings = request.sampling
        # the model reads prompt and answer, but not the answer's last token
        room = self.context - len(request.ids) + 1 if self.context else settings.max_tokens or UNBOUNDED
        limit = room if settings.max_tokens is None else min(room, settings.max_tokens)
        ticket = Ticket(request, Draws(settings.seed), Transcript(self.tokenizer, settings.stop), limit)
        self.waiting.append(ticket)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Ends a request wherever it is; its slot is free at once. Ended ones stay as they are."""
        if ticket.finish is None:
            ticket.finish = "cancelled"
            if ticket.row < 0:
                self.waiting.remove(ticket)
            else:
                self._retire([ticket])

    def fail(self, error: YanmoError) -> list[Event]:
        """After a step that raised: every request in a slot ends with this error, and the slots are fresh again."""
        failed, self.running = self.running, []
        self._views.clear()
        self.slots.reset()
        for ticket in failed:
            ticket.row, ticket.finish = -1, "error"
        return [Event(ticket, finish="error", error=error) for ticket in failed]

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running)

    # ------------------------------------------------------------------------------------------------ the step

    @torch.inference_mode()
    def step(self) -> list[Event]:
        self._admit()
        events: list[Event] = []
        if reading := self._next_chunk():
            events += self._prefill(reading)
        if writing := [t for t in self.running if t.tokens and t.finish is None]:
            last = torch.tensor([t.tokens[-1:] for t in writing], device=self.device)
            events += self._accept(writing, self._forward(writing, last))
        self._retire([event.ticket for event in events if event.finish])
        return events

    def stream(self, ticket: Ticket) -> Iterator[Event]:
        """Steps the engine until the request is done, yielding its events; closing the iterator cancels it. Several
        streams may be read in turn: each keeps the others' events for them. An error of the request is raised."""
        try:
            while True:
                while ticket.inbox:
                    event = ticket.inbox.popleft()
                    if event.error is not None:
                        raise event.error
                    yield event
                if ticket.finish is not None:
                    return
                for event in self.step():
                    event.ticket.inbox.append(event)
        finally:
            self.cancel(ticket)

    def complete(self, requests: Iterable[Request]) -> list[Completion]:
        """Whole answers, in the order of the requests."""
        tickets = [self.submit(request) for request in requests]
        return [gather(self.stream(ticket)) for ticket in tickets]

    # ------------------------------------------------------------------------------------------------ its parts

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self.rows:
            ticket = self.waiting.popleft()
            ticket.row = len(self.running)
            self.running.append(ticket)

    def _next_chunk(self) -> list[Ticket]:
        """Rows whose next chunks have one length, together no more than `chunk` tokens (one row at least)."""
        reading = [t for t in self.running if t.remaining and t.finish is None]
        if not reading:
            return []
        if reading[0].request.source is not None and not reading[0].read:
            return reading[:1]  # its source is read with it
        kind = self._chunk_of(reading[0])
        reading = [t for t in reading if t.request.source is None or t.read]
        return [t for t in reading if self._chunk_of(t) == kind][: max(1, self.chunk // kind[0])]

    def _chunk_of(self, ticket: Ticket) -> tuple[int, bool]:
        """How many tokens of its prompt are read next, and whether each needs its logits."""
        every = ticket.request.sampling.prompt_logprobs
        whole = max(1, min(self.chunk, LOGITS // self.model.vocabulary)) if every else self.chunk
        return min(whole, ticket.remaining), every

    def _prefill(self, tickets: list[Ticket]) -> list[Event]:
        size, every = self._chunk_of(tickets[0])
        ids = [list(t.request.ids[t.read : t.read + size]) for t in tickets]
        ends = [t.remaining == size for t in tickets]
        select = torch.full((len(tickets), size), every, device=self.device)
        select[:, -1] |= torch.tensor(ends, device=self.device)
        logits = self._forward(tickets, torch.tensor(ids, device=self.device), select)
        for ticket in tickets:
            ticket.read += size
        if every:
            logits = logits.view(len(tickets), size, -1)
            for ticket, row in zip(tickets, logits):
                self._note_prompt(ticket, row)
            logits = logits[:, -1][torch.tensor(ends, device=self.device)]
        done = [t for t, end in zip(tickets, ends) if end]
        return self._accept(done, logits) if done else []

    def _note_prompt(self, ticket: Ticket, logits: Tensor) -> None:
        """The log probabilities of the prompt's tokens that this chunk (T, V) predicts; the very first has none."""
        ids = ticket.request.ids
        if not ticket.prompt:
            ticket.prompt.append(Token(ids[0]))
        targets = torch.tensor(list(ids[len(ticket.prompt) : ticket.read + 1]), dtype=torch.int64, device=self.device)
        ticket.prompt += weigh(logits[: len(targets)], targets, ticket.request.sampling.logprobs or 0)

    def _forward(self, tickets: list[Ticket], ids: Tensor, select: Tensor | None = None) -> Tensor:
        """One pass over the tickets' rows: logits (N, V) of the selected positions, by default of the last one."""
        rows = tuple(t.row for t in tickets)
        if rows not in self._views:
            if len(self._views) >= 64:
                self._views.clear()
            self._views[rows] = self.slots.at(rows)
        view = self._views[rows]
        source = tickets[0].request.source if not tickets[0].read else None
        told = None if source is None else Inputs(torch.tensor([list(source)], device=self.device))
        logits = self.model(Inputs(ids, source=told), view, select=select).logits
        view.advance(ids.shape[1])
        return logits[:, -1] if select is None else logits

    def _accept(self, tickets: list[Ticket], logits: Tensor) -> list[Event]:
        """Each row's next token from its logits (B, V), and the event that tells of it."""
        settings = [t.request.sampling for t in tickets]
        known = logits[:, : self.tokenizer.size]  # a table padded to a round size has ids that stand for nothing
        if any(t.request.wish is not None for t in tickets):
            known = steered(known, [t.request.wish for t in tickets], [t.tokens for t in tickets], self.tokenizer)
        tokens = choose(known, settings, [t.draws for t in tickets])
        wanted = [i for i, item in enumerate(settings) if item.logprobs is not None]
        weighed: dict[int, Token] = {}
        for count, group in groupby(sorted(wanted, key=lambda i: settings[i].logprobs or 0), lambda i: settings[i].logprobs):
            rows = list(group)
            weighed |= zip(rows, weigh(logits[rows], tokens[rows].clamp(min=0), count or 0))
        return [self._event(ticket, token, weighed.get(index))
                for index, (ticket, token) in enumerate(zip(tickets, tokens.tolist()))]  # fmt: skip

    def _event(self, ticket: Ticket, chosen: int, token: Token | None) -> Event:
        settings = ticket.request.sampling
        prompt = tuple(ticket.prompt) if settings.prompt_logprobs and not ticket.tokens else None
        if ticket.limit == 0:
            ticket.finish = "length"
            return Event(ticket, prompt=prompt, finish=ticket.finish)
        if chosen < 0:
            ticket.finish = "error"
            return Event(ticket, finish=ticket.finish,
                         error=WorkError("model", text("finite logits"), text("none that is finite")))  # fmt: skip
        ticket.tokens.append(chosen)
        shown = ticket.transcript.push(chosen)
        if ticket.transcript.stopped or (chosen in self.ends and not settings.ignore_eos):
            ticket.finish = "stop"
        elif len(ticket.tokens) >= ticket.limit:
            ticket.finish = "length"
        if ticket.finish:
            shown += ticket.transcript.finish()
        return Event(ticket, shown, token or Token(chosen), prompt, ticket.finish)

    def _retire(self, tickets: list[Ticket]) -> None:
        """Frees the tickets' slots; the last occupied one moves into the hole, so that they stay side by side."""
        for ticket in tickets:
            hole, last = ticket.row, self.running[-1]
            if last is not ticket:
                self.slots.copy([last.row], [hole])
                self.running[hole], last.row = last, hole
            self.running.pop()
            ticket.row = -1
            self.slots.reset([len(self.running)])


def check_ids(where: str, ids: Sequence[int], vocabulary: int, limit: int | None, remedy: Text | None = None) -> None:
    """RequestError where a model cannot read these ids: none, one that it does not have, more than `limit`."""
    wrong = next((token for token in ids if not 0 <= token < vocabulary), None)
    if wrong is not None or not len(ids):
        given = text("none") if wrong is None else str(wrong)
        raise RequestError(where, text("token ids from 0 to {last}", last=vocabulary - 1), given)
    if limit and len(ids) > limit:
        raise RequestError(where, text("at most {limit} tokens (the model's context)", limit=limit),
                           text("{count} tokens", count=len(ids)), remedy)  # fmt: skip


def weigh(logits: Tensor, tokens: Tensor, count: int) -> list[Token]:
    """Each token of (N,) with its log probability under logits (N, V) and the `count` most probable ones."""
    chosen, values, ids = (part.tolist() for part in top_logprobs(logits, tokens, count))
    return [Token(*found[:2], tuple(zip(found[2], found[3]))) for found in zip(tokens.tolist(), chosen, ids, values)]


def gather(events: Iterable[Event]) -> Completion:
    """A request's events, put together."""
    shown, tokens, prompt, finish = [], [], None, "cancelled"
    for event in events:
        shown.append(event.text)
        if event.token is not None:
            tokens.append(event.token)
        prompt = event.prompt if event.prompt is not None else prompt
        finish = event.finish or finish
    return Completion("".join(shown), tokens, prompt, finish)
