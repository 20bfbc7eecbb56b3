"""The dataset that evaluation writes: one row per held-out prompt and judge."""

import pyarrow as pa

VERDICTS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("judge", pa.string()),
        ("new_text", pa.string()),  # first answer of the new policy, for people to read
        ("old_text", pa.string()),
        ("new_score", pa.float64()),  # mean over the prompt's scored answers; null = none scored
        ("old_score", pa.float64()),
        ("p_win", pa.float64()),  # share of (new, old) answer pairs the new one wins, ties half; null = unscored
        ("new_pass", pa.float64()),  # share of answers at or above the pass score; null without a pass score
        ("old_pass", pa.float64()),
        ("new_tokens", pa.float64()),  # mean answer length in tokens; null = unknown
        ("old_tokens", pa.float64()),
    ]
)

# Part of every cache key of the stage; raised by hand when its code gives other answers for the same input.
VERDICTS_VERSION = 2
