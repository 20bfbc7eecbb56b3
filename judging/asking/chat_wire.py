"""A question as an OpenAI server wants it, and what the server says as a reply.

Log-probs follow OpenAI's form, which vLLM shares: at each position the token drawn and up to 20 alternatives, in nats.
vLLM gives a token that a constraint rules out -9999; it stays, its probability is 0.
"""

import json
import math
from dataclasses import replace
from typing import Annotated, Any  # Any: JSON values

from pydantic import BaseModel, Field, ValidationError

from judging.asking.chat import Choice, Question, Reply
from judging.engine_config import ServerConfig

MOST_TOP_LOGPROBS = 20  # more is refused by OpenAI, and by vLLM as it comes

_FINISH_REASONS = {"stop", "length", "content_filter"}
_ROUNDING = 0.01  # nats above 0 that a log-prob may come to
_Count = Annotated[int, Field(ge=0, lt=2**24)]  # tokens; scores keep sums of them in 32 bits


class _Alternative(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Position(_Alternative):
    top_logprobs: list[_Alternative] = []


class _Logprobs(BaseModel):
    content: list[_Position] | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(BaseModel):
    message: _Message
    index: int = 0
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None


class _Chat(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None


def write_question(question: Question, config: ServerConfig, *, with_seed: bool) -> dict[str, Any]:
    """Write the body of a chat completion.

    Args:
        question: What is asked.
        config: Whom, and how a constraint is told.
        with_seed: Whether the server takes a seed; without temperature none is sent, for it has no effect.

    Raises:
        ValueError: The question offers texts to choose from and the config tells constraints as JSON schemas only.
    """
    body: dict[str, Any] = {
        "model": config.model,
        "messages": question.messages,
        "temperature": question.temperature,
        "max_tokens": question.max_new_tokens,
    }
    if question.temperature > 0 and with_seed:
        body["seed"] = question.seed
    if question.n > 1:
        body["n"] = question.n
    if question.top_logprobs:
        body |= {"logprobs": True, "top_logprobs": min(question.top_logprobs, MOST_TOP_LOGPROBS)}
    return body | _constraint(question, config)


def _constraint(question: Question, config: ServerConfig) -> dict[str, Any]:
    if question.choice is not None:
        if config.structured == "response_format":
            raise ValueError(
                "engine.structured is response_format, which takes JSON schemas only, but the judge constrains its "
                "replies to fixed texts: set engine.structured to structured_outputs (vLLM), or constrained to false"
            )
        return {"structured_outputs": {"choice": list(question.choice)}}
    if question.json_schema is None:
        return {}
    schema = json.loads(question.json_schema)
    if config.structured == "structured_outputs":
        return {"structured_outputs": {"json": schema}}
    named = {"name": "verdict", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def read_completion(body: dict[str, Any]) -> Reply:
    """Read a chat completion.

    Returns:
        The reply, not priced; the choices in the server's order of `index`. Without choices its reason is invalid_reply
        (no chat completion), refused or content_filter (every choice is; one among several becomes a choice with
        finish_reason content_filter). A reasoning model's thoughts are left out, and its log-probs with them: they
        count the thoughts' tokens too.
    """
    try:
        chat = _Chat.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return Reply([], "invalid_reply", f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    usage = chat.usage or _Usage()
    return replace(_read_choices(chat.choices), n_tokens_in=usage.prompt_tokens, n_tokens_out=usage.completion_tokens)


def _read_choices(said: list[_Choice]) -> Reply:
    if not said:
        return Reply([], "invalid_reply", "no choices")
    if all(choice.message.refusal for choice in said):
        return Reply([], "refused", (said[0].message.refusal or "")[:500])
    if all(choice.message.refusal or choice.finish_reason == "content_filter" for choice in said):
        return Reply([], "content_filter", "the server's filter cut the reply off")
    try:
        return Reply([_read_choice(choice) for choice in sorted(said, key=lambda choice: choice.index)])
    except ValueError as error:
        return Reply([], "invalid_reply", str(error))


def _read_choice(choice: _Choice) -> Choice:
    message = choice.message
    if message.refusal:
        return Choice(message.refusal, "content_filter")
    finish_reason = choice.finish_reason if choice.finish_reason in _FINISH_REASONS else None
    thought = message.reasoning_content or message.reasoning
    positions = None if choice.logprobs is None or thought else choice.logprobs.content
    logprobs = None if positions is None else [_read_position(position) for position in positions]
    return Choice(message.content or "", finish_reason, logprobs)


def _read_position(position: _Position) -> dict[str, float]:
    """Give the log-prob of each text: the alternatives, and the token drawn where it is none of them."""
    logprobs: dict[str, float] = {}
    for one in position.top_logprobs:
        logprob, text = _check_logprob(one), _text(one)
        logprobs[text] = _add(logprobs[text], logprob) if text in logprobs else logprob
    logprobs.setdefault(_text(position), _check_logprob(position))
    return logprobs


def _check_logprob(one: _Alternative) -> float:
    """Refuse what is no log of a probability: their mass would say nothing (vLLM's logprobs_mode can give logits)."""
    if not one.logprob <= _ROUNDING:
        raise ValueError(f"the log-prob of {one.token!r} is {one.logprob}, and none is above 0: these are no log-probs")
    return one.logprob


def _add(first: float, second: float) -> float:
    """Give the log of the sum of two probabilities."""
    low, high = sorted((first, second))
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _text(one: _Alternative) -> str:
    """Give a token's text by its bytes, for `token` may be an id (`token_id:17`) or a spelling (`bytes:...`)."""
    try:
        return bytes(one.bytes).decode() if one.bytes else one.token
    except ValueError:  # part of a character, or no bytes
        return one.token
