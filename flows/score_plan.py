"""Which datasets of scores a judge needs: one for each policy's answers, or one for all where answers are compared."""

from dataclasses import dataclass

from flows.judges import CastJudge, Roles, cast_judge, is_comparing
from flows.keys import answer_fields
from flows.plan import Step
from judging.config import JudgeConfig, PanelConfig, SingleJudgeConfig
from judging.schema import SCORES_VERSION


@dataclass(frozen=True)
class ScorePlan:
    """One dataset of scores.

    Attributes:
        step: The dataset.
        candidates: Whose answers it scores.
        judge: Who scores them; None = a panel joins what its members have stored.
        panel: How.
        members: Each member's datasets of the same candidates.
        field: The judge's place in the recipe.
    """

    step: Step
    candidates: list[Step]
    judge: CastJudge | None
    panel: PanelConfig | None
    members: list[list["ScorePlan"]]
    field: str

    def steps(self) -> list[Step]:
        """List the datasets in the order they are built."""
        return [*(step for member in self.members for plan in member for step in plan.steps()), self.step]


def plan_scores(prompts: Step, candidates: list[Step], judge: JudgeConfig, roles: Roles, field: str) -> list[ScorePlan]:
    """Plan the scores of the answers of several policies to the same prompts.

    Args:
        prompts: The run's prompts.
        candidates: Each policy's answers.
        judge: The recipe's judge.
        roles: The run's own policies by their role, for judges that are made of them.
        field: The judge's place in the recipe.
    """
    if isinstance(judge, PanelConfig):
        return [_plan_panel(prompts, candidates, judge, roles, field)]
    cast = cast_judge(judge, roles, field)
    groups = [candidates] if is_comparing(judge) else [[one] for one in candidates]
    return [_plan_single(prompts, group, cast, field) for group in groups]


def _plan_single(prompts: Step, candidates: list[Step], judge: CastJudge, field: str) -> ScorePlan:
    parts = {"prompts": prompts.key, "candidates": [step.key for step in candidates], "judge": judge.identity}
    return ScorePlan(Step("judging", SCORES_VERSION, parts), candidates, judge, None, [], field)


def _plan_panel(prompts: Step, candidates: list[Step], panel: PanelConfig, roles: Roles, field: str) -> ScorePlan:
    members = [
        plan_scores(prompts, candidates, one.judge, roles, f"{field}.members.{place}.judge")
        for place, one in enumerate(panel.members)
    ]
    how = answer_fields(panel) | {"members": [one.weight for one in panel.members]}
    keys = [[plan.step.key for plan in plans] for plans in members]
    parts = {"prompts": prompts.key, "members": keys, "panel": how}
    return ScorePlan(Step("judging", SCORES_VERSION, parts), candidates, None, panel, members, field)


def judge_kind(plan: ScorePlan) -> str:
    """Name the kind of judge that gives a plan's scores."""
    return plan.judge.config.kind if plan.judge else "panel"


def member_names(judges: list[SingleJudgeConfig]) -> list[str]:
    """Name the judges of a panel by their kind, numbered where a kind comes again."""
    kinds = [judge.kind for judge in judges]
    seen = [kinds[: place + 1].count(kind) for place, kind in enumerate(kinds)]
    return [kind if n == 1 else f"{kind}-{n}" for kind, n in zip(kinds, seen, strict=True)]
