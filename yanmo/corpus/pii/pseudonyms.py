"""What stands in for a value: always the same for the same value and key, of the same form, and nobody's.

Each replacement comes from a keyed BLAKE2b of the normalised value, so that two corpora made with one secret can be joined
and nobody without it can tell whose number it was. It lies where no real value can: example.com (RFC 2606), the
documentation networks (RFC 5737, RFC 3849), card numbers and identifiers whose check digit is wrong, telephone numbers that
no plan holds. None of them is taken for personal data again.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from yanmo.core.extras import needed
from yanmo.corpus.pii import phones
from yanmo.corpus.pii.network import REPLACED
from yanmo.corpus.pii.numbers import luhn
from yanmo.corpus.pii.span import fold

DOCUMENTATION = ("192.0.2", "198.51.100", "203.0.113")
USCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"
TRIES = 64


class Pseudonyms:
    """Replacements under one key: `secret` (bytes, as long as it likes) and `seed`."""

    def __init__(self, secret: bytes, seed: int):
        self.key = hashlib.blake2b(secret, digest_size=32, salt=seed.to_bytes(8, "little")).digest()

    def replace(self, kind: str, written: str, value: str) -> str:
        """The pseudonym for `value`, written as `written` is: the same separators, the same width of digits."""
        if kind == "email":
            return f"user_{self._hash(kind, value).hex()[:12]}@example.com"
        if kind == "ip":
            return self._address(value)
        if kind == "url_credentials" and ":" in value:  # also what a parameter holds: both are known again by how they begin
            return f"{REPLACED}-{self._hash(kind, value).hex()[:12]}:{REPLACED}"
        if kind in ("url_credentials", "api_key"):
            return f"{REPLACED}-{self._hash(kind, value).hex()[:12]}"
        if kind == "phone":
            return self._phone(written, value)
        return _written(written, getattr(self, f"_{kind}")(kind, value))

    def _hash(self, kind: str, value: str, attempt: int = 0) -> bytes:
        return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=64, key=self.key, person=kind[:16].encode(),
                               salt=attempt.to_bytes(4, "little")).digest()  # fmt: skip

    def _digits(self, kind: str, value: str, count: int, attempt: int = 0) -> str:
        """`count` decimal digits, all equally likely."""
        number = int.from_bytes(self._hash(kind, value, attempt), "little")
        return str(number % 10**count).zfill(count)

    def _address(self, value: str) -> str:
        bits = int.from_bytes(self._hash("ip", value)[:8], "little")
        if ":" in value:
            return f"2001:db8:{bits & 0xFFFF:x}:{bits >> 16 & 0xFFFF:x}::{bits >> 32 & 0xFFFF | 1:x}"
        return f"{DOCUMENTATION[bits % 3]}.{bits // 3 % 254 + 1}"

    def _credit_card(self, kind: str, value: str) -> str:
        """No issuer's number begins with 0, and the last digit is not the check digit."""
        number = "0" + self._digits(kind, value, len(value) - 1)
        return number if not luhn(number) else number[:-1] + str((int(number[-1]) + 1) % 10)

    _bank_card = _credit_card

    def _iban(self, kind: str, value: str) -> str:
        """Its country, and check digits that none has (they are never 00), which do not check the rest either."""
        for attempt in range(TRIES):
            digits = self._digits(kind, value, len(value) - 4, attempt)
            made = value[:2] + "00" + "".join(d if c.isdigit() else chr(65 + int(d)) for c, d in zip(value[4:], digits))
            if not needed("stdnum.iban", "corpus", "pii").is_valid(made, check_country=False):
                break
        return made

    def _resident_id(self, kind: str, value: str) -> str:
        """A region that does not exist, a day that does, and for the long form a wrong check digit."""
        digits = self._digits(kind, value, 13)
        day = f"{int(digits[:2]) % 12 + 1:02d}{int(digits[2:4]) % 28 + 1:02d}"
        if len(value) == 15:
            return f"99{digits[4:8]}{digits[8:10]}{day}{digits[10:]}"
        body = f"99{digits[4:8]}19{digits[8:10]}{day}{digits[10:]}"
        check = (1 - 2 * int(body, 13)) % 11
        return body + str((check + 1) % 10)

    def _uscc(self, kind: str, value: str) -> str:
        """An authority that does not exist."""
        number = int.from_bytes(self._hash(kind, value)[:16], "little")
        letters = "".join(USCC[number // 31**i % 31] for i in range(9))
        return f"00{self._digits(kind, value, 6)}{letters}{USCC[number // 31**9 % 31]}"

    def _passport(self, kind: str, value: str) -> str:
        """Its letters become X, and its first three digits 000."""
        digits = self._digits(kind, value, len(value))
        zeros = [i for i, c in enumerate(value) if c.isdigit()][:3]
        return "".join("0" if i in zeros else "X" if c.isalpha() else digits[i] for i, c in enumerate(value))

    def _phone(self, written: str, value: str) -> str:
        """The country code stays, and as many digits follow; a trunk prefix too. Digits of an extension change as well."""
        code, national = value[1:].split(" ")
        made = self._national(int(code), national, value)
        digits = phones.digits_of(fold(written))
        place = digits.find(national)
        kept = digits[:place] if place >= 0 else code if digits.startswith(code) else ""
        rest = len(digits) - len(kept)
        extension = self._digits("extension", value, max(rest - len(national), 0)) if rest > len(national) else ""
        return _written(written, (kept + made + extension)[: len(digits)])

    def _national(self, code: int, national: str, value: str) -> str:
        """As many digits as `national`, of which no plan that we look at makes a number."""
        own = {1: ("1",), 86: ("11",) if len(national) == 10 else ("10",)}.get(code, LEADS)
        for attempt in range(TRIES):
            lead = own[attempt * len(own) // TRIES]
            made = lead + self._digits("phone", value, len(national) - len(lead), attempt)
            if made != national and not any(phones.real(other, made) for other in {code, *WATCHED}) and made[0] != "0":
                return made
        return "00" + self._digits("phone", value, len(national) - 2)


LEADS = ("", "11", "10", "12", "19", "99")  # how numbers begin in few plans
WATCHED = (1, 44, 86)  # the plans in which a number without a country code is most often read


def _written(form: str, made: str) -> str:
    """`made` in the form of `form`: its letters and digits one for one, in their width; what stands between stays."""
    new = iter(made)
    folded = fold(form)
    out = []
    for old, plain in zip(form, folded):
        if not re.match("[0-9A-Za-z]", plain):
            out.append(old)
            continue
        char = next(new, "0")
        wide = old != plain and "\uff01" <= old <= "\uff5e"
        out.append(chr(ord(char) + 0xFEE0) if wide else char)
    return "".join(out)


@lru_cache(maxsize=16)
def pseudonyms(secret: bytes, seed: int) -> Pseudonyms:
    return Pseudonyms(secret, seed)
