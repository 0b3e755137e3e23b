"""The input of benchmarks/corpus.py: real prose of the shipped samples, as documents and as web pages in a WARC.

A document is a run of paragraphs of a novel or a speech, about 2.6 kB, in English or in Chinese. A page wraps it in what
pages have around their text (navigation, teasers, a footer, scripts), about 9 kB. A tenth are near-duplicates: another
document with a few words changed and a tail of its own.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from html import escape
from pathlib import Path

SAMPLES = Path(__file__).parent.parent / "yanmo" / "samples"
PROSE = {"en": ("moby_dick", "state_of_the_union"), "zh": ("sanguo",)}
CHARACTERS = {"en": 2600, "zh": 870}  # of a document; three bytes each in Chinese
SENTENCE = {"en": re.compile(r"(?<=[.!?]) "), "zh": re.compile(r"(?<=[。！？”])(?=[^。！？”])")}
GAP = {"en": " ", "zh": ""}
PIECES = re.compile(r"\n|[^\n]{1,2}")  # of a Chinese text, where an English one has its words
TAIL = {"en": "\nPrinted again as number {number} of this series, by permission of its editor.",
        "zh": "\n本文经编者许可转载，为本丛书第{number}号，版权归原作者所有。"}  # fmt: skip
TAILS = {"en": " And a tail of its own, number {number}.", "zh": "此为第{number}号之尾。"}
LINKS = ["Home", "World", "Politics", "Business", "Science", "Books", "Travel", "Opinion", "Weather", "About us", "Contact",
         "Subscribe", "Archive", "Letters", "Privacy", "Terms"]  # fmt: skip
WORDS = {  # of a page: links, story, how long ago, title, the one above related stories, the one at the end
    "en": (LINKS, "story", "min ago", "Article", "Related", "Copyright. All rights reserved."),
    "zh": (["首页", "国际", "政治", "财经", "科学", "读书", "旅游", "评论", "天气", "关于我们", "联系方式", "订阅", "隐私"],
           "新闻", "分钟前", "文章", "相关阅读", "版权所有，保留一切权利。"),
}  # fmt: skip


def units(body: str, language: str) -> list[str]:
    return body.split(" ") if language == "en" else PIECES.findall(body)


def documents(count: int, seed: int = 0, language: str = "en") -> list[str]:
    rng = random.Random(seed)
    paragraphs: list[str] = []
    for name in PROSE[language]:
        for path in sorted((SAMPLES / name).glob("*.jsonl*")):
            with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as handle:
                for line in handle:
                    for part in json.loads(line)["text"].split("\n\n" if language == "en" else "\n"):
                        paragraphs += divided(" ".join(part.split()), language)
    found: list[str] = []
    held: list[str] = []
    for paragraph in paragraphs:
        if len(paragraph) < CHARACTERS[language] // 43:
            continue
        held.append(paragraph)
        if sum(map(len, held)) >= CHARACTERS[language] * rng.uniform(0.6, 1.4):
            found.append("\n".join(held))
            held = []
    rng.shuffle(found)
    found = found[:count]
    for index in range(9, len(found), 10):
        words = units(found[rng.randrange(index)], language)
        for place in rng.sample(range(len(words)), max(1, len(words) // 200)):
            words[place] = rng.choice(words)
        found[index] = GAP[language].join(words) + TAIL[language].format(number=index)
    return found


def divided(paragraph: str, language: str) -> list[str]:
    """A paragraph of many sentences as several of about 600 bytes: some speeches have none of their own."""
    found, held = [], ""
    for sentence in SENTENCE[language].split(paragraph):
        held = f"{held}{GAP[language]}{sentence}".strip()
        if len(held) >= CHARACTERS[language] * 6 // 26:
            found.append(held)
            held = ""
    return [*found, held] if held else found


def many(count: int, seed: int = 1, language: str = "en") -> list[str]:
    """More documents than there is prose: the later ones have its words in another order; a tenth are near-duplicates."""
    rng, base = random.Random(seed), documents(1 << 30, language=language)
    found: list[str] = []
    for number in range(count):
        body = base[number % len(base)]
        if number >= len(base):
            words = units(body, language)
            rng.shuffle(words)
            body = GAP[language].join(words)
        if number % 10 == 9:
            body = found[rng.randrange(number)] + TAILS[language].format(number=number)
        found.append(body)
    return found


def page(body: str, number: int, language: str = "en") -> str:
    rng = random.Random(number)
    links, story, ago, article, related, rights = WORDS[language]
    menu = "".join(f'<li class="nav-item"><a href="/{name.lower()}">{name}</a></li>' for name in links)
    teasers = "".join(
        f'<div class="teaser"><a href="/story/{rng.randrange(10**6)}"><img src="/img/{rng.randrange(10**6)}.jpg" alt="">'
        f"<h4>{rng.choice(links)}: {story} {rng.randrange(1000)}</h4></a><span>{rng.randrange(1, 59)} {ago}</span></div>"
        for _ in range(18)
    )
    text = "\n".join(f"<p>{escape(part)}</p>" for part in body.split("\n"))
    return (f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8"><title>{article} {number}</title>'
            f'<script>window.data={{"id":{number},"tags":[1,2,3]}};</script><style>.nav{{color:#333}}.teaser{{margin:2px}}</style></head>'
            f'<body><header><nav><ul class="nav">{menu}</ul></nav></header><main><article><h1>{article} {number}</h1>'
            f"\n{text}\n</article>"
            f'</main><aside class="related"><h3>{related}</h3>{teasers}</aside><footer><ul>{menu}</ul>'
            f"<p>{rights}</p></footer></body></html>\n")  # fmt: skip


def record(html: str, number: int) -> bytes:
    payload = html.encode("utf-8")
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
    body = head + payload
    return (f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://www.example.org/article/{number}\r\n"
            f"WARC-Date: 2026-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-{number:012d}>\r\n"
            "Content-Type: application/http; msgtype=response\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body + b"\r\n\r\n"  # fmt: skip


def write(folder: Path, count: int, language: str = "en") -> dict[str, int]:
    """`docs/docs.jsonl` and `warc/pages.warc.gz` of the same documents; how many and how large."""
    bodies = documents(count, language=language)
    (folder / "docs").mkdir(parents=True)
    (folder / "warc").mkdir()
    with open(folder / "docs" / "docs.jsonl", "w", encoding="utf-8") as handle:
        handle.writelines(
            json.dumps({"text": body, "id": str(number)}, ensure_ascii=False) + "\n" for number, body in enumerate(bodies)
        )
    html = archive(folder / "warc" / "pages.warc.gz", bodies, language)
    return {"documents": len(bodies), "text_bytes": sum(len(body.encode()) for body in bodies), "html_bytes": html}


def archive(path: Path, bodies: list[str], language: str = "en") -> int:
    """The pages of `bodies` as a web archive, one gzip member each; the bytes of HTML."""
    html = 0
    with open(path, "wb") as out:
        for number, body in enumerate(bodies):
            shown = page(body, number, language)
            html += len(shown.encode())
            out.write(gzip.compress(record(shown, number), 6, mtime=0))
    return html
