"""Text that was decoded with the wrong encoding: how it looks, and how to turn it back where that is safe.

Three mistakes make nearly all of it. UTF-8 read as a one-byte encoding (`â€™`, `ä¸­æ–‡`) is turned back by ftfy (Speer
2019). GBK read as Latin-1 (`ÖÐÎÄ` for 中文) and UTF-8 read as GBK (`涓枃` for 中文) are ours: the bytes are decoded again, and
the result is taken only if it is Chinese in its own right, with enough of the most frequent characters.

ftfy reads Chinese at about a megabyte a second, so it is given nothing but lines that hold what it could turn back: a first
byte of UTF-8 with its continuation, as they look in one and the same encoding. The search for those is a regular expression
that begins with a set of characters, a few nanoseconds a character; clean Chinese and nearly all clean French pass it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from itertools import chain

from yanmo.core.extras import needed
from yanmo.corpus.formats.encoding import COMMON

ENCODINGS = ("cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso8859_2", "mac_roman", "cp437")  # that ftfy tries
# On the Macintosh bytes C2 to DF are also quotation marks and dashes (l’été): only these begin what ftfy would look at.
BEGINNINGS = {"mac_roman": "¬√ƒ≈∆"}

FREQUENT = frozenset(COMMON)
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
CJK = re.compile("[\u2010-\u2026\u2460-\u24ff\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef·×°]")  # with its punctuation
LEAST = 0.3  # of the Han characters that come out are among the most frequent ones
NEARLY = 0.8  # of all that come out is what such a text is made of

# GBK as Latin-1: any line, or what stands between two characters that no byte is shown as; and two characters of GB2312.
BYTES = {ord(bytes([b]).decode("cp1252", "replace")): b for b in range(0x80, 0xA0)}
BYTES.pop(0xFFFD)
ONE_BYTE = re.compile("[\x00-\x09\x0b-\xff" + "".join(map(chr, BYTES)) + "]+")
GB_RUN = re.compile("(?:[\xa1-\xfe]{2})+")
GB_TWICE = re.compile("[\xa1-\xfe]{4}")  # four such letters in a row are no word of any language

# UTF-8 as GBK: what is not ASCII and not lost, and the mark of a byte that had no partner.
MISREAD_RUN = re.compile("([^\x00-\x7f\ufffd]+)([?\ufffd]?)")


def restored(text: str) -> str:
    """`text` with what was decoded wrongly decoded rightly; itself where nothing was, or nothing can safely be done."""
    if not gate().search(text):
        return text
    if misread().search(text):
        text = utf8_read_as_gbk(text)
    if GB_TWICE.search(text):
        text = gbk_read_as_latin(text)
    if suspect().search(text):
        text = "\n".join(ftfied(line) if suspect().search(line) else line for line in text.split("\n"))
    return text


def ftfied(line: str) -> str:
    """UTF-8 that was read as a one-byte encoding, turned back, and nothing else of what ftfy can do."""
    ftfy = needed("ftfy", "corpus", "repair")
    return ftfy.fix_encoding(line, ftfy.TextFixerConfig(explain=False))


@cache
def gate() -> re.Pattern[str]:
    """Finds what any of the three searches finds, in one pass."""
    (utf8, behind_utf8), (gbk, behind_gbk) = _utf8_shown(), _misread()
    first, high = _class(chain(utf8, gbk, map(chr, range(0xA1, 0xFF)))), "[\xa1-\xfe]"
    return re.compile(f"{first}(?:{behind_utf8}|{behind_gbk}|(?<={high}){high}{{3}})")


@cache
def suspect() -> re.Pattern[str]:
    """Finds what UTF-8 looks like in each of the encodings, and C1 control characters, which no text has."""
    first, behind = _utf8_shown()
    return re.compile(f"{_class(first)}(?:{behind})")


def _utf8_shown() -> tuple[set[str], str]:
    """(first bytes, what stands behind them) of UTF-8 as the encodings show it; the latter as an expression."""
    firsts, seconds, branches = set(map(chr, range(0x80, 0xA0))), {"\ufffd"}, []
    for encoding in ENCODINGS:
        shown = [bytes([b]).decode(encoding, "replace").replace("\ufffd", chr(b)) for b in range(0x80, 0x100)]
        behind = [*shown[:0x40], "\ufffd"]  # 80 … BF, or what was lost of them
        seconds.update(behind)
        leads = (BEGINNINGS.get(encoding, shown[0x42:0x60]), shown[0x60:0x70], shown[0x70:0x75])  # C2 …, E0 …, F0 … F4
        for count, lead in enumerate(leads, 1):
            firsts.update(lead)
            branches.append(f"(?<={_class(lead)}){_class(behind)}{{{count}}}")
    space = "(?<=[ÂÃ]) "  # was a no-break space
    return firsts, f"(?<=[\x80-\x9f])|{space}|(?={_class(seconds)})(?:{'|'.join(branches)})"


@cache
def misread() -> re.Pattern[str]:
    """Finds two Chinese characters of UTF-8 as they look in GBK: six bytes, E. .. .. E. .. .., as three characters; or the
    byte 80, which is half of no character and which Windows shows as €, between two others."""
    first, behind = _misread()
    return re.compile(f"{_class(first)}(?:{behind})")


def _misread() -> tuple[list[str], str]:
    leads, tails = (*range(0xE3, 0xEA), 0xEF), range(0x80, 0xC0)
    pairs = ((leads, tails), (tails, leads), (tails, tails))
    first, *behind = ([_gbk(a, b) for a in ones for b in others] for ones, others in pairs)
    half = "(?<=[\u3400-\u9fff\ue000-\uf8ff]€)[\u3400-\u9fff\ue000-\uf8ff]"
    return [*first, "€"], f"(?<={_class(first)}){''.join(map(_class, behind))}|{half}"


def _gbk(first: int, second: int) -> str:
    return bytes((first, second)).decode("gb18030", "ignore")  # also the private characters of the range for users


def _class(characters: Iterable[str]) -> str:
    return "[" + "".join(sorted({re.escape(c) for c in characters if len(c) == 1})) + "]"


def chinese(text: str) -> bool:
    """Whether the Han characters of `text` are those that Chinese is written with."""
    han = HAN.findall(text)
    return len(set(han)) >= 2 and sum(c in FREQUENT for c in han) >= LEAST * len(han)


# ------------------------------------------------------------------------------------------------ GBK read as Latin-1


def gbk_read_as_latin(text: str) -> str:
    """The text's pieces of GBK, decoded: all of them or none, by what they amount to together."""
    found: list[str] = []

    def piece(match: re.Match[str]) -> str:
        shown = match[0]
        if shown.isascii():
            return shown
        raw = shown.translate(BYTES).encode("latin-1")
        decoded = _gbk_text(raw) or GB_RUN.sub(run, shown)
        if decoded != shown:
            found.extend(c for c in decoded if not c.isascii())
        return decoded

    def run(match: re.Match[str]) -> str:
        return _gbk_text(match[0].encode("latin-1")) or match[0]

    decoded = ONE_BYTE.sub(piece, text)
    return decoded if chinese("".join(found)) else text


