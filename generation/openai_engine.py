"""An engine behind the OpenAI API: vLLM's server with the policy's own weights, or somebody else's server.

The policy's own server gets token ids (one rendering of the chat template) and gives token ids and raw log-probs back,
the stop token included, as the offline engine does; before it samples, its weights are checked. An outside server gets
messages, and its weights are taken on trust under the name that the recipe gives.
"""

import contextlib
import logging
import math
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self  # Any: JSON values

from pydantic import BaseModel, ValidationError

from generation.chat_client import ChatClient
from generation.chat_errors import CONNECTION
from generation.chat_line import Reply
from generation.config import OpenAIConfig, SamplingConfig
from generation.engine import Answer, Completion, PolicyFiles, Request, Tag
from generation.outside_server import FEWER_CANDIDATES, INVALID_REPLY, Dialect, OutsideServer
from generation.vllm_server import RunningServer, serve_policy
from generation.weights_check import check_served_weights, compute_probe, resolve_dtype

logger = logging.getLogger(__name__)

UNKNOWN_MAX_MODEL_LEN = 2**31 - 1
_FIELD = "generation.engine"


class _Logprobs(BaseModel):
    token_logprobs: list[float]


class _Choice(BaseModel):
    text: str
    index: int
    finish_reason: str
    token_ids: list[int]
    logprobs: _Logprobs


class _Completion(BaseModel):
    choices: list[_Choice]


class OpenAIEngine:
    """A policy behind a server; the server runs inside `with` where the recipe names none."""

    def __init__(self, config: OpenAIConfig, policy: PolicyFiles, k: int, sampling: SamplingConfig) -> None:
        self._config = config
        self._policy = policy
        self._k = k
        self._sampling = sampling
        self._stack = contextlib.ExitStack()
        self._server: RunningServer | None = None
        self._outside: tuple[OutsideServer, Dialect] | None = None

    @property
    def server(self) -> RunningServer:
        """The server of the policy's own weights."""
        if self._server is None:
            raise RuntimeError("the engine has no server of its own open: use it inside `with engine:`")
        return self._server

    @property
    def max_model_len(self) -> int:
        """Most tokens of prompt and answer together; an outside server's is unknown, so it refuses by itself."""
        return self.server.max_model_len if self._config.base_url is None else UNKNOWN_MAX_MODEL_LEN

    def __enter__(self) -> Self:
        """Start the policy's server and check its weights, or learn how to talk to the outside one.

        Raises:
            RuntimeError: The server does not start, or serves other weights.
            ConnectionError: No outside server answers.
            ValueError: The outside server refuses the key, the model or a plain question.
        """
        if self._config.base_url is None or self._config.model is None:
            with contextlib.ExitStack() as stack:
                self._server = self._start(stack)
                self._stack = stack.pop_all()
        else:
            outside = OutsideServer(self._client(self._config.base_url), self._config.model, self._k, self._sampling)
            self._outside = outside, outside.learn_dialect()
            logger.info("%s at %s: %s", self._config.model, self._config.base_url, self._outside[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the policy's server."""
        self._stack.__exit__(kind, error, trace)
        self._server = self._outside = None

    def sample(self, tagged: Iterable[tuple[Tag, Request]]) -> Iterator[tuple[Tag, Answer]]:
        """Answer requests as the replies come, keeping `concurrency` of them in flight.

        Raises:
            ServerGoneError: The policy's server has ended; the message shows its last lines.
            ConnectionError: The server has stopped answering.
        """
        if self._outside is not None:
            outside, dialect = self._outside
            return outside.sample(tagged, dialect)
        return self._sample_own(tagged)

    def _start(self, stack: contextlib.ExitStack) -> RunningServer:
        dtype = resolve_dtype(self._policy, self._config.dtype)
        probe = compute_probe(self._policy, dtype)
        server = stack.enter_context(serve_policy(self._policy, self._config, dtype))
        difference = check_served_weights(self._client(server.base_url), self._policy.key, probe)
        logger.info("the served weights are the policy's: %.2g nats a token in %s", difference, dtype)
        return server

    def _client(self, base_url: str) -> ChatClient:
        config = self._config
        key_env = config.api_key_env if config.base_url is not None else None  # the policy's own server wants none
        return ChatClient(base_url, _FIELD, key_env, config.concurrency, config.timeout_s, config.max_retries)

    def _sample_own(self, tagged: Iterable[tuple[Tag, Request]]) -> Iterator[tuple[Tag, Answer]]:
        server = self.server
        bodies = ((tag, self._body(request)) for tag, request in tagged)
        try:
            for tag, reply in self._client(server.base_url).complete(bodies):
                if reply.reason == CONNECTION:
                    server.check_alive()
                yield tag, _read_answer(reply, self._k)
        except ConnectionError:
            server.check_alive()
            raise

    def _body(self, request: Request) -> dict[str, Any]:
        # The server refuses what the offline engine cuts: an answer that might run past the model's length.
        room = self.server.max_model_len - len(request.prompt_ids)
        return {
            "model": self._policy.key,
            "prompt": request.prompt_ids,
            "n": self._k,
            "seed": request.seed,  # sample j is drawn with seed + j
            "temperature": self._sampling.temperature,
            "top_p": self._sampling.top_p,
            "max_tokens": max(min(self._sampling.max_new_tokens, room), 1),
            "logprobs": 0,  # of the sampled token only
            "return_token_ids": True,
        }


def _read_answer(reply: Reply, k: int) -> Answer:
    if reply.body is None:
        return Answer([], reply.reason)
    try:
        choices = _Completion.model_validate(reply.body).choices
    except ValidationError:
        return Answer([], INVALID_REPLY)
    if len(choices) != k:
        return Answer([], FEWER_CANDIDATES)
    for choice in choices:
        if choice.finish_reason not in ("stop", "length"):
            return Answer([], f"engine_{choice.finish_reason}")
        if len(choice.token_ids) != len(choice.logprobs.token_logprobs):
            return Answer([], INVALID_REPLY)
    return Answer([_completion(choice) for choice in sorted(choices, key=lambda choice: choice.index)])


def _completion(choice: _Choice) -> Completion:
    logprob_sum = math.fsum(choice.logprobs.token_logprobs)
    return Completion(choice.text, choice.token_ids, logprob_sum, choice.finish_reason, len(choice.token_ids))
