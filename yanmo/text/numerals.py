"""Numbers as people write them: 1,024 · -3.5 · ７ · 十二 · 两百零五 · 三点一四 · 负一万.

Arabic digits of any width, with separators between thousands, and Chinese numerals by their places (万 and 亿 multiply what
stands before them) or digit by digit (二〇二六).
"""

from __future__ import annotations

import math
import re
import unicodedata

DIGITS = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
UNITS = {"十": 10, "百": 100, "千": 1000}
GROUPS = {"万": 10_000, "亿": 100_000_000}
LONGEST = 32  # characters of a Chinese numeral; what is longer counts as infinite
_CHINESE = "".join((*DIGITS, *UNITS, *GROUPS))
_NUMBER = re.compile(rf"[-+−]?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?|负?[{_CHINESE}]+(?:点[{''.join(DIGITS)}]+)?")


def numbers(text: str) -> list[float]:
    """The numbers of a text in their order."""
    return [_value(found) for found in _NUMBER.findall(unicodedata.normalize("NFKC", text))]


def _value(written: str) -> float:
    if not set(written) & set(_CHINESE):  # digits of any script
        return float(written.replace(",", "").replace("−", "-"))
    sign = -1 if written[0] == "负" else 1
    whole, _, fraction = written.lstrip("负").partition("点")
    if len(whole) > LONGEST:
        return sign * math.inf
    value = float(chinese(whole))
    if fraction:
        value += float("0." + "".join(str(DIGITS[digit]) for digit in fraction))
    return sign * value


def chinese(numeral: str) -> int:
    """The value of a Chinese numeral: '一百零五' → 105, '十二' → 12, '二〇二六' → 2026, '三万五' → 30,005."""
    if not set(numeral) & (UNITS.keys() | GROUPS.keys()):
        return int("".join(str(DIGITS[digit]) for digit in numeral))
    total = section = digit = 0
    for character in numeral:
        if character in DIGITS:
            digit = digit * 10 + DIGITS[character] if digit else DIGITS[character]
        elif character in UNITS:
            section += (digit or 1) * UNITS[character]
            digit = 0
        else:
            whole = character == "亿"  # which multiplies all that stands before it, 万 what stands behind a 亿
            total = (0 if whole else total) + (section + digit + (total if whole else 0) or 1) * GROUPS[character]
            section = digit = 0
    return total + section + digit


def spelled(value: int) -> str:
    """A whole number from 0 to 99,999,999 as a Chinese numeral: 105 → '一百零五'."""
    assert 0 <= value < GROUPS["亿"], value
    if value >= GROUPS["万"]:
        high, low = divmod(value, GROUPS["万"])
        gap = "零" if 0 < low < 1000 else ""
        return spelled(high) + "万" + gap + (spelled(low) if low else "")
    if value == 0:
        return "零"
    made, places, waiting = "", ("千", "百", "十", ""), False
    for place, unit in zip((1000, 100, 10, 1), places):
        digit = value // place % 10
        if digit:
            made += ("零" if waiting and made else "") + "零一二三四五六七八九"[digit] + unit
            waiting = False
        else:
            waiting = True
    return made.removeprefix("一") if 10 <= value < 20 else made
