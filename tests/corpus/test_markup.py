"""The wikitext cleaner: each construct, English and Chinese pages against an oracle, and text meant to hurt."""

from __future__ import annotations

import random
import re
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import ODD, chinese, english
from tests.corpus.wiki_pages import HARBOUR, LIGHTHOUSE, LIGHTHOUSE_TEXT, MOUNTAIN, MOUNTAIN_TEXT
from yanmo.corpus.wikitext.markup import Markup, clean

# ---------------------------------------------------------------------------------------------- what each thing becomes

CASES = [
    # links
    ("a [[bus]]es and [[Aldmouth (town)|Aldmouth]]", "a buses and Aldmouth"),
    ("[[:Category:Ships]] and [[:fr:Paris]] stay", "Category:Ships and fr:Paris stay"),
    ("[[#History|above]], [[A#B]], [[wikt:word|a word]], [[en:X|label kept]]", "above, A#B, a word, label kept"),
    ("one[[Category:Ships|Key]] two\n[[fr:Paris]]\n[[zh-min-nan:Pa-lî]]", "one two"),
    ("[[File:A.jpg|thumb|200px|cap [[link|l]] and [[File:B.jpg]] ''x'']]text", "text"),
    ("前[[文件:甲.jpg|缩略图|说明[[乙|丙]]]]后[[图像:丁.png]][[分类:戊]]", "前后"),
    ("[[Image:a.jpg|thumb|never closed [[link]] here\nnext line", "next line"),
    ("[[File:a.jpg|thumb|no end\n\nA paragraph with [[b]] and a stray]] end.", "A paragraph with b and a stray end."),
    ("an [[open link and [[real|closed]] text", "an open link and closed text"),
    ("[[a [[b]] c]]", "a b c"),
    ("[[a|b|c]]", "b|c"),
    ("x ]] y [[", "x y"),
    ("x ]] y", "x ]] y"),
    ("[http://example.org a label] [https://example.org] [//example.org b] [mailto:a@b.c mail] [not a link]", "a label b mail [not a link]"),
    ("http://example.org/a_b stays", "http://example.org/a_b stays"),
    # templates
    ("a{{cite|b={{c|d}}|e}} f {{{param|default}}} g", "a f g"),
    ("{{lang|fr|bonjour}} {{lang-de|Tag}} {{transl|zh|Běijīng}} {{lang|la|[[Roma|Urbs]]}} {{Lang|it|''ciao''}}", "bonjour Tag Běijīng Urbs ciao"),
    ("{{nowrap|a b}} {{small|{{nowrap|c {{lang|en|d}}}}}} {{abbr|HMS|His Majesty's Ship}}", "a b c d HMS"),
    ("{{convert|5|km|mi}}; {{convert|5|to|10|km|mi}}; {{cvt|6|ft|2|in|m}}; {{convert|3|-|4|sqmi}}; {{convert|20|C}}", "5 km; 5 to 10 km; 6 ft 2 in; 3–4 sq mi; 20 °C"),
    ("1920{{ndash}}1930, a{{snd}}b, {{frac|1|2}}, {{frac|2|1|3}}, {{circa|1850}}, {{as of|2010|5|lc=y}}", "1920–1930, a – b, 1/2, 2 1/3, c. 1850, as of 5 2010"),
    ("{{lang|fr|1=ignored|2=numbered}} {{nowrap|a=b}}", "numbered"),
    ("Beijing ({{zh|s=北京|t=北京|p=Běijīng}}) and Taipei ({{lang-zh|臺北}}; {{IPA|x}})", "Beijing (北京) and Taipei (臺北)"),
    ("毛某（{{bd|1893年|12月26日|1976年|9月9日|catIdx=M}}）、{{tsl|en|Pine|松树}}、{{link-en|松|Pine}}", "毛某（（1893年12月26日—1976年9月9日））、松树、松"),
    ("{{#if:{{#expr:1/0}}|yes|no}}{{#invoke:Lua|os.exit}}{{#expr:__import__('os')}}done", "done"),
    ("{{Infobox never closed\n| a = b\n| c = {{d}}\nThe text.", "The text."),
    ("a {{ open b", "a open b"),
    ("a }} b", "a }} b"),
    ("{{{{{x}}}}} {{{{x}}}} y", "{} y"),
    # tables
    ("before\n{| class=x\n! a !! b\n|-\n| c || d\n{| \n| inner\n|}\n|}\nafter", "before\n\nafter"),
    (":{|\n| a\n|}\nb", "b"),
    ("{| class=x\n| never\n! closed\n|-\ntext that follows", "text that follows"),
    ("{{(!}}\n| a {{!}} b\n{{!)}}x", "x"),
    # tags
    ("a<ref>b [[c]] {{d}}</ref>e<ref name=x/>f<REF name='y' >g</Ref >h", "aefh"),
    ("a<!-- b {{ [[ -->c<!-- never closed", "ac never closed"),
    ("x <nowiki>[[a]] {{b}} ''c'' &lt;</nowiki> y<nowiki/>z", "x [[a]] {{b}} ''c'' < yz"),
    ("<code>f(x)</code> <syntaxhighlight lang=py inline>a[[0]]</syntaxhighlight>\n<syntaxhighlight lang=py>\nx = [[1]]\n</syntaxhighlight>\n<source>y</source>z", "f(x) a[[0]]\nz"),
    ("<pre>\n a  [[b]]\n</pre>", "a  [[b]]"),
    ("a<math>x^{{2}}</math>b<gallery>\nA|[[b]]\n</gallery><timeline>c</timeline><score>d</score>", "ab"),
    ("H<sub>2</sub>O<br />next <span style='x'>a</span><div>b</div> 1 < 2 > 0", "H2O\nnext a\nb\n1 < 2 > 0"),
    ("AT&amp;T &nbsp; &#8211; &#x4e2d; &notanentity; a & b", "AT&T – 中 &notanentity; a & b"),
    ("a <ref>never closed [[b]]", "a never closed b"),
    # quotes, magic words, rules
    ("'''bold''' ''italic'' '''''both''''' don't", "bold italic both don't"),
    ("__NOTOC__ a __TOC__ __init__ b __消歧义__", "a __init__ b"),
    ("a\n----\nb\n-----c", "a\nb\nc"),
    # lines
    ("* a\n** b\n# c\n;d\n: e\n:::f", "a\nb\nc\nd\ne\nf"),
    ("a\nb\n\n\n\nc", "a\nb\n\nc"),
    ("== A ==\ntext\n=== B ===\n== C ==\n=== D ===\nmore\n==E==", "A\n\ntext\n\nC\n\nD\n\nmore"),
    ("= = =\n==\na == b\n== c", "=\n\na == b\n== c"),
    ("== References ==\na\n=== sub ===\nb\n== Next ==\nc\n=== 参考文献 ===\nd\n=== 其他 ===\ne", "Next\n\nc\n\n其他\n\ne"),
    ("a ({{x}}) b (; c) d (e, ) f() （{{x}}；{{y}}） g（，h） i , j .", "a b (c) d (e) f() g（h） i, j."),
    ("it is:\n:<math>x</math>,\nwhere ( {{IPA|x}} y) ; z\n…… !", "it is:\nwhere (y); z\n…… !"),
    ("", ""),
    (" \n\t\n", ""),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), CASES)
