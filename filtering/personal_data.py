"""Counts of personal data in texts, found by Presidio's recognizers that need no language model and no network.

A recognizer costs about a millisecond a text, so it only sees texts in which a cheap pattern (RE2, in Arrow) finds what
all its findings contain. Names, addresses and dates need a language model and are left out.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import ipaddress
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple  # Any: Presidio's recognizers, where the extra may be missing

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Entity = Literal["email", "phone", "credit_card", "iban", "us_ssn", "crypto", "ip_address"]

# Presidio's confidence: formats that anything may have are below it, what passes a checksum has 1.
_MIN_CONFIDENCE = 0.4
_PIECE_CHARS = 4000  # of a long text looked at in one go: some patterns take the square of the length
_MARGIN_CHARS = 300  # before and after it, more than anything that is looked for

# Each found in every text with a finding that counts.
_HINTS: dict[Entity, tuple[str, ...]] = {
    "email": (r"\w@\w",),
    "phone": (r"\d(?:\D{0,3}\d){6}", r"\+\d|\+\W{1,2}\d|\d[ )-]+\d|\d\)?\.\d{3}\.\d"),
    "credit_card": (r"\d(?:[- ]?\d){11}",),
    "iban": (r"[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2}",),
    "us_ssn": (r"\d{3}[- .]\d{2}[- .]\d{4}",),
    "crypto": (r"(?i)(?:bc1|[13])[a-z0-9]{25}",),
    "ip_address": (r"\d\.\d{1,3}\.\d{1,3}\.\d|:[0-9A-Fa-f]{0,4}:",),
}
# Reserved for documentation: RFC 2606 and 6761 for names, 555 and the counted-up number for telephones.
_EXAMPLE_EMAIL = re.compile(
    r"@(?:.*\.)?(?:example\.(?:com|org|net)|(?:example|test|invalid|localhost))$", re.IGNORECASE
)
_EXAMPLE_PHONE = re.compile(r"555\D{0,2}\d{4}$|^\D*(?:1\D*)?(?:555\D|123\D{0,2}456\D{0,2}7890)")
# Presidio takes any number of ten digits for a telephone, decimals and the constants of programs among them: of 11
# answers with a finding 1 had a telephone. So one has to be written like one.
_PHONE = re.compile(r"^\+|\d[ )-]+\d|^\(?\d{3}\)?\.\d{3}\.\d{4}$")


class Piece(NamedTuple):
    """Part of a long text.

    Attributes:
        text: The part, with what stands around it.
        start: Where what belongs to it begins in `text`.
        end: Where it ends; what begins there or later is the next piece's.
    """

    text: str
    start: int
    end: int


def cut(text: str) -> Iterator[Piece]:
    """Cut a text into pieces that overlap."""
    for start in range(0, len(text), _PIECE_CHARS):
        before = min(start, _MARGIN_CHARS)
        piece = text[start - before : start + _PIECE_CHARS + _MARGIN_CHARS]
        yield Piece(piece, before, before + _PIECE_CHARS)


def count_personal(texts: pa.ChunkedArray, entity: Entity) -> np.ndarray:
    """Count what is found of one kind in each text; addresses and numbers reserved for examples are not counted.

    Raises:
        ImportError: The extra `pii` is not installed.
    """
    counts = np.zeros(len(texts), dtype=np.uint32)
    hints = [pc.match_substring_regex(texts, hint).to_numpy() for hint in _HINTS[entity]]
    hinted = np.flatnonzero(np.logical_and.reduce(hints))
    for row, text in zip(hinted.tolist(), texts.take(pa.array(hinted)).to_pylist(), strict=True):
        counts[row] = sum(1 for piece in cut(text) for found in _find(piece, entity) if not _is_harmless(found, entity))
    return counts


def _find(piece: Piece, entity: Entity) -> Iterator[str]:
    recognizer = _recognizers()[entity]
    results = recognizer.analyze(piece.text, recognizer.supported_entities)
    spans = {(one.start, one.end) for one in results if one.score >= _MIN_CONFIDENCE}
    last_end = 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= last_end:  # the longest of those that overlap
            last_end = end
            if piece.start <= start < piece.end:
                yield piece.text[start:end]


def _is_harmless(found: str, entity: Entity) -> bool:
    if entity == "email":
        return _EXAMPLE_EMAIL.search(found) is not None
    if entity == "phone":
        return _PHONE.search(found) is None or _EXAMPLE_PHONE.search(found) is not None
    return entity == "ip_address" and not ipaddress.ip_interface(found).is_global


@cache
def _recognizers() -> dict[Entity, Any]:
    try:
        import tldextract
        from presidio_analyzer import predefined_recognizers as presidio
    except ImportError as error:
        raise ImportError('the private filter needs Presidio: pip install "prefloop[pii]"') from error

    # With its own defaults tldextract asks the network for the newest list of domains.
    bundled = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())

    class OfflineEmailRecognizer(presidio.EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return bundled(pattern_text).fqdn != ""

    return {
        "email": OfflineEmailRecognizer(),
        "phone": presidio.PhoneRecognizer(),
        "credit_card": presidio.CreditCardRecognizer(),
        "iban": presidio.IbanRecognizer(),
        "us_ssn": presidio.UsSsnRecognizer(),
        "crypto": presidio.CryptoRecognizer(),
        "ip_address": presidio.IpRecognizer(),
    }
