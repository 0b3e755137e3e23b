"""The step: what is found in English and Chinese, what is left alone, and what stands in its place."""

from __future__ import annotations

import json
import pickle
import random
import sys
import time
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus import pii_cases as cases
from tests.corpus.corpora import run, write_jsonl
from yanmo.core.data import Document, Origin, Rejection, content_id
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.package import HOME
from yanmo.core.registry import create
from yanmo.corpus.pii import gate
from yanmo.corpus.pii.scanner import scanner
from yanmo.corpus.pii.span import FOLDED, KINDS, Span, fold, resolve

REGIONS = ("US", "GB", "CN")
find = scanner(KINDS, REGIONS).find


def step(**settings_):
    return create("step", {"type": "pii", **settings_})


def document(body: str, **meta) -> Document:
    return Document(content_id(body), body, Origin("a", None, 0, 1), meta=meta)


def after(body: str, **settings_) -> Document:
    [doc] = step(**settings_).rows(iter([document(body)]))
    return doc


def found(body: str) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.kind) for span in find(body)]


# ---------------------------------------------------------------------------------------------- finds


@pytest.mark.parametrize("marked", cases.POSITIVE)
def test_what_is_marked_is_found_and_nothing_else(marked):
    body, spans = cases.plain(marked)
    assert [(body[a:b], kind) for a, b, kind in found(body)] == [(body[a:b], kind) for a, b, kind in spans]
    assert found(body) == spans


@pytest.mark.parametrize("body", cases.NEGATIVE)
def test_what_only_looks_like_it_is_left_alone(body):
    assert [(body[a:b], kind) for a, b, kind in found(body)] == []


def test_every_kind_is_among_the_cases():
    counts = dict.fromkeys(KINDS, 0)
    for marked in cases.POSITIVE:
        for _, _, kind in cases.plain(marked)[1]:
            counts[kind] += 1
    assert len(KINDS) >= 11
    assert min(counts.values()) >= 3, counts


def test_precision_and_recall_with_prose_around():
    """All cases in one text, between Chinese and English sentences: places are right behind emoji and surrogates' range too."""
    wanted, body = [], "开头👩‍👩‍👧‍👦 e\u0301. "
    for marked, decoy in zip(cases.POSITIVE * 2, cases.NEGATIVE * 2):
        if "BEGIN" in decoy:
            continue
        part, spans = cases.plain(marked)
        body += f"\n\n却说曹操引军追赶刘备至江边。 The bells rang; {decoy}.\n\n"
        wanted += [(a + len(body), b + len(body), kind) for a, b, kind in spans]
        body += part
    got = set(found(body))
    hits = len(got & set(wanted))
    precision, recall = hits / len(got), hits / len(set(wanted))
    assert precision >= 0.99, sorted((body[a:b], kind) for a, b, kind in got - set(wanted))
    assert recall >= 0.99, sorted((body[a:b], kind) for a, b, kind in set(wanted) - got)


PROVED = [cases.VISA, cases.MASTER, cases.AMEX, cases.UNION, cases.DEBIT19, cases.BEIJING, cases.SHANGHAI, cases.GERMAN, cases.FRENCH, cases.COMPANY, cases.SCHOOL]


@pytest.mark.parametrize("number", PROVED)
def test_a_changed_digit_is_not_found(number):
    """Check digits of cards, residents, organisations and IBANs tell every single changed digit."""
    assert found(f"号 {number} 。")
    digits = [i for i, c in enumerate(number) if c.isdigit()]
    for place in digits:
        for other in "0123456789":
            if other == number[place]:
                continue
            changed = number[:place] + other + number[place + 1 :]
            assert not [kind for _, _, kind in found(f"号 {changed} 。") if kind != "phone"], changed


