"""The help pages of LibreOffice in English and Chinese: parts of the same page with the same id say the same.

    <p id="par_id3149054" class="listitem">Open the text document …</p>      打开要将图表复制到的文本文档。

Pages are divided whole between training and test: what is translated in a test page was never seen beside its neighbours.
A part that stands in several pages (they embed one another) counts where it comes first, in the order of the pages' names.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members

PART = re.compile(r'<(p|h[1-6])\b[^>]*?\bid="([^"]+)"[^>]*>(.*?)</\1>', re.DOTALL)
TAG = re.compile(r"<[^>]*>")
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
LETTER = re.compile("[A-Za-z]")
VERSION, HELP = "4:7.4.7-1+deb12u14", "usr/share/libreoffice/help"
LONGEST = 600  # characters: the few longer ones are licences and lists of names


class LibreOfficeHelp(LabelledSet):
    """LibreOffice's help, English to Chinese: sentences and paragraphs of the same pages, divided page by page."""

    archives = (
        Archive("debian", "libreoffice-help-en-us", VERSION,
                "8faa840285734d6cfe1ed25537b48f07e74bd6412e3917bf8e5f8a653f7b3712", (f"{HELP}/en-US/text/*.html",)),
        Archive("debian", "libreoffice-help-zh-cn", VERSION,
                "db867cdece4c2f9c7eebe65e519c6cf386fdcf49d6e061db3dffec893b3e1dee", (f"{HELP}/zh-CN/text/*.html",)),
    )  # fmt: skip
    licence = "MPL-2.0 (some files with material under Apache-2.0)"
    author = "the LibreOffice contributors"
    task = "translate"
    languages = ("en", "zh")
    inputs = ("en",)
    agree = False
    changes = (
        "parts of the pages with the same id in both languages; markup left out, blanks made even",
        f"parts without letters, without Chinese characters or longer than {LONGEST} characters left out",
        "of parts with the same letters and digits in English the first kept; whole pages on one side of the split",
    )  # fmt: skip

    def items(self, members: Members) -> Iterator[Item]:
        found = {language: pages(members, language) for language in ("en-US", "zh-CN")}
        seen: set[str] = set()
        for page, own in sorted(found["en-US"].items()):
            other = found["zh-CN"].get(page, {})
            for part, content in own.items():
                translation = other.get(part, "")
                letters = "".join(c for c in content.casefold() if c.isalnum())
                sound = LETTER.search(content) and HAN.search(translation) and max(len(content), len(translation)) <= LONGEST
                if sound and letters not in seen:
                    seen.add(letters)
                    yield Item({"en": content, "zh": translation, "page": page}, group=page)


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
