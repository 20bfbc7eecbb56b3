"""Whether a server really serves a policy's weights: its log-probs of a fixed text against a transformers forward pass.

A server may hold other weights than it is thought to: another process took the port, an adapter was not applied, the
files changed. The expected numbers are computed before the server starts, so that the machine never holds two copies.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ValidationError

from generation.chat_client import ChatClient
from generation.engine import PolicyFiles

Dtype = Literal["float32", "float16", "bfloat16"]

# Nats a token, mean over the probe. vLLM and transformers with the same tiny weights on a CPU differ by 2e-6 (float32),
# 0.003 (float16), 0.006 (bfloat16), and deeper models by more. Other weights nearer than this pass unnoticed.
TOLERANCE: dict[Dtype, float] = {"float32": 0.005, "float16": 0.02, "bfloat16": 0.08}

_PROBE_TEXT = (
    "A fox asked the owl: what is 17 plus 25? The owl said 42, and \u00fcber den W\u00f6lken flew {x: [1, 2]} home; "
    "nobody wrote it down, so tomorrow they will have to ask again."
)
_MAX_PROBE_TOKENS = 64


@dataclass(frozen=True)
class Probe:
    """A fixed text and what a policy makes of it.

    Attributes:
        token_ids: The text, n tokens.
        logprobs: Log-probs of tokens 1 .. n-1 given those before, nats.
        dtype: Number format of the computation.
    """

    token_ids: list[int]
    logprobs: list[float]
    dtype: Dtype


class _Choice(BaseModel):
    prompt_logprobs: list[dict[int, "_Logprob"] | None]


class _Logprob(BaseModel):
    logprob: float


class _Completion(BaseModel):
    model: str
    choices: list[_Choice]


def resolve_dtype(policy: PolicyFiles, dtype: str) -> Dtype:
    """Give the number format that `auto` stands for: the checkpoint's, and bfloat16 for float32 ones as in vLLM."""
    import torch
    from transformers import AutoConfig

    if dtype in TOLERANCE:
        return dtype
    config = AutoConfig.from_pretrained(
        policy.model, revision=policy.revision, trust_remote_code=policy.trust_remote_code
    )
    return "float16" if config.dtype == torch.float16 else "bfloat16"


def compute_probe(policy: PolicyFiles, dtype: Dtype) -> Probe:
    """Run the policy's files over the probe text on the CPU, adapter included."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"revision": policy.revision, "trust_remote_code": policy.trust_remote_code}
    tokenizer = AutoTokenizer.from_pretrained(policy.model, **source)
    ids: list[int] = tokenizer(_PROBE_TEXT, add_special_tokens=False)["input_ids"][:_MAX_PROBE_TOKENS]
    model = AutoModelForCausalLM.from_pretrained(policy.model, dtype=getattr(torch, dtype), **source)
    if policy.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, policy.adapter)
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, :-1].float()  # (n - 1, vocabulary)
        logprobs = logits.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]
    return Probe(ids, logprobs.tolist(), dtype)


def check_served_weights(client: ChatClient, model: str, probe: Probe) -> float:
    """Compare a server's log-probs of the probe with the policy's.

    Args:
        client: For a vLLM server.
        model: Name of the policy on it.
        probe: What the policy's files give.

    Returns:
        The mean absolute difference, nats a token.

    Raises:
        RuntimeError: The server names or holds another model.
        ValueError: The server has no model of that name.
    """
    body = {"model": model, "prompt": probe.token_ids, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
    [(_, reply)] = client.complete([(0, body)])
    if reply.body is None:
        raise RuntimeError(f"{client.base_url} did not answer the probe of its weights: {reply.reason} {reply.detail}")
    try:
        completion = _Completion.model_validate(reply.body)
    except ValidationError as error:
        raise RuntimeError(f"{client.base_url} gives no prompt log-probs; is it vLLM? {error}") from error
    if completion.model != model:
        raise RuntimeError(f"{client.base_url} was asked for {model} and answers as {completion.model}")
    given = completion.choices[0].prompt_logprobs[1:]
    served = [row[token].logprob for row, token in zip(given, probe.token_ids[1:], strict=True) if row is not None]
    difference = float(np.abs(np.subtract(served, probe.logprobs)).mean())
    if not difference <= TOLERANCE[probe.dtype]:
        raise RuntimeError(
            f"{client.base_url} serves other weights under the name {model} than the policy's files hold: log-probs of "
            f"a fixed text differ by {difference:.3g} nats a token, {TOLERANCE[probe.dtype]:g} is allowed in "
            f"{probe.dtype}"
        )
    return difference
