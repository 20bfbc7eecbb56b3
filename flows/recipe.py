"""A recipe: one YAML file that describes a run, checked field by field before anything starts."""

from pathlib import Path

import yaml
from pydantic import BaseModel, Field, model_validator

from evaluation.config import EvaluationConfig
from filtering.config import FilteringConfig
from flows.fields import FieldError, assign, check, resolve_paths
from generation.config import GenerationConfig, PolicyConfig, PromptsConfig, is_running_server
from judging.config import JudgeConfig, JudgingConfig
from training.config import TrainingConfig

SHIPPED = Path(__file__).parent.parent / "recipes"


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
    def _policies_can_be_sampled(self) -> "Recipe":
        if is_running_server(self.generation.engine):
            raise ValueError(
                "generation.engine.base_url names a running server, which can't have the weights that a round trains: "
                "leave base_url and model out and the flow starts a server for each round's policy; "
                "an outside model belongs into generation.mix"
            )
        temperature = self.evaluation.temperature
        if (
            self.generation.sampling.temperature if temperature is None else temperature
        ) == 0 and self.evaluation.k > 1:
            raise ValueError(
                f"evaluation.temperature 0 draws the same answer evaluation.k = {self.evaluation.k} times: set k to 1"
            )
        return self

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
        FieldError: Names the file, the field, what it got and the fix.
    """
    path = _find(path)
    try:
        fields = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise FieldError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(fields, dict):
        raise FieldError(f"{path}: a recipe is a YAML mapping of fields, such as `name: my-run`")
    for override in overrides:
        assign(fields, override)
    return check(Recipe, resolve_paths(fields, path.parent.resolve()), str(path))


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    shipped = SHIPPED / f"{path}.yaml"
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.yaml")))
    raise FieldError(f"{path}: no such recipe file, and none of the shipped recipes ({names}) has that name")
