"""Telephone numbers, by the shapes in which they are written and, but for China's, by phonenumbers' numbering plans.

A shape that could as well be another number (ten digits at a stretch) counts only where the words before it speak of a
telephone; one that follows a word such as ISBN or 订单号 does not count. phonenumbers' own matcher reads 1.35 MB/s, so it
is asked only about candidates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from yanmo.core.extras import needed
from yanmo.corpus.pii.numbers import in_address
from yanmo.corpus.pii.span import Span

ABOUT = re.compile(
    r"(?P<yes>\b(?:tel|telephones?|phones?|ph|call(?:ed|ing)?|fax|mobiles?|mob|cell|whatsapp|text|sms|contact|dial|ring|hotline|helpline|"
    r"reach (?:me|us|him|her|them))\b|\b[tmpf]:|"
    r"电话|電話|手机|手機|联系|聯繫|聯絡|传真|傳真|热线|熱線|拨打|撥打|致电|致電|座机|座機|微信|短信|号码|號碼|[☎☏📞📱])|"
    r"(?P<no>\b(?:isbn|issn|doi|pmid|arxiv|ean|upc|sku|imei|serial|invoice|orders?|id|ids|pp|vol|vols|account|acct|patent|part|lot|rfc|"
    r"tracking)\b|№|§|[$€£¥￥]|书号|書號|刊号|刊號|编号|編號|订单|訂單|单号|單號|批号|批號|流水号|运单|账号|帐号|准考证|学号|工号|车牌|邮编|群号)",
    re.IGNORECASE | re.ASCII,
)
REACH = 40  # characters before a number that may say what it is
EXTENSION = r"(?:[ ,]{0,2}(?:x|ext\.?|extension|转|轉|分机|分機) ?[:.#]? ?[0-9]{1,6}(?![0-9]))?"
EDGE = r"(?<![0-9A-Za-z_+])(?<![0-9][-.:,])"
END = r"(?![0-9A-Za-z_])(?![-.:][0-9])(?!\)?\.(?:jpe?g|png|gif|svg|webp|pdf|html?)\b)"  # nor a file's name
APART = r"(?! [0-9])"  # not the first groups of a longer row of them

MOBILE = re.compile(
    rf"(?<![0-9A-Za-z_])(?<![0-9][-.:])(?:\(?(?:\+|00)?86\)?[ -]{{0,2}})?(?<!\+)"
    rf"(?P<number>1[3-9][0-9](?P<gap>[ -]?)[0-9]{{4}}(?P=gap)[0-9]{{4}}|"
    rf"1[3-9][0-9]{{2}}(?P<gap4>[ -])[0-9]{{3}}(?P=gap4)[0-9]{{4}}){END}"
)
AREA = "0(?:10|2[0-9]|[3-9][0-9]{2})"
LANDLINE = re.compile(
    rf"{EDGE}(?:\(?(?:\+|00)86\)?[ -]{{0,2}})?"
    rf"(?P<number>(?:\({AREA}\)[ -]?|{AREA}(?P<gap>[ -]?))[2-8][0-9]{{2,3}}[ -]?[0-9]{{4}})"
    rf"(?:-[0-9]{{1,5}}(?![0-9])|{EXTENSION}){END}"
)
SERVICE = re.compile(rf"{EDGE}(?P<number>[48]00-(?:[0-9]{{3}}-?[0-9]{{4}}|[0-9]{{4}}-?[0-9]{{3}})){EXTENSION}{END}")

AMERICAN = re.compile(
    rf"{EDGE}(?<![0-9]/)(?:\+?1[ .-]?)?(?P<area>\([2-9][0-9]{{2}}\) ?-? ?|[2-9][0-9]{{2}}(?P<one>[ ./-]?))"
    rf"[0-9]{{3}}(?P<two>[ .-]?)[0-9]{{4}}{EXTENSION}{END}",
    re.IGNORECASE,
)
LOCAL = re.compile(rf"{EDGE}(?<![0-9] )[2-9][0-9]{{2}}-[0-9]{{4}}{EXTENSION}{END}{APART}", re.IGNORECASE)
INTERNATIONAL = re.compile(
    r"(?<![0-9A-Za-z_+])(?P<open>\()?(?:\+|00(?=[1-9]))(?P<rest> ?\(?[1-9](?:[ .()/-]{0,3}[0-9]){6,14})(?![0-9])"
)
ALONE_BEFORE, ALONE_BEHIND = rf"{EDGE}(?<![0-9][ /])", rf"(?![0-9A-Za-z_])(?![-./:][0-9]){APART}"
TRUNK = re.compile(rf"{ALONE_BEFORE}\(?0[ -]?[1-9](?:[ ./()-]{{0,2}}[0-9]){{6,10}}{ALONE_BEHIND}")
NATIONAL = re.compile(rf"{ALONE_BEFORE}\(?[1-9](?:[ .()-]{{0,2}}[0-9]){{6,11}}{ALONE_BEHIND}")
DIGIT, NOT_DIGIT = re.compile("[0-9]"), re.compile("[^0-9]+")
# Kept free for fiction by the regulators, or taken for it by everybody: no plan holds them, yet they look like the rest.
FICTION = re.compile(r"\+1 555[0-9]{7}|\+44 (?:7700900|1632960)[0-9]{3}")


def phones(text: str, start: int, end: int, regions: Sequence[str]) -> Iterator[Span]:
    """Telephone numbers in text[start:end]: international ones, and those of `regions` (CLDR codes) as written at home.

    A span's value is '+COUNTRY NATIONAL'."""
    yield from _international(text, start, end)
    others = [region for region in regions if region != "CN"]
    plans = {region: _country(region) for region in others}
    if "CN" in regions:
        yield from _chinese(text, start, end)
    if 1 in plans.values():
        yield from _american(text, start, end)
    rest = [region for region, code in plans.items() if code != 1]
    if rest:
        yield from _national(text, start, end, rest)


