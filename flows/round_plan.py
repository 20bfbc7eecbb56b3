"""Every dataset of a round, planned from the round's policies before anything of it runs."""

import logging
from dataclasses import asdict, dataclass
from typing import Any  # JSON values

from pydantic import TypeAdapter

from flows.identities import mixed_policy
from flows.plan import (
    Averaging,
    Sampler,
    Step,
    plan_average,
    plan_candidates,
    plan_filtering,
    plan_pairs,
    plan_policy,
    plan_replay,
)
from flows.recipe import Recipe
from flows.score_plan import ScorePlan, plan_scores
from flows.slices import PromptSlice
from generation.engine import PolicyFiles

_log = logging.getLogger(__name__)
FEWEST_CANDIDATES = 2  # to make a pair


@dataclass(frozen=True)
class Policies:
    """The policies of a run by their role, between two rounds.

    Attributes:
        initial: The run's start.
        base: The recipe's policy, as it was when the first run of the series began.
        good: The last good policy: what is sampled from and trained on.
        former: The last good policy before that; the start where there is none.
        averaged: The start and all accepted policies averaged; the start without `training.reference: ema`.
        averaging: How `averaged` comes about; None = it is the start.
    """

    initial: PolicyFiles
    base: PolicyFiles
    good: PolicyFiles
    former: PolicyFiles
    averaged: PolicyFiles
    averaging: Averaging | None

    def roles(self) -> dict[str, PolicyFiles]:
        """Give the policies by the role that a recipe may name."""
        return {"good": self.good, "former": self.former, "initial": self.initial, "base": self.base}


@dataclass(frozen=True)
class RoundSpec:
    """What a round is made from, small enough to travel through Prefect.

    Attributes:
        number: 1-based.
        attempt: 0 = the first try, n = the n-th retry after a refusal.
        policies: Who is who.
        earlier: Keys of the kept pairs of earlier rounds, this run's and those of the runs it continues.
    """

    number: int
    attempt: int
    policies: Policies
    earlier: list[str]

    @property
    def title(self) -> str:
        """How people call this try of the round."""
        return str(self.number) if not self.attempt else f"{self.number}-retry-{self.attempt}"

    def to_json(self) -> dict[str, Any]:
        """Give the spec as JSON values."""
        return asdict(self) | {"title": self.title}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "RoundSpec":
        """Read what `to_json` gave."""
        return TypeAdapter(cls).validate_python({name: value for name, value in fields.items() if name != "title"})


@dataclass(frozen=True)
class RoundPlan:
    """Every dataset of a round up to its new policy, in the order they are built."""

    spec: RoundSpec
    recipe: Recipe  # as it stands for the round
    chosen: PromptSlice
    samplers: list[Sampler]
    candidates: list[Step]  # one a sampler
    scores: list[ScorePlan]  # one a sampler, or one for all where the judge compares
    pairs: Step
    kept: Step
    replay: Step | None  # kept and earlier pairs together; None = kept alone is trained on
    average: Step | None  # the averaged reference; None = none is needed
    reference: PolicyFiles
    policy: Step

    @property
    def trained_on(self) -> Step:
        """The pairs that training reads."""
        return self.replay or self.kept

    @property
    def score_steps(self) -> list[Step]:
        """The scores that pairs are made from."""
        return [scores.step for scores in self.scores]

    def steps(self) -> list[Step]:
        """List the datasets in the order they are built."""
        mixed = [step for step in (self.replay, self.average) if step is not None]
        judged = [step for scores in self.scores for step in scores.steps()]
        return [*self.candidates, *judged, self.pairs, self.kept, *mixed, self.policy]


def plan_round(recipe: Recipe, prompts: Step, spec: RoundSpec) -> RoundPlan:
    """Plan a round.

    Args:
        recipe: The run's recipe.
        prompts: The run's prompts.
        spec: What the round is made from.

    Raises:
        ValueError: No more than one candidate per prompt would be sampled.
    """
    recipe = recipe.at_round(spec.number, spec.attempt)
    chosen = train_slice(recipe, spec.number)
    samplers = _round_samplers(recipe, spec)
    candidates = [plan_candidates(prompts, chosen, sampler, recipe.seed) for sampler in samplers]
    scores = plan_scores(prompts, candidates, recipe.judging.annotator, spec.policies.roles(), "judging.annotator")
    pairs = plan_pairs(recipe, prompts, candidates, [one.step for one in scores])
    kept = plan_filtering(recipe, pairs)
    share = recipe.iteration.replay_share
    replay = plan_replay(kept, spec.earlier, share, recipe.seed) if share and spec.earlier else None
    who = spec.policies
    references = {"initial": who.initial, "previous": who.good, "base": who.base, "ema": who.averaged}
    reference = references.get(recipe.training.reference, who.good)  # none: nothing is computed under it
    averaging = who.averaging if recipe.training.reference == "ema" else None
    return RoundPlan(
        spec=spec,
        recipe=recipe,
        chosen=chosen,
        samplers=samplers,
        candidates=candidates,
        scores=scores,
        pairs=pairs,
        kept=kept,
        replay=replay,
        average=plan_average(averaging) if averaging else None,
        reference=reference,
        policy=plan_policy(recipe, replay or kept, who.good, reference),
    )


def train_slice(recipe: Recipe, number: int) -> PromptSlice:
    """Name the train prompts of a round."""
    return PromptSlice("train", number, shared=recipe.prompts.each_round == "all")


def _round_samplers(recipe: Recipe, spec: RoundSpec) -> list[Sampler]:
    """Say who answers a round's prompts: its own policy first, then the mix.

    A model of the mix that is the round's own policy (the first model, in round 1) adds nothing and is left out.
    """
    config, who = recipe.generation, spec.policies
    roles = who.roles()
    samplers = [Sampler(who.good, config.engine, config.k, config.sampling)]
    for other in config.mix:
        sampler = Sampler(mixed_policy(other, roles), other.engine or config.engine, other.k, config.sampling)
        if sampler.policy.key in {known.policy.key for known in samplers}:
            _log.info("generation.mix: %s stands for itself already; left out", sampler.policy.model)
        else:
            samplers.append(sampler)
    if sum(sampler.k for sampler in samplers) < FEWEST_CANDIDATES:
        raise ValueError(
            f"generation.mix adds no other policy in round {spec.number}, which leaves one candidate per prompt: set "
            "generation.k to 2 or more"
        )
    return samplers
