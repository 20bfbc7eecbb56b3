"""What a recipe says about several processes, and how a step's pairs are shared out to them."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

_SHIPPED = Path(__file__).with_name("accelerate")


class DistributedConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """One training by several processes of one machine; the losses are those of one process."""

    processes: int = Field(ge=2)
    """Processes, one a GPU; on CPUs each takes `training.threads`. Each computes its share of every batch."""
    strategy: Literal["ddp", "fsdp2", "zero2", "zero3"] = "ddp"
    """ddp: whole weights on each GPU, or on CPUs. fsdp2: weights, gradients and optimiser shared out by PyTorch. zero2,
    zero3: the same by DeepSpeed, without and with the weights. All but ddp want GPUs and full weights' training."""
    accelerate_config: Path | None = None
    """A file written by `accelerate config`, in place of the shipped one of fsdp2, zero2 or zero3."""

    @property
    def file(self) -> Path | None:
        """The config file of accelerate; None for ddp, which needs none."""
        if self.strategy == "ddp":
            return self.accelerate_config
        return self.accelerate_config or _SHIPPED / f"{self.strategy}.yaml"


def micro_batch_size(micro: int | None, batch: int, processes: int) -> int:
    """Give the pairs that a process computes at once.

    Args:
        micro: `training.micro_batch_size`.
        batch: `training.batch_size`.
        processes: `training.distributed.processes`, or 1.

    Raises:
        ValueError: The batch can't be shared out in equal parts.
    """
    if batch % processes:
        raise ValueError(
            f"batch_size is {batch}, which distributed.processes = {processes} do not divide: each process "
            f"computes as much of a batch; {batch + -batch % processes} would do"
        )
    found = micro or batch // processes
    if batch // processes % found:
        of = f" / distributed.processes = {batch} / {processes}" if processes > 1 else f" = {batch}"
        raise ValueError(f"micro_batch_size is {found}, which does not divide batch_size{of}")
    return found
