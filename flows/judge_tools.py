"""What a judge is given in its process: a client for its server, stored replies, other models' log-probs."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any  # JSON values

from generation.chat_client import ChatClient
from judging.asking.reply_store import ReplyStore
from judging.config import SingleJudgeConfig
from judging.engine_config import ServerConfig
from judging.judges import Tools
from judging.model_config import ImplicitRewardConfig


@contextmanager
def lay_tools(config: SingleJudgeConfig, job: dict[str, Any]) -> Iterator[Tools]:
    """Give a judge's tools for as long as the block lasts.

    Args:
        config: The judge.
        job: `flows.score_stage.score_job`.
    """
    if isinstance(config, ImplicitRewardConfig):
        from flows.checkpoint_logprobs import open_checkpoint

        yield Tools(sum_logprobs=open_checkpoint)
        return
    engine = getattr(config, "engine", None)
    if engine is None or isinstance(engine, str):
        yield Tools()
        return
    client = ChatClient.from_config(engine, f"{job['field']}.engine") if isinstance(engine, ServerConfig) else None
    with ExitStack() as stack:
        model = json.dumps(job["model"], sort_keys=True)  # by its weights, or its address and name
        store = stack.enter_context(ReplyStore(Path(job["replies"]), model))
        yield Tools(client=client, replies=store)
