"""A stage whose trouble may pass is tried again, ever later: these are its Prefect task's options.

    stage.with_options(**retry_options(recipe.retries))(...)

What the stage had finished stays in the store, so that another try does the rest only.
"""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from pydantic.config import JsonDict

from flows.display import tell
from flows.healing import can_heal
from flows.masking import mask

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task

_HOW: JsonDict = {"how": True}
_LONGEST_DELAY_S = 600.0
_JITTER = 0.3  # so that the stages of several runs do not come back to a server all at once
_REASON_CHARS = 300


class RetriesConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """What happens when a server or the Hub is away: the stage is tried again. A wrong recipe fails at once."""

    times: int = Field(default=3, ge=0, le=20, json_schema_extra=_HOW)
    """Tries after the first one; more outlast a longer outage, 0 gives up at once."""
    delay_s: float = Field(default=10.0, ge=0, le=_LONGEST_DELAY_S, json_schema_extra=_HOW)
    """Seconds before the second try, give or take a third; each further wait is twice as long, up to ten minutes."""


def retry_options(retries: RetriesConfig) -> dict[str, Any]:
    """Give the options of a task that is tried again where `flows.healing.can_heal` sees a chance."""
    delays = [min(retries.delay_s * 2**n, _LONGEST_DELAY_S) for n in range(retries.times)]

    def should_retry(_task: "Task[..., Any]", task_run: "TaskRun", state: "State[Any]") -> bool:
        error = state.data
        if not isinstance(error, BaseException) or not can_heal(error):
            return False
        tries = task_run.run_count
        reason = mask(str(error)).partition("\n")[0][:_REASON_CHARS]
        tell(f"{task_run.name}: try {tries} of {retries.times + 1} failed, the next one in about "
             f"{delays[min(tries, retries.times) - 1]:.0f} s: {reason}")  # fmt: skip
        return True

    return {
        "retries": retries.times,
        "retry_delay_seconds": delays,
        "retry_jitter_factor": _JITTER,
        "retry_condition_fn": should_retry,
    }
