"""What a recipe says about how a language-model judge is reached: a server, or the offline engine in this process.

Fields marked `how` change speed, cost or memory, never an answer, so they stay out of the cache key.
"""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic.config import JsonDict

HOW: JsonDict = {"how": True}


def _plain_address(address: str) -> str:
    """Refuse what is no address, or may carry a password or key; none is repeated."""
    if re.search("[@?#]", address):
        raise ValueError(
            "the address carries a user name, password or query: give it up to its path, such as "
            "http://127.0.0.1:8000/v1, and the name of a variable that holds the key as api_key_env"
        )
    if not _is_address(address):
        raise ValueError("this is no address such as http://127.0.0.1:8000/v1: it begins with http:// or https://")
    return address


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets without an end, a port that is no number
        return False


def _variable_name(name: str) -> str:
    """Refuse what is no name of a variable without repeating it: people put the key itself there."""
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("this is no name of an environment variable: put the key into one and give its name here")
    return name


_Address = Annotated[str, AfterValidator(_plain_address)]
_VariableName = Annotated[str, AfterValidator(_variable_name)]


class BudgetConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """What one run may spend on a judge; beyond it the stage stops, and the next run goes on with a fresh budget."""

    max_calls: int | None = Field(default=None, ge=1)
    """Requests; null = any number."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens read and written together; null = any number."""
    max_cost: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Money, in the currency of price_in and price_out; null = any sum."""


class ServerConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True):
    """A model behind an OpenAI-compatible server."""

    name: Literal["openai"]
    base_url: _Address
    """Address of the server, such as http://127.0.0.1:8000/v1."""
    model: str
    """Name of the model on that server."""
    api_key_env: _VariableName | None = Field(default=None, json_schema_extra=HOW)
    """Name of the environment variable that holds the API key."""
    structured: Literal["structured_outputs", "response_format"] = "structured_outputs"
    """How the server is told to constrain a reply: vLLM's field structured_outputs, or OpenAI's response_format, which
    takes JSON schemas only."""
    concurrency: int = Field(default=16, ge=1, json_schema_extra=HOW)
    """Requests in flight; more is faster until the server is full."""
    timeout_s: float = Field(default=120.0, gt=0, json_schema_extra=HOW)
    """Seconds one request may take before it is tried again."""
    max_retries: int = Field(default=5, ge=0, json_schema_extra=HOW)
    """Tries after the first one for a request that failed in a way that can heal."""
    price_in: float | None = Field(default=None, ge=0, allow_inf_nan=False, json_schema_extra=HOW)
    """Money for a million tokens read; null = unknown."""
    price_out: float | None = Field(default=None, ge=0, allow_inf_nan=False, json_schema_extra=HOW)
    """Money for a million tokens written; null = unknown."""
    budget: BudgetConfig = Field(default=BudgetConfig(), json_schema_extra=HOW)
    """What one run may spend."""

    @model_validator(mode="after")
    def _priced(self) -> "ServerConfig":
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("give price_in and price_out together, or neither")
        if self.budget.max_cost is not None and self.price_in is None:
            raise ValueError("budget.max_cost needs price_in and price_out: what a million tokens cost")
        return self


class OfflineConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A model in vLLM's offline engine, in the judge's own process: no HTTP, the shared rubric computed once."""

    name: Literal["vllm"]
    model: str | None = None
    """A folder with weights and tokenizer, or a model on the Hugging Face Hub; null, for the judge `self` only, is the
    round's policy."""
    revision: str | None = None
    """Hub commit or tag; a folder has none."""
    adapter: str | None = None
    """Folder with a LoRA adapter on top of the model."""
    trust_remote_code: bool = False
    """Run code that the model's repository ships; only for models you trust."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of weights and arithmetic; auto takes the checkpoint's (bfloat16 for float32 ones)."""
    max_model_len: int | None = Field(default=None, ge=8)
    """Most tokens of question and reply together; null takes the model's own limit."""
    max_num_seqs: int = Field(default=128, ge=1, json_schema_extra=HOW)
    """Sequences decoded at once; more is faster until memory is full."""
    kv_cache_mb: int | None = Field(default=None, ge=16, json_schema_extra=HOW)
    """MiB for the key-value cache; null leaves it to vLLM on a GPU and takes 1024 on a CPU."""
    tensor_parallel_size: int = Field(default=1, ge=1, json_schema_extra=HOW)
    """GPUs one copy of the model is spread over."""
    threads: int = Field(default=1, ge=1, json_schema_extra=HOW)
    """CPU threads."""


EngineConfig = Annotated[ServerConfig | OfflineConfig, Field(discriminator="name")]