def test_each_construct(source, expected):
    assert clean(source) == expected


VARIANTS = [
    ("-{zh-hans:激光;zh-hant:雷射}-", "激光", "雷射"),
    ("-{zh-cn:软件; zh-tw:軟體; zh-hk:軟件;}-", "软件", "軟體"),
    ("-{原文}-", "原文", "原文"),
    ("-{A|zh-cn:甲;zh-tw:乙}-、-{T|zh-cn:甲;zh-tw:乙}--{H|zh-cn:甲;zh-tw:乙}--{-|zh-cn:甲}-", "甲、", "乙、"),
    ("-{R|原样}--{zh-hans|简}--{zh-hant;zh-tw|繁}-", "原样简", "原样繁"),
    ("-{A=>zh-cn:甲;A=>zh-tw:乙}-", "甲", "乙"),
    ("-{zh:众;zh-hk:港}-", "众", "港"),
    ("甲-{zh-hans:[[计算机|电脑]];zh-hant:[[電腦]]}-乙[[-{zh-hans:丙;zh-hant:丁}-]]", "甲电脑乙丙", "甲電腦乙丁"),
    ("-{zh-hans:外-{zh-hans:内;zh-hant:裡}-;zh-hant:他}-", "外内", "他"),
    ("f-{x -{zh-hans:甲;zh-hant:乙}- }- end", "fx 甲 end", "fx 乙 end"),
    ("-{ never closed, e^{-{x}}", "-{ never closed, e^{-{x}}", "-{ never closed, e^{-{x}}"),
    ("{{lang|zh|-{zh-hans:简;zh-hant:繁}-}}", "简", "繁"),
]


