"""What tests of language-model judges share: items, configs, and how a judge is asked."""

from judging.asking.chat import ChatModel, Reply
from judging.asking.dialogue import NoReplies, Replies
from judging.asking.scripted_model import ScriptedModel, reply_texts
from judging.chat_config import ListwiseConfig, RubricConfig
from judging.judge import Item, Verdict
from judging.listwise import ListwiseJudge
from judging.rubric import RubricJudge

ENGINE = {"name": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "judge"}


def rubric_config(**changes) -> RubricConfig:
    return RubricConfig(**({"kind": "rubric", "engine": ENGINE, "verdict": "written"} | changes))


def listwise_config(**changes) -> ListwiseConfig:
    return ListwiseConfig(**({"kind": "listwise", "engine": ENGINE} | changes))


def item(text: str = "It is 4.", candidate_id: str = "c1", **changes) -> Item:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]
    values = {"candidate_id": candidate_id, "prompt_id": "p1", "messages": messages, "text": text}
    return Item(**({"reference_answer": None, "columns": {}} | values | changes))


def rate(config: RubricConfig, model: ChatModel, *items: Item, replies: Replies | None = None) -> list[Verdict]:
    """Give the verdicts in the order of the items."""
    with RubricJudge(config, model, replies or NoReplies()) as judge:
        verdicts = dict(judge.score(enumerate(items)))
    assert len(verdicts) == len(items)
    return [verdicts[place] for place in range(len(items))]


def rate_together(
    config: ListwiseConfig, model: ChatModel, *items: Item, replies: Replies | None = None
) -> list[Verdict]:
    """Give the verdicts in the order of the items."""
    with ListwiseJudge(config, model, replies or NoReplies()) as judge:
        verdicts = dict(judge.score(enumerate(items)))
    assert len(verdicts) == len(items)
    return [verdicts[place] for place in range(len(items))]


def always(*texts: str, **choice) -> ScriptedModel:
    return ScriptedModel(lambda _: reply_texts(*texts, **choice))


def in_turn(*replies: Reply) -> ScriptedModel:
    """A model that gives one reply after the other, asked one at a time."""
    left = iter(replies)
    return ScriptedModel(lambda _: next(left), window=1)


def aspects(**weights: float) -> list[dict]:
    return [{"name": name, "rubric": name, "weight": weight} for name, weight in weights.items()]
