"""What was checked before a training, as a short table for people."""

from typing import Any  # JSON values

from rich.console import Console
from rich.table import Table


def print_checked(checked: dict[str, Any], reference: dict[str, Any]) -> None:
    """Print what was checked, and where the reference's log-probs came from."""
    table = Table("checked before training", "found")
    for name, found in checked_lines(checked, reference).items():
        table.add_row(name, found)
    console = Console()
    console.print(table)
    for note in checked["notes"]:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)


def checked_lines(checked: dict[str, Any], reference: dict[str, Any]) -> dict[str, str]:
    """Give what was found by what it was looked for.

    Args:
        checked: `training.rows.checked.Checked` as JSON values.
        reference: `training.reference.reference_store.ReferenceFacts` likewise.
    """
    answers = checked["generator_ids"] + checked["retokenized"]
    lines = {
        "prompts": f"{checked['prompts']} trained on, {checked['held_out_prompts']} held out, none in both",
        "BOS tokens a prompt": ", ".join(map(str, checked["bos_tokens"])),
        "prompt ids as the generator's": f"{checked['prompts_compared']} of {answers // 2} pairs",
        "answer ids": f"{checked['generator_ids']} the generator's, {checked['retokenized']} tokenised here",
        "one stop token at the end": f"{checked['stopped']} of {answers} answers",
        "dropped": ", ".join(f"{reason} {count}" for reason, count in checked["dropped"].items()) or "none",
    }
    if checked["merges"]:
        lines["tokens across the boundary"] = f"{checked['merges']} kept apart, as the generator has them"
    if checked["after_stop"]:
        lines["not trained, behind the stop token"] = repr(checked["after_stop"])
    sources = ("computed", "read", "generated")
    if any(reference[name] for name in sources):
        lines["reference log-probs"] = ", ".join(f"{reference[name]} {name}" for name in sources if reference[name])
    return lines
