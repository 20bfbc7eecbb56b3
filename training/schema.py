"""The dataset that training writes beside the policy: one row per logged step and metric."""

import pyarrow as pa

METRICS = pa.schema(
    [
        ("step", pa.int32()),  # optimiser steps done, 1-based; 0 = before the first
        ("name", pa.string()),  # loss, rewards/margins, grad_norm, ...
        ("value", pa.float64()),
    ]
)

# Part of every cache key of the stage; raised by hand when its code gives other answers for the same input.
POLICY_VERSION = 1
LOGPROBS_VERSION = 1
REPLAY_VERSION = 1
AVERAGES_VERSION = 1

LOGPROBS = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("logprob_sum", pa.float64()),  # nats: sum of the raw log-probs of the candidate's token ids under the policy
    ]
)
