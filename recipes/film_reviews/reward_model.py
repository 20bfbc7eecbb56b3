"""Train the reward model: the writer's body with one score on the token that ends the review.

Two stages. A warm-up with dense labels teaches the body to notice faults, on every token of a review and not only on
its last: pairs alone left it at 63 % accuracy. Then comes Bradley-Terry on the writer's own samples, the reward loss of
InstructGPT (arXiv 2203.02155, equation 1) with each pair counted on its own.

The result agrees with the gold verifier on about four pairs of five. It can be exploited, as reward models can: two
sentences too many cost it less than a third of what a wrong title does.
"""

import random

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from recipes.film_reviews.batching import Track, bucket_rows, pad_right, warm_then_cosine, warm_then_line
from recipes.film_reviews.faults import Faults, find_faults
from recipes.film_reviews.grammar import BALANCED_NOISE, Prompt, draw_noisy_review
from recipes.film_reviews.preferences import Preference
from recipes.film_reviews.tokenizer import PAD_ID, Dialogue, Encoded, encode_dialogues

WARMUP_PROMPTS = 30_000
PAIR_PROMPTS = 5_000

_BATCH = 16
_RATE_FLOOR = 0.05


def warm_up(
    writer: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[Prompt], seed: int, track: Track
) -> LlamaForSequenceClassification:
    """Return a classifier of four faults, trained for one pass over one review of each prompt.

    The faults are another sentiment, title or genre than asked for, and a neglected constraint.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = _build_classifier(writer, labels=4)
    reviews = [draw_noisy_review(rng, prompt.facts, BALANCED_NOISE) for prompt in prompts]
    faults = [find_faults(review, prompt.facts) for review, prompt in zip(reviews, prompts, strict=True)]
    rows = encode_dialogues(tokenizer, [Dialogue(p.text, review) for p, review in zip(prompts, reviews, strict=True)])
    batches = bucket_rows([len(row.ids) for row in rows], _BATCH, rng)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_then_line(30, len(batches), _RATE_FLOOR))
    for batch in track(batches, "reward model, warm-up"):
        _fault_loss(model, [rows[row] for row in batch], [faults[row] for row in batch]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return model


def train_on_pairs(
    warmed: LlamaForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    preferences: list[Preference],
    seed: int,
    track: Track,
) -> LlamaForSequenceClassification:
    """Return a reward model, trained for one pass over the preferences from the body and the head of the warm-up."""
    model = _merge_flags(warmed)
    chosen = encode_dialogues(tokenizer, [preference.chosen for preference in preferences])
    rejected = encode_dialogues(tokenizer, [preference.rejected for preference in preferences])
    longest = [max(len(one.ids), len(other.ids)) for one, other in zip(chosen, rejected, strict=True)]
    batches = bucket_rows(longest, _BATCH, random.Random(seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_then_cosine(20, len(batches), _RATE_FLOOR))
    for batch in track(batches, "reward model, pairs"):
        scores = score_rows(model, [chosen[row] for row in batch] + [rejected[row] for row in batch])
        chosen_scores, rejected_scores = scores.chunk(2)
        (-logsigmoid(chosen_scores - rejected_scores).mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return model


def score_rows(model: LlamaForSequenceClassification, rows: list[Encoded]) -> torch.Tensor:
    """Return the reward of each dialogue, `(rows,)`, without bounds."""
    return model(input_ids=pad_right([row.ids for row in rows], PAD_ID)).logits[:, 0]


def _fault_loss(model: LlamaForSequenceClassification, rows: list[Encoded], faults: list[Faults]) -> torch.Tensor:
    """Return the cross entropy of the faults at the end of each review plus that of the faults so far at each token."""
    ids = pad_right([row.ids for row in rows], PAD_ID)
    ends = pad_right([row.ends for row in rows], -1)
    logits = model.score(model.model(input_ids=ids, use_cache=False).last_hidden_state)  # (rows, tokens, 4)
    appears = torch.tensor([fault.appears_at for fault in faults])  # (rows, 3)
    seen = (ends[:, :, None] >= appears[:, None, :]).float()  # (rows, tokens, 3)
    in_review = ends > 0
    each_token = binary_cross_entropy_with_logits(logits[in_review][:, :3], seen[in_review])
    row, last = torch.arange(len(rows)), torch.tensor([len(row.ids) - 1 for row in rows])
    neglected = torch.tensor([[fault.constraint_neglected] for fault in faults]).float()
    at_end = torch.cat([seen[row, last], neglected], dim=1)
    return binary_cross_entropy_with_logits(logits[row, last], at_end) + each_token


def _merge_flags(warmed: LlamaForSequenceClassification) -> LlamaForSequenceClassification:
    """Return a model with one score that falls with every fault the warmed one sees."""
    model = _build_classifier(warmed, labels=1)
    with torch.no_grad():
        model.score.weight.copy_(-0.25 * warmed.score.weight.sum(dim=0, keepdim=True))
    return model


def _build_classifier(
    source: LlamaForCausalLM | LlamaForSequenceClassification, labels: int
) -> LlamaForSequenceClassification:
    """Return a classifier with the body of `source` and a head of random weights."""
    settings = source.config.to_dict()
    # The names of the source's labels do not fit another number of them.
    settings = {name: value for name, value in settings.items() if name not in ("id2label", "label2id", "dtype")}
    settings["num_labels"] = labels
    config = LlamaConfig(**settings)
    model = LlamaForSequenceClassification(config)
    model.model.load_state_dict(source.model.state_dict())
    return model
