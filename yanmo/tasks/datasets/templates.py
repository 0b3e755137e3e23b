"""Smart-home command templates, written out as sentences.

The package `home-assistant-intents` describes what people say to a house as templates:

    <turn> on [<the>] {name} [in [<the>] {area}]

with alternatives `(a|b)`, optional parts `[a]`, parts in any order `(a;b)`, slots `{list:alias}`, rules `<rule>`.
A template says more than people do ("turn on every lights"), so sentences are *drawn* from it, their slots filled from
our word lists, and the unnatural ones thrown away by the patterns in `smart_home.yaml`.

Templates that differ only in an article, a time unit, a way of writing per cent, or area against floor count as one
(`canonical`), and sentences that differ only in what is named have one `signature`: what a split has to keep on one side.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

LANGUAGES = {"en": "en", "zh": "zh-CN"}  # ours -> the package's
DRAWS = 400  # sentences drawn from a template before the unnatural and the repeated ones go

# A grab bag of unrelated questions under one name, so that an unseen template says nothing about the label; two words.
SKIPPED = {"HassRespond", "HassNevermind"}

SETTINGS = yaml.safe_load(Path(__file__).with_name("smart_home.yaml").read_text(encoding="utf-8"))
WORDS, NUMBERS, DROPPED = SETTINGS["words"], SETTINGS["numbers"], SETTINGS["dropped"]
ONE = "(light|lamp|fan|switch|lock|door|window|shutter|blind|curtain|shade)"
MANY = "(lights|lamps|fans|switches|locks|doors|windows|shutters|blinds|curtains|shades)"

NAMED = [f"{{{kind}}}" for kind in WORDS["en"] if kind not in ("area", "floor", "zone")]

Node = tuple[str, Any]


# ---- a template, parsed and drawn from ----------------------------------------------------------------------------


def parse(template: str) -> Node:
    """The template as a tree of ("text" | "slot" | "rule", str) and ("sequence" | "choice" | "permutation", nodes)."""
    tokens = re.findall(r"\{[^}]*\}|<[^>]*>|[\[\]()|;]|[^\[\](){}<>|;]+", template)
    position = 0

    def group(close: str) -> Node:
        nonlocal position
        branches: list[list[Node]] = [[]]
        separator = "|"
        while position < len(tokens) and tokens[position] != close:
            token = tokens[position]
            position += 1
            if token in "|;":
                separator = token
                branches.append([])
            elif token == "(":
                branches[-1].append(group(")"))
            elif token == "[":
                branches[-1].append(("choice", [group("]"), ("text", "")]))
            elif token[0] == "{":
                branches[-1].append(("slot", token[1:-1].split(":")[0]))
            elif token[0] == "<":
                branches[-1].append(("rule", token[1:-1].strip()))
            else:
                branches[-1].append(("text", token))
        position += 1
        sequences: list[Node] = [("sequence", branch) for branch in branches]
        if len(sequences) == 1:
            return sequences[0]
        return ("permutation" if separator == ";" else "choice", sequences)

    return group("")


DETERMINERS = {"the", "my", "our", "a", "an"}


def leaves(node: Node) -> Iterator[str]:
    """The words and names at the ends of a tree."""
    value = node[1]
    if isinstance(value, str):
        yield value.strip()
    else:
        for child in value:
            yield from leaves(child)


class Drawer:
    """Draws sentences of one language: the text, and its skeleton with the slots unfilled."""

    def __init__(self, language: str, data: dict[str, Any]) -> None:
        self.language = language
        self.rules = {name: parse(body) for name, body in {**data["expansion_rules"], **SETTINGS["rules"][language]}.items()}
        written = {name: [v["in"] for v in entry["values"]] for name, entry in data["lists"].items() if "values" in entry}
        self.lists = {name: [parse(v) for v in values] for name, values in {**written, **SETTINGS["lists"][language]}.items()}
        self.words = {kind: [w.strip() for w in words.split(",")] for kind, words in WORDS[language].items()}

    def draw(self, node: Node, domains: list[str], held_out: bool, rng: random.Random) -> tuple[str, str]:
        kind, value = node
        if kind == "text":
            return value, value
        if kind == "slot":
            return self.fill(value, domains, held_out, rng)
        if kind == "rule":
            return self.draw(self.rules[value], domains, held_out, rng)
        if kind == "choice":
            if self.language == "en" and value[-1] == ("text", "") and set(leaves(value[0])) <= DETERMINERS:
                value = [value[0]] * 3 + value[1:]  # most people say "the"
            return self.draw(rng.choice(value), domains, held_out, rng)
        nodes = rng.sample(value, len(value)) if kind == "permutation" else value
        pairs = [self.draw(child, domains, held_out, rng) for child in nodes]
        glue = " " if kind == "permutation" and self.language == "en" else ""
        return glue.join(text for text, _ in pairs), glue.join(skeleton for _, skeleton in pairs)

    def fill(self, slot: str, domains: list[str], held_out: bool, rng: random.Random) -> tuple[str, str]:
        """A word for the slot, and the slot's kind: {name} is told apart by what is named, {light} or {scene}."""
        if slot in self.lists:
            return self.draw(rng.choice(self.lists[slot]), domains, held_out, rng)[0], f"{{{slot}}}"
        if slot in NUMBERS:
            numbers = NUMBERS[slot]
            return str(rng.choice(numbers[self.language] if isinstance(numbers, dict) else numbers)), f"{{{slot}}}"
        kind = rng.choice(domains) if slot == "name" else slot
        words = self.words[kind]
        seen = len(words) - max(1, len(words) // 5)
        return rng.choice(words if held_out else words[:seen]), f"{{{kind}}}"


def kinds_of(block: dict[str, Any], template: str) -> list[str]:
    """What a {name} in this block can be: the package's domains, as kinds of our word lists."""
    domains = block.get("requires_context", {}).get("domain", [])
    domains = [domains] if isinstance(domains, str) else list(domains)
    if "sensor" in domains:
        return ["sensor"]
    if "binary_sensor" in domains:
        return ["motion" if "occupancy" in template else "opening"]
    renamed = {"input_boolean": "switch", "input_button": "button"}
    return sorted({renamed.get(domain, domain) for domain in domains})


# ---- which templates and wordings count as the same ---------------------------------------------------------------

_SAME = [
    (r":\w+(?=\})", ""),
    (
        r"\{timer_hours\} and \[a\] \{timer_half\} hour\[s\]|\{timer_minutes\} and \[a\] \{timer_half\} minute\[s\]",
        "{duration}",
    ),
    (r"\{timer_half\} (an hour|a minute)\[s\]", "{duration}"),
    (r"\{timer_\w+\}\( \|-\)(hour|minute|second)\[s\]", "{duration}"),
    (r"\{timer_hours\}\(小时\|个小时\|钟头\)|\{timer_minutes\}分钟|\{timer_seconds\}秒\[钟\]", "{duration}"),
    (r"\{duration\}((\s*\[(and|和)\])?\s*\{duration\})+", "{duration}"),
    (r"\[百分之\]|百分之(?=\{)|(?<=\})%|\[%\]|\[%\| percent\]|\[\(\[ \]%\)\| percent\]", ""),
    (r"\[\(\[ \]°\)\|\( degree\[s\]\)\]", ""),
    (r"\[度\|摄氏度\]|\[开\|K\|开尔文\]|\[\[ \]\(k\|kelvin\)\]", ""),
    (r"\(计时器\|倒计时\|计时\|定时\)", "计时器"),
    (
        r"\[floor\]|\[楼\|层\]|\[\(?<?(the|my|our|in|here|all|current)>?\]|\[的\]|\[把\|将\]|\[给\|把\]|\[by\]|\[to\]",
        "",
    ),
    (r"\[the\|my\]|\[a\|an\|the\|my\]|\[\(<all>\|<the>\)\]|\[\[of \]\(the\|my\)\]|\[<the> ?\]|\[让\|叫\]", ""),
    (r"\{floor\}|\{area\}|<area>|这里|\[这里\|这边\]", "{place}"),
    (r"<name>", "{name}"),
    (r"\s+", " "),
]


def canonical(template: str) -> str:
    """The template as the split sees it: two that differ only in function words, units or kind of place become one.

    >>> canonical("<turn> off [<the>] {area} <light>") == canonical("<turn> off {floor} [floor] <light>")
    True
    """
    for pattern, replacement in _SAME:
        template = re.sub(pattern, replacement, template)
    return template.strip().lower()


def wording(skeleton: str) -> str:
    """A skeleton without the words that do not matter: articles, units, 把, 的. Two labels must not share one."""
    skeleton = re.sub(r"\{(area|floor)\}", "{place}", skeleton.lower())
    skeleton = re.sub(r"\{timer_(hours|minutes|seconds)\}", "{n}", skeleton)
    skeleton = re.sub(r"\b(hour|minute|second)s?\b|个?小时|分钟|秒钟?", "unit", skeleton)
    skeleton = re.sub(r"\b(the|my|our|a|an)\b|[把将给的%]|百分之|percent|kelvin|degrees|°|度|[\s-]", "", skeleton)
    return re.sub(r"(\{n\}unit(and|和)?)+", "{duration}", skeleton)


def signature(skeleton: str) -> str:
    """The wording whatever is named in it: what training and test must not share."""
    said = wording(skeleton)
    for slot in NAMED:
        said = said.replace(slot, "{name}")
    return said


# ---- sentences ---------------------------------------------------------------------------------------------------


def digest(*parts: str) -> str:
    """A stable key for orders and choices that look random and never change."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def numeral(number: int) -> str:
    """1 to 100 in Chinese: 百分之五十 is said so, never 百分之50."""
    digits = "零一二三四五六七八九"
    tens, ones = divmod(number, 10)
    if number == 100:
        return "百"
    return (digits[tens] if tens > 1 else "") + ("十" if tens else "") + (digits[ones] if ones else "")


def polish(text: str, language: str) -> str:
    if language == "zh":
        return re.sub(r"百分之(\d+)", lambda m: "百分之" + numeral(int(m[1])), text.replace(" ", ""))
    return re.sub(r"\s+", " ", text).strip()


@cache
def patterns(level: str, language: str) -> list[re.Pattern[str]]:
    found = DROPPED[level] if level == "templates" else DROPPED[level][language]
    return [re.compile(pattern.replace("ONE", ONE).replace("MANY", MANY)) for pattern in found]


def unwanted(text: str, level: str, language: str) -> bool:
    """Does no one say this? `level`: "templates", "skeletons" or "sentences"."""
    return any(pattern.search(text) for pattern in patterns(level, language))


def templates_of(language: str, data: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """(label, template, kinds of {name}) for every template that is kept."""
    for label, intent in data["intents"].items():
        for block in intent["data"]:
            for template in block["sentences"]:
                kinds = kinds_of(block, template)
                by_convention = "lock" in kinds and label in ("HassTurnOn", "HassTurnOff")  # "lock the door" is TurnOn
                if label in SKIPPED or by_convention or unwanted(template, "templates", language):
                    continue
                prefix = "[给|把]" if label in ("HassIncreaseTimer", "HassDecreaseTimer") else "[把|将]"
                yield (
                    label.removeprefix("Hass"),
                    template.replace("[把|将|让|给]", prefix).replace("分[钟]", "分钟"),
                    kinds,
                )


class Drawn(NamedTuple):
    """A sentence drawn from a template."""

    label: str
    language: str
    template: str  # canonical
    text: str
    skeleton: str  # the text with its slots unfilled
    held_out: bool  # may use the words kept for the test part


def sentences(language: str, data: dict[str, Any]) -> Iterator[Drawn]:
    """Every natural sentence drawn."""
    drawer = Drawer(language, data)
    for label, template, kinds in templates_of(language, data):
        tree = parse(template)
        rng = random.Random(digest(language, label, template, *kinds))
        seen: set[tuple[str, bool]] = set()
        for number in range(DRAWS):
            held_out = number % 2 == 1
            try:
                text, skeleton = (polish(part, language) for part in drawer.draw(tree, kinds, held_out, rng))
            except KeyError:  # a slot of free text that we have no words for; its intent is left out
                break
            if (text, held_out) in seen:
                continue
            seen.add((text, held_out))
            if not (unwanted(skeleton, "skeletons", language) or unwanted(text, "sentences", language)):
                yield Drawn(label, language, canonical(template), text, skeleton, held_out)
