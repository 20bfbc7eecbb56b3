"""The automation that marks runs Crashed whose process is gone along with the one that watched it.

A served run sends a heartbeat every `HEARTBEAT_S`. Its runner reports a death at once; when the runner died too (the
machine lost power, both were killed), Prefect would show the run as Running for ever, and the deployment's only slot
would stay taken. The automation is limited to runs with the tag `TAG`, which whoever starts such runs sets together
with the frequency of heartbeats: a run that beats more seldom than `SILENCE_S` would be marked while it lives.
"""

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

HEARTBEAT_S = 30  # Prefect accepts nothing below
SILENCE_S = 90
TAG = "prefloop"
NAME = "prefloop: a run without a heartbeat has crashed"
_BEAT = "prefect.flow-run.heartbeat"
_ENDS = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")}


def watch_heartbeats(client: SyncPrefectClient) -> None:
    """Create the automation, or bring the one that is there up to date; one that was switched off stays off."""
    automation = _automation()
    found = client.read_automations_by_name(NAME)
    if not found:
        client.create_automation(automation)
    elif (found[0].trigger, found[0].actions) != (automation.trigger, automation.actions):
        client.update_automation(found[0].id, automation.model_copy(update={"enabled": found[0].enabled}))


def _automation() -> AutomationCore:
    actions: list[ActionTypes] = [
        ChangeFlowRunState(
            name=None,
            state=StateType.CRASHED,
            message=f"No heartbeat for {SILENCE_S} s: the run's process is gone. Retry goes on from the store.",
            force=False,
        )
    ]
    return AutomationCore(
        name=NAME,
        description=f"Marks a run of prefloop Crashed after {SILENCE_S} s without a heartbeat.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={_BEAT},
            expect={_BEAT, *_ENDS},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.id": [f"prefect.tag.{TAG}"], "prefect.resource.role": ["tag"]}
            ),
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(seconds=SILENCE_S),
        ),
        actions=actions,
    )