def _gbk_text(raw: bytes) -> str | None:
    """GBK as text where nearly all of it is punctuation or of the first level of GB2312, its 3,755 frequent characters;
    None for anything else, also for whole UTF-8, which is ftfy's."""
    try:
        decoded = raw.decode("gbk")
    except UnicodeDecodeError:
        return None
    try:
        raw.decode("utf-8")
        return None
    except UnicodeDecodeError:
        pass
    high = [c for c in decoded if not c.isascii()]
    good = sum(_frequent(c) if HAN.match(c) else CJK.match(c) is not None for c in high)
    return decoded if good >= NEARLY * len(high) else None


def _frequent(character: str) -> bool:
    first, second = character.encode("gbk")
    return 0xB0 <= first <= 0xD7 and second >= 0xA1


# ------------------------------------------------------------------------------------------------ UTF-8 read as GBK


def utf8_read_as_gbk(text: str) -> str:
    """The text's pieces of UTF-8, decoded: all of them or none, by what they amount to together."""
    found: list[str] = []

    def piece(match: re.Match[str]) -> str:
        decoded = _utf8_text(match[1], bool(match[2]))
        if decoded is None:
            return match[0]
        found.append(decoded)
        lost = decoded.endswith("\ufffd")
        return decoded if lost else decoded + match[2]

    decoded = MISREAD_RUN.sub(piece, text)
    return decoded if chinese("".join(found)) else text


def _utf8_text(shown: str, lost: bool) -> str | None:
    """UTF-8 as text where nearly all of it is Chinese; U+FFFD for a character that was cut at either end."""
    raw = b"\x80".join(part.encode("gb18030", "replace") for part in shown.split("€"))  # as Windows shows that byte
    if len(raw) != 2 * len(shown) - shown.count("€"):  # a character that GBK does not have
        return None
    start = 0
    while start < min(len(raw), 2) and 0x80 <= raw[start] < 0xC0:
        start += 1
    end = len(raw)
    try:
        decoded = raw[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        if not lost or error.end != end - start or error.reason != "unexpected end of data":
            return None
        decoded = raw[start : start + error.start].decode("utf-8") + "\ufffd"
    decoded = "\ufffd" * (start > 0) + decoded
    good = len(CJK.findall(decoded))
    return decoded if good and good >= NEARLY * len(decoded.strip("\ufffd")) else None
