import base64
import json
import socket
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.access_secrets import count_secrets
from filtering.filtering import filter_pairs
from filtering.filters.private import PRIVATE, PrivateConfig
from filtering.personal_data import count_personal
from judging.schema import PAIRS

pytest.importorskip("presidio_analyzer", reason="the extra pii")
pytest.importorskip("detect_secrets", reason="the extra pii")

DEFAULT = PrivateConfig(name="private")
MAIL = "Write to anna.lind@kth.se"


def encode(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


# Put together here, so that nobody takes them for keys that have leaked.
SECRETS = {
    "aws": "AKIA" + "Q3EGRIPNZ7TAWU5L",
    "github": "ghp" + "_" + "a1B2c3D4e5" * 3 + "F6g7H8",
    "openai": "sk-" + "k7" * 10 + "T3Blbk" + "FJ" + "m3" * 10,
    "private key": "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEow",
    "slack": "xoxb" + "-1234-" + "abcdef",
    "stripe": "sk" + "_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "password in an address": "postgres://admin:" + "hunter2@db.kth.se/x",
    "json web token": f"{encode({'alg': 'HS256'})}.{encode({'sub': '1'})}.c2ln",
}


def count(text, entity):
    return count_personal(pa.chunked_array([[text]], pa.string()), entity).tolist()[0]


def pairs(**texts):
    fields = {"prompt": "Who are you?", "chosen": "A model.", "rejected": "Nobody."} | texts
    record = {
        "pair_id": "a",
        "prompt_id": "p",
        "messages": [{"role": "user", "content": fields.pop("prompt")}],
        **fields,
    }
    return pa.Table.from_pylist([record], schema=PAIRS)


def drops(table, config=DEFAULT):
    return [(row["reason"], row["value"], row["context"]) for row in filter_pairs(table, [config]).drops.to_pylist()]


@pytest.mark.parametrize(
    ("entity", "text"),
    [
        ("email", "mail anna.lind@kth.se today"),
        ("email", "<a.b+c@bbc.co.uk>"),
        ("phone", "Call (215) 204-3120."),
        ("phone", "Call +46 8 790 60 00 in Stockholm."),
        ("phone", "Ring 202-225-2815 or"),
        ("credit_card", "Visa 4111 1111 1111 1111"),
        ("credit_card", "4012888888881881"),
        ("iban", "Pay to DE89 3704 0044 0532 0130 00."),
        ("us_ssn", "It is 859-56-0028."),
        ("crypto", "Send to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
        ("ip_address", "The host 8.8.8.8 answers."),
        ("ip_address", "2a00:1450:400f:80d::200e"),
    ],
)
def test_personal_data_is_counted(entity, text):
    assert count(text, entity) == 1


@pytest.mark.parametrize(
    ("entity", "text"),
    [
        ("email", "anna@example.com, bob@mail.example.org, c@site.test, user@host and @name"),
        ("phone", "Phone: (555) 123-4567 or (123) 456-7890"),
        ("phone", "0.020196850941 * 1162261467 = 0.29166667 at 192.168.1.100 in 2010-2021"),
        ("credit_card", "4111 1111 1111 1112"),
        ("iban", "DE89 3704 0044 0532 0130 01"),
        ("us_ssn", "000-12-3456 and 2021-09-30"),
        ("crypto", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"),
        ("ip_address", "127.0.0.1, 192.168.0.1, 10.0.0.1, 999.1.1.1, 1.2.3 and ::1"),
    ],
)
def test_examples_wrong_checksums_and_plain_numbers_are_no_personal_data(entity, text):
    assert count(text, entity) == 0


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_keys_that_services_issue_are_secrets(secret):
    texts = pa.chunked_array([["Nothing here.", f"export TOKEN={secret} # mine", f"{secret}\n{secret}"]])
    assert count_secrets(texts).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The AP exam APBiologyExam2024 is hard.",
        "Set your password to something long.",
        "https://www.kth.se/a/very/long/path/that/leads/nowhere?with=parameters",
        "d41d8cd98f00b204e9800998ecf8427e",
        "AKIA" + "IOSFODNN7EXAMPLE",
    ],
)
def test_ordinary_text_holds_no_secret(text):
    assert count_secrets(pa.chunked_array([[text]], pa.string())).tolist() == [0]


@pytest.mark.parametrize("name", ["prompt", "chosen", "rejected"])
def test_every_text_is_searched_and_the_ledger_quotes_none(name):
    assert drops(pairs(**{name: f"{MAIL} or bob@kth.se"})) == [("personal_data", 2.0, "")]
    assert drops(pairs(**{name: SECRETS["aws"]})) == [("secret", 1.0, "")]
    others = tuple({"prompt", "chosen", "rejected"} - {name})
    assert drops(pairs(**{name: MAIL}), PrivateConfig(name="private", texts=others)) == []


def test_only_what_is_asked_for_is_looked_for():
    assert drops(pairs(chosen=MAIL), PrivateConfig(name="private", entities=("iban",))) == []
    assert drops(pairs(chosen=SECRETS["aws"]), PrivateConfig(name="private", secrets=False)) == []
    assert drops(pairs(chosen="8.8.8.8")) == []
    assert drops(pairs(chosen="8.8.8.8"), PrivateConfig(name="private", entities=("ip_address",))) != []


def test_limit_changes_without_counting_again():
    lenient = PrivateConfig(name="private", max_personal=1)
    assert drops(pairs(chosen=MAIL), lenient) == []
    assert drops(pairs(chosen=MAIL + ", bob@kth.se"), lenient) == [("personal_data", 2.0, "")]
    assert PRIVATE.measured_by(lenient) == PRIVATE.measured_by(DEFAULT)
    assert PRIVATE.measured_by(PrivateConfig(name="private", secrets=False)) != PRIVATE.measured_by(DEFAULT)


def test_nothing_is_fetched_from_the_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert count("anna@kth.se", "email") == 1
    assert count_secrets(pa.chunked_array([[SECRETS["stripe"], SECRETS["slack"]]])).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("module", "call", "said"),
    [
        (
            "presidio_analyzer",
            "personal_data import count_personal as f; f(pa.chunked_array([['a@b.se']]), 'email')",
            "Presidio",
        ),
        (
            "detect_secrets",
            "access_secrets import count_secrets as f; f(pa.chunked_array([['PRIVATE KEY']]))",
            "detect-secrets",
        ),
    ],
)
def test_missing_extra_is_named(module, call, said):
    code = (
        f"import sys; sys.modules['{module}'] = None\nimport pyarrow as pa\n"
        f"try:\n    from filtering.{call}\nexcept ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f'needs {said}: pip install "prefloop[pii]"' in done.stdout


@pytest.mark.parametrize("fields", [{"entities": [], "secrets": False}, {"texts": []}, {"entities": ["name"]}])
def test_config_that_cannot_be_meant_is_refused(fields):
    with pytest.raises(ValidationError):
        PrivateConfig.model_validate({"name": "private", **fields})


@pytest.mark.parametrize("text", ["x" * 5_000_000, "@" * 5_000_000, "1" * 5_000_000, "see a.b-c " * 500_000, "\0" * 99])
def test_text_of_5_mb_is_searched_in_seconds(text):
    start = time.monotonic()
    facts = PRIVATE.measure(pairs(chosen=f"{text} {MAIL}"), DEFAULT)
    assert facts["chosen_email"].to_pylist() == [1]
    assert time.monotonic() - start < 30


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 9000), st.sampled_from([("email", "anna.lind@kth.se"), ("us_ssn", "859-56-0028")]))
def test_finding_counts_once_wherever_a_long_text_is_cut(n_before, found):
    entity, text = found
    assert count("a " * n_before + text + " b" * 3000, entity) == 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([MAIL, "859-56-0028", SECRETS["aws"], "nothing", "", "\0"]), max_size=6))
def test_facts_of_a_pair_do_not_hang_on_the_others_and_filtering_twice_changes_nothing(texts):
    rows = [pairs(chosen=text).set_column(0, "pair_id", pa.array([f"id{row}"])) for row, text in enumerate(texts)]
    table = pa.concat_tables([PAIRS.empty_table(), *rows])
    whole = PRIVATE.measure(table, DEFAULT)
    assert [row for one in rows for row in PRIVATE.measure(one, DEFAULT).to_pylist()] == whole.to_pylist()
    kept = filter_pairs(table, [DEFAULT]).kept
    assert filter_pairs(kept, [DEFAULT]).kept.equals(kept)