@pytest.mark.parametrize(("source", "simplified", "traditional"), VARIANTS)
def test_variants(source, simplified, traditional):
    assert clean(source) == simplified
    assert clean(source, Markup(variant="zh-cn")) == simplified
    assert clean(source, Markup(variant="zh-tw")) == traditional


def test_tables_as_text():
    table = (
        'a\n{| class="wikitable"\n|+ Keepers\n! Name !! style="x" | From\n|-\n| [[Ann Pell|Ann]] || colspan="2" | 1821\n|-\n|\n* one\n* two\n'
        "| E=mc²\n|-\n|\n{|\n| inner || cell\n|}\n|}\nb"
    )
    assert clean(table, Markup(tables="text")) == "a\n\nKeepers\nName | From\nAnn | 1821\n* one * two | E=mc²\ninner | cell\n\nb".replace("* one", "one", 1)
    assert clean(table) == "a\n\nb"


def test_sections_are_chosen():
    body = "a\n== See also ==\nb\n== Early Life ==\nc"
    assert clean(body) == "a\n\nEarly Life\n\nc"
    assert clean(body, Markup(sections=frozenset())) == "a\n\nSee also\n\nb\n\nEarly Life\n\nc"
    assert clean(body, Markup(sections=frozenset({"early life"}))) == "a\n\nSee also\n\nb"


def test_a_dump_names_its_own_namespaces():
    assert clean("a[[Lêer:b.jpg|duimnael|c]]d", Markup(removed=frozenset({"lêer"}))) == "ad"


def test_whole_pages():
    assert clean(LIGHTHOUSE) == LIGHTHOUSE_TEXT
    assert clean(MOUNTAIN) == MOUNTAIN_TEXT


# ---------------------------------------------------------------------------------------------- against an oracle


def words(body: str) -> list[str]:
    return re.findall(r"[a-z0-9]+|[\u3400-\u9fff]", body.lower())


def overlap(ours: list[str], theirs: list[str]) -> float:
    """The share of words that both have, as often as both have them, among those of either."""
    from collections import Counter

    a, b = Counter(ours), Counter(theirs)
    return (a & b).total() / max((a | b).total(), 1)


@pytest.mark.parametrize("page", ["lighthouse", "mountain", "harbour"])
def test_the_words_are_those_of_mwparserfromhell(page):
    oracle = pytest.importorskip("mwparserfromhell")
    source = {"lighthouse": LIGHTHOUSE, "mountain": MOUNTAIN, "harbour": HARBOUR}[page]
    theirs = oracle.parse(source).strip_code()
    ours = clean(source, Markup(sections=frozenset()))
    # what the oracle leaves in place: parameters of pictures, cells of tables, categories, and the -{…}- of variants
    theirs = re.sub(r"(?:thumb|left|upright=1\.2|缩略图|右)\||Category:\S.*|分类:.*|(?:fr|zh|en):.*|-\{(?:[AT]\|)?zh-(?:hans|cn):([^;]*);[^}]*\}-", r"\1", theirs)
    assert overlap(words(ours), words(theirs)) > 0.7
    sentences = [line for line in ours.split("\n") if len(words(line)) > 12]
    assert sentences or page == "harbour"
    for sentence in sentences:  # and in the running text few words differ: those of {{lang}}, {{convert}}, {{bd}}
        found = [word for word in words(sentence) if word in set(words(theirs))]
        assert len(found) / len(words(sentence)) > 0.85, sentence


# ---------------------------------------------------------------------------------------------- properties

MARKED = st.lists(
    st.sampled_from(["{{", "}}", "[[", "]]", "{|", "|}", "|-", "\n", "|", "''", "-{", "}-", "zh-hans:", ";", "<ref>", "</ref>", "<ref name=a/>", "<!--", "-->", "<nowiki>", "</nowiki>", "{{{", "}}}", "[http://a ", "]", "File:", "Category:", "lang|en|", "nowrap|", "convert|", "= ", "==", "*", ":", "a", "词", " ", "__TOC__", "&lt;", "<br>", "<math>", "\x00", "\x01", "0", "👩‍👩‍👧‍👦"]),
    max_size=60,
).map("".join)  # fmt: skip


@settings(max_examples=400, deadline=None, derandomize=True)
@given(MARKED)
def test_any_markup_is_cleaned_to_bounded_text(source):
    for markup in (Markup(), Markup(tables="text", sections=frozenset(), variant="zh-tw")):
        text = clean(source, markup)
        assert text == text.strip()
        assert len(text) <= 2 * len(source) + 20
        assert "\x00" not in text
        assert "\x01" not in text


