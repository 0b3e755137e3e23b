"""Templates of wikitext: taken out, but for a few whose arguments are words of the sentence. None is ever evaluated.

One pass matches the braces (`{{`, `}}` and the parameters `{{{`, `}}}`, nested, whatever is left open), another walks the
outermost ones and copies what lies between. A template is looked into only where its name is in `TEXT`, and no deeper
than DEPTH, so that the work grows with the text and with nothing else. `{{#if:…}}`, `{{#expr:…}}`, `{{#invoke:…}}` are
templates of unknown name like any other.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping

from yanmo.corpus.wikitext.names import listed

Arguments = Mapping[str, str]  # by name, the positional ones by '1', '2', …

BRACES = re.compile(r"\{\{+|\}\}+")
LINK = re.compile(r"\[\[[^\[\]]*+\]\]")
KEY = re.compile(r"[\w \-]{1,30}")
UNCLOSED = re.compile(r"^[ \t]*+\{\{[^\n]*+", re.MULTILINE)
NUMBER = re.compile(r"[\d.,/+−-]+")
DEPTH = 8  # templates within templates that are looked into
NAME = 40  # characters of the longest name in TEXT, and more
BAR = "\x01"  # a '|' within a link, while arguments are divided at the others


def without_templates(text: str) -> str:
    """`text` with each template replaced by its words, or by nothing. A line that begins with one never closed goes too."""
    if "{{" not in text:
        return text
    closed = _matched(text)
    plain = _replaced(text, 0, len(text), sorted(closed), closed, 0)
    if "{{" in plain:
        plain = UNCLOSED.sub("", plain).replace("{{", "")
    return plain.replace("}}", "")


def _matched(text: str) -> dict[int, tuple[int, int]]:
    """Where each pair of braces begins → (the place behind it, 2 or 3 braces). Runs match from within, three before two."""
    closed: dict[int, tuple[int, int]] = {}
    open_runs: list[list[int]] = []  # [where the run begins, braces left in it]
    for token in BRACES.finditer(text):
        start, end = token.span()
        if text[start] == "{":
            open_runs.append([start, end - start])
            continue
        while open_runs and end - start >= 2:
            run = open_runs[-1]
            count = 3 if run[1] >= 3 and end - start >= 3 else 2
            start += count
            run[1] -= count
            closed[run[0] + run[1]] = (start, count)
            if run[1] < 2:
                open_runs.pop()
    return closed


def _replaced(text: str, start: int, end: int, starts: list[int], closed: dict[int, tuple[int, int]], depth: int) -> str:
    pieces, at = [], start
    index = bisect_left(starts, start)
    while index < len(starts) and starts[index] < end:
        opened = starts[index]
        behind, count = closed[opened]
        pieces.append(text[at:opened])
        if count == 2 and depth < DEPTH:
            pieces.append(_words(text, opened + 2, behind - 2, starts, closed, depth))
        at = behind
        index = bisect_left(starts, at, index + 1)
    pieces.append(text[at:end])
    return "".join(pieces)


def _words(text: str, start: int, end: int, starts: list[int], closed: dict[int, tuple[int, int]], depth: int) -> str:
    """What the template whose inside is text[start:end] stands for."""
    bar = text.find("|", start, min(end, start + NAME))
    if bar < 0 and end - start > NAME:
        return ""
    name = text[start : bar if bar >= 0 else end].strip().lower().replace("_", " ")
    words = TEXT.get(name)
    if words is None:
        family = name.partition("-")[0] if "-" in name else ""
        words = FAMILIES.get(family)
        if words is None:
            return ""
    inside = _replaced(text, bar + 1, end, starts, closed, depth + 1) if bar >= 0 else ""
    return words(_arguments(inside))


def _arguments(inside: str) -> dict[str, str]:
    linked = "[[" in inside
    if linked:
        inside = LINK.sub(masked, inside)
    found: dict[str, str] = {}
    number = 0
    for part in inside.split("|"):
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or not KEY.fullmatch(key):
            number += 1
            key, value = str(number), part
        value = value.strip()
        found[key.lower()] = value.replace(BAR, "|") if linked else value
    return found


def masked(link: re.Match[str]) -> str:
    return link[0].replace("|", BAR)


# ------------------------------------------------------------------------------------------------ what templates say


def _first_of(*keys: str) -> Callable[[Arguments], str]:
    """The first of these arguments that is there."""
    return lambda given: next((given[key] for key in keys if given.get(key)), "")


def _always(words: str) -> Callable[[Arguments], str]:
    return lambda given: words


UNITS = {"sqmi": "sq mi", "sqkm": "km²", "km2": "km²", "m2": "m²", "m3": "m³", "c": "°C", "f": "°F", "mph": "mph"}
RANGES = {"to": " to ", "-": "–", "–": "–", "and": " and ", "or": " or ", "x": " × ", "by": " by ", "to(-)": " to "}


def _convert(given: Arguments) -> str:
    """{{convert|5|km|mi}} → 5 km; {{convert|5|to|10|km}} → 5 to 10 km; {{convert|6|ft|2|in}} → 6 ft 2 in."""
    one, two, three, four = (given.get(str(number), "") for number in (1, 2, 3, 4))
    if two in RANGES:
        return f"{one}{RANGES[two]}{three} {_unit(four)}".strip()
    if four and NUMBER.fullmatch(three) and not NUMBER.fullmatch(four):
        return f"{one} {_unit(two)} {three} {_unit(four)}"
    return f"{one} {_unit(two)}".strip()


def _unit(name: str) -> str:
    return UNITS.get(name.lower(), name)


def _fraction(given: Arguments) -> str:
    parts = [given[key] for key in ("1", "2", "3") if given.get(key)]
    if len(parts) == 3:
        return f"{parts[0]} {parts[1]}/{parts[2]}"
    return "/".join(parts if len(parts) != 1 else ["1", *parts])


def _value(given: Arguments) -> str:
    unit = given.get("u") or given.get("ul") or given.get("upl") or ""
    return f"{given.get('1', '')} {unit}".strip()


def _life(given: Arguments) -> str:
    """{{bd|1893年|12月26日|1976年|9月9日}} → （1893年12月26日—1976年9月9日）"""
    born, died = (given.get(a, "") + given.get(b, "") for a, b in (("1", "2"), ("3", "4")))
    return f"（{born}—{died}）" if born or died else ""


def _as_of(given: Arguments) -> str:
    when = " ".join(given[key] for key in ("3", "2", "1") if given.get(key))
    return f"{'as' if given.get('lc') else 'As'} of {when}" if when else ""


ONE, TWO = _first_of("1"), _first_of("2", "1")
TEXT: dict[str, Callable[[Arguments], str]] = {
    **dict.fromkeys(listed("""nowrap nobr nobold small smaller big larger huge em strong sup sub mvar var code kbd mono samp
        tt keypress abbr tooltip sic flag flagcountry flagu vanchor ill le nihongo nihongo2 zh-full"""), ONE),
    **dict.fromkeys(("interlanguage link", "visible anchor", "not a typo", "small caps", "smallcaps", "nobreak"), ONE),
    **dict.fromkeys(("lang", "langx", "transl", "transliteration", "wikt-lang", "color", "font color"), TWO),
    **dict.fromkeys(("quote", "blockquote", "cquote", "quotation"), _first_of("text", "quote", "1")),
    **dict.fromkeys(("zh", "lang-zh", "zhi"), _first_of("c", "s", "t", "1", "p")),
    "tsl": _first_of("3", "2"),
    **dict.fromkeys(("convert", "cvt"), _convert),
    **dict.fromkeys(("frac", "fraction", "sfrac"), _fraction),
    "val": _value, "bd": _life, "as of": _as_of,
    **dict.fromkeys(("c.", "circa", "ca."), lambda given: f"c. {given.get('1', '')}".strip()),
    "us$": lambda given: f"US${given.get('1', '')}",
    **dict.fromkeys(("ndash", "–", "en dash"), _always("–")), **dict.fromkeys(("mdash", "—", "em dash"), _always("—")),
    **dict.fromkeys(("snd", "spnd", "spaced ndash", "spaced en dash"), _always(" – ")),
    **dict.fromkeys(("·", "•", "dot", "middot", "bullet"), _always(" · ")),
    **dict.fromkeys(("nbsp", "space", "nnbsp"), _always(" ")),
    "=": _always("="), "'": _always("'"), "'s": _always("'s"), "times": _always("×"), "minus": _always("−"),
    "!": _always("|"), "!!": _always("||"), "(!": _always("{|"), "!)": _always("|}"), "!-": _always("|-"),
}  # fmt: skip
FAMILIES = {"lang": ONE, "link": ONE}  # {{lang-fr|bonjour}}, and of the Chinese edition {{link-en|中文名|English}}
