import logging

import pytest

from flows.masking import holds_secret, mask, mask_logs


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SOME_SERVER_API_KEY", "very/secret value")
    return "very/secret value"


def test_values_of_variables_with_secret_names_are_masked(key: str):
    assert mask(f"refused: {key}!") == "refused: ***!"


def test_a_value_is_found_as_it_stands_in_addresses_and_in_json(key: str, monkeypatch: pytest.MonkeyPatch):
    assert mask("?key=very%2Fsecret%20value") == "?key=***"
    monkeypatch.setenv("HF_TOKEN", 'quoted"secret')
    assert mask(r'{"a": "quoted\"secret"}') == '{"a": "***"}'


def test_a_variable_that_the_recipe_names_is_secret_whatever_its_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGE", "hush-hush-hush")
    fields = {"judging": {"annotator": {"api_key_env": "JUDGE"}}, "mix": [{"engine": {"api_key_env": None}}]}
    assert mask("hush-hush-hush") == "hush-hush-hush"
    assert mask("hush-hush-hush", fields) == "***"


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "MONKEY", "SSL_KEY_FILE", "PWD", "AWS_ACCESS_KEY_ID"])
def test_other_variables_are_not(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "harmless-words")
    assert mask("harmless-words") == "harmless-words"


def test_a_short_value_is_not_masked_in_ordinary_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_KEY", "none")
    assert mask("there is none") == "there is none"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("{'Authorization': 'Bearer abc'}", "{'Authorization': 'Bearer ***'}"),
        ("key sk-abcdefghijklmnop1 is wrong", "key *** is wrong"),
        ("hf_abcdefghijklmnopqrstuvwxyz0123456789", "***"),
        ("postgresql+asyncpg://me:pass@host/db", "postgresql+asyncpg://***@host/db"),
        ("http://host:8000/v1 and a@b.c", "http://host:8000/v1 and a@b.c"),
    ],
)
def test_secrets_are_known_by_their_form(text: str, masked: str):
    assert mask(text) == masked


def test_a_recipe_may_name_a_folder_that_looks_a_little_like_a_key():
    assert not holds_secret("/data/sk-learn-experiments-2024-run")
    assert holds_secret("sk-proj-Abc123Abc123Abc123")
    assert holds_secret("http://me:pass@host/v1")


def test_log_records_and_their_tracebacks_are_masked(key: str, caplog: pytest.LogCaptureFixture):
    before = logging.getLogRecordFactory()
    mask_logs()
    try:
        try:
            raise ValueError(f"bad {key}")
        except ValueError:
            logging.getLogger("test").exception("no %s %d", key, 1)
        logging.getLogger("test").warning("left as it is %d", 2)
    finally:
        logging.setLogRecordFactory(before)
    assert key not in caplog.text
    assert "no *** 1" in caplog.text
    assert "ValueError: bad ***" in caplog.text
    assert caplog.records[1].args == (2,)
