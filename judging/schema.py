"""The datasets that judging writes: one score per candidate and judge, and the pairs made from them."""

import pyarrow as pa

from generation.schema import MESSAGES, TOKEN_IDS

SCORES = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("prompt_id", pa.string()),
        ("judge", pa.string()),  # the judge's name in the recipe
        ("score", pa.float64()),  # the judge's own unit; null = unscored, `reason` says why
        ("reason", pa.string()),  # snake_case literal where unscored, else null
        ("aspects", pa.map_(pa.string(), pa.float64())),  # parts of the score; null where the judge has none
        ("uncertainty", pa.float64()),  # spread of the judge's opinion, in units of the score; null = unknown
        ("rationale", pa.string()),  # the judge's explanation; null where it gives none
        ("raw_reply", pa.string()),  # a language-model judge's whole reply, else null
        ("n_tokens_in", pa.int32()),  # tokens the judge read; null = unknown
        ("n_tokens_out", pa.int32()),  # tokens the judge wrote; null = unknown
        ("cost", pa.float64()),  # currency of the recipe's price fields; null = not priced
    ]
)

PAIRS = pa.schema(
    [
        ("pair_id", pa.string()),  # hash of prompt_id, chosen_id, rejected_id
        ("prompt_id", pa.string()),
        ("messages", MESSAGES),
        ("chosen_id", pa.string()),  # candidate_id of the better answer
        ("rejected_id", pa.string()),
        ("chosen", pa.string()),  # its text
        ("rejected", pa.string()),
        ("chosen_token_ids", TOKEN_IDS),  # null where the source has none
        ("rejected_token_ids", TOKEN_IDS),
        ("chosen_finish_reason", pa.string()),  # null = unknown
        ("rejected_finish_reason", pa.string()),
        ("chosen_logprob_sum", pa.float64()),  # nats under the policy that wrote it; null = unknown
        ("rejected_logprob_sum", pa.float64()),
        ("chosen_policy", pa.string()),
        ("rejected_policy", pa.string()),
        ("chosen_tokenizer", pa.string()),  # identity of the tokenizer of the ids; null without ids
        ("rejected_tokenizer", pa.string()),
        ("prompt_hash", pa.string()),  # hash of the prompt's token ids as the engine saw them; null = unknown
        ("chosen_score", pa.float64()),
        ("rejected_score", pa.float64()),
        ("margin", pa.float64()),  # chosen_score - rejected_score, > 0
        ("uncertainty", pa.float64()),  # of the margin: root of the sum of both scores' squared ones; null = unknown
        ("score_std", pa.float64()),  # population standard deviation of the prompt's scores; null = unknown
        ("rule", pa.string()),  # the pairing rule
        ("split", pa.string()),  # train | eval | vault
        ("source", pa.string()),
        ("weight", pa.float64()),  # how much it counts, in (0, 1]; null = 1
        ("soft_label", pa.float64()),  # P(chosen is the better one), in [0, 1]; null = not asked for
        ("chosen_p_win", pa.float64()),  # mean P(it beats another scored answer of its prompt); null = not asked for
        ("rejected_p_win", pa.float64()),
        ("chosen_aspects", pa.map_(pa.string(), pa.float64())),  # parts of its score; null where the judge has none
        ("rejected_aspects", pa.map_(pa.string(), pa.float64())),
    ]
)

# Part of every cache key of the stage; raised by hand when its code gives other answers for the same input.
SCORES_VERSION = 2
PAIRS_VERSION = 4
