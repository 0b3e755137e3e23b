"""What each generating model writes when it goes on with the same beginnings."""

from __future__ import annotations

from yanmo.evaluate.numbers import say
from yanmo.evaluate.page import Markup, join, language_of, tag
from yanmo.evaluate.record import Record
from yanmo.evaluate.runner import SAMPLE_TEMPERATURE, SAMPLE_TOKENS


def section(record: Record) -> Markup | None:
    if not record.samples:
        return None
    note = say("One sample each, not chosen: temperature {temperature}, at most {tokens} tokens, a fixed seed. A small model "
               "trained for minutes writes in the manner of its text, not sense.",
               temperature=SAMPLE_TEMPERATURE, tokens=SAMPLE_TOKENS)  # fmt: skip
    pieces = [tag("p", note, cls="note")]
    for prompt in dict.fromkeys(sample["prompt"] for sample in record.samples):
        pieces.append(tag("h3", f"“{prompt}”", lang=language_of(prompt)))
        for sample in record.samples:
            if sample["prompt"] == prompt:
                written = [tag("span", prompt, cls="prompt"), sample["text"]]
                body = tag("blockquote", written, lang=language_of(prompt + sample["text"]))
                pieces.append(tag("div", tag("p", sample["model"], cls="by"), body, cls="sample"))
    return join(pieces)
