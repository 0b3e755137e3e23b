"""Writes `yanmo/samples/word_problems`, original work: small word problems in English and Chinese with their solutions.

    python tools/word_problems.py [FOLDER]

    words.jsonl         the training templates' sentences without their numbers, for a tokenizer that shall not learn numbers
    train.jsonl, validation.jsonl, test.jsonl       {"prompt": story and question, "solution": the steps and the answer,
                                                     "answer": the number, "language", "group", "template"}

Numbers go up to 50: with 200, and 3.3 times as many equations of which each is rarer, the same small model
learned to tell the steps and not to reckon them (LOG.md, 23 November 2026).

A story is a sentence that says how many things there are, up to two in which something happens to them, and a question:

    Tom has 12 apples. Then Tom finds 5 more apples. How many apples does Tom have now?     12+5=17. Answer: 17

What a template is: the sentences' wordings, in their order (`template`: start/happening/…/question). It stands on one side
alone. A test problem is told in an order of known wordings that no training problem has (group `template=new order`, chosen by
hash), or has a wording that stands in no training problem (`template=new wording`: the last of each list below).
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parents[1] / "yanmo" / "samples" / "word_problems"
TRAIN, VALIDATION, TEST = 10_000, 500, 1_000  # problems, half of them in each language
SEED = 20261122
MOST = 50  # of any number in a story's course
SHARE = 5  # of the orders of known wordings the fifth is for testing

NAMES = {"en": ["Tom", "Mary", "Ben", "Anna", "Jack", "Lucy", "Sam", "Emma"],
         "zh": ["小明", "小红", "小华", "小丽", "小刚", "小军", "小芳", "小林"]}  # fmt: skip
THINGS = {"en": ["apples", "books", "stamps", "pencils", "marbles", "shells", "cards", "coins"],
          "zh": [("个", "苹果"), ("本", "书"), ("张", "邮票"), ("支", "铅笔"), ("颗", "弹珠"), ("个", "贝壳"), ("张", "卡片"),
                 ("枚",
                 "硬币")]}  # fmt: skip

# {n} whose things they are, {m} somebody else, {t} the things, {c} the Chinese measure word, {a} {b} the numbers
STARTS = {
    "have": {
        "en": ["{n} has {a} {t}.", "At first {n} has {a} {t}.", "There are {a} {t} on the table of {n}.",
               "In the morning {n} had {a} {t}.", "{n} keeps {a} {t} in a box.", "At first there are {a} {t} in the box of {n}."],
        "zh": ["{n}有{a}{c}{t}。", "{n}原来有{a}{c}{t}。", "{n}的桌子上有{a}{c}{t}。", "早上{n}有{a}{c}{t}。",
               "{n}的盒子里放着{a}{c}{t}。",
               "{n}的盒子里原来有{a}{c}{t}。"],
    },
    "groups": {
        "en": ["{n} has {a} bags with {b} {t} in each.", "{n} buys {a} boxes, and in each box are {b} {t}.",
               "On each of the {a} shelves of {n} there are {b} {t}.", "{n} has {a} boxes of {b} {t} each.",
               "There are {a} bags on the table of {n}, with {b} {t} in each bag."],
        "zh": ["{n}有{a}袋{t}，每袋{b}{c}。", "{n}买了{a}盒{t}，每盒有{b}{c}。", "{n}有{a}个架子，每个架子上有{b}{c}{t}。",
               "{n}有{a}盒{t}，每盒装{b}{c}。",
               "{n}的桌子上有{a}袋{t}，每袋有{b}{c}。"],
    },
}  # fmt: skip
HAPPENINGS = {
    "more": {
        "en": ["Then {n} finds {b} more {t}.", "{n} buys {b} more.", "{m} gives {n} {b} {t}.", "Then {n} gets {b} {t} from {m}.",
               "{n} wins {b} {t} in a game.", "Later {m} brings {b} more {t} to {n}.", "Later {n} gets {b} more {t} in a game."],
        "zh": ["{n}又找到了{b}{c}。", "{n}又买了{b}{c}{t}。", "{m}送给{n}{b}{c}{t}。", "后来{n}从{m}那里得到{b}{c}。",
               "{n}在游戏中赢了{b}{c}{t}。",
               "后来{m}又给{n}带来{b}{c}。", "后来{n}在游戏中又得到{b}{c}{t}。"],
    },
    "fewer": {
        "en": ["{n} gives {b} {t} to {m}.", "Then {n} loses {b} of them.", "{n} sells {b} {t}.",
               "Later {m} takes {b} of the {t} away.",
               "{n} uses up {b} of them.", "Then {b} {t} are lost.", "Later {n} gives away {b} of the {t}."],
        "zh": ["{n}送给{m}{b}{c}{t}。", "后来{n}丢了{b}{c}。", "{n}卖掉了{b}{c}{t}。", "{m}拿走了{b}{c}。",
               "{n}用掉了{b}{c}{t}。",
               "后来有{b}{c}{t}不见了。",
               "后来{n}又送出了{b}{c}{t}。"],
    },
    "times": {
        "en": ["Then there are {b} times as many.", "The next day {n} has {b} times as many {t}.",
               "The number of {t} becomes {b} times as large.",
               "The next day there are {b} times as many {t}."],
        "zh": ["后来数量变成原来的{b}倍。", "第二天{n}的{t}是原来的{b}倍。", "这些{t}的数量增加到{b}倍。",
               "第二天{t}的数量变成原来的{b}倍。"],
    },
}  # fmt: skip
QUESTIONS = {
    "now": {
        "en": ["How many {t} does {n} have now?", "How many {t} are there in the end?", "How many does {n} have?",
               "What is the number of {t} now?", "How many {t} are there now?"],
        "zh": ["{n}现在有多少{c}{t}？", "最后有多少{c}{t}？", "{n}一共有多少{c}？", "现在{t}的数量是多少？",
               "现在有多少{c}{t}？"],
    },
    "share": {
        "en": ["{b} friends share them equally. How many {t} does each get?",
               "{n} puts them into {b} boxes, equally many in each. How many are in one box?",
               "They are shared equally by {b} children. How many does each of them get?",
               "{b} children share the {t} equally. How many are there for each?"],
        "zh": ["{b}个朋友平分。每人得到多少{c}？", "{n}把它们平均放进{b}个盒子。每个盒子里有多少{c}？",
               "这些{t}平均分给{b}个孩子，每个孩子得到多少{c}？",
               "{b}个孩子平分这些{t}。每人有多少{c}？"],
    },
    "cost": {
        "en": ["Each of them costs {b} yuan. How much do all of them cost?",
               "{n} sells them all for {b} yuan each. How many yuan does {n} get?",
               "One of them costs {b} yuan. How many yuan do they all cost?"],
        "zh": ["每{c}{t}{b}元。全部要多少元？", "{n}把它们全卖了，每{c}{b}元。{n}得到多少元？",
               "一{c}{t}要{b}元，全部{t}一共要多少元？"],
    },
    "together": {
        "en": ["{m} has {b} more than {n}. How many do they have together?",
               "{m} has {b} {t} more than that. How many {t} do both have together?",
               "{m} has {b} more {t} than {n}. How many {t} do they both have?"],
        "zh": ["{m}比{n}多{b}{c}。两人一共有多少{c}？", "{m}的{t}比{n}多{b}{c}，他们一共有多少{c}{t}？",
               "{m}比{n}多{b}{c}{t}，两人的{t}一共有多少{c}？"],
    },
}  # fmt: skip
SENTENCES = {"start": STARTS, "happening": HAPPENINGS, "question": QUESTIONS}


@dataclass(frozen=True)
class Wording:
    """One sentence: what it tells, and which of the list."""

    place: str  # start, happening, question
    tells: str
    index: int

    def __str__(self) -> str:
        return f"{self.tells}-{self.index + 1}"

    def pattern(self, language: str) -> str:
        return SENTENCES[self.place][self.tells][language][self.index]

    def unseen(self, language: str) -> bool:
        """Whether no training problem has it: the last of its list."""
        return self.index == len(SENTENCES[self.place][self.tells][language]) - 1


def template(wordings: tuple[Wording, ...], language: str) -> str:
    return f"{language}: " + " / ".join(map(str, wordings))


def side(wordings: tuple[Wording, ...], language: str) -> str | None:
    """'train', or the test's group that the template belongs to; None for one with two unseen wordings, which is not told."""
    unseen = sum(wording.unseen(language) for wording in wordings)
    if unseen:
        return "template=new wording" if unseen == 1 else None
    chosen = hashlib.sha256(template(wordings, language).encode()).digest()[0] % SHARE == 0
    return "template=new order" if chosen else "train"


