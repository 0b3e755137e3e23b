"""What identifies somebody on a network: e-mail addresses, public IP addresses, credentials in URLs.

Each function takes the folded text (`span.fold`) and yields spans. E-mail addresses and credentials are looked for
around each '@' alone, at a bounded distance, so that a text of a million '@' is still read in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from yanmo.corpus.pii.span import Span

LETTERS = "".join(map(chr, (*range(0xC0, 0x250), *range(0x300, 0x370), *range(0x370, 0x530))))  # Latin, accents, Greek, Cyrillic
LOCAL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+'~-" + LETTERS
LONGEST_LOCAL, LONGEST_DOMAIN = 64, 253  # RFC 5321
DOMAIN = re.compile(f"[A-Za-z0-9.\\-{LETTERS}]{{1,{LONGEST_DOMAIN}}}")
OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
QUAD = rf"{OCTET}(?:\.{OCTET}){{3}}"
LITERAL = re.compile(rf"\[(?:{QUAD}|IPv6:[0-9A-Fa-f:.]{{2,45}})\]|{QUAD}(?![0-9A-Za-z]|\.[0-9])")
LABEL = re.compile(f"[A-Za-z0-9{LETTERS}](?:[A-Za-z0-9{LETTERS}-]{{0,61}}[A-Za-z0-9{LETTERS}])?")
TOP = re.compile(f"[A-Za-z{LETTERS}]{{2,24}}|xn--[A-Za-z0-9-]{{2,59}}")
FILE_ENDING = re.compile(  # what follows the last dot of a file's name, or of a name in a local network
    "png|jpe?g|gif|svg|webp|bmp|ico|css|jsx?|tsx|json|html?|php|aspx?|pdf|txt|xml|ya?ml|toml|mp[34]|avi|mov|gz|tar|rar|exe|dll|jar|"
    "docx|xlsx|pptx|csv|tsv|log|lock|local",
    re.IGNORECASE,
)
PSEUDONYM = re.compile(r"user_[0-9a-f]{12}@example\.com")  # what pseudonyms.py writes
SPELT = re.compile(
    r"(?<![A-Za-z0-9._%+-])(?P<local>[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}) ?[\[({<（［【] ?at ?[\])}>）］】] ?"
    r"(?P<domain>[A-Za-z0-9-]{1,63}(?:(?: ?[\[({<（［【] ?dot ?[\])}>）］】] ?|\.)[A-Za-z0-9-]{1,63}){1,4})(?![A-Za-z0-9])",
    re.IGNORECASE,
)
BRACKETED = re.compile(r"[\[({<（［【] ?at ?[\])}>）］】]", re.IGNORECASE)
DOT = re.compile(r" ?[\[({<（［【] ?dot ?[\])}>）］】] ?", re.IGNORECASE)


def emails(text: str) -> Iterator[Span]:
    """Addresses as people write them: no quoted local parts, a dotted domain or an IP literal."""
    at = text.find("@")
    while at >= 0:
        found = _email(text, at)
        if found is not None:
            yield found
        at = text.find("@", at + 1)


def spelt(text: str) -> Iterator[Span]:
    """Addresses written 'name [at] host [dot] com'."""
    for match in SPELT.finditer(text) if BRACKETED.search(text) else ():
        domain = DOT.sub(".", match["domain"])
        if _domain_length(domain) == len(domain):
            yield Span(match.start(), match.end(), "email", f"{match['local']}@{domain}".lower())


def _email(text: str, at: int) -> Span | None:
    before = text[max(0, at - LONGEST_LOCAL - 1) : at]
    local = before[len(before.rstrip(LOCAL)) :]
    if len(local) > LONGEST_LOCAL:
        return None
    local = local[local.rfind("..") + 2 if ".." in local else 0 :].lstrip(".'+-%~")
    if not local or local.endswith(".") or not any(c.isalnum() or c == "_" for c in local):
        return None
    literal = LITERAL.match(text, at + 1)
    if literal:
        end = literal.end()
    else:
        run = DOMAIN.match(text, at + 1)
        length = _domain_length(run.group()) if run else 0
        if not length:
            return None
        end = at + 1 + length
    begin = at - len(local)
    if local == "git" and text[end : end + 1] == ":":  # git@host:path is an address of a repository
        return None
    if text.endswith("://", max(0, begin - 3), begin) or _userinfo(text, at) is not None:  # who logs in, not who gets mail
        return None
    value = text[begin:end].lower()
    return None if PSEUDONYM.fullmatch(value) else Span(begin, end, "email", value)


def _domain_length(run: str) -> int:
    """How much of `run` is a domain name with a plausible top level; 0 where none is."""
    labels: list[str] = []
    for label in run.split("."):
        bare = label.rstrip("-")
        if not LABEL.fullmatch(bare):
            break
        labels.append(bare)
        if bare != label:
            break
    while labels and not TOP.fullmatch(labels[-1]):
        labels.pop()
    if len(labels) > 2 and labels[-1].istitle() and labels[-2].islower() and TOP.fullmatch(labels[-2]):
        labels.pop()  # "…@example.com.Then": the next sentence
    if len(labels) < 2 or FILE_ENDING.fullmatch(labels[-1]):
        return 0
    return len(".".join(labels))


NOT_USERINFO = re.compile(r"[\s/\\?#<>\[\]{}\"'`|，。、；]")
HOST = re.compile(r"[A-Za-z0-9_\[]")
LONGEST_USERINFO = 300
PARAMETER = re.compile(r"[?&;#](?P<name>[A-Za-z0-9_.\-\[\]]{1,48})=(?P<value>[^\s&#\"'<>`|\[\]{}，。、；（）()]{4,1024})")
ALWAYS_SECRET = re.compile(r"passw|pwd|secret|(?:^|[_.-])pass$", re.IGNORECASE)
SECRET_IF_RANDOM = re.compile(
    r"token|api-?_?key|(?:^|[_.-])key$|auth|(?:^|[_.-])sig(?:nature)?$|session|^sid$|credential|jwt", re.IGNORECASE
)
REPLACED = "redacted"  # how what pseudonyms.py writes begins


def credentials(text: str) -> Iterator[Span]:
    """'user:password' of scheme://user:password@host."""
    at = text.find("@")
    while at >= 0:
        found = _userinfo(text, at)
        if found is not None and not found.value.lower().startswith(REPLACED):
            yield found
        at = text.find("@", at + 1)


