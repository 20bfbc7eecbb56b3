"""What TRL's SFTTrainer and RewardTrainer are both told of a config."""

from typing import Any  # arguments of an untyped library

from training.fits.fit_config import FitConfig

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def fit_arguments(config: FitConfig, seed: int, output: str) -> dict[str, Any]:
    """Give the keyword arguments; the trainers report and save nothing but checkpoints.

    Args:
        config: The steps.
        seed: Of everything that TRL draws.
        output: Folder for checkpoints.
    """
    import torch

    micro = config.micro_batch_size or config.batch_size
    return {
        "output_dir": output,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": _SCHEDULES[config.lr_schedule],
        "warmup_steps": config.warmup_share,  # below 1 it is a share of all steps
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": config.batch_size // micro,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "bf16": config.dtype == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),  # bfloat16 is refused on a CPU that was not asked for
        "activation_checkpointing": config.gradient_checkpointing,
        "seed": seed,
        "max_length": None,  # long rows were dropped to the ledger; nothing is cut
        "remove_unused_columns": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
