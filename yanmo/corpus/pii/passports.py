"""Passport numbers: the machine-readable zone by its check digits (ICAO 9303), any other only where the text says so."""

from __future__ import annotations

import re
from collections.abc import Iterator

from yanmo.corpus.pii.span import Span

NUMBER = r"(?<![0-9A-Za-z_])(?P<letters>[A-Z]{0,2}|[a-z])(?P<digits>[0-9]{7,9})(?P<last>[A-Z]?)(?![0-9A-Za-z_]|[.,][0-9])"
NAMED = re.compile(
    r"(?:[Pp]assports?|PASSPORTS?|护照|護照|旅行证|旅行證|通行证|通行證)(?P<gap>[^0-9\n。；;]{0,40}?)" + NUMBER
)
NEXT = re.compile(r"(?:[ ,，、;；/]|和|及|与|與|and|or){1,6}" + NUMBER)
NUMBERED = re.compile(r"(?:\bno\b|number|num\b|#|№|:|\bis\b|\bare\b|\(|号|號|码|碼|是|为|為|=)", re.IGNORECASE | re.ASCII)
MONEY = re.compile(r"[$€£¥￥]\s?$|(?:usd|eur|rmb|gbp)\s?$", re.IGNORECASE)
DATE = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
MACHINE = re.compile(
    r"(?<![A-Z0-9<])(?P<number>[A-Z0-9<]{9})(?P<a>[0-9])[A-Z<]{3}(?P<birth>[0-9]{6})(?P<b>[0-9])[MFX<]"
    r"(?P<expiry>[0-9]{6})(?P<c>[0-9])(?P<personal>[A-Z0-9<]{14})(?P<d>[0-9<])(?P<e>[0-9])(?![A-Z0-9<])"
)
VALUES = {c: i for i, c in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")} | {"<": 0}


def passports(text: str, start: int, end: int) -> Iterator[Span]:
    for match in NAMED.finditer(text, start, end):
        if not _numbered(match):
            continue
        following: re.Match[str] | None = match
        while following is not None and _plausible(text, following):
            yield Span(following.start("letters"), following.end("last"), "passport", _value(following))
            following = NEXT.match(text, following.end())
    for match in MACHINE.finditer(text, start, end):
        if _checked(match):
            yield Span(match.start(), match.end(), "passport", match["number"].rstrip("<"))


def _value(match: re.Match[str]) -> str:
    return f"{match['letters']}{match['digits']}{match['last']}".upper()


def _numbered(match: re.Match[str]) -> bool:
    """Whether the text says that a number follows: by a letter before it, by a word, or by nothing between."""
    gap = match["gap"]
    return bool(match["letters"]) or not gap.strip() or NUMBERED.search(gap) is not None


def _plausible(text: str, match: re.Match[str]) -> bool:
    letters, digits = match["letters"], match["digits"]
    if digits.startswith("000"):  # as pseudonyms begin
        return False
    begin = match.start("digits")
    return bool(letters) or not (DATE.fullmatch(digits) or MONEY.search(text, max(0, begin - 5), begin))


def _checked(match: re.Match[str]) -> bool:
    """Whether all check digits of a machine-readable zone's second line are right."""
    composite = (match["number"] + match["a"] + match["birth"] + match["b"] + match["expiry"] + match["c"] + match["personal"]
                 + match["d"])  # fmt: skip
    unused = match["d"] == "<" and not match["personal"].strip("<")
    return (unused or match["d"] == check_digit(match["personal"])) and all(
        check_digit(field) == digit
        for field, digit in ((match["number"], match["a"]), (match["birth"], match["b"]), (match["expiry"], match["c"]),
                             (composite, match["e"]))
    )  # fmt: skip


def check_digit(field: str) -> str:
    """The check digit of a field: the sum of its characters' values times 7, 3, 1 in turn, modulo 10."""
    return str(sum(VALUES[c] * (7, 3, 1)[i % 3] for i, c in enumerate(field)) % 10)
