"""Correct answers against incorrect ones, K pairs a prompt, as in Iterative RPO (arXiv 2404.19733).

Every answer is used before one is used twice. Prompts whose answers are all correct or all wrong give no pair.
"""

from judging.pairing.couples import Offer, Pool, cross, deal
from judging.pairing.pairing_config import PairingConfig


def offer_correct_incorrect(pool: Pool, config: PairingConfig) -> Offer:
    """Offer each correct candidate with each incorrect one of its prompt, dealt like cards."""
    is_correct = pool.joined.score >= config.pass_score
    chosen, rejected = cross(pool, is_correct, ~is_correct)
    return Offer(chosen, rejected, [deal(pool, chosen, rejected)])
