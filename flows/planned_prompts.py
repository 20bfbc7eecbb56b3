"""Prompts as they were planned: a source that changed since then is not stored under the plan's key."""

from collections.abc import Set

from flows.child import StageError
from flows.identities import source_identity
from generation.config import PromptsConfig
from generation.prompts import PromptTables, read_prompts


def read_planned_prompts(
    config: PromptsConfig,
    run_seed: int,
    planned: list[list[str]],
    used: Set[str] = frozenset(),
) -> PromptTables:
    """Read prompts and make sure that they are the ones whose checksums the plan holds.

    Args:
        config: Where the prompts are.
        run_seed: The run's seed.
        planned: `source_identity` of the config when the run was planned.
        used: Ids of train prompts to leave out, since earlier runs trained on them.

    Raises:
        StageError: The source has changed or vanished since.
    """
    try:
        tables = read_prompts(config, run_seed, used)
        unchanged = source_identity(config) == planned
    except FileNotFoundError as error:
        raise StageError(f"prompts.path vanished after the run was planned: {error}") from error
    if not unchanged:
        raise StageError(
            f"prompts.path: {config.path or config.dataset} changed after the run was planned: run again, then the "
            "prompts as they are now are planned; if this comes again, the stored prompts of a run that had begun are "
            "damaged: put the old source back, or let that run go with `prefloop gc --run`"
        )
    return tables
