"""Pseudonyms: stable for a value and a key, of the value's form, and never anybody's."""

from __future__ import annotations

import re
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import iban, luhn
from stdnum.cn import ric, uscc

from tests.corpus import pii_cases as cases
from tests.corpus.test_pii import REGIONS, after, document, find, step
from yanmo.corpus.pii import pseudonyms as module
from yanmo.corpus.pii.pseudonyms import Pseudonyms
from yanmo.corpus.pii.scanner import scanner
from yanmo.corpus.pii.span import KINDS, fold

MADE = Pseudonyms(b"secret", 0)
TEXTS = [cases.plain(marked)[0] for marked in cases.POSITIVE]


def replaced(body: str, **settings_) -> str:
    return after(body, action="pseudonym", **settings_).text


@pytest.mark.parametrize("body", TEXTS)
def test_pseudonyms_are_not_found_again_and_the_form_stays(body):
    new = replaced(body, secret="k")
    assert new != body
    assert find(new) == []
    assert replaced(new, secret="k") == new
    spans = find(body)
    assert not any(body[s.start : s.end] in new for s in spans)


@pytest.mark.parametrize(("written", "form"), [
    ("电话13912345678联系", r"电话1\d{10}联系"), ("Call (212) 555-0147!", r"Call \(\d{3}\) \d{3}-\d{4}!"), ("手机１３９１２３４５６７８", "手机１[０-９]{10}"), ("tel +44 20 7946 0958", r"tel \+44 \d\d \d{4} \d{4}"),
    ("fax 0755-26531234", r"fax 0\d{3}-\d{8}"), (f"卡 {cases.spaced(cases.VISA)}", r"卡 0\d{3} \d{4} \d{4} \d{4}"), (f"id {cases.BEIJING}", r"id 99\d{4}19\d{9}[\dX]"), (f"x {cases.COMPANY}", r"x 00[0-9A-Z]{16}"),
    (f"IBAN {cases.spaced(cases.BRITISH)}", r"IBAN GB00 [A-Z]{4} \d{4} \d{4} \d{4} \d\d"), ("护照号E12345678", r"护照号X000\d{5}"), ("from 8.8.4.4.", r"from (192\.0\.2|198\.51\.100|203\.0\.113)\.\d{1,3}\."),
    ("2001:4860:4860::8888", r"2001:db8:[0-9a-f]{1,4}:[0-9a-f]{1,4}::[0-9a-f]{1,4}"), ("Jane@Example.org", r"user_[0-9a-f]{12}@example\.com"), ("ftp://u:p@example.org", r"ftp://redacted-[0-9a-f]{12}:redacted@example\.org"),
    ("密码：abc12345", r"密码：redacted-[0-9a-f]{12}"),
])  # fmt: skip
def test_forms(written, form):
    assert re.fullmatch(form, replaced(written)), replaced(written)


def test_the_same_value_however_written_has_one_pseudonym():
    def digits(body: str) -> str:
        return re.sub("[^0-9]", "", fold(replaced(body, secret="k")))

    ways = ["电话13912345678", "手机139-1234-5678", "１３９１２３４５６７８", "139 1234 5678"]
    assert len({digits(way) for way in ways}) == 1
    assert digits("+86 139 1234 5678") == "86" + digits(ways[0])
    assert digits("call 212-555-0147") == digits("(212) 555-0147") == digits("+1 212 555 0147")[1:]
    assert replaced("JANE@example.com", secret="k") == replaced("jane@EXAMPLE.com", secret="k")
    assert digits(cases.VISA) == digits(cases.spaced(cases.VISA))
    assert replaced(cases.BEIJING, secret="k") == replaced(cases.BEIJING.lower(), secret="k")
    assert replaced("2001:4860:4860:0:0:0:0:8888") == replaced("2001:4860:4860::8888")


def test_one_key_one_pseudonym_in_every_corpus_and_another_under_another_key(tmp_path):
    body = "写信给jane@example.com"
    here = replaced(body, secret="one")
    assert here == replaced("joe@example.com\n" + body, secret="one").splitlines()[1]
    key = tmp_path / "key"
    key.write_bytes(b"one")
    assert replaced(body, secret_file=str(key)) == here
    assert len({replaced(body, secret=s, seed=n) for s in ("", "one", "two") for n in (0, 1)}) == 6
    assert MADE.replace("email", "a@b.com", "a@b.com") == Pseudonyms(b"secret", 0).replace("email", "a@b.com", "a@b.com")
    assert Pseudonyms(b"x" * 5000, 2**64 - 1).replace("email", "a@b.com", "a@b.com")


