"""Which models and options let prompts be shared: a reason why not, as a sentence, or None.

What a config says is checked first: a window narrower than the data looks right on a few tokens. Then the model itself
is asked for log-probs both ways, which finds what no config says: states that run over from one answer to the next,
positions taken from elsewhere, layers that don't pass the plan on.
"""

from contextlib import nullcontext
from typing import Any  # models of untyped libraries

from training.logprobs import Compute

# Largest difference of a token's log-prob between the two ways, in nats. Sums come in another order: 1e-5 in float32.
_TOLERANCE: dict[Compute, float] = {"float32": 1e-3, "bfloat16": 0.1}


def why_not_shared(model: Any, longest: int, compute: Compute) -> str | None:
    """Say why a model's prompts can't be shared; None where they can.

    Args:
        model: A causal language model, or a PEFT wrapper of one; left as it was but for its attention function.
        longest: Most tokens of a prompt and an answer in the data; wider windows change nothing.
        compute: Number format of the training.
    """
    from peft import PeftModel

    if isinstance(model, PeftModel):
        if any(config.is_prompt_learning for config in model.peft_config.values()):
            return "the adapter puts learned tokens before each prompt"
        model = model.get_base_model()
    return _why_not_by_config(model, longest) or _why_not_by_trial(model, compute)


def _why_not_by_config(model: Any, longest: int) -> str | None:
    import inspect

    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    from training.prefix.attention import NAME

    config = model.config.get_text_config()
    kind = config.model_type
    if config is not model.config or getattr(model.config, "is_encoder_decoder", False):
        return f"{kind} is part of a model of images, sound or two halves, not a plain decoder"
    if config._attn_implementation not in ("sdpa", NAME):
        return f"{kind} runs with {config._attn_implementation} attention, and only SDPA is replaced"
    if not model._can_set_attn_implementation() or not model._supports_attention_backend:
        return f"transformers lets no other attention function into {kind}"
    parameters = inspect.signature(model.base_model.forward).parameters
    if "position_ids" not in parameters or not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return f"{kind} takes no position ids, or passes no arguments on to its attention"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return f"{kind} caps its attention logits, which SDPA does not"
    if hasattr(config, "output_router_logits") and getattr(config, "router_aux_loss_coef", 0.0) != 0.0:
        return f"the routers' auxiliary loss of {kind} counts prompts as often as they stand in the batch"
    if is_deepspeed_zero3_enabled():
        return "DeepSpeed ZeRO-3 holds the weights in parts"
    return _why_not_by_layers(config, longest)


def _why_not_by_layers(config: Any, longest: int) -> str | None:
    """Full attention, or a window that no row is longer than, is all that a layer may have."""
    types = set(getattr(config, "layer_types", None) or ("full_attention",))
    others = types - {"full_attention", "sliding_attention"}
    if others:
        return f"{config.model_type} has layers of the kind {', '.join(sorted(others))}"
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in types or not getattr(config, "layer_types", None)
    if window is not None and slides and getattr(config, "use_sliding_window", True) and window < longest:
        return f"{config.model_type} sees {window} tokens back, and the longest pair has {longest}"
    return None


def _why_not_by_trial(model: Any, compute: Compute) -> str | None:
    """Compare log-probs of two answers to one prompt, and of one to another, with those of plain rows."""
    words = model.config.get_text_config().vocab_size
    first, second = [k % words for k in range(3, 12)], [k % words for k in range(20, 25)]
    answers = [[k % words for k in range(start, start + 4)] for start in (30, 40, 50)]
    trained = model.training
    model.eval()
    try:
        for number_format in sorted({compute, "float32"}):
            half = number_format == "bfloat16"
            off = _largest_difference(model, [first, first, second], answers, half)
            if not off <= _TOLERANCE["bfloat16" if half or model.dtype.itemsize < 4 else "float32"]:
                return f"a trial with {model.config.model_type} is {off:.1e} nats a token off its plain log-probs"
    finally:
        model.train(trained)
    return None


def _largest_difference(model: Any, prompts: list[list[int]], answers: list[list[int]], half: bool) -> float:
    import torch

    from training.prefix.forward import shared_attention, shared_scores
    from training.prefix.plan import plan_batch

    mixed = torch.autocast(model.device.type, dtype=torch.bfloat16) if half else nullcontext()
    with torch.no_grad(), mixed:
        plain = [_plain(model, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        with shared_attention(model):
            shared = shared_scores(model, plan_batch(prompts, answers).to(model.device), ()).log_probs
    return float((torch.cat(plain) - shared).abs().max())


def _plain(model: Any, prompt: list[int], answer: list[int]) -> Any:
    import torch

    logits = model(torch.tensor([prompt + answer], device=model.device), use_cache=False).logits[0]
    labels = torch.tensor(answer, device=logits.device)
    return logits[len(prompt) - 1 : -1].float().log_softmax(-1).gather(1, labels[:, None])[:, 0]