def drawn(language: str, dice: random.Random) -> tuple[Wording, ...]:
    """A template: a start, nothing to two happenings (one at least where else there would be nothing to reckon), a question."""

    def one(place: str) -> Wording:
        tells = dice.choice(list(SENTENCES[place]))
        return Wording(place, tells, dice.randrange(len(SENTENCES[place][tells][language])))

    start, question = one("start"), one("question")
    fewest = 1 if (start.tells, question.tells) == ("have", "now") else 0
    return (start, *(one("happening") for _ in range(dice.randint(fewest, 2))), question)


def told(wordings: tuple[Wording, ...], language: str, dice: random.Random) -> tuple[str, str, int] | None:
    """(story, solution, answer) with numbers drawn for it; None where they would be too large or do not divide."""
    n, m = dice.sample(NAMES[language], 2)
    thing = dice.choice(THINGS[language])
    words = {"n": n, "m": m, "t": thing, "c": ""} if language == "en" else {"n": n, "m": m, "t": thing[1], "c": thing[0]}
    sentences, steps, amount = [], [], 0
    for wording in wordings:
        numbers = {}
        if wording.tells == "have":
            amount = numbers["a"] = dice.randint(2, 30)
        elif wording.tells == "groups":
            numbers = {"a": dice.randint(2, 9), "b": dice.randint(2, 12)}
            amount = _step(steps, numbers["a"], "*", numbers["b"])
        elif wording.tells in ("more", "fewer"):
            if amount < 3:
                return None
            b = numbers["b"] = dice.randint(2, min(20, amount - 1) if wording.tells == "fewer" else 20)
            amount = _step(steps, amount, "+" if wording.tells == "more" else "-", b)
        elif wording.tells in ("times", "cost"):
            b = numbers["b"] = dice.randint(2, 5)
            amount = _step(steps, amount, "*", b)
        elif wording.tells == "share":
            whole = [b for b in range(2, 10) if amount % b == 0 and amount > b]
            if not whole:
                return None
            b = numbers["b"] = dice.choice(whole)
            amount = _step(steps, amount, "/", b)
        elif wording.tells == "together":
            b = numbers["b"] = dice.randint(2, 20)
            amount = _step(steps, amount, "+", _step(steps, amount, "+", b))
        if amount > MOST:
            return None
        sentences.append(wording.pattern(language).format(**words, **numbers))
    if language == "en":
        return " ".join(sentences), f"{', '.join(steps)}. Answer: {amount}", amount
    return "".join(sentences), f"{'，'.join(steps)}。答案：{amount}", amount


