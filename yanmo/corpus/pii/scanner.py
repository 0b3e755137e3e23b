"""All finds of a text, at the cost of one linear pass where there are none.

Nearly every text has no personal data in it. So one combined automaton (google-re2, on the UTF-8 bytes) looks for what any
find must contain: an '@', seven digits of one number, four numbers with dots, a token's prefix. Only where it stops do the
detectors look, those of numbers in a window around the digits alone. Of Chinese texts it reads less than them (`gate.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from yanmo.core.extras import needed
from yanmo.corpus.pii import chinese, gate, network, numbers, passports, phones, secrets
from yanmo.corpus.pii.span import Span, fold, resolve

# What folds to a separator, a digit or a hexadecimal digit stands in the patterns too: they read the text as it is.
GAP = r"[ \t.()/\x{a0}\x{2000}-\x{200a}\x{2010}-\x{2015}\x{202f}\x{205f}\x{2212}\x{3000}\x{fe58}\x{fe63}（）．／－-]{0,3}"
HEX = r"[\p{Nd}A-Fa-fＡ-Ｆａ-ｆ]"
AT = r"[@＠]|[\[({<（［【] ?(?i:at) ?[\])}>）］】]"
DIGITS = rf"\p{{Nd}}(?:{GAP}\p{{Nd}}){{6}}"
ADDRESS = rf"\p{{Nd}}[.．]\p{{Nd}}{{1,3}}[.．]\p{{Nd}}{{1,3}}[.．]\p{{Nd}}|\p{{Nd}}{HEX}{{3}}[:：](?:{HEX}|[:：])"
PARAMETER = r"[?&;#][A-Za-z0-9_.\[\]-]*(?i:token|key|auth|sig|session|sid|credential|jwt|pass|pwd|secret)[A-Za-z0-9_.\[\]-]*="
SECRET = (
    r"\b(?:AKIA|ASIA|ABIA|ACCA|AKID|LTAI)[A-Za-z0-9]{4}|\bgh[pousr]_|\bgithub_pat_|\bglpat-|\bxox[abeoprs]-|\bxapp-|\bAIza|\bya29\.|"
    r"\bGOCSPX-|\b[spr]k-[A-Za-z0-9_-]{16}|\b[spr]k_(?:live|test)_|\bhf_[A-Za-z0-9]{8}|\bnpm_[A-Za-z0-9]{8}|\bpypi-[A-Za-z0-9]{8}|"
    r"\bSG\.[A-Za-z0-9_-]{8}|\bdop_v1_|:AA[A-Za-z0-9_-]{8}|-----BEGIN|\beyJ[A-Za-z0-9]|[Bb]earer [A-Za-z0-9]{8}|"
    r"(?i:pass(?:word|wd|phrase)|\bpwd|api[ _-]?key|secret|token|access[ _-]?key|auth[ _-]?key|private[ _-]?key|credential)"
    r"(?i:[ _-]?(?:key|id|access|token))*[\"'`*]{0,3}(?: ?[:=：＝]| is )|"
    r"(?:密码|密碼|口令|密钥|密鑰|秘钥|令牌)[\"'`*]{0,3} ?(?:[:=：＝是为為]| is )"
)
NUMBER_KINDS = frozenset({"iban", "resident_id", "uscc", "credit_card", "bank_card", "passport", "phone"})
# Runs of digits that can only be dates, years, or date and hour.
DATES = re.compile(
    r"(?:1[0-9]|20)[0-9]{2}[-./](?:0?[1-9]|1[0-2])[-./](?:0?[1-9]|[12][0-9]|3[01])(?: {1,2}[0-2]?[0-9])?|"
    r"(?:0?[1-9]|[12][0-9]|3[01])[-./](?:0?[1-9]|[12][0-9]|3[01])[-./](?:1[0-9]|20)[0-9]{2}(?: {1,2}[0-2]?[0-9])?|"
    r"[12][0-9]{3} ?[-/(] ?[12][0-9]{3}"
)
HALVES = re.compile("[\ud800-\udfff]")  # of a surrogate pair: no encoding can hold them
PLAIN = re.compile("[0-9A-Za-z+]")
BEFORE, BEHIND = 48, 40  # characters around the digits that may belong to the number, or say what it is


class Scanner:
    """Finds the given kinds; telephone numbers as written in `regions`."""

    def __init__(self, kinds: Sequence[str], regions: Sequence[str]):
        re2 = needed("re2", "corpus", "pii")
        self.kinds, self.regions = frozenset(kinds), tuple(regions)
        triggers = [
            (AT, {"email", "url_credentials"}), (DIGITS, NUMBER_KINDS), (ADDRESS, {"ip"}), (PARAMETER, {"url_credentials"}),
            (SECRET, {"api_key"}),
        ]  # fmt: skip
        options = re2.Options()
        options.never_capture = True
        options.log_errors = False
        wanted = [pattern for pattern, found in triggers if found & self.kinds]
        self._trigger = re2.compile("|".join(f"(?:{pattern})" for pattern in wanted), options)
        self._gate = re2.compile("|".join(f"(?:{pattern})" for pattern in (*wanted, gate.SAID)), options)
        self._secrets = re2.compile(SECRET, options)
        self._addresses = re2.compile(ADDRESS, options)
        self._runs = re2.compile(r"[0-9](?:[ \t.()/-]{0,3}[0-9]){6,}", options)

    def suspects(self, text: str) -> bool:
        """Whether `text` may hold any of the kinds: False is certain."""
        return self._trigger.search(text.encode("utf-8", "surrogatepass")) is not None

    def among(self, texts: Sequence[str]) -> list[bool]:
        """`suspects` of each: of Chinese texts in a part of the time."""
        chosen = [gate.wide(text) for text in texts]
        free = iter(self._free([text for text, wide in zip(texts, chosen) if wide]))
        return [not (wide and next(free)) and self.suspects(text) for text, wide in zip(texts, chosen)]

    def _free(self, texts: Sequence[str]) -> list[bool]:
        """Whether what is left of each text says that it holds nothing."""
        if not texts:
            return []
        left = gate.shrunk(texts)
        if self._gate.search(left) is None:
            return [True] * len(texts)
        pieces = left.split(b"\0")
        if len(pieces) != len(texts):  # a text has the sign in it that stands between two
            return [False] * len(texts)
        return [self._gate.search(piece) is None for piece in pieces]

    def find(self, text: str) -> list[Span]:
        """The finds, none overlapping another, in order of place."""
        return self.look(text) if self.suspects(text) else []

    def look(self, text: str) -> list[Span]:
        """`find` without the question whether it is worth while."""
        if not text.isascii():
            text = HALVES.sub("?", text)
        folded = fold(text)
        spans: list[Span] = []
        if "email" in self.kinds:
            spans += network.emails(folded)
            spans += network.spelt(text)
        if "url_credentials" in self.kinds:
            spans += network.credentials(folded)
            if "=" in text:
                spans += network.parameters(text)
        if "ip" in self.kinds:
            spans += network.addresses(folded, (hit.start() for hit in self._addresses.finditer(folded)))
        if "api_key" in self.kinds:
            spans += secrets.secrets(text, (hit.start() for hit in self._secrets.finditer(text)))
        if self.kinds & NUMBER_KINDS:
            for start, end in self._windows(folded):
                spans += self._numbers(folded, start, end)
        return resolve(spans)

    def _numbers(self, text: str, start: int, end: int) -> Iterator[Span]:
        kinds = self.kinds
        if "iban" in kinds:
            yield from numbers.ibans(text, start, end)
        if "resident_id" in kinds:
            yield from chinese.residents(text, start, end)
        if "uscc" in kinds:
            yield from chinese.organisations(text, start, end)
        if "passport" in kinds:
            yield from passports.passports(text, start, end)
        if "phone" in kinds:
            yield from phones.phones(text, start, end, self.regions)
        if kinds & {"credit_card", "bank_card"}:
            yield from (span for span in numbers.cards(text, start, end) if span.kind in kinds)

    def _windows(self, text: str) -> Iterator[tuple[int, int]]:
        """The places of long numbers with what stands around them; windows that touch are one."""
        first, last = -1, -1
        for run in self._runs.finditer(text):
            start, end = run.span()
            if DATES.fullmatch(text, start, end) and not (start and PLAIN.match(text, start - 1)) and not PLAIN.match(text, end):
                continue
            start, end = max(0, start - BEFORE), min(len(text), end + BEHIND)
            if start <= last:
                last = end
                continue
            if first >= 0:
                yield first, last
            first, last = start, end
        if first >= 0:
            yield first, last


@cache
def scanner(kinds: tuple[str, ...], regions: tuple[str, ...]) -> Scanner:
    """One scanner a process for the same settings: compiling its automata takes milliseconds."""
    return Scanner(kinds, regions)
