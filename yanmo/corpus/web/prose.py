"""The main text of pages, found without a tree: the fast tier.

The text between two tags that begin a block is a block, with the share of it that is links. What lies in navigation, a
sidebar or the like is left out, unless that is where most of the page's prose is; if an element says that it holds the
text, and enough of the prose is in it, nothing outside of it counts. Lengths are bytes of UTF-8, so that a Chinese
character counts as three Latin letters, about what it says; nothing else depends on the language.

After C. Kohlschütter et al., "Boilerplate Detection using Shallow Text Features" (WSDM 2010), for blocks and link density.
"""

from __future__ import annotations

from bisect import bisect_left
from html import unescape

import numpy as np

from yanmo.corpus.web.regions import AROUND, BODY, HEAD, HIDDEN, ITEM_OF, LOOSE, NAMED, Ends, held, known
from yanmo.corpus.web.tags import (
    BREAK,
    CELL,
    CLOSING,
    HEADING,
    ITEM,
    LINE,
    LINK,
    PARAGRAPH,
    PLACE,
    PLAIN,
    PREFORMATTED,
    TAIL,
    TELLING,
    Flags,
    Ints,
    Tags,
    tags,
)

LINKS = 0.4  # share of links from which a block is no prose
RICH = 25  # bytes of prose from which a block counts in the choice of the place
AWAY = {AROUND: 0.25, NAMED: 0.5, HIDDEN: 0.3, HEAD: 0.1}  # share of the prose up to which an element is left out
PLACES = {BODY: 0.3, ITEM_OF: 0.3, LOOSE: 0.4}  # share of the prose from which an element is where the text is
LEAST = 200  # bytes of prose in it
LONG = 80  # bytes of a block that counts wherever it is; a paragraph's:
SHORT = 20
FEW = 100  # bytes of text below which all prose of the page is taken
ATTRIBUTES = 8  # bytes of a tag that may have some

NEXT_LINE, ITEM_LINE, BETWEEN_CELLS = b"\n", b"\n- ", b" | "
COMMON = (("&nbsp;", " "), ("&quot;", '"'), ("&#39;", "'"), ("&#x27;", "'"))
CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r")
NEW_LINE = b"\0"  # which pages do not hold


def texts(pages: list[bytes]) -> list[tuple[str, str | None]]:
    """(main text, title) of each page, given in UTF-8. What a page gives does not depend on the others."""
    found = tags([page.replace(b"\0", b"") for page in pages])
    blocks = Blocks(found)
    kept = blocks.kept()
    titles = (found.titles.get(number) for number in range(len(pages)))
    return list(zip(blocks.texts(kept), (_characters(title) if title else None for title in titles), strict=True))


def _characters(data: bytes) -> str:
    text = data.translate(None, CONTROLS).decode("utf-8", "replace")
    if "&" in text:
        for entity, character in COMMON:
            text = text.replace(entity, character)
        text = unescape(text)
    return text.replace("\xa0", " ")


