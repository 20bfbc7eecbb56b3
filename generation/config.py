"""What a recipe says about prompts, policies and sampling.

Fields marked `how` change speed or memory, never an answer, so they stay out of the cache key.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic.config import JsonDict

_HOW: JsonDict = {"how": True}


class SplitConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How prompts without a `split` column are divided: by their hash alone, so that new prompts move no old one."""

    eval_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of prompts in [0, 1) held out for the gate; more gives narrower intervals and fewer training prompts."""
    vault_share: float = Field(default=0.0, ge=0, lt=1)
    """Share in [0, 1) kept untouched for a final check."""

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> "SplitConfig":
        if self.eval_share + self.vault_share >= 1:
            raise ValueError("eval_share + vault_share must be below 1: nothing would be left to train on")
        return self


class PromptsConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Where prompts come from and how they are shared out to rounds."""

    path: Path | None = None
    """A JSONL, Parquet or CSV file, or a folder of them."""
    dataset: str | None = None
    """A data set on the Hugging Face Hub, instead of `path`."""
    dataset_config: str | None = None
    """The Hub data set's configuration name, where it has several."""
    dataset_revision: str | None = None
    """The Hub data set's commit or tag; null reads its newest."""
    dataset_split: str = "train"
    """The Hub data set's split to read."""
    prompt_column: str = "prompt"
    """Column with the prompt: a string, or a list of {role, content} messages; `messages` is looked for as well."""
    answer_column: str | None = None
    """Column with the answer that a verifier compares with; null looks for `reference_answer`, then `answer`."""
    system_prompt: str | None = None
    """System message put before every prompt that has none of its own."""
    limit: int | None = Field(default=None, ge=1)
    """Read at most so many rows of the source."""
    per_round: int | None = Field(default=None, ge=1)
    """Train prompts each round gets, disjoint between rounds; null divides all of them evenly."""
    each_round: Literal["disjoint", "all"] = "disjoint"
    """disjoint: no prompt is trained on in two rounds. all: every round gets all train prompts, with other seeds."""
    split: SplitConfig = SplitConfig()
    """The hash split, for sources without a `split` column."""

    @model_validator(mode="after")
    def _one_source(self) -> "PromptsConfig":
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give exactly one of `path` (a file or folder) and `dataset` (a Hub data set)")
        if self.each_round == "all" and self.per_round is not None:
            raise ValueError("each_round `all` gives every round all train prompts: leave per_round out")
        return self


class SamplingConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How an answer is drawn from the policy's distribution."""

    temperature: float = Field(default=1.0, ge=0)
    """Softmax temperature; higher gives more varied candidates, 0 always takes the likeliest token."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus mass in (0, 1]; lower cuts unlikely tokens."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Tokens an answer may have; a cut answer has finish_reason length."""


class VllmConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """vLLM in a child process that ends before training starts."""

    name: Literal["vllm"] = "vllm"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of weights and arithmetic; auto takes the checkpoint's (bfloat16 for float32 ones)."""
    max_model_len: int | None = Field(default=None, ge=8)
    """Most tokens of prompt and answer together; null takes the model's own limit."""
    max_num_seqs: int = Field(default=128, ge=1, json_schema_extra=_HOW)
    """Sequences decoded at once; more is faster until memory is full."""
    kv_cache_mb: int | None = Field(default=None, ge=16, json_schema_extra=_HOW)
    """MiB for the key-value cache; null leaves it to vLLM on a GPU and takes 1024 on a CPU."""
    tensor_parallel_size: int = Field(default=1, ge=1, json_schema_extra=_HOW)
    """GPUs one copy of the model is spread over."""
    threads: int = Field(default=1, ge=1, json_schema_extra=_HOW)
    """CPU threads; with models below about 100M parameters one is fastest."""


class TransformersConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """transformers' own generation, where vLLM has no build; slower."""

    name: Literal["transformers"] = "transformers"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of weights and arithmetic."""
    max_model_len: int | None = Field(default=None, ge=8)
    """Most tokens of prompt and answer together; null takes the model's own limit."""
    batch_size: int = Field(default=64, ge=1, json_schema_extra=_HOW)
    """Sequences decoded at once; more is faster until memory is full."""
    threads: int = Field(default=1, ge=1, json_schema_extra=_HOW)
    """CPU threads."""


def _plain_address(address: str) -> str:
    """Refuse what may carry a password or key; neither is repeated."""
    if re.search("[@?#]", address):
        raise ValueError(
            "the address carries a user name, password or query: give it up to its path, such as "
            "http://127.0.0.1:8000/v1, and the name of a variable that holds the key as api_key_env"
        )
    return address


def _variable_name(name: str) -> str:
    """Refuse what is no name of a variable without repeating it: people put the key itself there."""
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("this is no name of an environment variable: put the key into one and give its name here")
    return name


_Address = Annotated[str, AfterValidator(_plain_address)]
_VariableName = Annotated[str, AfterValidator(_variable_name)]


class OpenAIConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True):
    """Any OpenAI-compatible server; without `base_url` the flow starts vLLM's own with the round's weights."""

    name: Literal["openai"] = "openai"
    base_url: _Address | None = None
    """Address of a running server, such as http://127.0.0.1:8000/v1; null starts one for the round's policy."""
    model: str | None = None
    """Name of the model on the server at `base_url`; part of the cache key, since its weights can't be hashed."""
    api_key_env: _VariableName | None = Field(default=None, json_schema_extra=_HOW)
    """Name of the environment variable that holds the API key; the key itself never stands in a recipe."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the server that the flow starts."""
    max_model_len: int | None = Field(default=None, ge=8)
    """Most tokens of prompt and answer together, for the server that the flow starts; another one has its own."""
    max_num_seqs: int = Field(default=64, ge=1, json_schema_extra=_HOW)
    """Sequences decoded at once by the server that the flow starts."""
    kv_cache_mb: int | None = Field(default=None, ge=16, json_schema_extra=_HOW)
    """MiB for that server's key-value cache; null leaves it to vLLM on a GPU and takes 1024 on a CPU."""
    concurrency: int = Field(default=32, ge=1, json_schema_extra=_HOW)
    """Requests in flight; more is faster until the server is full."""
    timeout_s: float = Field(default=120.0, gt=0, json_schema_extra=_HOW)
    """Seconds one request may take before it is tried again."""
    max_retries: int = Field(default=5, ge=0, json_schema_extra=_HOW)
    """Tries after the first one for a request that failed in a way that can heal."""
    threads: int = Field(default=1, ge=1, json_schema_extra=_HOW)
    """CPU threads of the server that the flow starts."""

    @model_validator(mode="after")
    def _fit_the_server(self) -> "OpenAIConfig":
        if (self.base_url is None) != (self.model is None):
            raise ValueError(
                "give `base_url` and `model` together (a running server), or neither (the flow starts one)"
            )
        if self.base_url is not None and self.max_model_len is not None:
            raise ValueError("max_model_len is for the server that the flow starts: leave it out beside `base_url`")
        return self


def is_running_server(engine: "VllmConfig | TransformersConfig | OpenAIConfig") -> bool:
    """Tell whether an engine is somebody's running server, whose weights can't be hashed or checked."""
    return isinstance(engine, OpenAIConfig) and engine.base_url is not None


EngineConfig = Annotated[VllmConfig | TransformersConfig | OpenAIConfig, Field(discriminator="name")]


class PolicyConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A language model to sample from and to train."""

    model: str
    """A folder with weights and tokenizer, or a model on the Hugging Face Hub."""
    revision: str | None = None
    """Hub commit or tag; a folder has none."""
    adapter: str | None = None
    """Folder with a LoRA adapter on top of the model, such as an earlier run's policy; wants `training.lora`."""
    trust_remote_code: bool = False
    """Run code that the model's repository ships; only for models you trust."""


class MixConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Another policy whose answers stand beside the round's own."""

    policy: PolicyConfig | None = None
    """Another model, run here."""
    role: Literal["initial", "former", "base"] | None = None
    """One of the run's own: its start, the last good policy before the present one, or the recipe's `policy`. Where it
    is the round's own policy, as in round 1, it is left out."""
    engine: EngineConfig | None = None
    """How it is run; null runs it as the round's own policy. An openai engine with `base_url` and `model` is a running
    server, instead of `policy` and `role`."""
    k: int = Field(ge=1)
    """Candidates per prompt that it adds."""

    @model_validator(mode="after")
    def _one_model(self) -> "MixConfig":
        server = self.engine is not None and is_running_server(self.engine)
        if [self.policy is not None, self.role is not None, server].count(True) != 1:
            raise ValueError(
                "give one of `policy` (a model to run here), `role` (initial, former or base) and an openai engine "
                "with `base_url` and `model`"
            )
        return self


class GenerationConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Sampling of k candidates per prompt."""

    engine: EngineConfig = VllmConfig()
    """What runs the policy."""
    k: int = Field(default=4, ge=1)
    """Candidates per prompt from the round's policy; with the mix at least 2 in all, to make a pair."""
    sampling: SamplingConfig = SamplingConfig()
    """How each answer is drawn."""
    mix: list[MixConfig] = []
    """Other policies to sample from in the same round."""
    prompts_per_shard: int = Field(default=256, ge=1, json_schema_extra=_HOW)
    """Prompts in one Parquet shard, the unit that a killed run does not repeat."""

    @model_validator(mode="after")
    def _enough_for_a_pair(self) -> "GenerationConfig":
        total = self.k + sum(other.k for other in self.mix if other.role is None)
        if total < 2:
            roles = "; a `role` of the mix is the round's own policy in round 1" if self.mix else ""
            raise ValueError(
                f"k is {total}: a preference pair needs at least 2 candidates per prompt; set k to 2 or more{roles}"
            )
        most = max([self.k, *(other.k for other in self.mix)])
        if self.sampling.temperature == 0 and most > 1:
            raise ValueError(
                f"temperature 0 draws the same answer k = {most} times: raise sampling.temperature above 0"
            )
        return self
