"""Which encoding a file of plain text is in, told from its bytes, or not told at all.

A byte order mark decides; else UTF-8, where the bytes are valid as such; else that one of GB18030 (GBK and GB2312 are
parts of it), Big5, Shift-JIS, EUC-JP and Windows-1252 (Latin-1) in which the bytes are not only valid, but text. For the first
four that is told by the characters that make up the better part of any text: of running Chinese the few hundred commonest
are more than half, while bytes read in the wrong one of these encodings give characters from all over the table. For
Windows-1252 letters beyond ASCII stand in words among plain ones. Detectors by byte statistics err on short texts, and
what these hold differs between their versions; a corpus must not. What fits nothing (a picture, another encoding) is left.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

LOOK = 4 << 20  # bytes of a file that are looked at: all of it, or the first quarter of this and
WINDOWS, WINDOW = 48, 64 << 10  # so many pieces from all over it
PAGE = 64 << 10  # bytes in which characters are counted, from the front of what is looked at: validity is for all of it

MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"), (b"\x84\x31\x95\x33", "gb18030"),
)  # fmt: skip

# The characters that are in every text, simplified and traditional, and the punctuation of both.
COMMON = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经十三之进着"
    "等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事平形相全表间样与关各重新线"
    "内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最立代想已通并提直题党程展五果料象员革位入常文总次品式活设及"
    "管特件长求老头基资边流路级少图山统接知较将组见计别她手角期根论运农指几九区强放决西被干做必战先回则任取据处府今再身话走字书名吃听真给让叫言"
    "這個國時來們產種後學經對會發動過說為於與關從業應開還沒結問題無軍見長點實體當機東車馬門間書話語頭電氣萬義華樣變條總讓給聽愛邊進處幾將數傳記"
    "认识号码标准测试信息网络系统使用文件数据内容世界历史城市北京上海台灣香港臺灣認識號碼標測試網絡檔歷"
    "却曰兵王曹操玄德主君臣夫故吾汝乃遂何若安春秋风花夜江云月雨雪飞鸟人生白青红黄空寒酒诗歌思归風雲飛鳥紅黃詩歸"
)
PUNCTUATION = "，。、；：？！「」『』《》〈〉（）“”‘’…—　·"
COMMONEST = re.compile(f"[{COMMON}{PUNCTUATION}]")
MARKED = re.compile(f"[{PUNCTUATION}]")
IDEOGRAPHS = re.compile("[\u2e80-\u2fdf\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\u30fc]")
ODD = re.compile("[\ue000-\uf8ff\uff61-\uff9f\u0080-\u009f\u3105-\u312f]")  # private use, half-width kana, controls
KANJI = re.compile("[日本人一大年会国中出上時分者事生見行前入自間地部合場方手通内今気言思的来用目作何学新体動全]")

CONTROLS = re.compile(rb"[\x00-\x07\x0e-\x19\x1c-\x1f\x7f]")  # without those that are in texts: \b \t \n \v \f \r ^Z ESC
HIGH = re.compile(rb"[\x80-\xff]")
WORD = "A-Za-z"
LETTER = "À-ÖØ-öø-ÿŠšŽžŒœŸß"
ALIEN = "[^\x00-\x7f\xa0‘’“”«»–—¿¡A-Za-zÀ-ÿ]"  # beyond ASCII and neither a letter nor what stands beside other signs
LATIN = re.compile(  # a character beyond ASCII that is where Western text has such
    f"(?<=[{WORD}])[{LETTER}]|[{LETTER}](?=[{WORD}])"  # naïve, élan, Fräulein
    f"|(?<![^\\s'’(\"“«/-])[àâÀéÉèêÊóöÖåÅæøØíúáyô](?![^\\s.,;:!?)'’\"”»/-])"  # à, é, å alone
    "|(?<=[A-Za-z.,;:!?…)\\d])[’”»](?!\\w)|(?<=[A-Za-z])’(?=[A-Za-zÀ-ÿ])|[‘“«„‚](?=[A-Za-zÀ-ÿ’\\d¡¿.…\xa0])|(?<=[.,!?\xa0])[’”»]"
    f"|(?<!{ALIEN})(?:[–—…•°·\xa0\xad]|[€£¢¥§©®™½¼¾²³±×÷†](?![A-Za-z])|(?<=\\d)[ªº]|(?<![\\w.,:!?)])[¿¡](?=[A-Za-z¿¡]))(?!{ALIEN})"
)

LETTERS = re.compile(f"[{WORD}{LETTER}]")

CONFIDENT = 0.25  # share of the commonest among a text's ideographs and punctuation: prose .5, verse .35, a wrong reading .03
FEWEST = 4  # ideographs and kana without which nothing is told
TWICE = 2.0  # by how much the best reading has to be better than the next


@dataclass(frozen=True)
class Encoding:
    """A codec's name, and how many bytes of byte order mark stand in front of the text."""

    name: str
    mark: int = 0


