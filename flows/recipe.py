"""A recipe: one YAML file that describes a run, checked field by field before anything starts."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from evaluation.config import EvaluationConfig
from filtering.config import FilteringConfig
from flows.fields import FieldError, assign, check, read_yaml, resolve_paths
from flows.iteration import IterationConfig, RetryConfig, value_of_round
from flows.judges import members
from flows.retrying import RetriesConfig
from generation.config import GenerationConfig, PolicyConfig, PromptsConfig, is_running_server
from judging.chat_config import SelfConfig
from judging.config import JudgeConfig, JudgingConfig
from training.config import TrainingConfig
from training.reference.reference_choice import check_reference

SHIPPED = Path(__file__).parent.parent / "recipes"


class JudgedEvaluationConfig(EvaluationConfig, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Comparison on held-out prompts, with the judge that decides it."""

    judge: JudgeConfig
    """The independent judge or verifier of the gate; not the annotator that labelled the pairs."""


class Recipe(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True):
    """Everything that a run needs to know."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of the run's folder and of its rows in the Prefect UI: lowercase letters, digits, dashes."""
    seed: int = Field(default=0, ge=0)
    """Seed of sampling, data order and bootstraps; another seed is another run."""
    rounds: int = Field(default=1, ge=1, le=999)
    """Most rounds of sampling and training; each starts from the last good policy."""
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
    iteration: IterationConfig = IterationConfig()
    """How one round leads to the next."""
    retries: RetriesConfig = RetriesConfig()
    """When a server or the Hub is away."""
    verify: Literal["training", "all"] = Field(default="training", json_schema_extra={"how": True})
    """Whose checksums are verified before use: what training reads, or every dataset of the store."""

    def at_round(self, number: int, attempt: int = 0) -> "Recipe":
        """Give the recipe as it stands for a round.

        Args:
            number: 1-based round.
            attempt: 0 = its first try, n = its n-th retry after a refusal.
        """
        schedule, retry = self.iteration.schedule, self.iteration.retry
        sampling, training = self.generation.sampling, self.training
        temperature = value_of_round(schedule.temperature, number, sampling.temperature)
        loss = training.loss
        if isinstance(beta := getattr(loss, "beta", None), float):  # not every loss has one
            beta = value_of_round(schedule.beta, number, beta) * retry.beta_factor**attempt
            loss = type(loss).model_validate(loss.model_dump() | {"beta": beta})
        rate = value_of_round(schedule.learning_rate, number, training.learning_rate)
        rate *= retry.learning_rate_factor**attempt
        sampling = sampling.model_copy(update={"temperature": temperature})
        return self.model_copy(
            update={
                "generation": self.generation.model_copy(update={"sampling": sampling}),
                "training": training.model_copy(update={"loss": loss, "learning_rate": rate}),
            }
        )

    @model_validator(mode="after")
    def _rounds_fit(self) -> "Recipe":
        iteration, evaluation = self.iteration, self.evaluation
        if iteration.schedule.temperature and evaluation.temperature is None:
            raise ValueError(
                "iteration.schedule.temperature changes the sampling from round to round: give evaluation.temperature, "
                "so that all policies are compared alike"
            )
        drawn = self.generation.sampling.temperature if evaluation.temperature is None else evaluation.temperature
        if iteration.stop.max_kl and (drawn != 1 or self.generation.sampling.top_p != 1):
            raise ValueError(
                "iteration.stop.max_kl can be estimated only from answers drawn at temperature 1 and top_p 1: set "
                "evaluation.temperature to 1 (and generation.sampling.top_p), or leave max_kl out"
            )
        self._check_betas()
        return self

    @model_validator(mode="after")
    def _references_fit(self) -> "Recipe":
        training = self.training
        if self.policy.adapter is not None and training.lora is None:
            raise ValueError("policy.adapter is a LoRA adapter: set training.lora, with its rank, to go on with it")
        if training.reference == "ema" and (training.lora is not None or self.policy.trust_remote_code):
            raise ValueError(
                "training.reference ema averages full weights of a model without code of its own: leave training.lora "
                "and policy.trust_remote_code out, or take initial or previous"
            )
        check_reference(training)
        if training.reference != "ema" and training.ema_weight != TrainingConfig().ema_weight:
            raise ValueError("training.ema_weight has no effect without training.reference: ema")
        return self

    @model_validator(mode="after")
    def _refusals_and_rules_have_an_effect(self) -> "Recipe":
        iteration = self.iteration
        if iteration.on_refusal != "retry" and iteration.retry != RetryConfig():
            raise ValueError("iteration.retry has no effect without iteration.on_refusal: retry")
        has_beta = "beta" in type(self.training.loss).model_fields
        if iteration.schedule.beta and not has_beta:
            raise ValueError(f"iteration.schedule.beta has no effect on {self.training.loss.name}: leave it out")
        if iteration.retry.learning_rate_factor == 1 and (iteration.retry.beta_factor == 1 or not has_beta):
            raise ValueError(
                "iteration.retry would train the same again: change learning_rate_factor, or "
                "beta_factor where the loss has a beta"
            )
        if iteration.stop.annotator_only and self.judging.annotator == self.evaluation.judge:
            raise ValueError(
                "iteration.stop.annotator_only can't fire where one judge is both judging.annotator and "
                "evaluation.judge: give evaluation.judge another one"
            )
        return self

    @model_validator(mode="after")
    def _gate_is_independent(self) -> "Recipe":
        if any(isinstance(judge, SelfConfig) for judge in members(self.evaluation.judge)):
            raise ValueError(
                "evaluation.judge can't be self, nor have it as a member: a policy that rates its own successor is no "
                "independent judge; give it a reward model, a verifier or another language model"
            )
        return self

    def _check_betas(self) -> None:
        betas = self.iteration.schedule.beta or []
        attempts = self.iteration.retry.times if self.iteration.on_refusal == "retry" else 0
        for number in range(1, max(1, len(betas)) + 1):
            for attempt in {0, attempts}:
                try:
                    self.at_round(number, attempt)
                except ValidationError as error:
                    problem = error.errors()[0]
                    raise ValueError(
                        f"round {number}, retry {attempt} would train with training.loss.beta {problem['input']}: "
                        f"{problem['msg']}; change iteration.schedule.beta or iteration.retry"
                    ) from error

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