def test_samples_of_real_prose_hold_none(capsys):
    """Novels, speeches and poems in both languages: nothing in them is anybody's number."""
    hits = []
    texts = 0
    for path in sorted((HOME / "samples").glob("*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            body = json.loads(line).get("text", "")  # a set for evaluation has none
            texts += bool(body)
            hits += [(path.parent.name, span.kind, body[span.start : span.end]) for span in find(body)]
    assert texts > 10_000
    assert hits == []


def test_every_decimal_digit_and_full_width_letter_folds_in_place():
    for point in range(sys.maxunicode + 1):
        value = unicodedata.decimal(chr(point), None)
        if value is not None and point > 127:
            assert FOLDED.get(point) == str(value), hex(point)
    assert all(len(new) == 1 for new in FOLDED.values())
    assert fold("ＡｚＺ０９＠．：（）－　，。！") == "AzZ09@.:()- ，。！"
    assert fold("a" * 10) == "a" * 10


def test_overlaps_the_longest_stands_then_the_earlier_kind():
    spans = [Span(0, 5, "phone", "a"), Span(3, 9, "email", "b"), Span(3, 9, "api_key", "c"), Span(9, 10, "ip", "d"), Span(4, 6, "iban", "e")]
    for turned in (spans, spans[::-1]):
        assert resolve(turned) == [Span(3, 9, "api_key", "c"), Span(9, 10, "ip", "d")]
    many = [Span(i, i + 3, "phone", "") for i in range(0, 300_000, 2)]
    assert len(resolve(many)) >= 75_000


def test_only_the_kinds_that_are_asked_for():
    body = f"jane@example.com 93.184.216.34 13912345678 {cases.VISA} {cases.BEIJING}"
    for kind, surface in (("email", "jane@example.com"), ("ip", "93.184.216.34"), ("phone", "13912345678"), ("credit_card", cases.VISA), ("resident_id", cases.BEIJING)):
        spans = scanner((kind,), REGIONS).find(body)
        assert [(span.kind, body[span.start : span.end]) for span in spans] == [(kind, surface)]


def test_regions_say_whose_numbers_are_known_at_home():
    paris, hong_kong = "au 01 99 00 12 34", "電話 2345 6789"
    assert scanner(("phone",), ("FR",)).find(paris)[0].value == "+33 199001234"
    assert scanner(("phone",), ("HK",)).find(hong_kong)[0].value == "+852 23456789"
    assert not scanner(("phone",), ("US",)).find(paris)
    assert not scanner(("phone",), ("US",)).find("电话13912345678")
    assert scanner(("phone",), ("US",)).find("+86 139 1234 5678")[0].value == "+86 13912345678"


def planted(rng: random.Random) -> list[tuple[str, str]]:
    """(kind, as written) of made-up data, in the forms that people use."""
    def digits(count):
        return "".join(rng.choices("0123456789", k=count))

    mobile = f"1{rng.choice('3456789')}{digits(9)}"
    day = f"{rng.randint(1940, 2015)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}"
    card, long_card = cases.luhn("4" + digits(14)), cases.luhn("6228" + digits(14))
    name = "".join(rng.choices("abcdefghijklmnop", k=6))
    exchange = f"{rng.choice([212, 415, 650, 713, 206])}-555-{digits(4)}"
    return [
        ("phone", rng.choice([mobile, f"{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}", f"+86 {mobile}", cases.wide(mobile)])),
        ("phone", rng.choice([exchange, f"+1 {exchange}", f"({exchange[:3]}) {exchange[4:]}"])),
        ("resident_id", cases.resident(rng.choice(["110105", "310104", "440305", "510104", "330106"]) + day + digits(3))),
        ("credit_card", rng.choice([card, cases.spaced(card), cases.spaced(card, gap="-")])), ("bank_card", rng.choice([long_card, cases.spaced(long_card)])),
        ("iban", rng.choice([cases.iban("DE", digits(18)), cases.spaced(cases.iban("FR", digits(23)))])), ("uscc", cases.organisation("91110000MA" + digits(7))),
        ("email", f"{name}.{digits(2)}@{rng.choice(['example.com', 'mail.example.org', 'example.cn'])}"), ("ip", f"{rng.randint(11, 99)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"),
        ("api_key", "ghp_" + "".join(rng.choices("abcdefGHIJKL0123456789", k=36))),
    ]  # fmt: skip


def test_what_is_planted_into_prose_is_found():
    """2000 made-up items between the sentences of novels and speeches, in both languages: precision and recall by kind."""
    rng = random.Random(7)
    prose = []
    for name in ("state_of_the_union/speeches", "sanguo/chapters"):
        lines = (HOME / "samples" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        prose += [json.loads(line)["text"] for line in lines[:100]]
    hits, wanted, got = Counter(), Counter(), Counter()
    for body in prose:
        marks = set()
        for kind, written in planted(rng):
            place = rng.randrange(len(body))
            while body[place].isascii() and body[place] != " ":
                place = rng.randrange(len(body))
            body, marks = body[:place] + " " + written + " " + body[place:], {(a + len(written) + 2 if a >= place else a, k, w) for a, k, w in marks}
            marks.add((place + 1, kind, written))
        found_ = {(s.start, s.kind, body[s.start : s.end]) for s in find(body)}
        wanted.update(kind for _, kind, _ in marks)
        got.update(kind for _, kind, _ in found_)
        hits.update(kind for _, kind, _ in marks & found_)
    for kind in wanted:
        assert hits[kind] / wanted[kind] >= 0.97, (kind, hits[kind], wanted[kind])
        assert hits[kind] / got[kind] >= 0.97, (kind, hits[kind], got[kind])


def test_international_numbers_of_every_country():
    """The example number of each plan, as its country writes it abroad and at home."""
    abroad, home = {}, {}
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        number = phonenumbers.example_number(region)
        for form, results, regions in (("INTERNATIONAL", abroad, ("US",)), ("NATIONAL", home, (region,))):
            written = phonenumbers.format_number(number, getattr(phonenumbers.PhoneNumberFormat, form))
            body = f"Tel: {written}, please"
            results[region] = [body[s.start : s.end] for s in scanner(("phone",), regions).find(body)] == [written]
    assert sum(abroad.values()) / len(abroad) >= 0.99, [region for region, ok in abroad.items() if not ok]
    assert sum(home.values()) / len(home) >= 0.88, [region for region, ok in home.items() if not ok]


@pytest.mark.parametrize("piece", [
    "@", "a@", "a@b.", "1", "1 ", "12-", "4111 ", "0", "+1", "(212) ", "1.2.3.", "2001:", "token=", "?a=b&", "-----BEGIN PRIVATE KEY-----!", "-eyJa", "://a:", "passport ", "护照1", "电话", "[at]", "DE89 ", "１", "password: a", "a.", "-----BEGIN PRIVATE KEY-----\nAb\n",
])  # fmt: skip
def test_no_text_takes_more_than_linear_time(piece):
    """A quarter of a megabyte of any one thing is read in a moment, whether or not something is found in it."""
    body = "电话12345678 a@ " + piece * (250_000 // len(piece))
    begin = time.process_time()
    after(body)
    assert time.process_time() - begin < 6


# ---------------------------------------------------------------------------------------------- actions


def test_masks_and_counts():
    doc = after("张三13912345678，jane@example.com、joe@example.com", kinds=["email", "phone"])
    assert doc.text == "张三<PHONE>，<EMAIL>、<EMAIL>"
    assert doc.meta == {"pii": {"email": 2, "phone": 1}}
    assert after("a@example.com", template="[{kind} 已删除]").text == "[EMAIL 已删除]"
    assert after("x a@example.com y", template="").text == "x  y"
    clean = after("nothing here")
    assert (clean.text, clean.meta, clean.rejection) == ("nothing here", {}, None)


def test_keep_only_counts():
    doc = after("a@example.com 8.8.4.4", actions={"ip": "keep"})
    assert doc.text == "<EMAIL> 8.8.4.4"
    assert doc.meta["pii"] == {"email": 1, "ip": 1}


def test_drop_names_the_kind_and_keeps_no_secret():
    doc = after(f"卡 {cases.VISA} 和 a@example.com, 8.8.4.4", actions={"credit_card": "drop", "ip": "keep"})
    assert doc.rejection == Rejection("pii", "credit_card", 1)
    assert doc.text == "卡 <CREDIT_CARD> 和 <EMAIL>, 8.8.4.4"
    assert doc.meta["pii"] == {"credit_card": 1, "email": 1, "ip": 1}
    assert after(f"{cases.VISA} {cases.GERMAN}", action="drop").rejection.reason == "iban"


def test_a_text_that_was_nothing_else_is_dropped_as_empty_where_the_mask_is():
    assert after("a@example.com", template=" ").rejection == Rejection("pii", "empty", None)


def test_counts_of_two_steps_are_joined_and_the_users_own_field_is_no_count():
    docs = step(kinds=["phone"]).rows(step(kinds=["email"]).rows(iter([document("a@example.com 电话13912345678")])))
    assert next(docs).meta["pii"] == {"email": 1, "phone": 1}
    [doc] = step().rows(iter([document("a@example.com", pii="no")]))
    assert doc.meta["pii"] == {"email": 1}


def test_other_fields_of_the_row_where_asked():
    [doc] = step(fields=["author", "n"]).rows(iter([document("clean", author="jane@example.com", n=3, url="http://8.8.4.4/")]))
    assert doc.text == "clean"
    assert doc.meta == {"author": "<EMAIL>", "n": 3, "url": "http://8.8.4.4/", "pii": {"email": 1}}


def test_dropped_documents_are_nobodys_business():
    doc = document("a@example.com")
    doc.rejection = Rejection("length", "too_short", 3)
    assert next(step().rows(iter([doc]))).text == "a@example.com"


def test_through_the_engine_with_one_worker_and_two(folder):
    rows = [{"text": cases.plain(marked)[0]} for marked in cases.POSITIVE] + [{"text": body} for body in cases.NEGATIVE]
    write_jsonl(folder / "a.jsonl", rows)
    recipe = {"type": "pii", "actions": {"email": "pseudonym", "credit_card": "drop"}, "secret": "s"}
    one = run(folder / "one", {"type": "jsonl", "path": "a.jsonl"}, [recipe])
    two = run(folder / "two", {"type": "jsonl", "path": "a.jsonl"}, [recipe], workers=2)
    assert one == two
    assert len(one) == len(rows)
    assert [doc.id for doc in one] == [content_id(row["text"]) for row in rows]
    dropped = [doc for doc in one if doc.rejection]
    assert dropped
    assert {doc.rejection.reason for doc in dropped} == {"credit_card"}
    assert not any(cases.VISA in doc.text for doc in one if doc.meta.get("pii"))
    for doc, marked in zip(one, cases.POSITIVE):
        assert sum(doc.meta["pii"].values()) == len(cases.plain(marked)[1])
    assert not any(doc.meta.get("pii") for doc in one[len(cases.POSITIVE) :])


def test_the_part_travels():
    part = pickle.loads(pickle.dumps(step(regions=["DE"])))
    assert part == step(regions=["DE"])
    assert next(part.rows(iter([document("a@example.com")]))).text == "<EMAIL>"


# ---------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(("given_", "said"), [
    ({"kinds": ["emial"]}, "known kinds of personal data, not 'emial' - did you mean 'email'"), ({"actions": {"fone": "mask"}}, "not 'fone'"),
    ({"kinds": ["ip"], "actions": {"email": "drop"}}, "'email' among the kinds"), ({"action": "hide"}, "'mask', 'pseudonym', 'drop', 'keep'"),
    ({"template": "<{name}>"}, r"a template with {kind} and no other name"), ({"template": "{"}, "a template with"), ({"kinds": []}, "at least one kind"),
    ({"secret": "a", "secret_file": "b"}, "one of secret and secret_file"), ({"seed": -1}, "seed: expected a number of at least 0"),
])  # fmt: skip
def test_settings_that_are_wrong(given_, said):
    with pytest.raises(RecipeError, match=said.replace("{", r"\{").replace("}", r"\}")):
        step(**given_)


def test_check_says_what_is_wrong_before_any_work(folder):
    step().check()
    step(template="[REDACTED {kind}]").check()
    with pytest.raises(RecipeError, match="regions: expected two-letter codes of countries, got 'UK'"):
        step(regions=["UK"]).check()
    for mask in ("mask@example.com", "12345678", "s3cret", "13912345678"):
        with pytest.raises(RecipeError, match="a mask that is not taken for personal data itself"):
            step(template=mask).check()
    with pytest.raises(DataError, match="no such path: key"):
        step(secret_file="key.bin").check()
    Path("key.bin").write_bytes(b"k")
    part = step(secret_file="key.bin")
    part.check()
    assert part.files() == [Path("key.bin")]
    assert step().files() == []


# ---------------------------------------------------------------------------------------------- properties

PIECES = [cases.plain(marked)[0] for marked in cases.POSITIVE if "BEGIN" not in marked] + cases.NEGATIVE
letters = st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("0123456789.@:-+ /()?=&，。电话护照passport密码")), max_size=25)
bodies = st.lists(st.one_of(letters, st.sampled_from(PIECES)), max_size=8).flatmap(
    lambda parts: st.sampled_from(["", " ", "\n", "，"]).map(lambda gap: gap.join(parts))
)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(bodies)
def test_masking_is_idempotent(body):
    once = after(body)
    again = after(once.text)
    assert again.text == once.text
    assert again.meta == {}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(bodies, st.sampled_from(["mask", "pseudonym", "drop", "keep"]))