def test_a_known_pseudonym():
    """Written down once: another version or machine must give the same."""
    assert MADE.replace("email", "jane@example.com", "jane@example.com") == GOLDEN["email"]
    assert MADE.replace("phone", "13912345678", "+86 13912345678") == GOLDEN["phone"]
    assert MADE.replace("ip", "8.8.4.4", "8.8.4.4") == GOLDEN["ip"]


GOLDEN = {"email": "user_9a46a15fa38d@example.com", "phone": "10872008744", "ip": "198.51.100.253"}


def test_a_passport_changed_by_its_secret_file_is_fingerprinted(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(b"one")
    assert step(secret_file=str(key)).files() == [Path(key)]


def test_masks_and_pseudonyms_side_by_side():
    doc = after("a@example.com 电话13912345678", actions={"email": "pseudonym"})
    assert re.fullmatch(r"user_[0-9a-f]{12}@example\.com 电话<PHONE>", doc.text)


digits = st.text(alphabet="0123456789", min_size=0, max_size=18)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet="0123456789", min_size=13, max_size=18))
def test_card_numbers_fail_their_check(body):
    number = cases.luhn(body)
    made = MADE.replace("credit_card", number, number)
    assert len(made) == len(number)
    assert not luhn.is_valid(made)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="0123456789", min_size=17, max_size=17))
def test_residents_and_organisations_do_not_exist(body):
    made = MADE.replace("resident_id", cases.resident(body), cases.resident(body))
    assert len(made) == 18
    assert made[-1] != ric.calc_check_digit(made)
    assert ric.get_birth_date(made).year in range(1900, 2000)
    code = cases.organisation("9" + body[:-1])
    other = MADE.replace("uscc", code, code)
    assert len(other) == 18
    assert not find(other)
    assert other[:2] == "00"
    assert len(uscc.compact(other)) == 18


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="0123456789", min_size=18, max_size=18))
def test_accounts_fail_their_check(body):
    number = cases.iban("DE", body)
    made = MADE.replace("iban", number, number)
    assert len(made) == len(number)
    assert not iban.is_valid(made, check_country=False)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from([(1, "212555"), (86, "139"), (44, "2079"), (86, "10"), (33, "1"), (49, "30"), (81, "3"), (852, "2")]), st.text(alphabet="0123456789", min_size=8, max_size=8))
def test_telephone_numbers_are_in_no_plan(country, tail):
    code, head = country
    national = (head + tail)[: {1: 10, 86: 11 if head == "139" else 10, 44: 10, 33: 9, 49: 10, 81: 9, 852: 8}[code]]
    value = f"+{code} {national}"
    made = MADE.replace("phone", f"+{code} {national}", value)
    assert made.startswith(f"+{code} ")
    assert len(made) == len(value)
    number = phonenumbers.PhoneNumber(country_code=code, national_number=int(made.split(" ")[1]))
    assert not phonenumbers.is_valid_number(number)
    assert find(f"call {made} now") == []


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(min_size=1, max_size=40), st.sampled_from(["email", "api_key", "url_credentials", "ip"]))
def test_any_value_gives_a_stable_one(value, kind):
    made = MADE.replace(kind, value, value)
    assert made == MADE.replace(kind, value, value)
    assert made.isascii()
    assert find(made) == []


def test_different_values_stay_apart():
    made = {MADE.replace("email", f"u{i}@example.com", f"u{i}@example.com") for i in range(5000)}
    assert len(made) == 5000
    phones = {MADE.replace("phone", f"139{i:08d}", f"+86 139{i:08d}") for i in range(3000)}
    assert len(phones) == 3000


def test_a_kind_for_each_method():
    for kind in KINDS:
        spans = [(body, span) for body in TEXTS for span in find(body) if span.kind == kind]
        assert spans
        for body, span in spans:
            assert MADE.replace(kind, body[span.start : span.end], span.value) != body[span.start : span.end]
    assert module.WATCHED
    assert scanner(KINDS, REGIONS) is scanner(KINDS, REGIONS)
    assert document("x").meta == {}
