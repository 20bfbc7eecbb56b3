"""What each stage's key is made of, known before anything runs: `explain` and the stages use the same plan."""

import logging
from dataclasses import dataclass
from typing import Any  # JSON values

from evaluation.schema import VERDICTS_VERSION
from filtering.schema import FILTERS_VERSION
from flows.identities import judge_identity, mixed_policy, source_identity
from flows.keys import answer_fields, content_key
from flows.recipe import Recipe
from flows.slices import PromptSlice
from generation.config import EngineConfig, SamplingConfig
from generation.engine import PolicyFiles
from generation.schema import CANDIDATES_VERSION, PROMPTS_VERSION
from judging.config import JudgeConfig
from judging.schema import PAIRS_VERSION, SCORES_VERSION
from training.config import SimpoConfig
from training.schema import LOGPROBS_VERSION, POLICY_VERSION

_log = logging.getLogger(__name__)

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


def plan_prompts(recipe: Recipe) -> Step:
    """Prompts: the source's content, how it is read, split and shared out to rounds."""
    config = recipe.prompts
    parts = {"config": answer_fields(config) | {"path": None}, "source": source_identity(config), "seed": recipe.seed}
    if config.per_round is None:
        parts["rounds"] = recipe.rounds
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


def plan_scores(prompts: Step, candidates: Step, judge: JudgeConfig) -> Step:
    """Scores: which candidates, which judge."""
    parts = {"prompts": prompts.key, "candidates": candidates.key, "judge": judge_identity(judge)}
    return Step("judging", SCORES_VERSION, parts)


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
    """Kept pairs: which pairs, which filters."""
    return Step("filtering", FILTERS_VERSION, {"pairs": pairs.key, "config": answer_fields(recipe.filtering)})


def plan_policy(recipe: Recipe, kept: Step, round_number: int, start: PolicyFiles, reference: PolicyFiles) -> Step:
    """The next policy: which pairs, from which weights, tied to which reference, how."""
    config = answer_fields(recipe.training) | {"learning_rate": learning_rate(recipe, round_number), "reference": None}
    parts = {"pairs": kept.key, "start": start.key, "config": config, "seed": recipe.seed}
    if not isinstance(recipe.training.loss, SimpoConfig):  # SimPO has no reference
        parts["reference"] = reference.key
    return Step("policies", POLICY_VERSION, parts)


def plan_logprobs(candidates: Step, policy: PolicyFiles) -> Step:
    """Log-probs of stored answers under another policy."""
    return Step("logprobs", LOGPROBS_VERSION, {"candidates": candidates.key, "policy": policy.key})


def plan_evaluation(recipe: Recipe, inputs: dict[str, Step]) -> Step:
    """Verdicts: every dataset that is compared, and how."""
    config = answer_fields(recipe.evaluation) | {"judge": judge_identity(recipe.evaluation.judge)}
    parts = {"inputs": {name: step.key for name, step in inputs.items()}, "config": config, "seed": recipe.seed}
    return Step("evaluation", VERDICTS_VERSION, parts)


def learning_rate(recipe: Recipe, round_number: int) -> float:
    """The learning rate of a round: the list's last value serves all rounds after."""
    rates = recipe.training.learning_rate
    return rates[min(round_number, len(rates)) - 1] if isinstance(rates, list) else rates


@dataclass(frozen=True)
class RoundPlan:
    """Every dataset of a round up to its new policy, in the order they are built."""

    number: int
    chosen: PromptSlice
    samplers: list[Sampler]
    candidates: list[Step]  # one a sampler
    scores: list[Step]  # one a sampler
    pairs: Step
    kept: Step
    start: PolicyFiles
    reference: PolicyFiles
    policy: Step


def plan_round(recipe: Recipe, prompts: Step, number: int, good: PolicyFiles, initial: PolicyFiles) -> RoundPlan:
    """Plan a round.

    Args:
        recipe: The run's recipe.
        prompts: The run's prompts.
        number: 1-based number of the round.
        good: The last good policy: what is sampled from and trained on.
        initial: The run's starting policy.
    """
    chosen = PromptSlice("train", number)
    samplers = _round_samplers(recipe, good)
    candidates = [plan_candidates(prompts, chosen, sampler, recipe.seed) for sampler in samplers]
    scores = [plan_scores(prompts, step, recipe.judging.annotator) for step in candidates]
    pairs = plan_pairs(recipe, prompts, candidates, scores)
    kept = plan_filtering(recipe, pairs)
    reference = initial if recipe.training.reference == "initial" else good
    policy = plan_policy(recipe, kept, number, good, reference)
    return RoundPlan(number, chosen, samplers, candidates, scores, pairs, kept, good, reference, policy)


def _round_samplers(recipe: Recipe, policy: PolicyFiles) -> list[Sampler]:
    """Say who answers a round's prompts: its own policy first, then the mix.

    A model of the mix that is the round's own policy (the first model, in round 1) adds nothing and is left out.
    """
    config = recipe.generation
    samplers = [Sampler(policy, config.engine, config.k, config.sampling)]
    for other in config.mix:
        sampler = Sampler(mixed_policy(other), other.engine, other.k, config.sampling)
        if sampler.policy.key in {known.policy.key for known in samplers}:
            _log.info("generation.mix: %s stands for itself already; left out", sampler.policy.model)
        else:
            samplers.append(sampler)
    return samplers
