"""What stands between two blanks, cut into words: brackets and quotes come off, contractions and compounds come apart.

The conventions are those of the Penn Treebank as spaCy's blank English pipeline applies them (Honnibal et al., MIT),
because the published thresholds of Gopher's, C4's and FineWeb's filters are used with its words. In a few lines:

1. From both ends, again and again: one mark of punctuation, a run of dots, a currency sign, `'s`, a unit behind a number.
   It stops where what is left is in the list of exceptions: a contraction (`don't` → `do` `n't`), an abbreviation
   (`Mr.`), an emoticon.
2. What is left is an exception, a URL or an e-mail address (one word), or it is cut at hyphens, slashes, colons and
   commas between letters, at a full stop between a small and a capital letter, at dots and at symbols.
3. An exception whose pieces now follow each other is put together again: `8` `)` is an emoticon too.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

MARKS = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧"
CURRENCY = "$£€¥฿﷼" + "".join(map(chr, range(0x20A0, 0x20C0)))
DOLLARS = ("US$", "C$", "A$")
BEFORE = frozenset("§%=—–" + MARKS + QUOTES + CURRENCY)
BEHIND = frozenset("—–" + MARKS + QUOTES)
DIGITS = frozenset("0123456789")
DOT_BEHIND = DIGITS | frozenset("%²-+|?:" + MARKS + QUOTES)  # a full stop behind one of these, or a small letter, comes off

UNITS = """km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa mbar
    mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с км/ч кПа Па мбар
    Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ"""
UNIT = re.compile(
    "(?<=[0-9])(?:" + "|".join(map(re.escape, sorted([*UNITS.split(), *DOLLARS, *CURRENCY], key=len, reverse=True))) + r")\Z"
)
LONGEST_UNIT = 4

# Blocks of scripts without capitals, whose marks and digits count as letters within a word, as they do to spaCy.
UNCASED = "".join(f"{chr(first)}-{chr(last)}" for first, last in (
    (0x591, 0x5F4), (0x620, 0x64A), (0x66E, 0x6D5), (0x6E5, 0x6FF), (0x900, 0x9FF), (0xB80, 0xBFF), (0xC00, 0xCFF),
    (0xD80, 0xDFF), (0x1200, 0x137F), (0x2E80, 0x303F), (0x3040, 0x30FF), (0x31C0, 0x31EF), (0x3200, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFB1D, 0xFB4F), (0xFE30, 0xFE4F), (0x1F200, 0x1F2FF), (0x20000, 0x2FA1F),
))  # fmt: skip
NUMERALS = "²³¹¼-¾\u2070-\u2089\u2150-\u218b\u2460-\u249b\u24ea-\u24ff\u2776-\u2793"  # letters to `re` alone
LETTER, SIGN = rf"(?:[^\W\d_{NUMERALS}]|[{UNCASED}])", rf"(?:[^\W_{NUMERALS}]|[{UNCASED}])"  # SIGN: a letter or a digit
OF_THESE = re.compile(f"[{UNCASED}]")
QUOTE = "[" + re.escape(QUOTES) + "]"
INSIDE = re.compile(
    r"\.\.+|…"
    r"|(?<=[0-9])[+\-*^](?=[0-9-])"
    rf"|(?<={LETTER}),(?={LETTER})"
    rf"|(?<={SIGN})(?:-|–|—|--|---|——|~)(?={LETTER})"
    rf"|(?<={SIGN})[:<>=/](?={LETTER})"
    rf"|(?P<stop>(?:(?<={LETTER})|(?<={QUOTE}))\.(?={LETTER}|{QUOTE}))"
    r"|(?P<symbol>[^\w\s\x00-\x7f])"
)
NAME = r"[A-Za-z0-9\u00a1-\uffff]"
HOST = re.compile(
    r"(?:(?!10\.|127\.|169\.254\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.)"
    r"(?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])(?:\.(?:1?\d{1,2}|2[0-4]\d|25[0-5])){2}\.(?:[1-9]\d?|1\d\d|2[0-4]\d|25[0-4])"
    rf"|(?:{NAME}(?:[A-Za-z0-9\u00a1-\uffff_-]{{0,62}}{NAME})?\.)+(?:[^\W\d_A-Z]|[{UNCASED}]){{2,63}})"
    r"(?::\d{2,5})?(?:[/?#]\S*)?\Z"
)
SCHEME = re.compile(r"[\w+\-.]{2,}://")
PLAIN = re.compile(r"([A-Za-z]*[a-z]{2})([,;:!?.)\"'”’]?)")  # by far the most common shape, done without the rules below

# ------------------------------------------------------------------------------------------------ exceptions

PEOPLE = "i you he she it we they"
THINGS = "who what when where why how there that this these those"
NEGATED = "ca could do does did had may might must need ought sha should wo would"
ENDINGS = (  # words, each with an apostrophe and without, small and capitalised; and what may follow them
    ("i", "'m 'm|a"),
    (f"{PEOPLE} {THINGS}", "'ll 'll|'ve 'd 'd|'ve"),
    ("i you we they who what when where why how there these those could might must should would not", "'ve"),
    ("you we they who what when where why how there these those", "'re"),
    ("he she it who what when where why how there that this", "'s"),
    (NEGATED, "n't n't|'ve"),
    ("ai are is was were have has dare", "n't"),
)
ORDINARY = "Ill ill Its its Hell hell Shell shell Shed shed were Were Well well Whore whore"  # words after all
APART = """gon|na got|ta can|not let|'s how|'d|'y c'm|on Gon|na Got|ta Can|not Let|'s How|'d|'y C'm|on y'|all y|all"""
WHOLE = """'em 'll 'nuff em ll nuff doin goin nothin nuthin ol somethin Doin Goin Nothin Nuthin Ol Somethin
    doin' goin' nothin' nuthin' ol' somethin' Doin' Goin' Nothin' Nuthin' Ol' Somethin' lovin lovin' Lovin Lovin' havin
    havin' Havin Havin' 'S 's ‘S ‘s 'd and/or w/o 're 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout ma'am Ma'am o'clock
    O'clock ' '' \\") <space> C++ — \\t \\n"""