def parameters(text: str) -> Iterator[Span]:
    """Secrets given as parameters (…?token=SECRET): the secret alone."""
    for match in PARAMETER.finditer(text):
        name, value = match["name"], match["value"]
        if value.lower().startswith(REPLACED):
            continue
        if ALWAYS_SECRET.search(name) or (SECRET_IF_RANDOM.search(name) and looks_random(value)):
            yield Span(match.start("value"), match.end("value"), "url_credentials", value)


def _userinfo(text: str, at: int) -> Span | None:
    """The 'user:password' that ends at '@', also one that has been replaced."""
    scheme = text.rfind("://", max(0, at - LONGEST_USERINFO), at)
    if scheme < 1 or not text[scheme - 1].isalnum() or not HOST.match(text, at + 1):
        return None
    info = text[scheme + 3 : at]
    _, _, password = info.partition(":")
    if not password or NOT_USERINFO.search(info):
        return None
    return Span(scheme + 3, at, "url_credentials", info)


def looks_random(value: str) -> bool:
    """Long enough, of letters and digits, and not one word: what a generated secret looks like."""
    return len(value) >= 16 and any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and len(set(value)) >= 8


IPV4 = re.compile(
    rf"(?<![0-9A-Za-z_])(?<![0-9]\.){QUAD}(?![0-9A-Za-z_])(?!\.[0-9]|\.(?:tar|t?gz|zip|exe|jar|deb|rpm|whl|dll|so)\b)", re.ASCII
)
IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,7}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z:])")
# Not routed in public (IANA special-purpose registries), multicast and reserved space included. Written down, for the
# standard library's answer differs between versions of Python.
SPECIAL_V4 = tuple(map(IPv4Network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4")))  # fmt: skip
SPECIAL_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
VERSION = re.compile(
    r"(?:\b(?:versions?|ver|v|release|build|firmware|driver|kernel|update|patch|revision|rev|sections?|sec|chapters?|clauses?|articles?|"
    r"paragraph|figure|fig|table|rule|oid|since|upgrade to|updated to)\b|§|版本?|[第章节條条款表图項项])"
    r"\.?[ :#(]{0,3}(?:no\.? ?|number ?|is ?|of ?|to ?|号|號|是|为|為)?[ :]?$|"
    r"[A-Za-z][/-]$",
    re.IGNORECASE | re.ASCII,
)
LONGEST_V4 = 24  # characters: an IPv4 address, and what may not follow it
HEADING = re.compile(r"[ \t]+[A-Z\u3400-\u9fff]")


def addresses(text: str, places: Iterable[int]) -> Iterator[Span]:
    """Public IPv4 and IPv6 addresses whose first group ends or begins at one of `places`; not private or reserved ones, nor
    version numbers and numbers of sections."""
    for place in places:
        match = IPV4.search(text, max(0, place - 2), place + LONGEST_V4)
        if match is not None:
            address = IPv4Address(match.group())
            if not any(address in network for network in SPECIAL_V4) and not _counts(text, match, address):
                yield Span(match.start(), match.end(), "ip", str(address))
            continue
        match = IPV6.match(text, place)
        if match is None:
            continue
        try:
            wide = IPv6Address(match.group())
        except ValueError:
            continue
        groups = [group for group in match.group().split(":") if group]
        if any(wide in network for network in SPECIAL_V6):
            continue
        if len(groups) >= 3 or any(c in "abcdefABCDEF" for c in match.group()):  # not "2024::1"
            yield Span(match.start(), match.end(), "ip", wide.compressed)


def _counts(text: str, match: re.Match[str], address: IPv4Address) -> bool:
    """Whether a dotted quad numbers a version or a section rather than a machine."""
    if VERSION.search(text, max(0, match.start() - 24), match.start()):
        return True
    octets = address.packed
    line_start = match.start() == 0 or text[match.start() - 1] == "\n"
    return line_start and max(octets) <= 30 and len(set(octets)) > 1 and HEADING.match(text, match.end()) is not None
