"""Documents on which filters may disagree: real prose and pages, and prose with faults planted at rates about the thresholds.

`documents(language, count)` gives (kind, text) pairs, the same ones each time. The prose is that of the samples; the pages are
the HTML files below the folder that YANMO_CORPUS_DATA names, taken out whole with their menus or as main text, and without it
pages of menus, tables and code written about the samples' paragraphs.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from benchmarks.corpus_thresholds import STOP_WORDS

SAMPLES = Path(__file__).parent.parent / "yanmo" / "samples"
PROSE = {"en": ("moby_dick", "state_of_the_union"), "zh": ("sanguo",)}
SHARES = {"lengths": 20, "pages": 22, "repeats": 18, "symbols": 14, "lines": 14, "mixed": 8, "short": 4}
JOIN = {"en": " ", "zh": ""}

EMOJI = ["👍", "😂", "👩‍👩‍👧", "🇨🇳", "❤️", "☃", "🔥🔥", "✅", "→", "™"]
SYMBOLS = ["*", "|", "&", "/", "=", "~", "%", "----", "***", "::", "§", "©", "●", "■", "→"]
STOPS = {
    "en": ["the", "be", "to", "of", "and", "that", "have", "with"],
    "zh": STOP_WORDS,
}
POLICY = ["Please read our privacy policy before you go on.", "This site uses cookies to count its readers.",
          "By reading on you accept the terms of use.", "Please enable JavaScript in your browser to see this.",
          "Our cookie policy explains the use of cookies here."]  # fmt: skip
OTHERS = [
    "नमस्ते दुनिया, यह एक वाक्य है।", "สวัสดีชาวโลก นี่คือประโยค", "日本語の文章です。カタカナもあります。", "한국어 문장입니다.",
    "Привет, мир. Это 10 км.", "هذه جملة بالعربية؟", "Ｆｕｌｌ－ｗｉｄｔｈ １２３", "E\u0301tude naïve, “déjà vu” — œuvre…",
    "don’t won't cannot it's y'all's O'Neill's", "see https://example.com/a-b?c=d, or mail me@example.com.",
    "x\u200by\u00a0z\u00ad", "$5.50 10km/h 3–4 p.m. U.S.A. e.g. No.5", "OpenAI发布了GPT-4模型，支持128K上下文。",
    "他说：“OK，let's go！”", "iPhone15的价格是￥5999.00元", "Γειά σου Κόσμε;", "①②③ Ⅳ ½ x² H₂O",
]  # fmt: skip
MENU = {
    "en": [
        "Home",
        "About us",
        "Contact",
        "Log in",
        "Search…",
        "» Next page",
        "Share:",
        "Tags: sea, ships",
        "© 2026 Example",
        "1 2 3 4 5",
    ],
    "zh": [
        "首页",
        "关于我们",
        "联系方式",
        "登录",
        "搜索…",
        "» 下一页",
        "分享到：",
        "标签：历史、小说",
        "版权所有 © 2026",
        "1 2 3 4 5",
    ],
}
CODE = ["for (i = 0; i < 10; i++) { x += a[i]; }", "SELECT * FROM books WHERE year > 1850;", 'print("hi")', "#include <stdio.h>",
        "| a | b | c |", "|---|---|---|", "| 1 | 2.5 | x_y |", "$ ls -la /tmp", "Sub Main()", "=SUM(A1:B2)*100%"]  # fmt: skip


# ------------------------------------------------------------------------------------------------ real text


@cache
def lines(language: str) -> tuple[str, ...]:
    """The lines of the prose, in order."""
    found = []
    for name in PROSE[language]:
        for path in sorted((SAMPLES / name).glob("*.jsonl")):
            for row in path.read_text(encoding="utf-8").splitlines():
                found += [part for line in json.loads(row)["text"].split("\n") if (part := " ".join(line.split()))]
    return tuple(found)


@cache
def rows(name: str, language: str | None = None) -> tuple[str, ...]:
    """The texts of a sample, in order."""
    paths = sorted((SAMPLES / name).glob("*.jsonl"))
    found = [json.loads(row) for path in paths for row in path.read_text(encoding="utf-8").splitlines()]
    return tuple(row["text"] for row in found if language is None or row["language"] == language)


@cache
def files() -> tuple[Path, ...]:
    folder = os.environ.get("YANMO_CORPUS_DATA")
    return tuple(sorted(Path(folder).rglob("*.html"))) if folder else ()


def prose(rng: random.Random, language: str, size: int) -> list[str]:
    """About `size` words (en) or characters (zh) of prose that follow each other, as units: words, or runs of 1 to 4
    characters that end before a mark; line feeds among them."""
    source, found = lines(language), list[str]()
    at, left = rng.randrange(len(source)), size
    while left > 0:
        line = source[at % len(source)]
        at += 1
        units = line.split(" ") if language == "en" else chunks(rng, line)
        found += units[:left] if language == "en" else units
        found.append("\n" if rng.random() < 0.7 else "\n\n")
        left -= len(units) if language == "en" else len(line)
    return found[:-1]


def chunks(rng: random.Random, line: str) -> list[str]:
    found, at = [], 0
    while at < len(line):
        size = rng.randint(1, 4)
        found.append(line[at : at + size])
        at += size
    return found


def text_of(units: list[str], language: str) -> str:
    return JOIN[language].join(units).replace(" \n", "\n").replace("\n ", "\n")


# ------------------------------------------------------------------------------------------------ kinds


def lengths(rng: random.Random, language: str) -> str:
    """Prose of 20 to 3,000 words; characters in Chinese."""
    size = int(20 * 150 ** rng.random())
    return text_of(prose(rng, language, size), language)


def pages(rng: random.Random, language: str) -> str:
    chosen = chosen_pages(language)
    if not chosen:
        return written_page(rng, language)
    from yanmo.corpus.web.html import extract

    for _ in range(20):
        found = extract(rng.choice(chosen).read_bytes(), rng.choice(["none", "fast"])).text
        if found:
            return found[:20_000]
    return written_page(rng, language)


@cache
def chosen_pages(language: str) -> tuple[Path, ...]:
    """The pages that are mostly Chinese, or those that are not."""
    from yanmo.corpus.web.html import extract
    from yanmo.corpus.words.words import mostly_chinese

    held = random.Random(0).sample(files(), min(2000, len(files())))
    return tuple(path for path in held if mostly_chinese(extract(path.read_bytes(), "none").text) == (language == "zh"))


def written_page(rng: random.Random, language: str) -> str:
    """Menus, a list, a table, code and some paragraphs."""
    found = []
    for _ in range(rng.randint(3, 30)):
        found.append(
            rng.choice([
                lambda: rng.choice(MENU[language]),
                lambda: rng.choice(CODE),
                lambda: "- " + text_of(prose(rng, language, rng.randint(2, 12)), language).split("\n")[0],
                lambda: "\t".join(str(rng.randrange(10**4)) for _ in range(rng.randint(2, 6))),
                lambda: text_of(prose(rng, language, rng.randint(20, 150)), language),
            ])()
        )  # fmt: skip
    return "\n".join(found)


def repeats(rng: random.Random, language: str) -> str:
    """Lines, paragraphs or n-grams that come again, at 0.5 to 1.5 times the thresholds."""
    units = prose(rng, language, int(60 * 20 ** rng.random()))
    kind = rng.choice(["line", "paragraph", "top", "again", "again"])
    if kind in ("line", "paragraph"):
        end = "\n" if kind == "line" else "\n\n"
        parts = [part for part in text_of(units, language).split("\n") if part]
        while len(parts) < 8:  # short ones, so that there are many
            parts = [half for part in parts for half in (part[: len(part) // 2], part[len(part) // 2 :]) if half.strip()] or [
                "x."
            ]
        again = [rng.choice(parts) for _ in range(int(len(parts) * rng.uniform(0.0, 0.7)))]
        parts += again
        rng.shuffle(parts)
        return end.join(part.strip() for part in parts)
    size = rng.randint(2, 4) if kind == "top" else rng.randint(5, 12)
    share = rng.uniform(0.5, 1.5) * (0.18 if kind == "top" else 0.14)
    words = [unit for unit in units if "\n" not in unit]
    total = sum(map(len, words)) + len(words)
    grams, budget = [], int(total * share / (1 - share))
    while budget > 0:
        start = rng.randrange(max(len(words) - size, 1))
        gram = words[start : start + size] if kind == "again" or not grams else grams[0]
        for _ in range(rng.randint(1, 4)):
            grams.append(gram)
            budget -= sum(map(len, gram)) + len(gram)
    for gram in grams:
        place = rng.randrange(len(units) + 1)
        units[place:place] = gram
    return text_of(units, language)


def sprinkled(rng: random.Random, units: list[str], rate: float, add: Callable[[str], str]) -> list[str]:
    return [add(unit) if "\n" not in unit and rng.random() < rate else unit for unit in units]


def symbols(rng: random.Random, language: str) -> str:
    """Marks, numbers, capitals, words too short or too long, no stop words: one fault, at a rate about its threshold."""
    units = prose(rng, language, rng.choice([60, 120, 300]))
    gap = JOIN[language]
    sign = rng.choice(SYMBOLS)
    fault = rng.choice(["hash", "ellipsis", "bullet", "end", "caps", "number", "mark", "emoji", "short", "long", "stop", "few"])
    if fault == "hash":
        units = sprinkled(rng, units, rng.uniform(0.04, 0.16), lambda unit: rng.choice(["#", "# "]) + unit)
    elif fault == "ellipsis":
        units = sprinkled(rng, units, rng.uniform(0.04, 0.16), lambda unit: unit + rng.choice(["...", "…", " ... ", "……"]))
    elif fault in ("bullet", "end"):
        share = rng.uniform(0.75, 1.0) if fault == "bullet" else rng.uniform(0.1, 0.5)
        parts = [part for part in text_of(sprinkled(rng, units, 0.1, lambda unit: unit + "\n"), language).split("\n") if part]
        change = (
            (lambda part: rng.choice(["- ", "• ", "-", "  - "]) + part)
            if fault == "bullet"
            else (lambda part: part + rng.choice(["...", "…", " …"]))
        )
        return "\n".join(change(part) if rng.random() < share else part for part in parts)
    elif fault == "caps":
        return text_of(units, language).upper()
    elif fault == "number":
        units = sprinkled(
            rng,
            units,
            rng.uniform(0.05, 0.35),
            lambda _: rng.choice([" ", gap]) + str(rng.randrange(10 ** rng.randint(1, 6))) + " ",
        )
    elif fault == "mark":
        units = sprinkled(rng, units, rng.uniform(0.05, 0.4), lambda unit: f"{unit} {sign} ")
    elif fault == "emoji":
        units = sprinkled(rng, units, rng.uniform(0.05, 0.5), lambda unit: unit + gap + rng.choice(EMOJI))
    elif fault == "short":
        units = sprinkled(rng, units, rng.uniform(0.2, 0.9), lambda unit: f" {unit[0]} ")
    elif fault == "long":
        units = sprinkled(
            rng,
            units,
            rng.uniform(0.2, 0.9),
            lambda unit: unit + ("" if language == "zh" else rng.choice("aeiou")) + "ness" * rng.randint(1, 4),
        )
    elif fault == "stop":
        left = rng.sample(STOPS[language], rng.randint(0, 3))
        gone = [stop for stop in STOPS[language] if stop not in left]
        if language == "en":
            units = [unit for unit in units if unit not in gone]
        else:
            units = [unit for unit in ("".join(c for c in unit if c not in gone) for unit in units) if unit]
    else:
        units = units[: rng.randint(40, 75)]
    return text_of(units, language)


def broken(rng: random.Random, language: str) -> str:
    """Lines without full stops, short ones, notices, filler, curly brackets, citations, long words, few sentences."""
    units = prose(rng, language, rng.choice([40, 150, 400]))
    fault = rng.choice(["open", "narrow", "feeds", "notice", "filler", "cited", "few", "wide", "copied", "paragraphs"])
    if fault in ("narrow", "feeds"):
        rate = rng.uniform(0.1, 0.5) if language == "en" else rng.uniform(0.1, 0.6)
        units = sprinkled(rng, units, rate, lambda unit: unit + rng.choice(["\n", "\n", "."[: language == "en"] + "\n", "。\n"]))
        return text_of(units, language)
    parts = [part for part in text_of(sprinkled(rng, units, 0.04, lambda unit: unit + "\n"), language).split("\n") if part]
    if fault == "open":
        share = rng.uniform(0.6, 1.0)
        parts = [
            part.rstrip(".!?\"'。！？”’") if rng.random() < share else part.rstrip(",;，；") + ("." if language == "en" else "。")
            for part in parts
        ]
    elif fault == "notice":
        for _ in range(rng.randint(1, 5)):
            parts.insert(
                rng.randrange(len(parts) + 1),
                rng.choice(POLICY + ([] if language == "en" else ["本站使用 cookie，详见 privacy policy。"])),
            )
    elif fault == "filler":
        parts.insert(
            rng.randrange(len(parts) + 1),
            rng.choice(
                ["Lorem ipsum dolor sit amet.", "if (x) { return y; }", "The set {1, 2}.", "集合{一}。", "Just lorem, not ipsum."]
            ),
        )
    elif fault == "cited":
        parts = [part + rng.choice(["[1]", "[edit]", " [citation needed]", "[12].", "", ""]) for part in parts]
    elif fault == "few":
        return " ".join(parts)[: rng.randint(60, 700)].rsplit(JOIN[language] or "，", 1)[0] + rng.choice(
            [".", "。", "!", '."', "...", ""]
        )
    elif fault == "wide":
        parts.insert(rng.randrange(len(parts) + 1), "And " + "x" * rng.randint(980, 1020) + " ends here.")
    elif fault == "copied":
        size = len("".join(parts))
        short = min(parts, key=lambda part: abs(len(part) - size * rng.uniform(0.0, 0.2)))
        parts.append(short)
    else:
        return "\n".join(
            text_of(prose(rng, language, 80), language).replace("\n", " ")[: rng.randint(150, 250)]
            for _ in range(rng.randint(2, 5))
        )
    return rng.choice(["\n", "\n", "\r\n"]).join(parts)


def mixed(rng: random.Random, language: str) -> str:
    """Scripts in one text: phrases of the other language, of others, emoji, addresses."""
    units = prose(rng, language, rng.choice([80, 200]))
    other = "zh" if language == "en" else "en"
    rate = rng.uniform(0.0, 0.15)

    def add(unit: str) -> str:
        if rng.random() < 0.5:
            return unit + JOIN[language] + rng.choice(OTHERS)
        return unit + rng.choice(["", " "]) + phrase(rng, other)

    return text_of(sprinkled(rng, units, rate, add), language)


def phrase(rng: random.Random, language: str) -> str:
    """A few words or characters of one line."""
    units, count = rng.choice(lines(language)), rng.randint(1, 10)
    if language == "en":
        return " ".join(units.split(" ")[:count])
    start = rng.randrange(max(len(units) - count, 1))
    return units[start : start + count]


def short(rng: random.Random, language: str) -> str:
    """Commands and poems, one or several."""
    source = rows("intents", language) if language == "en" or rng.random() < 0.4 else rows("tang_poems")
    return rng.choice(["\n", "\n\n", " "]).join(rng.choice(source) for _ in range(rng.choice([1, 1, 3, 10])))


KINDS: dict[str, Callable[[random.Random, str], str]] = {
    "lengths": lengths, "pages": pages, "repeats": repeats, "symbols": symbols, "lines": broken, "mixed": mixed, "short": short,
}  # fmt: skip


def documents(language: str, count: int, kinds: list[str] | None = None) -> list[tuple[str, str]]:
    """(kind, text) of about `count` documents of all kinds; of some kinds as many as there are among those."""
    return [
        (kind, text)
        for kind, make in KINDS.items()
        if not kinds or kind in kinds
        for number in range(count * SHARES[kind] // 100)
        if (text := make(random.Random(f"{language} {kind} {number}"), language)).strip()
    ]


def copies(language: str, count: int) -> list[tuple[str, str]]:
    """Pairs of a document and a copy of it with one unit in 4 to 400 changed, so that they are alike in every degree."""
    found = []
    for number in range(count):
        rng = random.Random(f"{language} copy {number}")
        units = prose(rng, language, rng.randint(200, 500))
        pool = prose(rng, language, 200)
        rate = 1 / (4 * 100 ** rng.random())
        changed = sprinkled(rng, units, rate, partial(of, rng, pool))
        found.append((text_of(units, language), text_of(changed, language)))
    return found


def of(rng: random.Random, pool: list[str], _: str) -> str:
    return rng.choice(pool)


def addresses(count: int, odd: bool) -> list[str]:
    """Addresses of pages, some on the lists of `LISTS`; `odd` ones with capitals, escapes, ports and fragments."""
    rng = random.Random(f"addresses {odd}")
    hosts = ["example.com", "bad.example.com", "shop.example.co.uk", "casino.example", "notbad.org", "bad.org", "a.bad.org",
             "xbad.org", "news.bbc.co.uk", "blog.example.net", "192.0.2.7", "user.github.io", "evil.github.io"]  # fmt: skip
    words = ["news", "casino", "cheap", "pills", "story", "free", "poker", "index.html", "casinos", "a-b_c", "free+pills"]
    ends, schemes = ["", "", "?q=poker"], ["http"]
    if odd:
        hosts += ["BAD.org", "例子.cn", "bad.org:8080", "deep.bad.example.com", "xn--fsqu00a.cn"]
        words, ends, schemes = [*words, "Poker", "%66ree"], [*ends, "/", "#top"], ["http", "https"]
    return [
        f"{rng.choice(schemes)}://{rng.choice(hosts)}/"
        + rng.choice(["/", "-", "_", "."]).join(rng.sample(words, rng.randint(0, 4)))
        + rng.choice(ends)
        for _ in range(count)
    ]


LISTS = {
    "domains": ["bad.org", "bad.example.com", "casino.example", "evil.github.io"],
    "urls": ["http://example.com/news", "http://notbad.org/story"],
    "words": ["poker", "casino"],
    "soft_words": ["free", "pills", "cheap"],
    "listed": {"en": ["whale", "white house", "harpooneer", "slavery", "treaty"], "zh": ["曹操", "孔明", "黄金", "white house"]},
}