class Blocks:
    """The blocks of some pages, in order. `first` and `last`: the tags behind which a block's text begins and ends; `opens`:
    the tag that begins the block; `size`: bytes of its text without blank space; `linked`: of those, bytes in links."""

    def __init__(self, found: Tags):
        self.tags = found
        places, closing, kinds = found.places, found.closing, found.kinds
        buffer = np.frombuffer(found.data, np.uint8)
        solid = buffer > 32
        count = np.cumsum(solid, dtype=np.int32)  # up to and with each byte
        self.stops = np.append(places[1:], len(found.data) - TAIL)
        sizes = count[self.stops - 1] - count[found.ends]
        breaking, links = kinds >= BREAK, kinds == LINK
        pieces = np.flatnonzero(sizes > 0)
        sizes = sizes[pieces]
        of_piece = np.cumsum(breaking)[pieces] - 1
        breaks = np.flatnonzero(breaking)
        in_link = ~closing[links][np.cumsum(links)[pieces] - 1]
        heads = np.flatnonzero(np.diff(of_piece, prepend=-2)) if len(pieces) else pieces
        self.first = pieces[heads]
        self.last = pieces[np.append(heads[1:], len(pieces)) - 1] if len(pieces) else pieces
        self.order = of_piece[heads]  # of that tag among those that begin a block
        self.opens = breaks[self.order]
        self.size = np.add.reduceat(sizes, heads) if len(heads) else sizes
        self.linked = np.add.reduceat(sizes * in_link, heads) if len(heads) else sizes
        self.kinds = kinds[self.opens]
        self.closing = closing[self.opens]
        self.pages = np.searchsorted(self.opens, found.pages)  # where each page's blocks end
        blank = ~solid
        blank[:-1] &= blank[1:] | (buffer[:-1] != 32)
        self.blanks = np.flatnonzero(blank)  # that are not a single space

    def kept(self) -> Flags:
        """Which blocks are of the main text."""
        size = self.size
        prose = self.linked < LINKS * size
        rich = np.where(prose & (size >= RICH), size - self.linked, 0)
        away, places = self._regions(rich)
        prose &= ~away
        sums = np.concatenate(([0], np.cumsum(np.where(away, 0, rich))))
        long = (size >= LONG) | (self.kinds == PARAGRAPH) & (size >= SHORT) | (self.kinds == HEADING)
        kept = prose & long
        within = prose & (size > 1)
        borders = np.concatenate(([0], self.pages))
        all_ = np.concatenate(([0], np.cumsum(np.where(kept, size, 0))))[borders].tolist()
        start = 0
        for number, (stop, found) in enumerate(zip(self.pages.tolist(), places, strict=True)):
            place = _place(found, sums, start, stop) if found else None
            if place is not None:
                kept[start:stop] = False
                kept[place[0] : place[1]] = within[place[0] : place[1]]
            elif all_[number + 1] - all_[number] < FEW:
                kept[start:stop] = prose[start:stop] if prose[start:stop].any() else True
            start = stop
        return kept

    def _regions(self, rich: Ints) -> tuple[Flags, list[list[tuple[int, int, int]]]]:
        """Which blocks are around the text; and of each page, (how surely, first block, end) of places for the text."""
        found, data = self.tags, self.tags.data
        kinds, places, ends = found.kinds, found.places, found.ends
        asked = np.flatnonzero((kinds >= PLACE) & ~found.closing)
        asked = asked[(ends[asked] - places[asked] > ATTRIBUTES) | (kinds[asked] >= TELLING)]
        numbers = asked.tolist()
        codes = (kinds | found.closing * np.uint8(CLOSING)).tobytes()
        sums, opens = [0, *np.cumsum(rich).tolist()], self.opens.tolist()
        away, chosen = bytearray(len(opens)), list[list[tuple[int, int, int]]]()
        at = first = low = 0
        for end, high in zip(found.pages.tolist(), self.pages.tolist(), strict=True):
            chosen.append([])
            page, prose, stop = Ends(codes, first, end), sums[high] - sums[low], bisect_left(numbers, end, at)
            while at < stop:
                number = numbers[at]
                tag = data[places.item(number) : ends.item(number)]
                holds = known.get(tag)
                if holds is None:
                    holds = held(tag, kinds.item(number))
                at += 1
                if not holds or (last := page.of(number, codes[number])) < 0:
                    continue
                begin = bisect_left(opens, number, low, high)
                over = bisect_left(opens, last, begin, high)
                if over == begin:
                    continue
                if holds > 0:
                    chosen[-1].append((holds, begin, over))
                elif sums[over] - sums[begin] <= AWAY[holds] * prose:
                    away[begin:over] = b"\1" * (over - begin)
                    at = bisect_left(numbers, last, at, stop)
            first, low = end + 1, high
        return np.frombuffer(away, np.bool_), chosen

    def texts(self, kept: Flags) -> list[str]:
        """The text of each page."""
        chosen, data = np.flatnonzero(kept), self.tags.data
        first, last = self.first[chosen], self.last[chosen]
        starts, stops, firsts, lasts = (array.tolist() for array in (self.tags.ends[first] + 1, self.stops[last], first, last))
        untidy = np.searchsorted(self.blanks, (self.tags.ends[first] + 1, self.stops[last]))
        uneven = (untidy[1] > untidy[0]).tolist()
        kinds = np.where(self.closing[chosen], PLAIN, self.kinds[chosen]).tolist()
        order = self.order[chosen].tolist()
        found, begin = list[str](), 0
        for end in np.searchsorted(chosen, self.pages).tolist():
            over = end
            while over - begin > 3 and kinds[over - 1] == HEADING:  # of something that was left out
                over -= 1
            pieces = list[bytes]()
            for n in range(begin, over):
                kind = kinds[n]
                line = data[starts[n] : stops[n]] if firsts[n] == lasts[n] else self._inline(firsts[n], lasts[n])
                if kind == PREFORMATTED:
                    line = line.strip(b"\r\n")
                elif uneven[n] or firsts[n] != lasts[n]:
                    line = b"\n".join(filter(None, (b" ".join(part.split()) for part in line.split(NEW_LINE))))
                else:
                    line = line.strip(b" ")
                beside = kind == CELL and n > begin and kinds[n - 1] == CELL and order[n] - order[n - 1] <= 2  # in one row
                pieces += (BETWEEN_CELLS if beside else ITEM_LINE if kind == ITEM else NEXT_LINE, line)
            found.append(_characters(b"".join(pieces)[1:]))
            begin = end
        return found

    def _inline(self, first: int, last: int) -> bytes:
        """The text behind the tags from the first to the last; of tags between, line breaks alone are left."""
        data = self.tags.data
        pieces = list[bytes]()
        for start, stop, kind in zip(
            *(array[first : last + 1].tolist() for array in (self.tags.ends, self.stops, self.tags.kinds)), strict=True
        ):
            if kind == LINE and pieces:
                pieces.append(NEW_LINE)
            pieces.append(data[start + 1 : stop])
        return b"".join(pieces)


def _place(found: list[tuple[int, int, int]], sums: Ints, first: int, end: int) -> tuple[int, int] | None:
    """The blocks of the element that most surely holds the text; of several, the one with the most; of those, the inmost."""
    best = dict[int, tuple[int, int, int]]()
    for holds, start, stop in found:
        held_there = (sums.item(stop) - sums.item(start), start, -stop)
        if holds not in best or held_there > best[holds]:
            best[holds] = held_there
    prose = sums.item(end) - sums.item(first)
    for surely, share in PLACES.items():
        if surely in best and best[surely][0] >= max(LEAST, share * prose):
            return best[surely][1], -best[surely][2]
    return None
