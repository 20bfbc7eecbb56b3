"""Fields as people write them: overrides, paths, and errors that name the field and the fix."""

import json
import re
from pathlib import Path
from typing import Any, TypeVar, get_args  # parsed YAML

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

# Fields that hold a path, or a Hub name that may be a path; a relative path counts from the recipe's folder.
_PATH_FIELDS = {"path", "model"}
_SECRET_FIELDS = ("base_url", "api_key_env")  # people put keys and passwords there: their values are never shown
Config = TypeVar("Config")


class FieldError(ValueError):
    """A recipe or an option can't be used; the message names each field, what it got and what it wants."""


def check(config: type[Config], fields: dict[str, Any], where: str) -> Config:
    """Check fields against a config model, or a union of them; `where` names them in errors.

    Raises:
        FieldError: Names every field that is wrong.
    """
    try:
        return TypeAdapter(config).validate_python(fields)
    except ValidationError as error:
        lines = [_explain(dict(problem), config) for problem in error.errors()]
        raise FieldError(f"{where}: {len(lines)} problem(s)\n" + "\n".join(f"  {line}" for line in lines)) from error


def read_settings(settings: list[str]) -> dict[str, Any]:
    """Read `--set` options of a command into fields."""
    fields: dict[str, Any] = {}
    for setting in settings:
        assign(fields, setting)
    return fields


def assign(fields: dict[str, Any], override: str) -> None:
    """Set one field from `a.b=value`; the value is read as YAML."""
    name, equals, value = override.partition("=")
    if not equals or not name:
        raise FieldError(f"--set {override}: write it as field=value, such as training.learning_rate=1e-6")
    *outer, last = name.split(".")
    target: Any = fields
    for part in outer:
        target = _step(target, part, override)
    try:
        parsed = _number(yaml.safe_load(value))
    except yaml.YAMLError as error:
        raise FieldError(f"--set {override}: the value is not valid YAML: {error}") from error
    if isinstance(target, list):
        target[_index(target, last, override)] = parsed
    else:
        target[last] = parsed


def _step(target: Any, part: str, override: str) -> Any:
    inner = target[_index(target, part, override)] if isinstance(target, list) else target.setdefault(part, {})
    if not isinstance(inner, dict | list):
        raise FieldError(f"--set {override}: `{part}` is a single value, it has no fields inside")
    return inner


def _index(target: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(target):
        raise FieldError(f"--set {override}: `{part}` must be a position in a list of {len(target)}")
    return int(part)


def _number(value: Any) -> Any:
    """Read 1e-6 as a number; YAML 1.1 takes it for a string."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value


def resolve_paths(value: Any, folder: Path, name: str = "") -> Any:
    """Make the paths among some fields absolute, counted from a folder; Hub names stay."""
    if isinstance(value, dict):
        return {key: resolve_paths(inner, folder, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolve_paths(inner, folder, name) for inner in value]
    if name in _PATH_FIELDS and isinstance(value, str):
        path = Path(value).expanduser()
        # A Hub name such as org/model is no path, unless something lies there.
        looks_local = name == "path" or value.startswith((".", "/", "~")) or (folder / path).exists()
        return str((folder / path).resolve()) if looks_local else value
    return _number(value)


def _explain(problem: dict[str, Any], root: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "as a whole"
    got = json.dumps(problem.get("input"), default=str)
    shown = len(got) < 80 and not isinstance(problem.get("input"), dict) and not field.endswith(_SECRET_FIELDS)
    if problem["type"] == "extra_forbidden":
        return f"{field}: unknown field; {_known_fields(problem['loc'], root)}"
    if problem["type"] == "missing":
        return f"{field}: this field is required and missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" + (f" (got {got})" if shown else "")


def _known_fields(location: tuple[Any, ...], root: Any) -> str:
    """Name the fields that stand at the place of an unknown one."""
    models: list[Any] = _models_in(root)
    for part in location[:-1]:
        inner = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        tagged = [m for m in models if part in map(str, _tags(m))]
        models = tagged or [leaf for annotation in inner for leaf in _models_in(annotation)] or models
    names = sorted({name for model in models for name in model.model_fields})
    return "known here: " + ", ".join(names)


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _tags(model: Any) -> list[object]:
    """The literal that picks a model out of a union, such as vllm or reward_model."""
    return [
        tag
        for name in ("name", "kind")
        if name in model.model_fields
        for tag in get_args(model.model_fields[name].annotation)
    ]
