"""Cache keys: a hash of everything that changes a stage's answer, and of nothing else.

A config goes in without the fields marked `how` (batch sizes, threads, concurrency): they change speed, not answers.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any  # JSON values

from pydantic import BaseModel

KEY_CHARS = 20
_TELLS_MODELS_APART = {"name", "kind"}  # of the members of a union


def answer_fields(config: BaseModel) -> dict[str, Any]:
    """Dump a config without its `how` fields, nested models and lists of models included."""
    fields = type(config).model_fields
    return {
        name: _answer_value(getattr(config, name))
        for name, field in fields.items()
        if not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("how"))
    }


def chosen_fields(config: BaseModel) -> dict[str, Any]:
    """Dump the same without what is left at its default: a release that adds a field changes no such dump."""
    fields = type(config).model_fields
    return {
        name: _answer_value(getattr(config, name), chosen_fields)
        for name in answer_fields(config)
        if name in _TELLS_MODELS_APART or getattr(config, name) != fields[name].get_default(call_default_factory=True)
    }


def _answer_value(value: object, dump: Callable[[BaseModel], dict[str, Any]] = answer_fields) -> Any:
    if isinstance(value, BaseModel):
        return dump(value)
    if isinstance(value, list | tuple):
        return [_answer_value(item, dump) for item in value]
    if isinstance(value, dict):
        return {str(name): _answer_value(item, dump) for name, item in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def content_key(stage: str, version: int, parts: dict[str, Any]) -> str:
    """Hash a stage's name, its code's version and everything its answer depends on.

    Args:
        stage: Name of the stage.
        version: The number that the stage's schema states.
        parts: JSON values; the order of keys does not matter.

    Returns:
        20 hexadecimal characters.
    """
    canonical = json.dumps([stage, version, parts], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:KEY_CHARS]


def flatten(value: Any, name: str = "") -> dict[str, str]:
    """Name each single value by its way there (`training.loss.beta`), as JSON."""
    if isinstance(value, dict) and value:
        items = value.items()
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        items = enumerate(value)
    else:
        return {name: json.dumps(value)}
    flat: dict[str, str] = {}
    for key, inner in items:
        flat |= flatten(inner, f"{name}.{key}" if name else str(key))
    return flat
