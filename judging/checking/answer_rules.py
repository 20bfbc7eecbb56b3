"""Rules about an answer's text: a config of a rule in, a check out; the checks run nothing that an answer holds."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

from judging.checking.answer_parts import (
    LINES,
    PLACEHOLDER,
    count_units,
    is_markdown,
    share_of_script,
    split_blocks,
)
from judging.checking.json_rule import FOUND_NOTHING, compile_schema, find_json
from judging.verifier_config import (
    ExactMatchConfig,
    FormatConfig,
    JsonSchemaConfig,
    LengthConfig,
    RangeConfig,
    RegexConfig,
    RuleConfig,
)

Check = Callable[[str, str | None], bool | None]
"""Tells whether an answer, given its reference answer, meets a rule; None = it needs a reference and there is none."""

_MAX_NFC_CHARS = 20_000  # composing takes seconds for 40,000 combining marks, and no signal ends it
_SCRIPT_SHARE = 0.9  # of the letters; names and terms of other scripts are the rest


def compile_rule(config: RuleConfig) -> Check:
    """Build the check of one rule."""
    return _COMPILERS[config.rule](config)


def _exact_match(config: ExactMatchConfig) -> Check:
    pattern = None if config.pattern is None else re.compile(config.pattern)

    def check(text: str, reference: str | None) -> bool | None:
        wanted = _normalise(reference or "", config)
        if not wanted:
            return None
        if config.after is not None:
            _, found, rest = text.rpartition(config.after)
            taken = rest.lstrip(" \t").partition("\n")[0] if found else None
        else:
            taken = text if pattern is None else _last_match(pattern, text)
        return taken is not None and _normalise(taken, config) == wanted

    return check


def _last_match(pattern: re.Pattern[str], text: str) -> str | None:
    last = None
    for match in pattern.finditer(text):
        last = match
    return None if last is None else last[1 if pattern.groups else 0]


def _normalise(text: str, config: ExactMatchConfig) -> str:
    if len(text) <= _MAX_NFC_CHARS:
        text = unicodedata.normalize("NFC", text)
    if config.ignore_punctuation:
        text = "".join(char for char in text if unicodedata.category(char)[0] != "P" and char not in "$^`~|")
    if config.ignore_case:
        text = text.casefold()
    return " ".join(text.split()) if config.ignore_space else text


def _regex(config: RegexConfig) -> Check:
    pattern = re.compile(config.pattern)
    wanted = config.must == "match"
    return lambda text, _: (pattern.search(text) is not None) == wanted


def _json_schema(config: JsonSchemaConfig) -> Check:
    fits = compile_schema(config.fits)

    def check(text: str, _reference: str | None) -> bool:
        value = find_json(text, config.where)
        return value is not FOUND_NOTHING and fits(value)

    return check


def _length(config: LengthConfig) -> Check:
    limits = RangeConfig(min=config.min, max=config.max)
    return lambda text, _: _is_within(count_units(text, config.unit), limits)


def _format(config: FormatConfig) -> Check:
    return lambda text, _: all(_look(text.strip(), config))


def _look(text: str, config: FormatConfig) -> Iterable[bool]:
    """Yield whether each thing that a format rule asks holds."""
    split = split_blocks(text)
    for name, pattern in LINES.items():
        yield _is_within(sum(pattern.match(line) is not None for line in split.outside), getattr(config, name))
    yield _is_within(len(split.blocks), config.code_blocks)
    yield _is_within(len(PLACEHOLDER.findall(text)), config.placeholders)
    if config.markdown == "none":
        yield not is_markdown(text)
    if config.case != "any":
        other = str.islower if config.case == "upper" else str.isupper
        yield text.upper() != text.lower() and not any(map(other, text))
    if config.script != "any":
        yield share_of_script(text, config.script) >= _SCRIPT_SHARE
    yield from _look_for_texts(text, config)


def _look_for_texts(text: str, config: FormatConfig) -> Iterable[bool]:
    def fold(one: str) -> str:
        return one.casefold() if config.ignore_case else one

    text = fold(text)
    if config.starts_with is not None:
        yield text.startswith(fold(config.starts_with))
    if config.ends_with is not None:
        yield text.endswith(fold(config.ends_with))
    touch = (r"(?<!\w)", r"(?!\w)") if config.whole_words else ("", "")
    for texts, wanted in ((config.contains, True), (config.lacks, False)):
        for one in texts:
            yield (re.search(re.escape(fold(one)).join(touch), text) is not None) == wanted


def _is_within(number: int, limits: RangeConfig | None) -> bool:
    if limits is None:
        return True
    return (limits.min is None or number >= limits.min) and (limits.max is None or number <= limits.max)


# Each compiler knows the config of its rule, which is more than a type checker can follow through a dict.
_COMPILERS: dict[str, Callable[[Any], Check]] = {
    "exact_match": _exact_match,
    "regex": _regex,
    "json_schema": _json_schema,
    "length": _length,
    "format": _format,
}
