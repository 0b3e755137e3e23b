"""The text of a page's bytes: in the encoding that it declares, where that holds, else in the one that its bytes show.

In this order: a byte order mark; UTF-8, where the bytes are valid UTF-8 and more than a few of them say so (what is
declared is more often wrong than that); the HTTP header's charset; the page's own `<meta>` or XML declaration; the same
with a few broken bytes; what resiliparse detects; what charset-normalizer does. Labels mean what browsers take them for:
GB2312 and GBK are read as GB18030, Big5 with the Hong Kong additions, Shift-JIS and Latin-1 as Windows writes them.
"""

from __future__ import annotations

import codecs
import re
from functools import cache

MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
FIRST = frozenset(mark[:1] for mark, _ in MARKS)
META = re.compile(rb"<meta[^>]{0,400}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.I)
XML = re.compile(rb"\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)")
HEAD = 4096  # bytes in which a page says what it is in
SAMPLE = 64 << 10  # bytes that charset-normalizer, which is slow, looks at
CERTAIN = 16  # bytes beyond ASCII after which valid UTF-8 is no accident

GB = ("gb2312", "gbk", "gb-2312", "x-gbk", "cp936", "ms936", "gb18030", "gb-2312-80", "csgb2312", "euc-cn", "x-euc-cn", "chinese")
BIG5 = ("big5", "big-5", "big5-hkscs", "cn-big5", "x-x-big5", "csbig5", "big5hk")
JAPANESE = ("shift-jis", "sjis", "x-sjis", "ms-kanji", "windows-31j", "csshiftjis", "shiftjis")
KOREAN = ("euc-kr", "ks-c-5601-1987", "ks-c-5601-1989", "ksc5601", "ksc-5601", "korean", "windows-949")
LATIN = ("iso-8859-1", "iso8859-1", "latin1", "latin-1", "l1", "ascii", "us-ascii", "iso-ir-100", "windows-1252", "cp1252")
READ_AS = (dict.fromkeys(GB, "gb18030") | dict.fromkeys(BIG5, "big5hkscs") | dict.fromkeys(JAPANESE, "cp932")
           | dict.fromkeys(KOREAN, "cp949") | dict.fromkeys(LATIN, "cp1252")
           | {"utf8": "utf-8", "unicode": "utf-8", "utf-16": "utf-16-le", "iso-8859-9": "cp1254", "latin5": "cp1254",
              "tis-620": "cp874", "iso-8859-11": "cp874"})  # fmt: skip
SECOND = {"big5hkscs": "cp950"}  # Taiwan's Windows has characters that Hong Kong's list lacks
ESCAPED = frozenset({"iso2022_jp", "iso2022_kr", "hz"})  # all of whose bytes are ASCII
ESCAPES = (b"\x1b", b"~{")
NOT_TEXT = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7", "mbcs", "oem"})
WIDE = frozenset({"gb18030", "big5hkscs", "cp950", "cp932", "cp949", "euc_jp", "johab"})  # whose bytes may be valid UTF-8


@cache
def codec(label: str) -> str | None:
    """Python's codec for an encoding's label; None where there is none."""
    name = label.strip(" \"'\t").lower().replace("_", "-")
    if name in READ_AS:
        return READ_AS[name]
    try:
        "".encode(name)
        name = codecs.lookup(name).name
    except (LookupError, ValueError):  # unknown, or no encoding of text (base64)
        return None
    return None if name in NOT_TEXT else name


def decoded(data: bytes, said: str | None = None) -> tuple[str, str] | None:
    """(text, encoding) of a page, `said` being its HTTP charset; None where no encoding fits."""
    if data[:1] in FIRST:
        for mark, name in MARKS:
            if data.startswith(mark):
                return _tolerant(data[len(mark) :], name, 0.1)
    if b"\0" not in data:  # nearly every page
        if data.isascii():
            if not any(escape in data for escape in ESCAPES):
                return data.decode("ascii"), "utf-8"
        elif (text := _strict(data, "utf-8")) is not None and (len(data) - len(text) >= CERTAIN or codec(said or "") == "utf-8"):
            return text, "utf-8"
    names = _declared(data, said)
    if data.isascii() and not ESCAPED.intersection(names):
        return data.decode("ascii"), "utf-8"
    other = [name for name in names if name.startswith("utf-16") or name in ESCAPED]
    if data.count(0) > len(data) // 100 and not other:
        return None  # an image or a program that calls itself a page
    text = None if other else _strict(data, "utf-8")
    if text is not None and (len(data) - len(text) >= CERTAIN or not WIDE.intersection(names)):
        return text, "utf-8"
    for name in names:
        found = _strict(data, name)
        if found is not None:
            return found, name
    if text is not None:
        return text, "utf-8"
    for name in names:
        close = _tolerant(data, name, 0.02, 1)
        if close is not None:
            return close
    return _detected(data) or next(filter(None, (_tolerant(data, name, 0.1) for name in names)), None)


def _declared(data: bytes, said: str | None) -> list[str]:
    head = data[:HEAD]
    found = META.search(head) or XML.match(head)
    meta = codec(found[1].decode("ascii", "replace")) if found else None
    if meta is not None and meta.startswith("utf-16"):
        meta = "utf-8"  # or it could not have been read
    names = [name for name in (codec(said) if said else None, meta) if name]
    names += [SECOND[name] for name in names if name in SECOND]
    return list(dict.fromkeys(names))


def _detected(data: bytes) -> tuple[str, str] | None:
    from resiliparse.parse.encoding import detect_encoding

    guess = codec(detect_encoding(data) or "")
    found = _tolerant(data, guess, 0.02) if guess else None
    if found is None:
        from charset_normalizer import from_bytes

        best = from_bytes(data[:SAMPLE]).best()
        guess = codec(best.encoding) if best else None
        found = _tolerant(data, guess, 0.02) if guess else None
    return found


def _strict(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except (UnicodeError, ValueError):
        return None


def _tolerant(data: bytes, name: str, share: float, few: int = 0) -> tuple[str, str] | None:
    """The text, unless more than `share` of the characters beyond ASCII (and more than `few`) are broken."""
    text = _strict(data, name)
    if text is None:
        text = data.decode(name, "replace")
        beyond = len(text) - len(text.encode("ascii", "ignore"))
        if text.count("\ufffd") > max(share * beyond, few):
            return None
    return text, name
