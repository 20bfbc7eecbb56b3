"""Where a run stands between two rounds: its policies by their role, and the pairs that can be replayed.

The flow and `explain` walk from round to round with it, one on what has been done, the other on what is stored.
"""

from dataclasses import dataclass, replace

from flows.moves import Move
from flows.plan import Averaging, Step, plan_average
from flows.round_plan import Policies, RoundPlan, RoundSpec
from flows.runs import Run
from flows.store import Store
from generation.engine import PolicyFiles


@dataclass(frozen=True)
class Standing:
    """A run after some rounds.

    Attributes:
        policies: Who is who.
        kept: Round and key of the kept pairs of every round so far; round 0 for runs before this one.
    """

    policies: Policies
    kept: list[tuple[int, str]]

    def spec(self, move: Move) -> RoundSpec:
        """Say what a round is made from."""
        earlier = list(dict.fromkeys(key for number, key in self.kept if number < move.number))
        return RoundSpec(move.number, move.attempt, self.policies, earlier)


def stand_at_start(run: Run) -> Standing:
    """Give the standing before the first round."""
    start = run.start
    return Standing(Policies(start, run.base, start, start, start, None), [(0, key) for key in run.earlier])


def stand_after(standing: Standing, store: Store, planned: RoundPlan, policy: PolicyFiles, *, passed: bool) -> Standing:
    """Give the standing after a round."""
    kept, who = [*standing.kept, (planned.spec.number, planned.kept.key)], standing.policies
    if not passed:
        return Standing(who, kept)
    who = replace(who, good=policy, former=who.good)
    if planned.recipe.training.reference == "ema":
        averaging = Averaging(who.averaged, policy, planned.recipe.training.ema_weight)
        who = replace(who, averaged=_averaged(store, plan_average(averaging)), averaging=averaging)
    return Standing(who, kept)


def _averaged(store: Store, step: Step) -> PolicyFiles:
    """Name the files of an average of weights."""
    return PolicyFiles(str(store.dataset(step.stage, step.key).folder), step.key)
