"""Numbers of payment: credit and bank cards, proved by Luhn's check digit and a plausible issuer; IBANs by theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from yanmo.core.extras import needed
from yanmo.corpus.pii.span import Span

RUN = re.compile(r"[0-9]+(?:[ -][0-9]+)*")
GROUP = re.compile("[0-9]+")
# How card numbers are written: at a stretch, or in groups with one and the same separator.
# The longer ones are tried first.
SHAPES = ((4, 4, 4, 4, 3), (4, 4, 4, 4, 2), (4, 4, 4, 4, 1), (6, 13), (6, 12), (6, 10), (4, 4, 4, 4), (8, 8), (4, 6, 5),
          (4, 6, 4), (4, 4, 4, 2), (19,), (18,), (17,), (16,), (15,), (14,))  # fmt: skip
SHAPES_FROM = {size: tuple(shape for shape in SHAPES if shape[0] == size) for size in range(4, 20)}  # by their first group
# Issuers (ISO/IEC 7812) by their first digits, with the lengths they issue.
CREDIT = re.compile(
    r"4[0-9]{15}(?:[0-9]{3})?|"  # Visa
    r"(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}|"  # Mastercard
    r"3[47][0-9]{13}|"  # American Express
    r"(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12}(?:[0-9]{3})?|"  # Discover
    r"35(?:2[89]|[3-8][0-9])[0-9]{12}|"  # JCB
    r"3(?:0[0-5]|[689][0-9])[0-9]{11}|"  # Diners Club
    r"62[0-9]{14}|"  # UnionPay; the longer ones are debit cards
    r"220[0-4][0-9]{12}|(?:60|81|82)[0-9]{14}|9792[0-9]{12}"  # Mir, RuPay, Troy
)
BANK = re.compile(r"62[0-9]{15,17}")  # UnionPay debit cards
ISSUED = re.compile(r"[2-9][0-9]{15,18}")  # older debit cards and those of other schemes, where the text says that it is a card
CARD = re.compile(
    r"(?:卡号|卡號|银行卡|銀行卡|储蓄卡|借记卡|工资卡|[账帐帳]号|[账帐帳]號|[账帐帳][户戶]|尾号|card|debit|account|acct|iban)[^0-9\n]{0,24}$",
    re.IGNORECASE,
)


def cards(text: str, start: int, end: int) -> Iterator[Span]:
    """Credit and bank cards of which text[start:end] holds the first digit."""
    for run in RUN.finditer(text, start, end):
        if run.end() - run.start() < 14:
            continue
        groups = [(m.start(), m.end()) for m in GROUP.finditer(text, run.start(), run.end())]
        place = 0
        while place < len(groups):
            found, used = _card(text, groups, place)
            if found is not None:
                yield found
            place += used


def _card(text: str, groups: list[tuple[int, int]], first: int) -> tuple[Span | None, int]:
    """The card that begins with group `first`, and how many groups it takes."""
    for shape in SHAPES_FROM.get(groups[first][1] - groups[first][0], ()):
        last = first + len(shape) - 1
        if last >= len(groups) or any(groups[first + i][1] - groups[first + i][0] != size for i, size in enumerate(shape)):
            continue
        separators = {text[groups[i][1]] for i in range(first, last)}
        start, end = groups[first][0], groups[last][1]
        if len(separators) > 1 or not stands_alone(text, start, end):
            continue
        number = "".join(text[a:b] for a, b in groups[first : last + 1])
        kind = _kind(text, number, start)
        if kind and luhn(number) and not in_address(text, start):
            return Span(start, end, kind, number), len(shape)
    return None, 1


def _kind(text: str, number: str, start: int) -> str | None:
    if BANK.fullmatch(number):
        return "bank_card"
    if CREDIT.fullmatch(number):
        return "credit_card"
    if ISSUED.fullmatch(number) and CARD.search(text, max(0, start - 40), start):
        return "bank_card"
    return None


def luhn(number: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1 annex B)."""
    return bool(needed("stdnum.luhn", "corpus", "pii").is_valid(number))


PART_OF_WORD = re.compile("[0-9A-Za-z_]")
JOINED_BEFORE, JOINED_BEHIND = re.compile(r"[0-9]\.|[0-9A-Za-z_]-"), re.compile(r"\.[0-9]|-[0-9A-Za-z_]")


def stands_alone(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is no part of a longer number, word or dashed identifier."""
    if start and (PART_OF_WORD.match(text, start - 1) or JOINED_BEFORE.match(text, start - 2 if start > 1 else 0, start)):
        return False
    return not PART_OF_WORD.match(text, end) and not JOINED_BEHIND.match(text, end)


ADDRESS = re.compile(r"(?:://|www\.)[^\s\"'<>，。、；]*[/_.]$")


def in_address(text: str, start: int) -> bool:
    """Whether what begins at `start` is a piece of a web address's path: the number of a page, not of a person."""
    return ADDRESS.search(text, max(0, start - 200), start) is not None


IBAN = re.compile(r"(?<![0-9A-Za-z_])[A-Z]{2}[0-9]{2}(?=[ -]?[0-9A-Z])")


def ibans(text: str, start: int, end: int) -> Iterator[Span]:
    """International bank account numbers (ISO 13616) that begin in text[start:end]: the length and form of their country,
    and both check digits."""
    for match in IBAN.finditer(text, start, end):
        length = iban_length(match.group()[:2])
        if not length:
            continue
        whole = _rest(length).match(text, match.start())
        if whole is None:
            continue
        value = whole.group().replace(" ", "").replace("-", "")
        if needed("stdnum.iban", "corpus", "pii").is_valid(value, check_country=False):
            yield Span(whole.start(), whole.end(), "iban", value)


@cache
def iban_length(country: str) -> int:
    """The characters of an IBAN of `country` (two letters); 0 where it has none."""
    form = needed("stdnum.numdb", "corpus", "pii").get("iban").info(country)[0][1].get("bban", "")
    sizes = re.findall(r"([0-9]+)!", form)
    return 4 + sum(map(int, sizes)) if sizes else 0


@cache
def _rest(length: int) -> re.Pattern[str]:
    return re.compile(rf"[A-Z]{{2}}[0-9]{{2}}(?:[ -]?[0-9A-Z]){{{length - 4}}}(?![0-9A-Za-z_])")
