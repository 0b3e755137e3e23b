"""The numbers that mainland China gives to its residents (GB 11643) and its organisations (GB 32100).

A resident's number is region, birth date, order and check character. The region must have been in the register at some
time: not in the year of birth, for the number is given later, when the region may have been renamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import cache

from yanmo.core.extras import needed
from yanmo.corpus.pii.span import Span

EDGE, END = r"(?<![0-9A-Za-z_])(?<![0-9][.-])", r"(?![0-9A-Za-z_]|[.-][0-9])"
MONTH_DAY = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
RESIDENT = re.compile(
    rf"{EDGE}[1-9][0-9]{{5}}(?P<gap>[ -]?)(?:18|19|20)[0-9]{{2}}{MONTH_DAY}(?P=gap)[0-9]{{3}}[0-9Xx]{END}"
)
OLD = re.compile(rf"{EDGE}[1-9][0-9]{{5}}[0-9]{{2}}{MONTH_DAY}[0-9]{{3}}{END}")
OLD_BEFORE = re.compile(
    r"(?:身份证|身份證|身分證|证件号|證件號|公民身份|居民证|(?:id|identity|identification) ?(?:card|number|no))[^0-9\n]{0,16}$",
    re.IGNORECASE,
)
EARLIEST, LATEST = date(1850, 1, 1), date(2060, 1, 1)
PLACES = frozenset({"810000", "820000", "830000"})  # residence permits of people of Hong Kong, Macao and Taiwan


def residents(text: str, start: int, end: int) -> Iterator[Span]:
    """Resident numbers of 18 characters, and those of 15 digits from before 1999 where the text says what they are."""
    ric = needed("stdnum.cn.ric", "corpus", "pii")
    for match in RESIDENT.finditer(text, start, end):
        number = match.group().replace(" ", "").replace("-", "").upper()
        if number[-1] == ric.calc_check_digit(number) and _born(number[6:14]) and known_region(number[:6]):
            yield Span(match.start(), match.end(), "resident_id", number)
    for match in OLD.finditer(text, start, end):
        number = match.group()
        said = OLD_BEFORE.search(text, max(0, match.start() - 32), match.start())
        if said and _born("19" + number[6:12]) and known_region(number[:6]):
            yield Span(match.start(), match.end(), "resident_id", number)


def _born(digits: str) -> bool:
    try:
        return EARLIEST <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) < LATEST
    except ValueError:
        return False


@cache
def known_region(code: str) -> bool:
    """Whether six digits name a county or city district of mainland China, now or in the past."""
    if code in PLACES:
        return True
    found = needed("stdnum.numdb", "corpus", "pii").get("cn/loc").info(code)
    return len(found) > 1 and "county" in found[1][1]


LETTERS = "0-9A-HJ-NPQRTUWXY"
CREDIT_CODE = re.compile(rf"{EDGE}[1-9][1-9][0-9]{{6}}[{LETTERS}]{{10}}{END}")
AUTHORITY = re.compile("1[1239]|2[19]|3[1-59]|4[19]|5[1-59]|6[129]|7[129]|8[19]|9[123]")  # and what it registers
PROVINCE = re.compile("1[0-5]|2[123]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[12]")


def organisations(text: str, start: int, end: int) -> Iterator[Span]:
    """Unified social credit codes: authority, region, and the check character."""
    uscc = needed("stdnum.cn.uscc", "corpus", "pii")
    for match in CREDIT_CODE.finditer(text, start, end):
        code = match.group()
        if AUTHORITY.match(code) and PROVINCE.match(code, 2) and uscc.is_valid(code):
            yield Span(match.start(), match.end(), "uscc", code)
