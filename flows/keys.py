"""Cache keys: a hash of everything that changes a stage's answer, and of nothing else.

A config goes in without the fields marked `how` (batch sizes, threads, concurrency): they change speed, not answers.
"""

import hashlib
import json
from typing import Any  # JSON values

from pydantic import BaseModel

KEY_CHARS = 20


def answer_fields(config: BaseModel) -> dict[str, Any]:
    """Dump a config without its `how` fields, nested models and lists of models included."""
    fields = type(config).model_fields
    return {
        name: _answer_value(getattr(config, name))
        for name, field in fields.items()
        if not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("how"))
    }


def _answer_value(value: object) -> Any:
    if isinstance(value, BaseModel):
        return answer_fields(value)
    if isinstance(value, list | tuple):
        return [_answer_value(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _answer_value(item) for name, item in value.items()}
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
