"""Templates of strangers, as programs: sandboxed, and bounded in time and in what they may make.

jinja2's sandbox keeps a template to what it is given; it does not keep it from looping for ever or from making a text that
fills the memory. Here a render has `SECONDS` of its thread's processor time, looked at with every item of a loop, every call
and every piece of text, and it may make `MOST` characters altogether. What multiplies (`'a' * 10**9`, `join`, `replace`,
`center`, a format's width) is weighed before it is done, since one such step would already be too much.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 5.0  # of processor time; a usual template takes a thousandth of one
MOST = 1 << 26  # characters that one render makes, those of every step
ITEMS = 1 << 20  # of a list with all that is in it
NUMBER = 1_000_000  # the largest that a function or filter is given
SOURCE = 1 << 20  # characters of a template

# What makes much of little. The rest gives at most about what it was given.
GROWING = frozenset({"join", "replace", "center", "ljust", "rjust", "zfill", "expandtabs", "indent", "format", "format_map",
                     "string", "tojson", "pprint", "batch", "slice", "sum", "xmlattr", "wordwrap", "urlize"})  # fmt: skip
FORMATS = frozenset({"format", "format_map"})
WIDTH = re.compile(r"\d{7}")


class Unbounded(Exception):
    """A template that goes on for too long, or makes too much."""


class _Meter(threading.local):
    until = float("inf")
    left = MOST


_meter = _Meter()


def bounded(work: Callable[[], str]) -> str:
    """`work()`, which compiles or renders templates of `Environment`, within the bounds; else Unbounded."""
    _meter.until, _meter.left = time.thread_time() + SECONDS, MOST
    try:
        return work()
    finally:
        _meter.until = float("inf")


def spend(characters: int = 0) -> None:
    _meter.left -= characters
    if _meter.left < 0:
        raise Unbounded(f"more than {MOST} characters")
    if time.thread_time() > _meter.until:
        raise Unbounded(f"more than {SECONDS:g} seconds")


def size(value: Any) -> int:
    """The characters of a value when it is written out, about: of a list, those of all that is in it."""
    total, seen, rest = 0, 0, [value]
    while rest:
        item = rest.pop()
        seen += 1
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, (list, tuple, dict, set)):
            total += 2 * len(item)
            if seen + len(rest) + len(item) > ITEMS:
                raise Unbounded(f"a list of more than {ITEMS} items")
            rest.extend(item)
            rest.extend(item.values() if isinstance(item, dict) else ())
        if total > MOST:
            raise Unbounded(f"more than {MOST} characters")
    return total


def weigh(name: str, *values: Any) -> None:
    """Before an operation that makes much of little: what it could make, by the largest of what it is given."""
    texts = [value for value in values if isinstance(value, str)]
    if name in FORMATS and any(WIDTH.search(value) for value in texts):
        raise Unbounded("a width of seven digits")
    counts = name not in FORMATS or any("*" in value or ":{" in value for value in texts)
    number = max((abs(value) for value in _flat(values) if isinstance(value, int)), default=0) if counts else 0
    first, second = sorted((0, 0, *map(size, values)), reverse=True)[:2]
    if first * number > MOST or first * second > 16 * MOST:
        raise Unbounded(f"{name} of {first} and {max(second, number)}")


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, (list, tuple)) else (value,)


def _known(name: str, *values: Any) -> None:
    """Before any call."""
    spend()
    for value in values:
        if isinstance(value, int) and abs(value) > NUMBER:
            raise Unbounded(f"{name} of {value}")
    if name in GROWING:
        weigh(name, *values)


def _made(value: Any) -> Any:
    if isinstance(value, str):
        spend(len(value))
    return value


def _metered(name: str, function: Any) -> Any:
    @wraps(function)  # with the marks that tell jinja2 what to hand in first
    def call(*given: Any, **named: Any) -> Any:
        _known(name, *given, *named.values())
        return _made(function(*given, **named))

    return call


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        spend()
        yield item


class _Code(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:
        """`a ~ b`, as a piece of text like any other."""
        self.write("environment.concat(map(environment.finalize, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(")))")


class Environment(ImmutableSandboxedEnvironment):
    """Use it through `bounded`."""

    code_generator_class = _Code
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], finalize=self._written)
        self.filters = {name: _metered(name, function) for name, function in self.filters.items()} | {"counted": _counted}
        del self.globals["lipsum"]

    def add_filter(self, name: str, function: Any) -> None:
        self.filters[name] = _metered(name, function)

    @staticmethod
    def _written(value: Any) -> Any:
        if not isinstance(value, str):
            size(value)
        return value

    @staticmethod
    def concat(pieces: Iterable[Any]) -> str:
        def each() -> Iterator[str]:
            for piece in pieces:
                spend(len(said := str(piece)))
                yield said

        return "".join(each())

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > SOURCE:
            raise Unbounded(f"a template of {len(source)} characters")
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        spend()
        if operator == "**" and max(abs(left), abs(right)) > 1000:
            raise Unbounded(f"{left} ** {right}")
        if operator == "%" and isinstance(left, str):
            weigh("format", left, right)
        if operator == "*" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() + right.bit_length() > 4096:
                raise Unbounded("a number of thousands of digits")
        elif operator == "*":
            weigh("*", left, right)
        if operator == "+" and isinstance(left, (list, tuple)):
            size([left, right])
        return _made(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __function: Any, *given: Any, **named: Any) -> Any:
        name = str(getattr(__function, "__name__", ""))
        owner = getattr(getattr(__function, "__wrapped__", __function), "__self__", None)  # the sandbox wraps str.format
        _known(name, *((owner,) if isinstance(owner, str) else ()), *given, *named.values())
        return _made(super().call(__context, __function, *given, **named))
