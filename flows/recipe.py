"""A recipe: one YAML file that describes a run, checked field by field before anything starts."""

import json
import re
from pathlib import Path
from typing import Any, get_args  # parsed YAML

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from evaluation.config import EvaluationConfig
from filtering.config import FilteringConfig
from generation.config import GenerationConfig, PolicyConfig, PromptsConfig
from judging.config import JudgeConfig, JudgingConfig
from training.config import TrainingConfig

SHIPPED = Path(__file__).parent.parent / "recipes"
# Fields that hold a path, or a Hub name that may be a path; a relative path counts from the recipe's folder.
_PATH_FIELDS = {"path", "model"}


class RecipeError(ValueError):
    """A recipe can't be used; the message names each field, what it got and what it wants."""


class JudgedEvaluationConfig(EvaluationConfig, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Comparison on held-out prompts, with the judge that decides it."""

    judge: JudgeConfig
    """The independent judge or verifier of the gate; not the annotator that labelled the pairs."""


class Recipe(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Everything that a run needs to know."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of the run's folder and of its rows in the Prefect UI: lowercase letters, digits, dashes."""
    seed: int = Field(default=0, ge=0)
    """Seed of sampling, data order and bootstraps; another seed is another run."""
    rounds: int = Field(default=1, ge=1, le=999)
    """Rounds of sampling and training; each starts from the last good policy."""
    policy: PolicyConfig
    """The model to improve."""
    prompts: PromptsConfig
    """Where prompts come from."""
    generation: GenerationConfig = GenerationConfig()
    """Sampling of candidates."""
    judging: JudgingConfig
    """Scoring and pairing."""
    filtering: FilteringConfig = FilteringConfig()
    """Dropping of pairs."""
    training: TrainingConfig = TrainingConfig()
    """Preference training."""
    evaluation: JudgedEvaluationConfig
    """The comparison and the gate."""

    @model_validator(mode="after")
    def _batches_divide(self) -> "Recipe":
        micro = self.training.micro_batch_size
        if micro is not None and self.training.batch_size % micro:
            raise ValueError(
                f"training.micro_batch_size {micro} must divide training.batch_size {self.training.batch_size}"
            )
        return self


def load_recipe(path: Path, overrides: list[str] = []) -> Recipe:  # noqa: B006  never changed
    """Read, override and check a recipe.

    Args:
        path: A YAML file, or the name of a recipe that is shipped (`demo`).
        overrides: `a.b=c` assignments; the value is read as YAML.

    Raises:
        RecipeError: Names the file, the field, what it got and the fix.
    """
    path = _find(path)
    try:
        fields = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(fields, dict):
        raise RecipeError(f"{path}: a recipe is a YAML mapping of fields, such as `name: my-run`")
    for override in overrides:
        _assign(fields, override)
    return check_recipe(_resolve_paths(fields, path.parent.resolve()), str(path))


def check_recipe(fields: dict[str, Any], where: str) -> Recipe:
    """Check the fields of a recipe; `where` names it in errors."""
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        lines = [_explain(dict(problem)) for problem in error.errors()]
        raise RecipeError(f"{where}: {len(lines)} problem(s)\n" + "\n".join(f"  {line}" for line in lines)) from error


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    shipped = SHIPPED / f"{path}.yaml"
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.yaml")))
    raise RecipeError(f"{path}: no such recipe file, and none of the shipped recipes ({names}) has that name")


def _assign(fields: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    if not equals or not name:
        raise RecipeError(f"--set {override}: write it as field=value, such as training.learning_rate=1e-6")
    *outer, last = name.split(".")
    target: Any = fields
    for part in outer:
        target = _step(target, part, override)
    parsed = _number(yaml.safe_load(value))
    if isinstance(target, list):
        target[_index(target, last, override)] = parsed
    else:
        target[last] = parsed


def _step(target: Any, part: str, override: str) -> Any:
    inner = target[_index(target, part, override)] if isinstance(target, list) else target.setdefault(part, {})
    if not isinstance(inner, dict | list):
        raise RecipeError(f"--set {override}: `{part}` is a single value, it has no fields inside")
    return inner


def _index(target: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(target):
        raise RecipeError(f"--set {override}: `{part}` must be a position in a list of {len(target)}")
    return int(part)


def _number(value: Any) -> Any:
    """Read 1e-6 as a number; YAML 1.1 takes it for a string."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value


def _resolve_paths(value: Any, folder: Path, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _resolve_paths(inner, folder, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolve_paths(inner, folder, name) for inner in value]
    if name in _PATH_FIELDS and isinstance(value, str):
        path = Path(value).expanduser()
        # A Hub name such as org/model is no path, unless something lies there.
        looks_local = name == "path" or value.startswith((".", "/", "~")) or (folder / path).exists()
        return str((folder / path).resolve()) if looks_local else value
    return _number(value)


def _explain(problem: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "recipe"
    got = json.dumps(problem.get("input"), default=str)
    if problem["type"] == "extra_forbidden":
        return f"{field}: unknown field; {_known_fields(problem['loc'])}"
    if problem["type"] == "missing":
        return f"{field}: this field is required and missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" + (f" (got {got})" if len(got) < 80 else "")


def _known_fields(location: tuple[Any, ...]) -> str:
    """Name the fields that stand at the place of an unknown one."""
    models: list[Any] = [Recipe]
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
