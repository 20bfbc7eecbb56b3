"""What each stage's key is made of, known before anything runs: `explain` and the stages use the same plan."""

from dataclasses import dataclass
from typing import Any  # JSON values

from evaluation.schema import VERDICTS_VERSION
from filtering.catalogue import FILTERS
from filtering.facts import filter_key
from filtering.schema import FILTERS_VERSION
from flows.identities import source_identity
from flows.keys import answer_fields, content_key
from flows.recipe import Recipe
from flows.slices import PromptSlice
from generation.config import EngineConfig, SamplingConfig
from generation.engine import PolicyFiles
from generation.schema import CANDIDATES_VERSION, PROMPTS_VERSION
from judging.schema import PAIRS_VERSION
from training.config import TrainingConfig
from training.losses.catalogue import LOSSES
from training.schema import AVERAGES_VERSION, LOGPROBS_VERSION, POLICY_VERSION, REFERENCE_VERSION, REPLAY_VERSION

EVALUATION_ROUND = 0  # held-out prompts are sampled with the same seeds whatever the round


@dataclass(frozen=True)
class Step:
    """One dataset to be built: its stage, what its key hashes, and the key."""

    stage: str
    version: int
    parts: dict[str, Any]

    @property
    def key(self) -> str:
        """The content key."""
        return content_key(self.stage, self.version, self.parts)


@dataclass(frozen=True)
class Sampler:
    """A policy, how it is run and how many answers it gives."""

    policy: PolicyFiles
    engine: EngineConfig
    k: int
    sampling: SamplingConfig


@dataclass(frozen=True)
class Averaging:
    """How an average of weights comes about: (1 - weight) * old + weight * new (arXiv 2404.09656)."""

    old: PolicyFiles
    new: PolicyFiles
    weight: float


def plan_prompts(recipe: Recipe, used: list[list[Any]] = []) -> Step:  # noqa: B006  never changed
    """Prompts: the source's content, how it is read, split and shared out to rounds.

    Args:
        recipe: The run's recipe.
        used: Whose train prompts are left out: the key of an earlier run's prompts and the rounds it began, each.
    """
    config = recipe.prompts
    parts = {"config": answer_fields(config) | {"path": None}, "source": source_identity(config), "seed": recipe.seed}
    if config.per_round is None and config.each_round == "disjoint":
        parts["rounds"] = recipe.rounds
    if used:
        parts["used"] = used
    return Step("prompts", PROMPTS_VERSION, parts)


def plan_candidates(prompts: Step, chosen: PromptSlice, sampler: Sampler, seed: int) -> Step:
    """Candidates: which prompts, which weights, how they are drawn."""
    engine = answer_fields(sampler.engine)
    parts = {
        "prompts": prompts.key,
        "slice": chosen.to_json(),
        "policy": sampler.policy.key,
        "engine": engine,
        "k": sampler.k,
        "sampling": answer_fields(sampler.sampling),
        "seed": seed,
    }
    return Step("generation", CANDIDATES_VERSION, parts)


def plan_pairs(recipe: Recipe, prompts: Step, candidates: list[Step], scores: list[Step]) -> Step:
    """Pairs: which scores, which rule."""
    parts = {
        "prompts": prompts.key,
        "candidates": [step.key for step in candidates],
        "scores": [step.key for step in scores],
        "pairing": answer_fields(recipe.judging.pairing),
    }
    return Step("pairing", PAIRS_VERSION, parts)


def plan_filtering(recipe: Recipe, pairs: Step) -> Step:
    """Kept pairs: which pairs, which filters; files that a filter names count by their content."""
    filters = [
        {"facts": filter_key(one.name, FILTERS[one.name], one), "config": answer_fields(one)}
        for one in recipe.filtering.chosen()
    ]
    return Step("filtering", FILTERS_VERSION, {"pairs": pairs.key, "filters": filters})


def plan_facts(pairs: Step) -> Step:
    """What filters measure of pairs: files that are right as soon as they stand, so no manifest comes."""
    return Step("facts", FILTERS_VERSION, {"pairs": pairs.key})


def plan_replay(kept: Step, earlier: list[str], share: float, seed: int) -> Step:
    """A round's pairs mixed with those of earlier rounds: which, how many, drawn how."""
    parts = {"pairs": kept.key, "earlier": earlier, "share": share, "seed": seed}
    return Step("replay", REPLAY_VERSION, parts)


def plan_average(averaging: Averaging) -> Step:
    """An average of weights: of which, how much of each."""
    parts = {"old": averaging.old.key, "new": averaging.new.key, "weight": averaging.weight}
    return Step("averages", AVERAGES_VERSION, parts)


def plan_policy(recipe: Recipe, pairs: Step, start: PolicyFiles, reference: PolicyFiles) -> Step:
    """The next policy: which pairs, from which weights, tied to which reference, how."""
    config = answer_fields(recipe.training) | {"reference": None, "ema_weight": None}
    parts = {"pairs": pairs.key, "start": start.key, "config": config, "seed": recipe.seed}
    if has_reference(recipe.training):
        parts["reference"] = reference.key
    elif LOSSES[recipe.training.loss.name].reference:
        parts["reference"] = "none"
    return Step("policies", POLICY_VERSION, parts)


def plan_reference(training: TrainingConfig, reference: PolicyFiles) -> Step | None:
    """Log-probs of a reference: files that are right as soon as they stand, so no manifest comes.

    None where the loss needs none. Tokenizers have folders of their own inside, as files are named by what they hold.
    """
    if not has_reference(training):
        return None
    quantize = training.lora.quantize if training.lora else None
    parts = {"reference": reference.key, "dtype": training.dtype, "quantize": quantize}
    return Step("reference", REFERENCE_VERSION, parts)


def has_reference(training: TrainingConfig) -> bool:
    """Say whether a policy is the reference of the loss."""
    return LOSSES[training.loss.name].reference and training.reference != "none"


def plan_logprobs(candidates: Step, policy: PolicyFiles) -> Step:
    """Log-probs of stored answers under another policy."""
    return Step("logprobs", LOGPROBS_VERSION, {"candidates": candidates.key, "policy": policy.key})


def plan_evaluation(recipe: Recipe, inputs: dict[str, list[Step]]) -> Step:
    """Verdicts: every dataset that is compared, and how."""
    config = answer_fields(recipe.evaluation) | {"judge": None}  # the scores among the inputs know it
    keys = {name: [step.key for step in steps] for name, steps in inputs.items()}
    parts = {"inputs": keys, "config": config, "seed": recipe.seed}
    return Step("evaluation", VERDICTS_VERSION, parts)