def load_recipe(path: Path, overrides: list[str] = []) -> Recipe:  # noqa: B006  never changed
    """Read, override and check a recipe.

    Args:
        path: A YAML file, or the name of a recipe that is shipped (`demo`).
        overrides: `a.b=c` assignments; the value is read as YAML.

    Raises:
        FieldError: Names the file, the field, what it got and the fix.
    """
    path = _find(path)
    fields = read_yaml(path.read_bytes(), str(path))
    if not isinstance(fields, dict):
        raise FieldError(f"{path}: a recipe is a YAML mapping of fields, such as `name: my-run`")
    for override in overrides:
        assign(fields, override)
    recipe = check(Recipe, resolve_paths(fields, path.parent.resolve()), str(path))
    _refuse_double_settings(recipe, str(path))
    return recipe


def _refuse_double_settings(recipe: Recipe, where: str) -> None:
    """Refuse a setting beside its schedule, which would leave it without effect."""
    places = {
        "temperature": ("generation.sampling", recipe.generation.sampling),
        "beta": ("training.loss", recipe.training.loss),
        "learning_rate": ("training", recipe.training),
    }
    for name, (place, config) in places.items():
        scheduled = getattr(recipe.iteration.schedule, name)
        if scheduled and getattr(config, name) != type(config).model_fields[name].default:
            raise FieldError(
                f"{where}: {place}.{name} and iteration.schedule.{name} are both given: the schedule would win; "
                f"leave one out (--set iteration.schedule.{name}=null)"
            )


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    shipped = SHIPPED / f"{path}.yaml"
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.yaml")))
    raise FieldError(f"{path}: no such recipe file, and none of the shipped recipes ({names}) has that name")
