"""The help pages of LibreOffice in English and Chinese, and what the program itself says: its labels, tips and messages.

    <p id="par_id3149054" class="listitem">Open the text document …</p>      打开要将图表复制到的文本文档。      parts with one id
    "Split ~Window"                                                        拆分窗口(~S)                     of one message

Pages are divided whole between training and test: what is translated in a test page was never seen beside its neighbours.
A part that stands in several pages (they embed one another) counts where it comes first, in the order of the pages' names.
Messages are for training alone. Many tips are sentences of the help: a message that has SHARED words in a row of any page, or
all its letters of a part, is left out, so that none tells what a test asks.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from yanmo.core.errors import CorruptError
from yanmo.core.messages import text
from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members
from yanmo.text import catalog

PART = re.compile(r'<(p|h[1-6])\b[^>]*?\bid="([^"]+)"[^>]*>(.*?)</\1>', re.DOTALL)
TAG = re.compile(r"<[^>]*>")
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
LETTER = re.compile("[A-Za-z]")
WORD = re.compile(r"\w+")
KEY = re.compile(r"\([_~]?[A-Z0-9]\)|[_~]")  # the key of a label: "_Open", "打开(_O)"
VERSION, HELP, MESSAGES = "4:7.4.7-1+deb12u14", "usr/share/libreoffice/help", "usr/lib/libreoffice/program/resource"
PRODUCT = "%PRODUCTNAME"
SHARED = 6  # words in a row
LONGEST = 600  # characters: the few longer ones are licences and lists of names


class LibreOfficeHelp(LabelledSet):
    """LibreOffice's help, English to Chinese, divided page by page; to train on also the program's own messages."""

    archives = (
        Archive("debian", "libreoffice-help-en-us", VERSION,
                "8faa840285734d6cfe1ed25537b48f07e74bd6412e3917bf8e5f8a653f7b3712", (f"{HELP}/en-US/text/*.html",)),
        Archive("debian", "libreoffice-help-zh-cn", VERSION,
                "db867cdece4c2f9c7eebe65e519c6cf386fdcf49d6e061db3dffec893b3e1dee", (f"{HELP}/zh-CN/text/*.html",)),
        Archive("debian", "libreoffice-l10n-zh-cn", VERSION,
                "06b2800923811a11ddadc9e1e09ef8bda2a89ba118470403b2f6a897152e0809", (f"{MESSAGES}/zh_CN/LC_MESSAGES/*.mo",)),
    )  # fmt: skip
    licence = "MPL-2.0 (some files with material under Apache-2.0)"
    author = "the LibreOffice contributors"
    task = "translate"
    languages = ("en", "zh")
    inputs = ("en",)
    agree = False
    version = 2
    changes = (
        "parts of the pages with the same id in both languages; markup left out, blanks made even",
        f"parts without letters, without Chinese characters or longer than {LONGEST} characters left out",
        "of parts with the same letters and digits in English the first kept; whole pages on one side of the split",
        "messages without marks of keys and markup, to train on alone; those left out whose English is a part of a page, or "
        f"has {SHARED} words in a row of one",
    )  # fmt: skip

    def items(self, members: Members) -> Iterator[Item]:
        found = {language: pages(members, language) for language in ("en-US", "zh-CN")}
        seen: set[str] = set()
        for page, own in sorted(found["en-US"].items()):
            other = found["zh-CN"].get(page, {})
            for part, content in own.items():
                translation = other.get(part, "")
                if _sound(content, translation) and (said := letters(content)) not in seen:
                    seen.add(said)
                    yield Item({"en": content, "zh": translation, "page": page}, group=page)
        known = {run for own in found["en-US"].values() for content in own.values() for run in runs(content)}
        for name, file in sorted(members.matching("*/LC_MESSAGES/*.mo").items()):
            for message in messages(file, name):
                content, translation = plain(message.source), plain(message.target)
                if not _sound(content, translation) or (said := letters(content)) in seen or not known.isdisjoint(runs(content)):
                    continue
                seen.add(said)
                yield Item({"en": content, "zh": translation, "page": name.rpartition("/")[2]}, split="train")


def messages(file: bytes, name: str) -> list[catalog.Message]:
    try:
        return catalog.compiled(file)[1]
    except catalog.Unreadable as error:
        raise CorruptError(name, text("a gettext catalog"), error.value) from None


def _sound(content: str, translation: str) -> bool:
    return bool(LETTER.search(content) and HAN.search(translation)) and max(len(content), len(translation)) <= LONGEST


def letters(content: str) -> str:
    """By which parts are the same: letters and digits alone, great or small."""
    return "".join(c for c in content.casefold() if c.isalnum())


def runs(content: str) -> Iterator[tuple[str, ...]]:
    """Every SHARED words in a row."""
    words = WORD.findall(content.casefold())
    return (tuple(words[at : at + SHARED]) for at in range(len(words) - SHARED + 1))


def plain(message: str) -> str:
    """A message without the mark of its key and without markup, the product by its name."""
    return " ".join(TAG.sub("", KEY.sub("", message.replace(PRODUCT, "LibreOffice"))).split())


def pages(members: Members, language: str) -> dict[str, dict[str, str]]:
    """Page → id → text, of one language."""
    found = {}
    for name, content in members.matching(f"*/{language}/text/*.html").items():
        page = name.partition(f"/{language}/text/")[2].removesuffix(".html")
        found[page] = parts(content.decode("utf-8"))
    return found


def parts(page: str) -> dict[str, str]:
    """id → text of a page's headings and paragraphs; of an id that stands twice the first."""
    found: dict[str, str] = {}
    for _, name, content in PART.findall(page):
        found.setdefault(name, " ".join(html.unescape(TAG.sub("", content)).split()))
    return found
