"""What people see of a training while it runs: the metrics of a step as one line, and warnings at its end."""

from typing import Any  # JSON values

from flows.display import tell

_SHOWN = {
    "loss": "loss {:.3f}",
    "rewards/accuracies": "accuracy {:.2f}",
    "eval_rewards/accuracies": "held-out {:.2f}",
    "tokens_per_s": "{:,.0f} tokens/s",
}


class TrainingEvents:
    """Turns metrics of steps into events; what a step does not say stands as it was said last."""

    def __init__(self) -> None:
        self.resumed_step = 0
        self._said: dict[str, float] = {}

    def step(self, done: int, total: int, metrics: dict[str, float]) -> dict[str, Any]:
        """Give the event of a step.

        Args:
            done: Optimiser steps done.
            total: All steps.
            metrics: What was logged; nothing where a killed training goes on.
        """
        if not metrics:
            self.resumed_step = done
            return {"done": done, "total": total, "note": f"resumed at step {done}"}
        self._said |= {name: value for name, value in metrics.items() if name in _SHOWN}
        note = ", ".join(text.format(self._said[name]) for name, text in _SHOWN.items() if name in self._said)
        return {"done": done, "total": total, "note": note}

    @staticmethod
    def preparing(what: str, done: int, total: int) -> dict[str, Any]:
        """Give the event of something that is computed before the first step."""
        return {"done": done, "total": total, "what": what}


def tell_warnings(facts: dict[str, Any]) -> None:
    """Show what people should know of a training that has ended."""
    for one in facts["warnings"]:
        tell(f"warning: {one['code']}: {one['text']}")