def about(text: str, start: int) -> int:
    """1 where the words before `start` speak of a telephone, -1 where of some other number, else 0; the nearest word wins."""
    line = text.rfind("\n", max(0, start - REACH), start) + 1 or max(0, start - REACH)
    said = 0
    for match in ABOUT.finditer(text, line, start):
        said = 1 if match["yes"] else -1
    return said


def digits_of(text: str) -> str:
    return NOT_DIGIT.sub("", text)


def real(code: int, national: str) -> bool:
    """Whether a number may be somebody's: its country's plan holds it, or it is one of fiction's."""
    library = needed("phonenumbers", "corpus", "pii")
    if FICTION.fullmatch(f"+{code} {national}"):
        return True
    if code == 86 and re.fullmatch("1[3-9][0-9]{9}", national):
        return True
    zero = national.startswith("0") or None
    number = library.PhoneNumber(country_code=code, national_number=int(national or 0), italian_leading_zero=zero)
    return bool(library.is_valid_number(number))


def _country(region: str) -> int:
    return int(needed("phonenumbers", "corpus", "pii").country_code_for_region(region))


def _chinese(text: str, start: int, end: int) -> Iterator[Span]:
    for match in MOBILE.finditer(text, start, end):
        if about(text, match.start()) >= 0 and not in_address(text, match.start()):
            yield Span(match.start(), match.end(), "phone", "+86 " + digits_of(match["number"]))
    for match in LANDLINE.finditer(text, start, end):
        if " " in match["number"] and _in_a_row(text, match):
            continue
        at_a_stretch = match["gap"] == ""
        if about(text, match.start()) >= at_a_stretch:
            yield Span(match.start(), match.end(), "phone", "+86 " + digits_of(match["number"])[1:])
    for match in SERVICE.finditer(text, start, end):
        if about(text, match.start()) >= 0:
            yield Span(match.start(), match.end(), "phone", "+86 " + digits_of(match["number"]))