def test_nothing_outside_the_finds_is_touched(body, action):
    spans = find(body)
    assert all(0 <= s.start < s.end <= len(body) for s in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    doc = after(body, action=action, secret="k")
    part, expected, end = step(action=action, secret="k"), "", 0
    for span in spans:
        expected += body[end : span.start] + (body[span.start : span.end] if action == "keep" else part._instead(span, body[span.start : span.end]))
        end = span.end
    expected += body[end:]
    if action in ("keep", "pseudonym") or not find(expected):  # else masking went on
        assert doc.text == expected
    assert bool(doc.rejection) == (action == "drop" and bool(spans))
    assert doc.meta == ({"pii": doc.meta["pii"]} if spans else {})


@settings(max_examples=250, deadline=None, derandomize=True)
@given(bodies)
def test_the_gate_lets_every_find_through(body):
    looker = scanner(KINDS, REGIONS)
    assert looker.suspects(body) or looker.look(body) == []


# ---------------------------------------------------------------------------------------------- texts asked together

PROSE = "却说曹操引军追赶刘备至江边，见长坂桥上一人横矛立马，厉声大喝。"
ODD = "0９٣７@＠[【］】at?=＝：:;&#-—–·. 　（）是为令口牌码碼密钥鑰秘\u017f\u212akeytokenpassı\u200b\x00\x01\x02\x03\t\n\ud83d\udc00𝟗😀a"
odd = st.lists(st.one_of(st.text(alphabet=ODD, max_size=12), st.sampled_from(PIECES), st.just(PROSE)), max_size=6).map("".join)


def among(texts: list[str]) -> list[bool]:
    return scanner(KINDS, REGIONS).among(texts)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(odd, max_size=5))
