"""The tags of several pages at once, and the text between them, in arrays: no tree is built, and no Python runs per tag.

The pages lie one behind the other in one buffer. A tag is a `<` before a letter, `/`, `!` or `?`, up to the first `>`
that is not in a quoted value; what lies in a comment, a script or another element without prose belongs to the tag that
opens it. Of a tag's name the first eight letters count, as one number. Every step is linear in the bytes of the page:
what is looked for and not found is not looked for again.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.intp]
Flags = NDArray[np.bool_]

INLINE, LINK, LINE, COMMENT, TITLE, RAW = range(6)
BREAK = 8  # kinds from here on begin a new block of text
PLAIN, CELL, PREFORMATTED = range(BREAK, BREAK + 3)
PLACE = 16  # and those from here on may say by their attributes what they hold
PARAGRAPH, HEADING, ITEM, DIVISION, SECTION, BULLETS, NUMBERS, PAIRS, FIGURE = range(PLACE, PLACE + 9)
TELLING = 32  # these say so by their names
NAVIGATION, ASIDE, FOOTER, HEADER, FORM, BUTTON, ARTICLE, MAIN = range(TELLING, TELLING + 8)
CLOSING = 128  # added to the kind of a closing tag

NAMES = {
    LINK: "a", LINE: "br", TITLE: "title", CELL: "td th", PREFORMATTED: "pre", PARAGRAPH: "p", HEADING: "h", ITEM: "li",
    RAW: "script style noscript template svg iframe textarea select object canvas audio video math noframes",
    PLAIN: "html head body tr table thead tbody tfoot caption dt dd blockquote figcaption hr address summary details center "
           "legend fieldset hgroup label option input",
    DIVISION: "div", SECTION: "section", BULLETS: "ul menu dir", NUMBERS: "ol", PAIRS: "dl", FIGURE: "figure",
    NAVIGATION: "nav", ASIDE: "aside dialog", FOOTER: "footer", HEADER: "header", FORM: "form", BUTTON: "button",
    ARTICLE: "article", MAIN: "main",
}  # fmt: skip
LETTERS = 8  # of a name that count; a heading's ends before its digit
SLOTS = 1024
TAIL = 16  # zeros behind everything, so that eight letters can be read anywhere
EMPTY = frozenset({b"script", b"style", b"textarea", b"title"})  # whose `/>` closes nothing
CODE = frozenset({b"script", b"style"})  # which, without an end, go on to that of the page
ENDS = re.compile(rb">|=\s*([\"'])")
NAME = re.compile(rb"[A-Za-z]+")
BORDER = b"\n</a></a><p>\n"  # around pages; a tag that a page does not end may take the first of its tags
CASE, CAPITAL = np.uint64(0x2020202020202020), np.uint64(0x4040404040404040)  # bits of each letter
ONE, SIX, TOP = np.uint64(1), np.uint64(6), np.uint64(64 - SLOTS.bit_length() + 1)
OPENS = np.zeros(256, np.bool_)  # bytes that make the `<` before them a tag's
OPENS[[*range(65, 91), *range(97, 123), *b"/!?"]] = True


@dataclass(slots=True)
class Tags:
    """Tags in the order of their places in `data`. `places` and `ends`: of their `<` and their last byte; `pages`: for each
    page, the number of the tag at its end; `titles`: of the pages that have one, by number."""

    data: bytes
    places: Ints
    ends: Ints
    kinds: NDArray[np.uint8]
    closing: Flags
    pages: Ints
    titles: dict[int, bytes]


@cache
def names() -> tuple[np.uint64, NDArray[np.uint64], NDArray[np.uint8]]:
    """A factor that gives each known name a slot of its own, the names in the slots, and their kinds."""
    known = {name[:LETTERS]: kind for kind, all_ in NAMES.items() for name in all_.split()}
    numbers = np.array([int.from_bytes(name.encode(), "little") for name in known], np.uint64)
    for seed in range(1, 1 << 20):
        factor = np.uint64(0x9E3779B97F4A7C15 * (2 * seed + 1) & (1 << 64) - 1)
        slots = numbers * factor >> TOP
        if len(np.unique(slots)) == len(numbers):
            break
    held, kinds = np.zeros(SLOTS, np.uint64), np.zeros(SLOTS, np.uint8)
    held[slots], kinds[slots] = numbers, list(known.values())
    return factor, held, kinds


def tags(pages: list[bytes]) -> Tags:
    """The tags of some pages in UTF-8."""
    data = b"".join([BORDER, BORDER.join(pages), BORDER, bytes(TAIL)])
    sizes = np.array([len(page) + len(BORDER) for page in pages])
    borders = np.cumsum(sizes) + len(BORDER) - len(b"<p>\n")
    buffer = np.frombuffer(data, np.uint8)
    marked = (buffer == 60) | (buffer == 62) | (buffer == 34)
    single = np.flatnonzero(buffer == 39)
    if np.any((buffer[single - 1] == 61) | (buffer[single - 1] == 32) & (buffer[single - 2] == 61)):  # ` =' `
        marked[single] = True
    marks = np.flatnonzero(marked)
    signs = buffer[marks]
    smaller, greater = signs == 60, signs == 62
    opening = np.flatnonzero(smaller & OPENS[buffer[marks + 1]])
    before, closers = np.cumsum(greater), np.flatnonzero(greater)
    ending = closers[before[opening]]
    nested = np.cumsum(smaller)
    odd = ending - opening - 1 - nested[ending] + nested[opening] & 1 > 0  # quotes: a value goes on behind the first `>`
    places, ends = marks[opening], marks[ending]
    first = buffer[places + 1]
    closing = first == 47
    factor, held, kinds_of = names()
    letters = np.ndarray((len(data) - 7,), "<u8", data, 0, (1,))[places + closing + 1] | CASE
    other = ~letters & CAPITAL
    letters &= ((other & (~other + ONE)) >> SIX) - ONE  # those before the first that is no letter
    slots = (letters * factor >> TOP).astype(np.intp)
    kinds = np.where(held[slots] == letters, kinds_of[slots], np.uint8(INLINE))
    kinds[(first == 33) | (first == 63)] = COMMENT
    return _joined(Tags(data, places, ends, kinds, closing, borders, {}), letters, odd)


def _joined(found: Tags, letters: NDArray[np.uint64], odd: Flags) -> Tags:
    """With comments, scripts and quoted values as parts of the tags that they begin in; `pages` as numbers of tags."""
    data, places, ends, kinds, closing = found.data, found.places, found.ends, found.kinds, found.closing
    raw = (kinds == TITLE) | (kinds == RAW)
    special = raw & ~closing | (kinds == COMMENT) | odd
    ending = np.flatnonzero(raw & closing)
    shut, shut_names, shut_at, shut_ends = (array.tolist() for array in (ending, letters[ending], places[ending], ends[ending]))
    doubtful = np.flatnonzero(special)
    page, stop, until, missing, borders = -1, -1, -1, set[int | bytes](), found.pages.tolist()
    for number, place, end, kind, closes, name, quoted in zip(
        doubtful.tolist(), *(array[doubtful].tolist() for array in (places, ends, kinds, closing, letters, odd)), strict=True
    ):
        if place < until:
            continue
        while place >= stop:
            page += 1
            stop, missing = borders[page] if page < len(borders) else len(data), set()
        if kind == COMMENT:
            last = end
            if data.startswith(b"<!--", place) and b"--" not in missing:
                last = data.find(b"-->", place + 2, stop) + 2
                if last < 2:
                    last, missing = end, missing | {b"--"}
        else:
            last = _end(data, place, end, stop, missing) if quoted else end
            whole = kind in (RAW, TITLE) and not closes and (data[last - 1] != 47 or _name(data, place) in EMPTY)
            if whole and name not in missing:
                at = bisect_right(shut, number)
                while at < len(shut) and shut_at[at] < stop and (shut_names[at] != name or shut_at[at] < last):
                    at += 1
                if at < len(shut) and shut_at[at] < stop:
                    if kind == TITLE and page not in found.titles:
                        found.titles[page] = data[last + 1 : shut_at[at]]
                    last = shut_ends[at]
                else:
                    missing.add(name)
                    if _name(data, place) in CODE:
                        last = stop - 1
        if last != end:
            ends[number] = until = last
    free = np.ones(len(places), np.bool_)
    free[1:] = places[1:] > np.maximum.accumulate(ends)[:-1]
    found.places, found.ends, found.kinds, found.closing = places[free], ends[free], kinds[free], closing[free]
    found.pages = np.searchsorted(found.places, found.pages)
    return found


def _name(data: bytes, place: int) -> bytes:
    match = NAME.match(data, place + 1)
    return match[0].lower() if match else b""


def _end(data: bytes, place: int, end: int, stop: int, missing: set[int | bytes]) -> int:
    """Where a tag ends whose first `>` may lie in a quoted value."""
    at = place + 1
    while b">" not in missing:
        match = ENDS.search(data, at, stop)
        if match is None:
            missing.add(b">")
        elif match[1] is None:
            return match.start()
        elif match[1] in missing:
            break
        elif (at := data.find(match[1], match.end(), stop) + 1) == 0:
            missing.add(match[1])
            break
    return end