JUNK = ["<ref>{{cite|[[a]]|''b''}}</ref>", "{{x|{{y|z}}\n| q = 1}}", "<!-- c [[ -->", "[[File:a.jpg|thumb|b [[c|d]] e]]", "[[Category:f|g]]", "\n{|\n! h\n|-\n| i || j\n|}\n", "<gallery>\nk\n</gallery>", "[[de:L]]", "__NOTOC__", "-{T|zh-hans:m;zh-hant:n}-", "<math>o</math>"]  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.sampled_from(JUNK), st.integers(0, 10**6)), max_size=30))
def test_prose_survives_whatever_stands_between(pieces):
    rng = random.Random(0)
    source, kept = "", []
    for piece in pieces:
        if isinstance(piece, int):
            prose = english(random.Random(piece), 5) if piece % 2 else chinese(random.Random(piece), 12)
            kept.append(prose)
            source += rng.choice([f" {prose} ", f"\n\n{prose}\n", f" [[{prose}]] ", f" [[Target|{prose}]] ", f" '''{prose}''' ", f" {{{{nowrap|{prose}}}}} ", f"\n* {prose}\n"])
        else:
            source += piece
    assert clean(source).split() == " ".join(kept).split()


@pytest.mark.parametrize("body", [*ODD, "plain words, nothing else.", "第一段。\n\n第二段，没有标记。", "x² + y² (see below)"])
def test_text_without_markup_is_left_alone(body):
    assert clean(body) == body


# ---------------------------------------------------------------------------------------------- text meant to hurt

HURTING = ["[[", "{{", "{{{", "{|\n", "|}\n", "]]", "}}", "}-", "-{", "-{A|", "-{zh-hans:a;", "'", "''", "<ref>", "<ref name=", "<ref", "</ref>", "<!--", "<nowiki>", "<math>", "<b", "<b ", "<", "&", "&#", "&lt", "[http://a ", "[http://a", "[//", "[mailto:", "[[File:a|", "[[File:a\n", "[[File:a.jpg|[[b]]", "[[fr:", "[[a|", "[[a\n", "{{lang|en|", "{{nowrap|[[", "{{nowrap|a=", "{{convert|", "{{!}}", "{{x}}", "|", "\n|", "\n!", "=", "\n=", "\n==a==", "*", ";", ":", ";a:", " ", "\t", "\n", " ,", "( ", "(", "（", ",", "、", "__", "__TOC", "----", "\x01", "天", " (,", ";zh:", "-{a;b;", "a=>", "<pre>", "<syntaxhighlight inline>", "{{ a", "\n{{a", "{{#if:", "[["]  # fmt: skip
PAIRS = [("{{", "}}"), ("[[", "]]"), ("-{", "}-"), ("{|\n", "\n|}"), ("{{lang|en|", "}}"), ("{{{", "}}}"), ("[[File:a|", "]]"), ("[[File:a\n", "]]"), ("[[a|", "]]"), ("<ref>", "</ref>"), ("-{zh-hans:", "}-"), ("{{", "}}}"), ("{|\n{{!}}", "|}"), ("<nowiki>", "</nowiki>")]  # fmt: skip


def steps(source: str) -> int:
    """How many lines of Python cleaning takes."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        clean(source)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(("opening", "closing"), [*((one, "") for one in HURTING), *PAIRS])
def test_as_much_more_text_takes_as_many_more_steps(opening, closing):
    few, more, most = (steps(opening * n + closing * n) for n in (1000, 2000, 3000))
    assert most - more <= 1.2 * (more - few) + 100


@pytest.mark.parametrize(("opening", "closing"), [*((one, "") for one in HURTING), *PAIRS])
def test_what_is_matched_by_patterns_is_linear_too(opening, closing):
    """A quarter of a million characters in well under a second; anything quadratic would take minutes."""
    n = 250_000 // len(opening + closing)
    started = time.process_time()
    clean(opening * n + closing * n)
    clean((opening + "a") * n + ("b" + closing) * n, Markup(tables="text"))
    assert time.process_time() - started < 8


def test_sizes_that_have_been_seen_to_hurt():
    started = time.process_time()
    for source in ("[[" * 20_000, "{{" * 20_000, "{|\n" * 3000, "'" * (1 << 20), "{{lang|en|" * 20_000 + "x" * (1 << 20) + "}}" * 20_000):
        assert len(clean(source)) <= len(source)
    assert time.process_time() - started < 8