def of(data: bytes, *, cut: bool = False) -> Encoding | None:
    """The encoding of a text; None where none fits. `cut`: the data may end inside a character."""
    for mark, name in MARKS:
        if data.startswith(mark):
            return Encoding(name, len(mark))
    if data.isascii():
        return None if _binary(data) else Encoding("utf-8")
    if _decoded(data, "utf-8", cut) is not None:
        return None if _binary(data) else Encoding("utf-8")
    if _binary(data) or data.count(0) > len(data) // 1000:
        return None
    whole, first = len(data), HIGH.search(data).start()  # type: ignore[union-attr]
    data = data[data.rfind(b"\n", 0, first) + 1 if first > PAGE else 0 :]  # a front of plain ASCII says nothing
    page = data[:PAGE].decode("utf-8", "replace")
    broken = page.count("\ufffd")
    if _beyond(page) - broken > 8 * broken:
        return Encoding("utf-8")  # with damage, which is found again where the text is read
    (best, name), (second, _), *_ = sorted((_score(data, family, cut) for family in FAMILIES), reverse=True)
    if best >= CONFIDENT and best >= TWICE * second:
        return Encoding(name)
    if best < CONFIDENT and _western(data):
        return Encoding("cp1252")
    if 50 * len(HIGH.findall(data)) < whole:
        return Encoding("utf-8")  # ASCII but for a few bytes, which nothing explains
    return None


def of_file(handle: IO[bytes], size: int | None) -> Encoding | None:
    """The encoding of a file of `size` bytes (None: not known, and then its front decides). An empty one is UTF-8."""
    handle.seek(0)
    if size is None or size <= LOOK:
        data = handle.read(LOOK + 1)
        return of(data[:LOOK], cut=len(data) > LOOK)
    return of(b"".join(_pieces(handle, size)), cut=True)


def _pieces(handle: IO[bytes], size: int) -> Iterator[bytes]:
    """The front, then the whole lines of windows at even distances; of what has no lines, the front alone."""
    front = handle.read(LOOK // 4)
    border = front.rfind(b"\n") + 1
    if border < LOOK // 8 or front.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield front
        return
    yield front[:border]
    for index in range(WINDOWS):
        handle.seek(len(front) + (size - len(front) - WINDOW) * index // WINDOWS)
        window = handle.read(WINDOW)
        yield window[window.find(b"\n") + 1 : window.rfind(b"\n") + 1]


def _binary(data: bytes) -> bool:
    """Whether so many control characters are among the bytes that these are no text."""
    page = data[:PAGE]
    return len(CONTROLS.findall(page)) * 100 > 2 * len(page)


def _beyond(text: str) -> int:
    """How many characters are beyond ASCII."""
    return len(text) - len(text.encode("ascii", "ignore"))


def _decoded(data: bytes, name: str, cut: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(name)().decode(data, final=not cut)
    except UnicodeDecodeError:
        return None


# What is tried for each family, the narrower first: they differ in rare characters.
FAMILIES = (("gb18030",), ("big5", "cp950", "big5hkscs"), ("shift_jis", "cp932"), ("euc_jp",))
JAPANESE = ("shift_jis", "cp932", "euc_jp")


def _score(data: bytes, family: tuple[str, ...], cut: bool) -> tuple[float, str]:
    """(share of the characters beyond ASCII that every text of this family has, the codec); 0 where it does not fit."""
    fitting = ((name, _decoded(data, name, cut)) for name in family)
    name, text = next(((name, text) for name, text in fitting if text is not None), (family[-1], None))
    if text is None:  # a broken character in a long text: the text is told all the same, and what is broken found later
        text = data[:PAGE].decode(name, "replace")
        if text.count("\ufffd") * 500 > len(text):
            return 0.0, name
    text = text[:PAGE]
    kana, ideographs, marks = (len(kind.findall(text)) for kind in (KANA, IDEOGRAPHS, MARKED))
    beyond = _beyond(text)
    if kana + ideographs < FEWEST or 10 * len(ODD.findall(text)) > beyond or 2 * (kana + ideographs + marks) < beyond:
        return 0.0, name
    if name in JAPANESE:
        return (kana + len(KANJI.findall(text))) / (kana + ideographs) * (kana > 0), name
    if 5 * kana > ideographs:
        return 0.0, name  # Japanese, in an encoding whose kana lie where those of this one do
    return len(COMMONEST.findall(text)) / (ideographs + marks), name


def _western(data: bytes) -> bool:
    """Whether the bytes beyond ASCII are where a Western text has them."""
    text = _decoded(data, "cp1252", False)
    if text is None:
        return False
    text = text[:PAGE]
    letters = len(LETTERS.findall(text))
    beyond = _beyond(text)
    if ("¡" in text and "!" not in text) or ("¿" in text and "?" not in text):
        return False  # what closes them is never far; the first is also where Big5 has its punctuation
    return beyond * 3 < letters and len(LATIN.findall(text)) * 10 >= beyond * 9
