"""Keys that open doors: tokens that their issuer's prefix gives away, private keys, JSON web tokens, and random values that
stand behind a word such as password or 密码."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from yanmo.corpus.pii.network import REPLACED
from yanmo.corpus.pii.span import Span

# The issuers' documented forms. Where a prefix is a common word's beginning, the rest must look random as well.
TOKEN = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}|LTAI[A-Za-z0-9]{12,24}|AKID[A-Za-z0-9]{32})(?![A-Za-z0-9])|"  # AWS, Alibaba, Tencent
    r"gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,128}|"
    r"xox[abeoprs]-[A-Za-z0-9-]{10,255}|xapp-[0-9]-[A-Za-z0-9-]{10,255}|"  # Slack
    r"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])|ya29\.[A-Za-z0-9_-]{20,1024}|GOCSPX-[A-Za-z0-9_-]{20,64}|"  # Google
    r"(?P<judged>(?:sk|pk|rk)-[A-Za-z0-9_-]{20,255}|hf_[A-Za-z0-9]{30,64}|npm_[A-Za-z0-9]{36}|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64})|"
    r"(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,255}|pypi-[A-Za-z0-9_-]{50,512}|dop_v1_[a-f0-9]{64}|"
    r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])|"  # Telegram
    r"eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{4,16384}\.[A-Za-z0-9_-]{16,4096}"  # a JSON web token: '{"' in base64, twice
    r")"
)
PRIVATE = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
PRIVATE_END = re.compile(r"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
BODY = re.compile(r"(?:\s{0,4}[A-Za-z0-9+/=:,\\-]{1,200}(?:\s|$)){0,400}")  # of a block that lacks its end
LONGEST_BLOCK = 20_000
SAID = re.compile(
    r"(?:(?P<password>pass(?:word|wd|phrase)|\bpwd\b|密码|密碼|口令)|"
    r"(?:api[ _-]?key|secret|token|access[ _-]?key|auth[ _-]?key|private[ _-]?key|credential|密钥|密鑰|秘钥|令牌)"
    r"(?:[ _-]?(?:key|id|access|token)){0,2})"
    r"[\"'`*]{0,3}(?: ?(?::=|=>|[:=：＝是为為]) ?| is (?:now )?:? ?)[\"'`*]{0,3}(?P<value>[A-Za-z0-9!#$%*+/=?@^_.~-]{6,256})|"
    r"bearer (?P<bearer>[A-Za-z0-9_.~+/=-]{16,4096})",
    re.IGNORECASE | re.ASCII,
)
MAIL = re.compile(r"[^@]+@[^@]+\.[A-Za-z]{2,}")
BITS = 3.0  # Shannon entropy per character; English words have less at such lengths, random ones of 16 and more have more
TELEGRAM = re.compile("[0-9]{8,10}$")


def secrets(text: str, places: Iterable[int]) -> Iterator[Span]:
    """The secrets that begin, or whose naming word begins, at one of `places`."""
    done = 0
    for place in places:
        if place < done:  # inside a private key
            continue
        if text[place] == ":":
            number = TELEGRAM.search(text, max(0, place - 11), place)
            place = number.start() if number else place
        match = TOKEN.match(text, place)
        if match is not None:
            if match["judged"] is None or random_like(match["judged"]):
                yield Span(match.start(), match.end(), "api_key", match.group())
            continue
        match = PRIVATE.match(text, place)
        if match is not None:
            done = _block_end(text, match.end())
            yield Span(place, done, "api_key", "".join(text[place:done].split()))
            continue
        match = SAID.match(text, place)
        if match is not None:
            name = "bearer" if match["bearer"] else "value"
            value = match[name].rstrip(".,!?")
            if not value.lower().startswith(REPLACED) and _secret(value, match["password"] is not None):
                yield Span(match.start(name), match.start(name) + len(value), "api_key", value)


def _block_end(text: str, start: int) -> int:
    """Where the private key ends whose first line ends at `start`: at its last line, or where what looks like one stops."""
    limit = min(len(text), start + LONGEST_BLOCK)
    another = text.find("-----BEGIN", start, limit)
    limit = another if another >= 0 else limit
    closing = PRIVATE_END.search(text, start, limit)
    if closing:
        return closing.end()
    body = BODY.match(text, start, limit)
    return start + len(body.group().rstrip()) if body else start


def _secret(value: str, password: bool) -> bool:
    """A generated key; a password may be short, but mixes letters with digits, as no word does."""
    if random_like(value):
        return True
    letters, digits = sum(c.isalpha() for c in value), sum(c.isdigit() for c in value)
    mixed = letters >= 2 and digits >= 1 and 6 <= len(value) <= 64 and len(set(value)) >= 5
    return password and mixed and not MAIL.fullmatch(value)


def random_like(value: str) -> bool:
    if len(value) < 16 or not any(c.isdigit() for c in value) or not any(c.isalpha() for c in value):
        return False
    return entropy(value) >= BITS


def entropy(value: str) -> float:
    """Shannon entropy of the characters, in bits per character."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