def _step(steps: list[str], left: int, sign: str, right: int) -> int:
    value = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[sign]
    steps.append(f"{left}{sign}{right}={value}")
    return value


def problems(wanted: dict[str, int], dice: random.Random, seen: set[str]) -> list[dict[str, str]]:
    """As many problems as `wanted` says of each side, in each language half, no story twice."""
    rows = []
    for language in NAMES:
        for where, count in wanted.items():
            made = 0
            while made < count // 2:
                wordings = drawn(language, dice)
                found = told(wordings, language, dice) if side(wordings, language) == where else None
                if found is None or found[0] in seen:
                    continue
                seen.add(found[0])
                row = {"prompt": found[0], "solution": found[1], "answer": str(found[2]), "language": language}
                rows.append(row | ({"group": where} if where != "train" else {}) | {"template": template(wordings, language)})
                made += 1
    dice.shuffle(rows)
    return rows


def words() -> list[dict[str, str]]:
    """Every sentence of the training templates with names and things, without its numbers."""
    rows = []
    for kinds in SENTENCES.values():
        for lists in kinds.values():
            for language, patterns in lists.items():
                for pattern in patterns[:-1]:
                    for index, name in enumerate(NAMES[language]):
                        thing = THINGS[language][index]
                        c, t = ("", thing) if language == "en" else thing
                        other = NAMES[language][(index + 1) % len(NAMES[language])]
                        content = pattern.format(n=name, m=other, t=t, c=c, a="", b="")
                        rows.append({"text": " ".join(content.split()), "language": language})
    for language, content in (("en", ". Answer:"), ("zh", "。答案：")):
        rows.append({"text": content, "language": language})
    return rows


def main(folder: Path = FOLDER) -> None:
    dice, seen = random.Random(SEED), set[str]()
    new = {"template=new order": TEST // 2, "template=new wording": TEST // 2}
    tables = {"words": words(), "test": problems(new, dice, seen)}
    tables["train"] = problems({"train": TRAIN + VALIDATION}, dice, seen)
    tables["validation"] = [tables["train"].pop() for _ in range(VALIDATION)]
    folder.mkdir(exist_ok=True)
    about = {}
    for name in ("words", "train", "validation", "test"):
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in tables[name]).encode()
        (folder / f"{name}.jsonl").write_bytes(data)
        about[f"{name}.jsonl"] = {"sha256": hashlib.sha256(data).hexdigest(), "rows": len(tables[name]), "bytes": len(data)}
    source = {
        "title": "small word problems in English and Chinese, with their solutions", "made_by": "tools/word_problems.py",
        "author": "The Yanmo authors", "licence": "Apache-2.0", "language": "en, zh-Hans",
        "changes": ["original work: stories of one to four sentences whose numbers are drawn, with the steps that solve them",
                    "test.jsonl is told by templates that no training problem has: known wordings in a new order (half of it, "
                    "chosen by hash), or one wording that stands in no training problem (the other half)"],
        "rows": sum(entry["rows"] for entry in about.values()), "bytes": sum(entry["bytes"] for entry in about.values()),
        "files": about,
    }  # fmt: skip
    (folder / "SOURCE").write_text(yaml.safe_dump(source, allow_unicode=True, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
