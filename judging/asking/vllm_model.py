"""A language model that judges ask in vLLM's offline engine: no HTTP, what questions share is computed once.

Questions wait in vLLM's queue until they end: a queue of three times the running sequences costs no engine step over
one call with everything. A reply is the one that vLLM's server gives, but for rounding. Unlike a server, which only
knows text, it leaves a question out that spells one of the model's special tokens: the text to judge would end its turn
and write the judge's own.
"""

import itertools
import json
import math
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast, get_args  # Any: arguments of many types, tokenizers

from judging.asking.chat import Choice, Question, Reply
from judging.engine_config import OfflineConfig
from judging.judge import Tag
from judging.offline_vllm import open_vllm

if TYPE_CHECKING:
    from vllm import LLM, CompletionOutput, RequestOutput, SamplingParams
    from vllm.logprobs import Logprob

_END = "end"
_MOST_TOP_LOGPROBS = 20  # vLLM refuses more as it comes, and so does OpenAI
_QUEUE_FACTOR = 3  # sequences in flight / sequences decoded at once
_MASKED = -9000.0  # nats; vLLM writes -inf or -9999 for a token that a constraint forbids


class VllmModel:
    """A chat model in this process; loaded inside `with`.

    Raises:
        ValueError: The config names no model; on opening, if the model has no chat template or the adapter can't be
            run.
    """

    def __init__(self, config: OfflineConfig) -> None:
        """Hold the recipe's part, with the model's name filled in."""
        if config.model is None:
            raise ValueError("engine.model is null, which only the judge `self` fills in: name a folder or Hub model")
        self._config = config
        self._names = itertools.count()

    @property
    def identity(self) -> str:
        """Model, revision, adapter and number format, as the config names them."""
        return self._config.model_dump_json(include={"name", "model", "revision", "adapter", "dtype"})

    def __enter__(self) -> Self:
        """Load the model."""
        self._tokenizer = _load_tokenizer(self._config)
        self._stack = ExitStack()
        self._llm: LLM = self._stack.enter_context(open_vllm(self._config.kv_cache_mb, **_arguments(self._config)))
        from vllm.lora.request import LoRARequest

        self._special_tokens: list[str] = self._tokenizer.all_special_tokens
        # One adapter for as long as the engine lives: vLLM's prefix cache knows it by its name alone.
        self._adapter = LoRARequest("judge", 1, self._config.adapter) if self._config.adapter else None
        self._max_model_len = self._llm.llm_engine.model_config.max_model_len
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the model."""
        del self._llm
        self._stack.close()

    def ask(self, tagged: Iterable[tuple[Tag, Question] | None]) -> Iterator[tuple[Tag, Reply]]:
        """Answer questions as they finish, keeping vLLM's queue filled.

        Replies without a choice have the reason `too_long` (question and longest reply together), `special_token` or
        `chat_template` (the template refuses the messages, such as those with a system role).

        Raises:
            RuntimeError: A None came while nothing was in hand.
        """
        engine = self._llm.llm_engine
        waiting = iter(tagged)
        tags: dict[str, Tag] = {}
        try:
            while True:
                more = yield from self._fill(waiting, tags)
                if not tags:
                    if more:
                        raise RuntimeError("the source of questions waits for a reply, but nothing is in hand")
                    return
                for output in engine.step():
                    if output.finished:
                        yield tags.pop(output.request_id), _read(cast("RequestOutput", output))
        finally:
            engine.abort_request(list(tags))

    def _fill(
        self, waiting: Iterator[tuple[Tag, Question] | None], tags: dict[str, Tag]
    ) -> Generator[tuple[Tag, Reply], None, bool]:
        """Add questions until enough sequences are in flight or none is ready, and yield those that can't be asked.

        Returns:
            Whether there may be more questions.
        """
        from vllm.inputs import TokensInput

        engine = self._llm.llm_engine
        while engine.get_num_unfinished_requests() < _QUEUE_FACTOR * self._config.max_num_seqs:
            pulled = next(waiting, _END)
            if pulled is None or isinstance(pulled, str):
                return pulled is None  # a question hangs on a reply to come
            tag, question = pulled
            ids = self._render(question)
            if isinstance(ids, Reply):
                yield tag, ids
                continue
            name = str(next(self._names))
            prompt = TokensInput(type="token", prompt_token_ids=ids)
            engine.add_request(name, prompt, _params(question), lora_request=self._adapter)
            tags[name] = tag
        return True

    def _render(self, question: Question) -> list[int] | Reply:
        """Give a question's token ids, or the reply of one that can't be asked."""
        from jinja2 import TemplateError

        contents = "\n".join(message["content"] for message in question.messages)
        if any(token in contents for token in self._special_tokens):
            return Reply([], "special_token", "a message spells a special token of the judge's tokenizer")
        try:
            text = self._tokenizer.apply_chat_template(question.messages, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            return Reply([], "chat_template", str(error))
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]  # the template has written the BOS
        if len(ids) + question.max_new_tokens > self._max_model_len:
            detail = f"{len(ids)} tokens and {question.max_new_tokens} for the reply, of {self._max_model_len}"
            return Reply([], "too_long", detail, n_tokens_in=len(ids))
        return ids


def _load_tokenizer(config: OfflineConfig) -> Any:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(
        config.model, revision=config.revision, trust_remote_code=config.trust_remote_code
    )
    if tokenizer.chat_template is None:
        raise ValueError(
            f"model {config.model!r} has a tokenizer without a chat template: a judge is asked in messages, so use an "
            "instruction-tuned model"
        )
    return tokenizer


def _arguments(config: OfflineConfig) -> dict[str, Any]:
    """Give the arguments of vLLM's constructor."""
    import torch

    arguments: dict[str, Any] = {
        "model": config.model,
        "revision": config.revision,
        "tokenizer_revision": config.revision,
        "trust_remote_code": config.trust_remote_code,
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "tensor_parallel_size": config.tensor_parallel_size,
        "generation_config": "vllm",
        # With free white space weak models fill the reply with it and never end the JSON.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if config.adapter is not None:
        arguments |= {"enable_lora": True, "max_lora_rank": _reserved_rank(Path(config.adapter))}
    if not torch.cuda.is_available():
        # With seeds it kills the engine: "CPU Generator does not use offset".
        arguments["enable_chunked_prefill"] = False
    return arguments


def _reserved_rank(adapter: Path) -> int:
    """Give the smallest rank that vLLM can reserve room for and that an adapter fits into."""
    from vllm.config.lora import MaxLoRARanks

    if not (adapter / "adapter_model.safetensors").is_file():
        raise ValueError(f"adapter {adapter} has no adapter_model.safetensors: save it again with save_pretrained")
    config = json.loads((adapter / "adapter_config.json").read_text())
    rank = max(config["r"], *(config.get("rank_pattern") or {}).values(), 0)
    fitting = [reserved for reserved in get_args(MaxLoRARanks) if reserved >= rank]
    if not fitting:
        raise ValueError(f"adapter {adapter} has rank {rank}, vLLM runs up to {get_args(MaxLoRARanks)[-1]}: merge it")
    return min(fitting)


def _params(question: Question) -> "SamplingParams":
    """Say to vLLM how a question is answered."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    constraint = None
    if question.choice is not None:
        constraint = StructuredOutputsParams(choice=list(question.choice))
    elif question.json_schema is not None:
        constraint = StructuredOutputsParams(json=question.json_schema)
    return SamplingParams(
        n=question.n,
        seed=question.seed,
        temperature=question.temperature,
        max_tokens=question.max_new_tokens,
        logprobs=min(question.top_logprobs, _MOST_TOP_LOGPROBS) or None,
        structured_outputs=constraint,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _read(output: "RequestOutput") -> Reply:
    n_tokens_in = len(output.prompt_token_ids or ())
    for completion in output.outputs:
        if completion.finish_reason not in ("stop", "length"):
            return Reply([], f"engine_{completion.finish_reason}", n_tokens_in=n_tokens_in)
    n_tokens_out = sum(len(completion.token_ids) for completion in output.outputs)
    return Reply([_choice(one) for one in output.outputs], n_tokens_in=n_tokens_in, n_tokens_out=n_tokens_out)


def _choice(completion: "CompletionOutput") -> Choice:
    positions = cast("list[Mapping[int, Logprob]] | None", completion.logprobs)
    logprobs = None if positions is None else [_by_text(position) for position in positions]
    return Choice(completion.text, completion.finish_reason, logprobs)


def _by_text(position: "Mapping[int, Logprob]") -> dict[str, float]:
    """Add up the probabilities of tokens that read alike, such as halves of two characters; nats."""
    sums: dict[str, float] = {}
    for token in position.values():
        if token.logprob > _MASKED:
            text = token.decoded_token or ""
            above, below = sorted((sums.get(text, -math.inf), token.logprob), reverse=True)
            sums[text] = above + math.log1p(math.exp(below - above))
    return sums