def _in_a_row(text: str, match: re.Match[str]) -> bool:
    """Whether more groups of digits stand on either side: a row of a table, or a longer number."""
    behind = IN_A_ROW.match(text, match.end())
    return bool(behind or NEIGHBOUR.search(text, max(0, match.start() - 3), match.start()))


IN_A_ROW, NEIGHBOUR = re.compile(" {1,2}[0-9]"), re.compile("[0-9] {1,2}$")


def _american(text: str, start: int, end: int) -> Iterator[Span]:
    for match in AMERICAN.finditer(text, start, end):
        said = about(text, match.start())
        one, two = match["one"], match["two"]
        if one is not None:  # no brackets around the area code
            if not one and not two:
                if said < 1:
                    continue
            elif one == " " and two == " ":
                if _in_a_row(text, match):
                    continue
            elif one != two and (one, two) not in ((" ", "-"), ("/", "-"), ("-", "")):
                continue
        national = digits_of(EXTENSION_AT_END.sub("", match.group()))[-10:]
        if said >= 0 and real(1, national):
            yield Span(match.start(), match.end(), "phone", "+1 " + national)
    for match in LOCAL.finditer(text, start, end):
        if about(text, match.start()) == 1 and CLOSE.search(text, max(0, match.start() - 16), match.start()):
            yield Span(match.start(), match.end(), "phone", "+1 " + digits_of(match.group())[:7])


CLOSE = re.compile(
    r"(?:[:.]|\b(?:call|at|dial|phone|ring|is|on|to|text|number|fax)) ?$|[\u3400-\u9fff:]$", re.IGNORECASE | re.ASCII
)
EXTENSION_AT_END = re.compile(EXTENSION + "$", re.IGNORECASE)
DATED = re.compile(r"[(]?[0-3]?[0-9][./-][0-3]?[0-9][./-](?:[12][0-9])?[0-9]{2}(?![0-9])")


def _international(text: str, start: int, end: int) -> Iterator[Span]:
    for match in INTERNATIONAL.finditer(text, start, end):
        zeros = text.startswith("00", match.start("rest") - 2)
        rest = match["rest"]
        if zeros and (about(text, match.start()) < 1 and not NOT_DIGIT.search(rest.strip())):
            continue
        while len(digits_of(rest)) >= 7:
            number = _parsed("+" + rest, None)
            if number is not None:
                begin = match.start() if match["open"] and ")" in rest.split("(")[0] else match.start() + bool(match["open"])
                yield Span(begin, match.start("rest") + len(rest), "phone", number)
                break
            shorter = re.sub(r"[ .()/-]+[0-9]+$", "", rest)  # the last group may belong to something else
            if shorter == rest:
                break
            rest = shorter


def _parsed(written: str, region: str | None) -> str | None:
    library = needed("phonenumbers", "corpus", "pii")
    try:
        number = library.parse(written, region)
    except library.NumberParseException:
        return None
    national = library.national_significant_number(number)
    return f"+{number.country_code} {national}" if real(number.country_code, national) else None


def _national(text: str, start: int, end: int, regions: list[str]) -> Iterator[Span]:
    library = needed("phonenumbers", "corpus", "pii")
    for shape in (TRUNK, NATIONAL):
        for match in shape.finditer(text, start, end):
            said = about(text, match.start())
            written = match.group()
            stretch = NOT_DIGIT.search(written) is None
            if said < 0 or (said < 1 and (shape is NATIONAL or stretch)) or DATED.match(written):
                continue
            for region in regions:
                fiction = _parsed(written, region)
                if fiction is not None and FICTION.fullmatch(fiction):
                    yield Span(match.start(), match.end(), "phone", fiction)
                    break
                strict = library.PhoneNumberMatcher(written, region, library.Leniency.STRICT_GROUPING)
                found = next(iter(strict), None)
                if found is not None and found.raw_string == written:
                    number = found.number
                    value = f"+{number.country_code} {library.national_significant_number(number)}"
                    yield Span(match.start(), match.end(), "phone", value)
                    break