def test_texts_asked_together_are_answered_as_one_by_one(texts):
    assert among(texts) == [scanner(KINDS, REGIONS).suspects(text) for text in texts]


@pytest.mark.parametrize("marked", cases.POSITIVE)
@pytest.mark.parametrize("folded", [str, lambda body: "".join(next((chr(p) for p, c in FOLDED.items() if c == sign and p > 0xFF00), sign) for sign in body)])
def test_what_is_left_of_chinese_prose_gives_every_find_away(marked, folded):
    """Also written with full-width signs and digits; and of prose that holds nothing nothing is asked again."""
    body = PROSE * 3 + folded(cases.plain(marked)[0]) + PROSE * 3
    asked = scanner(KINDS, REGIONS)
    assert gate.wide(body)
    before, free, behind = asked._free([PROSE, body, PROSE * 9])
    assert before
    assert behind
    assert not (free and asked.suspects(body))
    assert asked.among([PROSE, body]) == [False, asked.suspects(body)]


def test_every_character_that_a_pattern_knows_is_in_the_table():
    """Decimal digits of all scripts, what is equal to a letter when case is ignored, and what nobody can know."""
    points = range(4, 0xFFFF)
    for point, left in zip(points, gate.shrunk([chr(point) for point in points]).split(b"\0"), strict=True):
        sign = chr(point)
        if sign.isascii():
            assert left == sign.encode()
        elif unicodedata.decimal(sign, None) is not None or (len(sign.casefold()) == 1 and sign.casefold().isascii()):
            assert left.decode() in (FOLDED.get(point), sign.casefold())
    far = [chr(point) for point in (0xD800, 0xDFFF, *range(0xFFFF, 0x110000, 97))]
    assert set(gate.shrunk(far).split(b"\0")) == {b"\x02"}


def test_documents_come_out_in_their_order_whatever_their_length():
    bodies_ = [PROSE, "a@example.com", PROSE * 2000, "", PROSE + "电话13912345678", "x" * 40_000, PROSE * 9]
    docs = [Document(content_id(body), body, Origin("a", None, 0, 1), order=i, rejection=Rejection("length", "short", 1) if i == 1 else None) for i, body in enumerate(bodies_)]  # fmt: skip
    redacted = list(step().rows(iter(docs)))
    assert [doc.order for doc in redacted] == list(range(len(bodies_)))
    assert [doc.text for doc in redacted] == [body.replace("13912345678", "<PHONE>") for body in bodies_]


def test_memory_stays_with_the_texts_that_are_asked_together():
    assert not gate.wide(PROSE * 2000)
    assert not gate.wide("It’s plain “English” with curly quotes, " * 20)
    assert [len(held) for held in gate.together(document(PROSE * 100) for _ in range(30))] == [10, 10, 10]
    assert [len(held) for held in gate.together(document(PROSE * 2000) for _ in range(2))] == [1, 1]
