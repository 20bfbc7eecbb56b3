"""Fields as people write them: overrides, paths, and errors that name the field and the fix."""

import json
import re
from pathlib import Path
from typing import Any, TypeVar, get_args  # parsed YAML

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from flows.masking import holds_secret, mask

# Fields that hold paths, or a Hub name that may be a path; a relative path counts from the recipe's folder.
_FILE_FIELDS = {"path", "template", "eval_sets", "scores", "benign_scores", "accelerate_config"}
_PATH_FIELDS = _FILE_FIELDS | {"model", "adapter"}
SECRET_FIELDS = ("base_url", "api_key_env")  # people put keys and passwords there: their values are never shown
_MOST_VALUES = 100_000  # of a YAML text once its aliases are written out
Config = TypeVar("Config")


class FieldError(ValueError):
    """A recipe or an option can't be used; the message names each field, what it got and what it wants."""


def check(config: type[Config], fields: dict[str, Any], where: str) -> Config:
    """Check fields against a config model, or a union of them; `where` names them in errors.

    Raises:
        FieldError: Names every field that is wrong, or that holds a secret.
    """
    if secrets := _find_secrets(fields):
        raise FieldError(
            f"{where}: {', '.join(secrets)}: this holds a password or key, and recipes are stored and shown: put it "
            "into an environment variable and give its name as api_key_env; addresses go without a login"
        )
    try:
        return TypeAdapter(config).validate_python(fields)
    except ValidationError as error:
        lines = [_explain(dict(problem), config) for problem in error.errors()]
        raise FieldError(f"{where}: {len(lines)} problem(s)\n" + "\n".join(f"  {line}" for line in lines)) from error


def _find_secrets(value: Any, name: str = "") -> list[str]:
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in _find_secrets(inner, f"{name}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [found for i, inner in enumerate(value) for found in _find_secrets(inner, f"{name}.{i}")]
    return [name] if isinstance(value, str) and holds_secret(value) else []


def read_yaml(text: str | bytes, where: str) -> Any:
    """Read YAML that people wrote; `where` names it in errors.

    Raises:
        FieldError: It is no YAML, or written out it is larger than any recipe (aliases of aliases of aliases).
    """
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if _count(node, {}) > _MOST_VALUES:
            raise FieldError(f"{where}: more than {_MOST_VALUES} values once its aliases (*name) are written out")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FieldError(f"{where}: not valid YAML: {mask(str(error))}") from error
    except FieldError:
        raise
    except ValueError as error:  # a date or a number that there is not
        raise FieldError(f"{where}: a value can't be read: {mask(str(error))}") from error
    except RecursionError as error:
        raise FieldError(f"{where}: nested too deeply, or an alias stands inside what it names") from error


def _count(node: Any, known: dict[int, int]) -> int:
    """Count the values of a composed YAML text as if every alias were written out."""
    if id(node) not in known:
        value = node.value if isinstance(node, yaml.CollectionNode) else []
        inner = [part for pair in value for part in pair] if isinstance(node, yaml.MappingNode) else value
        known[id(node)] = 1 + sum(_count(part, known) for part in inner)
    return known[id(node)]


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
        raise FieldError(f"--set {mask(override)}: write it as field=value, such as training.learning_rate=1e-6")
    *outer, last = name.split(".")
    target: Any = fields
    for part in outer:
        target = _step(target, part, override)
    parsed = _number(read_yaml(value, f"--set {mask(override)}"))
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
        try:
            path = Path(value).expanduser()
        except RuntimeError as error:
            raise FieldError(f"{name}: {value}: there is no such user's home; write the path out") from error
        # A Hub name such as org/model is no path, unless something lies there.
        looks_local = name in _FILE_FIELDS or value.startswith((".", "/", "~")) or (folder / path).exists()
        return str((folder / path).resolve()) if looks_local else value
    return _number(value)


def _explain(problem: dict[str, Any], root: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "as a whole"
    got = mask(json.dumps(problem.get("input"), default=str))
    shown = len(got) < 80 and not isinstance(problem.get("input"), dict) and not field.endswith(SECRET_FIELDS)
    if problem["type"] == "extra_forbidden":
        return f"{field}: unknown field; {_known_fields(problem['loc'], root)}"
    if problem["type"] == "missing":
        return f"{field}: this field is required and missing"
    if problem["type"] == "union_tag_not_found":
        tag = problem["ctx"]["discriminator"].strip("'")
        return f"{field}: {tag} is missing, which says which of several is meant: write {field}={{{tag}: ..., ...}}"
    if problem["type"] in ("model_type", "model_attributes_type"):
        return f"{field}: wants fields of its own, such as {field}={{name: value}} (got {got})"
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
        for name in ("name", "kind", "rule")
        if name in model.model_fields
        for tag in get_args(model.model_fields[name].annotation)
    ]
