"""JSON in answers: found, parsed and held against a schema."""

# What JSON holds is of any type.

import json
from collections.abc import Callable, Iterator
from typing import Any

from judging.checking.answer_parts import split_blocks

FOUND_NOTHING = object()
"""Stands for no JSON; None is JSON."""


def check_schema(schema: dict[str, Any]) -> None:
    """Check a schema before an answer meets it.

    Raises:
        ValueError: If it is no JSON schema, or points outside itself.
    """
    from jsonschema import SchemaError
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    kind = _validator_of(schema)
    try:
        kind.check_schema(schema, format_checker=kind.FORMAT_CHECKER)
    except SchemaError as error:
        raise ValueError(f"not a JSON schema: {error.json_path}: {error.message:.300}") from error
    except RecursionError as error:
        raise ValueError("not a JSON schema: it is nested too deeply") from error
    root = Resource.from_contents(schema, default_specification=DRAFT202012)
    resolver = Registry().resolver_with_root(root)
    for reference in _find_references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable as error:
            raise ValueError(f"$ref {reference!r} points to nothing inside the schema") from error


def compile_schema(schema: dict[str, Any] | None) -> Callable[[object], bool]:
    """Build the check of one value against a schema; None = any value fits."""
    if schema is None:
        return lambda _: True
    from referencing import Registry

    validator = _validator_of(schema)(schema, registry=Registry())  # an own registry fetches nothing from the network

    def fits(value: object) -> bool:
        try:
            return validator.is_valid(value)
        except (RecursionError, OverflowError):  # nested too deeply; a number that no float holds, against multipleOf
            return False

    return fits


def find_json(text: str, where: str) -> object:
    """Parse the JSON in an answer.

    Args:
        text: The answer.
        where: As in JsonSchemaConfig: `answer`, `block` or `either`.

    Returns:
        The value, or FOUND_NOTHING.
    """
    value = FOUND_NOTHING if where == "block" else _parse(text)
    if value is not FOUND_NOTHING or where == "answer":
        return value
    blocks = [content for language, content in split_blocks(text).blocks if language.lower() == "json"]
    return _parse(blocks[-1]) if blocks else FOUND_NOTHING


def _parse(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):  # ValueError: also a number of thousands of digits
        return FOUND_NOTHING


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _validator_of(schema: dict[str, Any]) -> Any:
    """Give the validator class of the draft that a schema names; the newest if it names none."""
    from jsonschema import validators

    if "$schema" not in schema:
        return validators.Draft202012Validator
    kind: Any = validators.validator_for(schema, default=None)  # pyright: ignore[reportArgumentType]
    if kind is None:
        raise ValueError(f"not a JSON schema: $schema {schema['$schema']!r} is no draft that is known")
    return kind


def _find_references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _find_references(part)
