"""Where a run stands between two rounds: its policies by their role, and the pairs that can be replayed.

The flow and `explain` walk from round to round with it, one on what has been done, the other on what is stored.
"""

from dataclasses import dataclass, replace

from flows.identities import policy_from
from flows.moves import Move
from flows.plan import Averaging, Step, plan_average
from flows.recipe import Recipe
from flows.round_plan import RoundPlan, RoundSpec
from flows.runs import Run
from flows.store import Store
from generation.engine import PolicyFiles


@dataclass(frozen=True)
class Standing:
    """The policies of a run by their role, after some rounds.

    Attributes:
        initial: The run's start.
        base: The recipe's policy.
        good: The last good policy.
        previous: The last good policy before it.
        averaged: The start and all accepted policies averaged; the start without `training.reference: ema`.
        averaging: How it comes about; None = it is the start.
        kept: Round and key of the kept pairs of every round so far; round 0 for runs before this one.
    """

    initial: PolicyFiles
    base: PolicyFiles
    good: PolicyFiles
    previous: PolicyFiles
    averaged: PolicyFiles
    averaging: Averaging | None
    kept: list[tuple[int, str]]

    def spec(self, move: Move) -> RoundSpec:
        """Say what a round is made from."""
        earlier = list(dict.fromkeys(key for number, key in self.kept if number < move.number))
        return RoundSpec(
            number=move.number,
            attempt=move.attempt,
            initial=self.initial,
            base=self.base,
            good=self.good,
            previous=self.previous,
            averaged=self.averaged,
            averaging=self.averaging,
            earlier=earlier,
        )


def stand_at_start(recipe: Recipe, run: Run) -> Standing:
    """Give the standing before the first round."""
    start = run.start
    kept = [(0, key) for key in run.earlier]
    return Standing(start, policy_from(recipe.policy), start, start, start, None, kept)


def stand_after(standing: Standing, store: Store, planned: RoundPlan, policy: PolicyFiles, *, passed: bool) -> Standing:
    """Give the standing after a round."""
    kept = [*standing.kept, (planned.spec.number, planned.kept.key)]
    if not passed:
        return replace(standing, kept=kept)
    standing = replace(standing, good=policy, previous=standing.good, kept=kept)
    if planned.recipe.training.reference != "ema":
        return standing
    averaging = Averaging(standing.averaged, policy, planned.recipe.training.ema_weight)
    return replace(standing, averaged=averaged_policy(store, plan_average(averaging), policy), averaging=averaging)


def averaged_policy(store: Store, step: Step, like: PolicyFiles) -> PolicyFiles:
    """Name the files of an average of weights; `like` is one of the policies that it is made of."""
    folder = store.dataset(step.stage, step.key).folder
    return PolicyFiles(str(folder), step.key, trust_remote_code=like.trust_remote_code)
