"""One request's text as it grows: tokens in, characters out, never half of one and never a part of a stop string.

    tokens --tokenizer.stream()--> whole characters --stop strings--> text that may be shown

Special tokens show nothing. What could still become a stop string is held back until the next characters decide. Bytes
that are no UTF-8 (a weak model makes some) and a character that the generation broke off are dropped: the text is always
whole, and the tokens, for whoever wants the bytes, are all in the events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

REPLACEMENT = "\ufffd"  # what a decoder puts where bytes are no UTF-8


class Transcript:
    def __init__(self, tokenizer: Tokenizer, stop: list[str]):
        self._stream = tokenizer.stream()
        self._stop = stop
        self._held = ""
        self.stopped = False  # a stop string was found: nothing more will come

    def push(self, token: int) -> str:
        """The text that this token makes safe to show."""
        if self.stopped:
            return ""
        return self._release(self._stream.push(token).replace(REPLACEMENT, ""))

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        if self.stopped:
            return ""
        shown = self._release(self._stream.flush().replace(REPLACEMENT, "")) + self._held
        self._held = ""
        return shown

    def _release(self, piece: str) -> str:
        if not self._stop:
            return piece
        text = self._held + piece
        found = [at for item in self._stop if (at := text.find(item)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max(overlap(text, item) for item in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def overlap(text: str, stop: str) -> int:
    """The longest end of `text` that is a proper beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