ABBREVIATED = """Mt Ak Ala Apr Ariz Ark Aug Calif Colo Conn Dec Del Feb Fla Ga Ia Id Ill Ind Jan Jul Jun Kan Kans Ky La Mar
    Mass Mich Minn Miss N.C N.D N.H N.J N.M N.Y Neb Nebr Nev Nov Oct Okla Ore Pa S.C Sep Sept Tenn Va Wash Wis a.m Adm Bros
    co Co Corp D.C Dr e.g E.g E.G Gen Gov i.e I.e I.E Inc Jr Ltd Md Messrs Mo Mont Mr Mrs Ms p.m Ph.D Prof Rep Rev Sen St vs
    v.s a b c d e f g h i j k l m n o p q r s t u v w x y z ä ö ü"""
EMOTICONS = r""":) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: [= =] :o) (o: :} :-} 8) 8-) (-8 ;) ;-) (; (-; :( :-( :((
    :-(( :((( :-((( ): )-: =( >:( :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| ]= =[ :1 :P :-P :p :-p :O :-O :o :-o :0 :-0 :() >:o :*
    :-* :3 :-3 =3 :> :-> :X :-X :x :-x :D :-D ;D ;-D =D xD XD xDD XDD 8D 8-D ^_^ ^__^ ^___^ >.< >.> <.< ._. ;_; -_- -__- v.v
    V.V v_v V_V o_o o_O O_o O_O 0_o o_0 0_0 o.O O.o O.O o.o 0.0 o.0 0.o @_@ <3 <33 <333 </3 (^_^) (-_-) (._.) (>_<) (*_*)
    (¬_¬) ¯\(ツ)/¯"""


@cache
def exceptions() -> dict[str, tuple[str, ...]]:
    """What is cut by the list and not by the rules: text → its words."""
    found: dict[str, tuple[str, ...]] = {}
    for words, endings in ENDINGS:
        for word in words.split():
            for head in (word, word.title()):
                for ending in endings.split():
                    pieces = (head, *ending.split("|"))
                    for cut in (pieces, tuple(piece.replace("'", "") for piece in pieces)):
                        found["".join(cut)] = cut
    for word in ORDINARY.split():
        found.pop(word, None)
    for cut in (*(tuple(item.split("|")) for item in APART.split()), *((item,) for item in WHOLE.split())):
        found["".join(cut)] = cut
    for item in (*(item + "." for item in ABBREVIATED.split()), *EMOTICONS.split()):
        found[item] = (item,)
    for hour in range(1, 13):
        for half in ("am", "a.m.", "pm", "p.m."):
            found[f"{hour}{half}"] = (str(hour), half)
    for degree in "cfkCFK":
        found[f"°{degree}."] = ("°", degree, ".")
    for item, cut in list(found.items()):  # and with the typographer's apostrophe
        if "'" in item:
            found[item.replace("'", "’")] = tuple(piece.replace("'", "’") for piece in cut)
    return found


LONGEST = max(map(len, exceptions()))


@cache
def scattered() -> dict[str, dict[tuple[str, ...], tuple[str, ...]]]:
    """Exceptions that the rules would cut: their first piece → all their pieces → their words."""
    found: dict[str, dict[tuple[str, ...], tuple[str, ...]]] = {}
    for item, cut in exceptions().items():
        size = len(item)
        if before(item, 0, size) or behind(item, 0, size) or len(_inside(item)) > 1:
            pieces = tuple(_cut(item, {}))
            found.setdefault(pieces[0], {})[pieces] = cut
    return found


# ------------------------------------------------------------------------------------------------ rules


