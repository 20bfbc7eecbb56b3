"""The command that measures a judge: `prefloop audit-judge RECIPE`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.display import terminal_display
from flows.terminal import AsJson, Overrides, Verbose, logs, print_json, stderr, user_errors


def audit_judge(
    recipe_path: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file, or a shipped recipe's name.")],
    output: Annotated[Path, typer.Option(help="Folder for audit.html, audit.json and all that was judged.")],
    judge: Annotated[str, typer.Option(help="Which one: judging.annotator or evaluation.judge.")] = "judging.annotator",
    answers: Annotated[
        Path | None, typer.Option(help="JSONL, CSV or Parquet: a row an answer, with its prompt.")
    ] = None,
    prompt_column: str = "prompt",
    response_column: str = "response",
    policy_column: Annotated[
        str | None, typer.Option(help="Who wrote the answer; `policy` or `model` if null.")
    ] = None,
    candidates: Annotated[Path | None, typer.Option(help="Instead of --answers: Parquet with candidates.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts of the candidates; the recipe's if null.")] = None,
    gold: Annotated[Path | None, typer.Option(help="Gold labels by id: scores, or which of two is better.")] = None,
    gold_column: Annotated[
        str | None, typer.Option(help="Gold scores: a column of --answers, or of --gold (there `score` if null).")
    ] = None,
    family: Annotated[list[str], typer.Option(metavar="POLICY=FAMILY", help="Who is related to whom.")] = [],  # noqa: B006
    judge_family: Annotated[str | None, typer.Option(help="The judge's own family.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Prompts at most, drawn by a hash.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Draws prompts, and the answers that probes are made from.")] = 0,
    overrides: Overrides = [],  # noqa: B006  typer needs the list
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure a judge: length, position, noise, null answers, injected verdicts, agreement with gold labels.

    It ends with 0 whatever it finds: docs/audit.md tells what each line means and when to distrust a judge.
    """
    from flows.audit_inputs import AnswersFile, choose_judge, read_families, read_material
    from flows.audit_run import Audit, run_audit
    from flows.audit_show import show_audit
    from flows.recipe import load_recipe

    with user_errors(), logs(verbose), terminal_display(stderr):
        recipe = load_recipe(recipe_path, overrides)
        files = AnswersFile(answers, prompt_column, response_column, policy_column, candidates, prompts)
        audit = Audit(
            recipe=recipe.name,
            field=judge,
            judge=choose_judge(recipe, judge),
            material=read_material(files, gold, gold_column, recipe),
            families=read_families(family, judge_family),
            limit=limit,
            seed=seed,
            max_unscored=recipe.judging.max_unscored,
        )
        report = run_audit(audit, output)
        print_json(report.to_json()) if as_json else show_audit(report, output)
