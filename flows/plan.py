"""What each stage's key is made of, known before anything runs: `explain` and the stages use the same plan."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any  # JSON values

from evaluation.schema import VERDICTS_VERSION
from filtering.schema import FILTERS_VERSION
from flows.keys import answer_fields, content_key
from flows.policies import identify_model
from flows.recipe import Recipe
from flows.slices import PromptSlice
from flows.tables import file_checksum
from generation.config import EngineConfig, MixConfig, OpenAIConfig, PolicyConfig, PromptsConfig, SamplingConfig
from generation.engine import PolicyFiles
from generation.schema import CANDIDATES_VERSION, PROMPTS_VERSION
from judging.config import JudgeConfig, RecordedConfig, RewardModelConfig
from judging.schema import PAIRS_VERSION, SCORES_VERSION
from training.config import SimpoConfig
from training.schema import LOGPROBS_VERSION, POLICY_VERSION

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
    parts = {"config": answer_fields(config) | {"path": None}, "source": _source_identity(config), "seed": recipe.seed}
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


def policy_from(config: PolicyConfig) -> PolicyFiles:
    """Identify a policy that a recipe names."""
    key = identify_model(config.model, config.revision)
    return PolicyFiles(config.model, key, None, config.revision, config.trust_remote_code)


def round_samplers(recipe: Recipe, policy: PolicyFiles) -> list[Sampler]:
    """Say who answers a round's prompts: its own policy first, then the mix."""
    config = recipe.generation
    own = Sampler(policy, config.engine, config.k, config.sampling)
    return [own, *(Sampler(_mixed_policy(other), other.engine, other.k, config.sampling) for other in config.mix)]


def _mixed_policy(config: MixConfig) -> PolicyFiles:
    if config.policy is not None:
        return policy_from(config.policy)
    assert isinstance(config.engine, OpenAIConfig)  # the config's own check
    model = str(config.engine.model)
    return PolicyFiles(model, f"{model} at {config.engine.base_url}")


def judge_identity(config: JudgeConfig) -> dict[str, Any]:
    """Everything that a judge's verdicts depend on: weights or file content instead of a path."""
    fields = answer_fields(config)
    if isinstance(config, RewardModelConfig):
        return fields | {"model": identify_model(config.model, config.revision)}
    if isinstance(config, RecordedConfig):
        return fields | {"path": file_checksum(_existing(config.path, "judging.annotator.path"))}
    return fields


def _source_identity(config: PromptsConfig) -> Any:
    if config.path is None:
        return {"dataset": config.dataset}
    path = _existing(config.path, "prompts.path")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [[file.name, file_checksum(file)] for file in files]


def _existing(path: Path, field: str) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{field}: {path} does not exist")
    return path