def before(text: str, start: int, end: int) -> int:
    """How many characters come off at the front of text[start:end]."""
    first = text[start]
    if first in BEFORE:
        return 1
    if first == ".":
        run = start + 1
        while run < end and text[run] == ".":
            run += 1
        return run - start if run - start > 1 else 0
    if first == "+":
        return 0 if start + 1 < end and text[start + 1] in DIGITS else 1
    if first in "UCA":
        return next((len(item) for item in DOLLARS if text.startswith(item, start, end)), 0)
    return int(first > "\x7f" and unicodedata.category(first) == "So")


def behind(text: str, start: int, end: int) -> int:
    """How many characters come off at the end of text[start:end]."""
    if start >= end:
        return 0
    last = text[end - 1]
    previous = text[end - 2] if end - 2 >= start else ""
    if last == ".":
        run = end - 1
        while run > start and text[run - 1] == ".":
            run -= 1
        if end - run > 1:
            return end - run
        if not previous:
            return 0
        if previous in DOT_BEHIND or (previous.isalpha() and not previous.isupper()) or OF_THESE.match(previous):
            return 1
        return int(end - 3 >= start and _capital(previous) and _capital(text[end - 3]))
    if last == "…":
        return 1 + (previous == "…")
    if last in BEHIND:
        return 1
    if last in "sS" and previous and previous in "'’":
        return 2
    if last == "+":
        return int(previous in DIGITS)
    if last > "\x7f" and unicodedata.category(last) == "So":
        return 1
    found = UNIT.search(text, max(start, end - LONGEST_UNIT), end)
    return found.end() - found.start() if found else 0


def _capital(letter: str) -> bool:
    return letter.isalpha() and not letter.islower()


def address(text: str) -> bool:
    """Whether it is a URL or an e-mail address as a whole."""
    if "." not in text:
        return False
    scheme = SCHEME.match(text)
    if HOST.match(text, scheme.end() if scheme else 0):
        return True
    at = text.rfind("@")
    return at > 0 and HOST.match(text, at + 1) is not None


def _inside(text: str) -> list[str]:
    words, start = [], 0
    for match in INSIDE.finditer(text):
        first, last = match.span()
        if first == 0:
            continue
        if match["stop"]:
            left, right = text[first - 1], text[last]
            if (left.isalpha() and left.isupper()) or (right.isalpha() and right.islower()):
                continue
        elif match["symbol"] and unicodedata.category(match["symbol"]) != "So":
            continue
        if first > start:
            words.append(text[start:first])
        words.append(text[first:last])
        start = last
    if start < len(text):
        words.append(text[start:])
    return words


def _cut(text: str, known: dict[str, tuple[str, ...]]) -> list[str]:
    """Rules 1 and 2, with `known` exceptions."""
    start, end = 0, len(text)
    front: list[str] = []
    back: list[str] = []
    while start < end:
        short = end - start <= LONGEST + 2 and bool(known)
        if short and text[start:end] in known:
            break
        head = before(text, start, end)
        if head and short and text[start + head : end] in known:
            front.append(text[start : start + head])
            start += head
            break
        tail = behind(text, start + head, end)
        if tail and short and text[start : end - tail] in known:
            back.append(text[end - tail : end])
            end -= tail
            break
        if not head and not tail:
            break
        if head:
            front.append(text[start : start + head])
        if tail:
            back.append(text[end - tail : end])
        start, end = start + head, end - tail
    back.reverse()
    core = text[start:end]
    if not core:
        return front + back
    if core in known:
        return [*front, *known[core], *back]
    return front + ([core] if address(core) else _inside(core)) + back


def split(text: str) -> list[str]:
    """The words of `text`, which holds no blank; together they are `text` again."""
    known = exceptions()
    if text in known:
        return list(known[text])
    plain = PLAIN.fullmatch(text)
    if plain is not None:
        core, mark = plain.groups()
        if core in known:  # `Wed.` is `We` `d.`
            return _joined([*known[core], mark] if mark else list(known[core]))
        return [core, mark] if mark else [core]
    words = _cut(text, known)
    return _joined(words) if len(words) > 1 else words


def _joined(words: list[str]) -> list[str]:
    """Rule 3: of the exceptions that overlap the longest is put together, then the first."""
    patterns = scattered()
    found = []
    for start, word in enumerate(words):
        for pieces, cut in patterns.get(word, {}).items():
            if start + len(pieces) <= len(words) and tuple(words[start : start + len(pieces)]) == pieces:
                found.append((-len(pieces), start, cut))
    if not found:
        return words
    taken: set[int] = set()
    chosen: dict[int, tuple[int, tuple[str, ...]]] = {}
    for negative, start, cut in sorted(found):
        end = start - negative
        if start not in taken and end - 1 not in taken:
            chosen[start] = end, cut
        taken.update(range(start, end))
    result: list[str] = []
    start = 0
    while start < len(words):
        if start in chosen:
            start, cut = chosen[start]
            result += cut
        else:
            result.append(words[start])
            start += 1
    return result
