"""A small crawl written by the tests: pages with what stands around a text, as responses in a web archive."""

from __future__ import annotations

import gzip
import random
from html import escape
from pathlib import Path

import zstandard

from tests.corpus.corpora import chinese, english

NAVIGATION = {"en": ["Home", "About us", "Contact", "Log in", "Search"], "zh": ["首页", "关于我们", "联系方式", "登录", "搜索"]}
FOOTER = {"en": "Copyright 2026. All rights reserved. Terms of use.", "zh": "版权所有 2026。保留一切权利。使用条款。"}


def paragraphs(seed: int, language: str = "en", count: int = 5) -> list[str]:
    rng = random.Random(seed)
    return [english(rng, 40).capitalize() + "." if language == "en" else chinese(rng, 90) for _ in range(count)]


def page(title: str, texts: list[str], language: str = "en", charset: str | None = "utf-8", encoding: str | None = None) -> bytes:
    """A page with a menu, an article and a footer; `charset` is what it declares, `encoding` what it is in."""
    links = "".join(f'<li><a href="/{i}">{name}</a></li>' for i, name in enumerate(NAVIGATION[language]))
    meta = f'<meta charset="{charset}">' if charset else ""
    html = (f'<!DOCTYPE html>\n<html lang="{"zh-CN" if language == "zh" else "en"}"><head>{meta}<title>{escape(title)}</title>'
            "<style>body { color: black }</style><script>var tracker = 'should not show';</script></head>\n"
            f'<body><nav><ul>{links}</ul></nav>\n<main><article><h1>{escape(title)}</h1>\n'
            + "\n".join(f"<p>{escape(text)}</p>" for text in texts)
            + f'</article></main>\n<footer class="footer"><p>{FOOTER[language]}</p></footer></body></html>\n')  # fmt: skip
    return html.encode(encoding or charset or "utf-8")


def http(body: bytes, status: str = "200 OK", content_type: str | None = "text/html; charset=utf-8", **headers: str) -> bytes:
    fields = {"Server": "test", **({"Content-Type": content_type} if content_type else {}), "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return f"HTTP/1.1 {status}\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in fields.items()).encode() + b"\r\n" + body


def record(kind: str, block: bytes, number: int = 0, url: str | None = None, length: int | None = None, **fields: str) -> bytes:
    types = {"response": "application/http; msgtype=response", "request": "application/http; msgtype=request",
             "conversion": "text/plain", "warcinfo": "application/warc-fields", "metadata": "application/warc-fields"}  # fmt: skip
    head = {"WARC-Type": kind, "WARC-Record-ID": f"<urn:uuid:00000000-0000-4000-8000-{number:012d}>",
            "WARC-Date": f"2026-01-02T03:04:{number % 60:02d}Z", "WARC-Target-URI": url or f"http://example.org/{number}",
            "Content-Type": types.get(kind, "text/html")}  # fmt: skip
    head |= {name.replace("_", "-"): value for name, value in fields.items()}
    head["Content-Length"] = str(len(block) if length is None else length)
    return b"WARC/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in head.items()).encode() + b"\r\n" + block + b"\r\n\r\n"


def crawl(count: int = 12, languages: tuple[str, ...] = ("en", "zh")) -> list[bytes]:
    """Records as a crawler leaves them: its own, and for each page a request, the response and a note."""
    found = [record("warcinfo", b"software: test\r\n")]
    for i in range(count):
        language = languages[i % len(languages)]
        found.append(record("request", f"GET /{i} HTTP/1.1\r\nHost: example.org\r\n\r\n".encode(), i))
        found.append(record("response", http(page(f"Page {i}", paragraphs(i, language), language)), i))
        found.append(record("metadata", b"fetchTimeMs: 12\r\n", i))
    return found


def write(path: Path, records: list[bytes]) -> list[int]:
    """The records in a file, packed one by one as its name says; the byte at which each begins there."""
    pack = {".gz": lambda data: gzip.compress(data, mtime=0), ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix, lambda data: data)
    packed = [pack(data) for data in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(packed))
    return [sum(map(len, packed[:i])) for i in range(len(packed))]
