"""Libraries that only some parts need: asked for when the part works, with a line that says what to install."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from yanmo.core.errors import RequestError
from yanmo.core.messages import text


def needed(module: str, extra: str, where: str) -> Any:
    """The module; RequestError where it is not installed. `where` names the part that needs it, `extra` the set it is in."""
    try:
        return import_module(module)
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # it is there, and broken
        raise missing(module, extra, where) from None


def installed(module: str, extra: str, where: str) -> None:
    """RequestError where the library is not installed. It is not loaded: what only looks ahead need not wait for it."""
    if find_spec(module.partition(".")[0]) is None:
        raise missing(module, extra, where)


def missing(module: str, extra: str, where: str) -> RequestError:
    return RequestError(where, text("the library '{name}'", name=module.partition(".")[0]), text("not installed"),
                        text("pip install 'yanmo[{extra}]'", extra=extra))  # fmt: skip
