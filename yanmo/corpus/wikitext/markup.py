"""Wikitext as plain paragraphs: our own cleaner, linear in the text whatever it holds, and evaluating nothing.

    comments, nowiki, ref, math, gallery … → templates → tables → -{variants}- → [[links]] → [outer links] → ''quotes'',
    HTML tags, __MAGIC__ words, entities → lines: headings, lists, sections → spaces and brackets left empty

Each stage is one pass over the text with a bounded stack: an opening without its end is left as text or loses its mark,
never its neighbours. The patterns take each character a bounded number of times (possessive where two of their parts
could share one).

What stays: prose, headings and list items (a line each), labels of links, the words of a few templates
(`markup_templates.py`), verbatim `<pre>`. What goes: other templates, tables (unless `tables` is 'text'), references,
formulas, code blocks, files with their captions, categories, links to other languages, sections that `sections` names
or that are left empty.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from html.entities import html5
from typing import Literal

from yanmo.corpus.wikitext import names as names
from yanmo.corpus.wikitext.lines import lines
from yanmo.corpus.wikitext.templates import BAR, LINK, masked, without_templates


@dataclass(frozen=True)
class Markup:
    """How text is cleaned. `sections`: casefolded headings whose sections go; `removed`: namespaces (lower case) whose
    links go; `variant`: which text of a -{zh-hans:…;zh-hant:…}- stays."""

    variant: str = "zh-hans"
    tables: Literal["drop", "text"] = "drop"
    sections: frozenset[str] = names.SECTIONS
    removed: frozenset[str] = names.REMOVED


def clean(text: str, markup: Markup | None = None) -> str:
    """The words of `text`: paragraphs and headings divided by a blank line, list items by a line end. Linear in `text`."""
    markup = markup or Markup()
    kept: list[str] = []
    if "\x00" in text or BAR in text:
        text = text.replace("\x00", "").replace(BAR, "")
    if "<" in text:
        text = _opaque(text, kept)
    text = without_templates(text)
    if "{|" in text:
        text = _tables(text, as_text=markup.tables == "text")
    if "-{" in text:
        text = _variants(text, markup.variant)
    if "[[" in text:
        text = _links(text, markup.removed)
    if "//" in text or "[mailto:" in text:
        text = EXTERNAL.sub(r"\1", text)
    if "''" in text:
        text = QUOTES.sub("", text)
    if "<" in text:
        text = INLINE.sub("", BLOCK.sub("\n", text))
    if "__" in text:
        text = names.MAGIC.sub("", text)
    if "&" in text:
        text = ENTITY.sub(_entity, text)
    text = _tidy(lines(text, markup.sections))
    if kept:
        text = KEPT.sub(lambda place: kept[int(place[1])], text)
    return text.strip()


EXTERNAL = re.compile(
    r"\[(?:(?:https?|ftps?|git|irc|news):)?(?://|(?<=\[)mailto:)[^\s\[\]<>]*+[ \t\u3000]*+([^\[\]\n]*+)\]", re.I
)
QUOTES = re.compile("''+")
KEPT = re.compile("\x00([0-9]{1,9})\x00")


def _tags(tag_names: list[str], within: str = r"[^<>]*+") -> str:
    return rf"(?:{'|'.join(sorted(tag_names, key=len, reverse=True))})\b{within}"


BLOCK = re.compile(rf"</?{_tags(names.BLOCK)}>", re.I)
INLINE = re.compile(rf"</?{_tags([*names.INLINE, *names.GONE, *names.VERBATIM])}>", re.I)


# ------------------------------------------------------------------------------------------------ what is no wikitext

OPAQUE = re.compile(rf"<(?:!--|({'|'.join(sorted([*names.GONE, *names.VERBATIM], key=len, reverse=True))})\b([^<>]*+)>)", re.I)


def _closing(name: str) -> re.Pattern[str]:
    """The end tag in any case, spelt so that the search for it begins with a plain '</'."""
    return re.compile("</" + "".join(f"[{c}{c.upper()}]" for c in name) + r"[ \t\n]*+>")


CLOSING = {"!--": re.compile("-->"), **{name: _closing(name) for name in [*names.GONE, *names.VERBATIM]}}


def _opaque(text: str, kept: list[str]) -> str:
    """`text` without comments and extension tags. What stays verbatim goes to `kept`, a mark with its number in its place."""
    out: list[str] = []
    at = place = 0
    unclosed: set[str] = set()  # tags of which no end follows: nobody looks for one again
    while found := OPAQUE.search(text, place):
        name = (found[1] or "!--").lower()
        start, end = found.span()
        inside = None
        if not (found[1] and found[2].endswith("/")):
            last = None if name in unclosed else CLOSING[name].search(text, end)
            if last is None:
                unclosed.add(name)
            else:
                inside, end = text[end : last.start()], last.end()
        elif name == "nowiki":
            inside = ""
        out.append(text[at:start])
        if inside and (name in names.VERBATIM or (name in ("syntaxhighlight", "source") and "inline" in found[2])):
            out.append(f"\x00{len(kept)}\x00")
            kept.append(ENTITY.sub(_entity, inside))
        elif text[start - 1 : start] == "\n" and text[end : end + 1] == "\n":
            end += 1  # it had a line of its own
        at = place = end
    out.append(text[at:])
    return "".join(out)


ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def _entity(found: re.Match[str]) -> str:
    name = found[0]
    character = html.unescape(name) if name[1] == "#" else html5.get(name[1:], name)
    return " " if character in ("\xa0", "\u2009", "\u202f") else character


# ------------------------------------------------------------------------------------------------ tables

TABLE = re.compile(r"^[ \t:]*+(\{\||\|\})", re.MULTILINE)


def _tables(text: str, *, as_text: bool) -> str:
    """`text` without its tables, or with their cells. Of one that is never closed the lines go later, as rows do."""
    opened: list[int] = []
    found: list[tuple[int, int]] = []
    for token in TABLE.finditer(text):
        if token[1] == "{|":
            opened.append(token.start())
        elif opened:
            found.append((opened.pop(), token.end()))
    out, at = [], 0
    for start, end in sorted(found):
        if start >= at:
            out.append(text[at:start])
            out.append(_cells(text[start:end]) if as_text else "\n")
            at = end
    out.append(text[at:])
    return "".join(out)


def _cells(table: str) -> str:
    """A table as lines: a row each, the cells divided by ' | '. Tables within it add their rows."""
    rows: list[list[list[str]]] = [[]]  # rows of cells of pieces
    for line in LINK.sub(masked, table).split("\n")[1:]:
        line = line.strip()
        if line.startswith(("|-", "{|", "|}", ":{|")):
            rows.append([])
        elif line.startswith("|+"):
            rows += [[[_cell(line[2:])]], []]
        elif line.startswith(("|", "!")):
            divided = line[1:].replace("!!", "||") if line[0] == "!" else line[1:]
            rows[-1] += [[_cell(cell)] for cell in divided.split("||")]
        elif rows[-1]:
            rows[-1][-1].append(line)
    shown = (" | ".join(cell for cell in (" ".join(pieces).strip() for pieces in row) if cell) for row in rows)
    return "\n" + "\n".join(line for line in shown if line).replace(BAR, "|") + "\n"


def _cell(cell: str) -> str:
    """A cell without the attributes in front of it (`style="…" | text`)."""
    attributes, bar, rest = cell.partition("|")
    return rest.strip() if bar and "=" in attributes else cell.strip()


# ------------------------------------------------------------------------------------------------ variants

VARIANT = re.compile(r"-\{|\}-")
FLAGS = re.compile(r"[A-Za-z;\- +]{0,40}")
RULE = re.compile(r"(?:^|;)\s*+(?:[^;:=|]*+=>\s*+)?([A-Za-z]{2,3}(?:-[A-Za-z]{2,10})?)\s*+:\s*+")
NESTED = 8  # variants within variants that are looked into


def _variants(text: str, variant: str) -> str:
    """`text` with each -{…}- replaced by what it shows in `variant`."""
    frames: list[list[str]] = [[]]
    at = deeper = 0
    for token in VARIANT.finditer(text):
        frames[-1].append(text[at : token.start()])
        at = token.end()
        if token[0] == "-{":
            if len(frames) > NESTED:
                deeper += 1
            else:
                frames.append([])
        elif deeper:
            deeper -= 1
        elif len(frames) > 1:
            inside = "".join(frames.pop())
            frames[-1].append(_shown(inside, variant))
        else:
            frames[-1].append("}-")
    for frame in frames[1:]:  # never closed: as they stood
        frames[0] += ["-{", *frame]
    return "".join([*frames[0], text[at:]])


def _shown(inside: str, variant: str) -> str:
    """What -{inside}- shows: `zh-hans:…;zh-hant:…`, plain text, or either behind flags such as 'A|', 'T|', 'H|', 'R|'."""
    flags, bar, body = inside.partition("|")
    codes = names.FALLBACKS.get(variant, (variant,))
    if bar and FLAGS.fullmatch(flags):
        given = {flag.strip() for flag in flags.split(";")}
        if given & {"T", "H", "D", "N", "-"}:  # a title, hidden rules, their description, a language's name, rules taken back
            return ""
        if "R" in given:
            return body
        if own := {flag.lower() for flag in given if "-" in flag}:
            return body if own & set(codes[:4]) else ""
    else:
        body = inside
    rules = list(RULE.finditer(body))
    if not rules:
        return body
    ends = [rule.start() for rule in rules[1:]] + [len(body)]
    said = {rule[1].lower(): body[rule.end() : end].strip(" ;\n") for rule, end in zip(reversed(rules), reversed(ends))}
    return next((said[code] for code in codes if code in said), said[rules[0][1].lower()])


# ------------------------------------------------------------------------------------------------ links

BRACKETS = re.compile(r"\[\[|\]\]")
TARGET = 300  # characters of the longest title (255 bytes), and more
CAPTION = 5000  # characters that a file's link and caption may have


def _links(text: str, removed: frozenset[str]) -> str:
    """`text` with each [[link]] replaced by its label; files with all that is in them, categories, languages by nothing."""
    starts = []
    closed: dict[int, int] = {}  # index of an opening → index of its end
    opened: list[int] = []
    for index, token in enumerate(BRACKETS.finditer(text)):
        starts.append(token.start())
        if token[0] == "[[":
            opened.append(index)
        elif opened:
            closed[opened.pop()] = index
    out: list[str] = []
    at = index = 0
    while index < len(starts):
        start = starts[index]
        if start < at:
            index += 1
            continue
        out.append(text[at:start])
        at = start + 2
        last = closed.get(index)
        end = starts[last] if last is not None else min(len(text), at + TARGET)
        bar = text.find("|", at, min(end, at + TARGET))
        target = text[at : bar if bar >= 0 else min(end, at + TARGET)]
        if ":" in target and _vanishes(target, removed, labelled=bar >= 0):
            if last is not None and end - at <= CAPTION and text.find("\n\n", at, end) < 0:
                at, index = end + 2, last + 1
            else:  # no caption has paragraphs: the end is another's
                line = text.find("\n", at)
                at, index = line if line >= 0 else len(text), index + 1
        elif last != index + 1:  # an end, an opening without one, or one around other links: no more than marks
            index += 1
        else:
            if "\n" in target or (bar < 0 and end - at > TARGET):  # no title has lines
                out.append(text[at:end])
            else:
                out.append(text[bar + 1 : end] if bar >= 0 else target.strip().removeprefix(":"))
            at, index = end + 2, last + 1
    out.append(text[at:])
    return "".join(out)


def _vanishes(target: str, removed: frozenset[str], *, labelled: bool) -> bool:
    prefix = target.partition(":")[0].strip().lower().replace("_", " ")
    return prefix in removed or (prefix in names.LANGUAGES and not labelled and prefix == target.partition(":")[0].strip())


# ------------------------------------------------------------------------------------------------ what is left over

# Each begins with what is rare, so that the search is quick: behind it comes what stands before.
RUNS = re.compile("  ++")
EMPTY = re.compile(r"[(（](?<=[^!-\x7f].)[ ,;:，；：、/·\u3000]*+[)）]")  # not the 'f()' of a program
OPENING = re.compile(r"([(（])[ ,;，；、]++")
ENDS = re.compile(r"[)）](?<=[ ,;，；、].)")
ENDING = re.compile(r"[ ,;，；、]{1,4}+(?=[)）])")
LOOSE = re.compile(r" (?=[,.;](?:\s|\Z))")


def _tidy(text: str) -> str:
    """Without the double spaces, and the brackets and commas around nothing, that templates and references leave behind."""
    if "\xa0" in text:
        text = text.replace("\xa0", " ")
    if ")" in text or "）" in text:
        text = OPENING.sub(r"\1", EMPTY.sub("", text))
        if ENDS.search(text):
            text = ENDING.sub("", text)
    if "\t" in text:
        text = text.replace("\t", " ")
    if "  " in text:
        text = RUNS.sub(" ", text)
    return LOOSE.sub("", text) if " ," in text or " ." in text or " ;" in text else text
