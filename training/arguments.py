"""What TRL's DPOTrainer is told of a recipe."""

from typing import Any  # arguments of an untyped library

import torch
from trl.trainer.dpo_config import DPOConfig

from training.config import TrainingConfig
from training.processes.distributed import PATIENCE

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def trainer_arguments(config: TrainingConfig, loss: dict[str, Any], seed: int, output: str) -> DPOConfig:
    """Say to TRL what a recipe says; it reports and saves nothing itself.

    Args:
        config: The recipe's part.
        loss: TRL's own arguments for the loss.
        seed: Of everything that TRL draws.
        output: Folder for checkpoints.
    """
    return DPOConfig(
        output_dir=output,
        **loss,
        learning_rate=config.learning_rate,
        lr_scheduler_type=_SCHEDULES[config.lr_schedule],
        warmup_steps=config.warmup_share,  # below 1 it is a share of all steps
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.pairs_at_once,
        per_device_eval_batch_size=config.pairs_at_once,
        gradient_accumulation_steps=config.batch_size // (config.pairs_at_once * config.processes),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=config.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),  # bfloat16 is refused on a CPU that was not asked for
        activation_checkpointing=config.gradient_checkpointing,
        seed=seed,
        max_length=None,  # long pairs were dropped to the ledger; nothing is cut
        disable_dropout=False,  # load_policy did it for the model; TRL would take the adapter's as well
        precompute_ref_log_probs=True,  # has TRL read the columns, and load no second model
        remove_unused_columns=False,
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,  # an adapter's base has no gradients, which is not what the search is for
        ddp_timeout=int(PATIENCE.total_seconds()),
    )
