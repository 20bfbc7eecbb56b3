"""The datasets that generation writes, and the drop ledger that every stage writes.

Rows are joined by content-hash ids (`generation.identity`), never by position or text.
"""

import pyarrow as pa

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
TOKEN_IDS = pa.list_(pa.int32())

PROMPTS = pa.schema(
    [
        ("prompt_id", pa.string()),  # hash of the canonical messages
        ("messages", MESSAGES),  # the conversation to answer, system prompt included, last role user
        ("reference_answer", pa.string()),  # what a verifier compares with; null where the source has none
        ("source", pa.string()),  # where the prompt came from: a file name or a data set's name
        ("split", pa.string()),  # train | eval | vault
        ("round", pa.int32()),  # 1-based round that trains on it; null outside train
        ("meta", pa.string()),  # the source's other columns as one JSON object
    ]
)

CANDIDATES = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("candidate_id", pa.string()),  # hash of prompt, policy, sampling, seed and sample index
        ("sample_index", pa.int32()),  # 0 .. k-1
        ("text", pa.string()),  # the answer, special tokens left out
        ("finish_reason", pa.string()),  # stop | length; null = unknown
        ("token_ids", TOKEN_IDS),  # completion ids, the stop token included; null = the source has none
        ("logprob_sum", pa.float64()),  # nats: sum of the raw (temperature 1) log-probs of token_ids; null = unknown
        ("n_tokens", pa.int32()),  # len(token_ids), or what the server counted; null = unknown
        ("policy", pa.string()),  # key of the policy, or the name an outside model goes by
        ("sampling", pa.string()),  # JSON of what drew it: temperature, top_p, max_new_tokens
        ("seed", pa.int64()),  # base seed of the prompt + sample_index; null where the source has none
        ("tokenizer", pa.string()),  # identity of the tokenizer of token_ids; null without ids
        ("prompt_hash", pa.string()),  # hash of the prompt's token ids as the engine saw them; null = unknown
        ("n_prompt_tokens", pa.int32()),  # null = unknown
    ]
)

DROPS = pa.schema(
    [
        ("kind", pa.string()),  # prompt | candidate | pair
        ("id", pa.string()),  # its prompt_id, candidate_id or pair_id
        ("stage", pa.string()),  # prompts | generation | judging | pairing | filtering | training
        ("step", pa.string()),  # the filter or rule that dropped it
        ("reason", pa.string()),  # snake_case literal
        ("value", pa.float64()),  # what was measured; null where nothing is a number
        ("threshold", pa.float64()),  # what it was held against; null likewise
        ("context", pa.string()),  # the first 200 characters of the text concerned, in one line
    ]
)

CONTEXT_CHARS = 200

# Part of every cache key of the stage; raised by hand when its code gives other answers for the same input.
PROMPTS_VERSION = 1
CANDIDATES_VERSION = 1
