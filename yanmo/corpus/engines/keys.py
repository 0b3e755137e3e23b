"""What an operation of a plan depends on, as one key: its kind, its functions with their settings, the operations it
takes, and the files that are read.

Two plans that share an operation share its files. So an interrupted stage finds its own work again, and a corpus whose
third step was changed is made again from the third step on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import xxhash

from yanmo.core import files
from yanmo.core.config import Settings
from yanmo.core.fingerprint import settings_of
from yanmo.core.paths import written
from yanmo.corpus import dataset
from yanmo.corpus.dataset import Plan
from yanmo.corpus.source import Source
from yanmo.corpus.step import Step


class Keys:
    """The keys of plans; `digests` are those of the input files by their written path, where they are known."""

    def __init__(self, digests: Mapping[str, str]):
        self.digests = digests
        self.known: dict[int, str] = {}

    def of(self, plan: Plan) -> str:
        if plan.number not in self.known:
            if isinstance(plan, dataset.Given):  # perhaps millions of plain rows
                content = [xxhash.xxh3_128_hexdigest(repr(plan.rows).encode("utf-8", "surrogatepass"))]
            else:
                content = [self._described(getattr(plan, f.name)) for f in dataclasses.fields(plan) if f.name != "number"]
            self.known[plan.number] = files.digest([type(plan).__name__, content])[:20]
        return self.known[plan.number]

    def _described(self, value: Any) -> Any:
        match value:
            case Plan():
                return self.of(value)
            case Source() | Step():
                return [settings_of(value), [self._file(path) for path in value.files()]]
            case Settings():
                return settings_of(value)
            case partial():
                return [self._described(value.func), self._described(value.args), self._described(value.keywords)]
            case MethodType():
                return [self._described(value.__self__), value.__func__.__qualname__]
            case FunctionType() | BuiltinFunctionType() | type():
                return f"{value.__module__}:{value.__qualname__}"
            case None | bool() | int() | float() | str():
                return value
            case bytes():
                return value.hex()
            case np.ndarray():
                return [str(value.dtype), list(value.shape), files.digest(value.tobytes().hex())]
            case set() | frozenset():
                return sorted((self._described(item) for item in value), key=str)
            case list() | tuple():
                return [self._described(item) for item in value]
            case Mapping():
                return sorted(([self._described(k), self._described(v)] for k, v in value.items()), key=str)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return [type(value).__qualname__, [self._described(getattr(value, f.name)) for f in dataclasses.fields(value)]]
        raise TypeError(f"a plan holds what has no key of its own: {type(value).__name__}")

    def _file(self, path: Path) -> Any:
        name = written(path)
        if name in self.digests:
            return [name, self.digests[name]]
        status = path.stat()
        return [name, status.st_size, status.st_mtime_ns]
