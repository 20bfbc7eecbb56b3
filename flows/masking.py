"""Secrets taken out of texts that people or machines will read: error messages, logs, states.

Nothing of ours writes a secret down on purpose, but a library's error may quote the header, the address or the variable
that it could not use. A text is masked where it leaves the process or becomes a record.
"""

import json
import logging
import os
import re
from collections.abc import Iterator
from typing import Any  # JSON values, log records
from urllib.parse import quote, quote_plus

_MASK = "***"
_FEWEST_CHARS = 8  # a shorter value would be found in ordinary words
_FEWEST_CHARS_NAMED = 4  # of a variable that a recipe names as holding a key
# Whole words of a name: TOKENIZERS_PARALLELISM is no token. Names of files with keys are none either.
_SECRET_NAME = re.compile(
    r"((^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSPHRASE|AUTH_STRING|PASS)|_PWD|PASSWORD|PASSWD)(_(?!FILE|PATH|DIR|ID)[A-Z0-9]+)*$",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(:/{1,2})[^\s/]+(?=@)")  # a path makes one slash of two
_TOKEN = re.compile(r"\b(?:sk-|hf_)[A-Za-z0-9_-]{16,}")
_BEARER = re.compile(r"(?<=\bBearer )\s*[^\s\"',}]+", re.IGNORECASE)

# Narrower than what is masked: a folder may be called sk-learn-experiments.
_KEY = re.compile(r"\bsk-[\w-]{20,}|\bhf_[A-Za-z0-9]{30,}")


def mask(text: str, fields: Any = None) -> str:
    """Put *** in the place of secrets.

    Args:
        text: What is to be shown or stored.
        fields: JSON values of a recipe or a job; the variables that its `api_key_env` fields name hold secrets.

    Returns:
        The text without values of environment variables that are secret by name or by `fields`, bearer tokens, keys of
        the forms sk-... and hf_..., and logins in addresses.
    """
    for value in _secrets(fields):
        text = text.replace(value, _MASK)
    text = _LOGIN.sub(rf"\g<1>{_MASK}", text)
    for pattern in (_BEARER, _TOKEN):
        text = pattern.sub(_MASK, text)
    return text


def holds_secret(text: str) -> bool:
    """Tell whether a text that is about to be stored holds a login, a key or a secret variable's value."""
    looks_like_key = any(_is_mixed(found) for found in _KEY.findall(text))
    return any(value in text for value in _secrets(None)) or bool(_LOGIN.search(text)) or looks_like_key


def _is_mixed(text: str) -> bool:
    """Tell whether a text has a digit, a capital and a small letter, as keys do."""
    return all(re.search(kind, text) for kind in ("[0-9]", "[A-Z]", "[a-z]"))


def mask_logs(fields: Any = None) -> None:
    """Mask every log record of this process from now on, tracebacks included."""
    make = logging.getLogRecordFactory()

    def make_masked(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a wrong call; the handler says so
            return record
        if (masked := mask(message, fields)) != message:
            record.msg, record.args = masked, None
        if record.exc_info:
            record.exc_text = mask(logging.Formatter().formatException(record.exc_info), fields)
        return record

    logging.setLogRecordFactory(make_masked)


def _secrets(fields: Any) -> list[str]:
    """List the values to hide in the forms they may be quoted in, the longest first."""
    named = set(_named_variables(fields))
    by_name = {value.strip() for name, value in os.environ.items() if _SECRET_NAME.search(name)}
    values = {value for value in by_name if len(value) >= _FEWEST_CHARS}
    values |= {value for name in named if len(value := os.environ.get(name, "").strip()) >= _FEWEST_CHARS_NAMED}
    values |= {line.strip() for value in values for line in value.splitlines() if len(line.strip()) >= _FEWEST_CHARS}
    forms = {form for value in values for form in (value, quote(value, safe=""), quote_plus(value), _in_json(value))}
    return sorted(forms, key=lambda form: (-len(form), form))


def _in_json(value: str) -> str:
    return json.dumps(value)[1:-1]


def _named_variables(fields: Any) -> Iterator[str]:
    if isinstance(fields, dict):
        for name, value in fields.items():
            if name == "api_key_env" and isinstance(value, str):
                yield value
            else:
                yield from _named_variables(value)
    elif isinstance(fields, list | tuple):
        for value in fields:
            yield from _named_variables(value)
