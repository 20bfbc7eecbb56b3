"""The README's file tree says of every file what the file says of itself."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "generation": "stage 1: prompts and a policy in, candidates out",
    "judging": "stage 2: candidates in, scores out; scores in, pairs out",
    "judging/asking": "a language model asked: questions, dialogues, both ways to a model, stored replies",
    "judging/asking/texts": "what language models read",
    "judging/reading": "a language model's replies in, verdicts out",
    "judging/ranking": "duels between answers: who meets whom, and how strong each is",
    "judging/checking": "answers that can be checked",
    "judging/reward": "reward models and the engines that score with them",
    "judging/pairing": "scored candidates in, preference pairs and a ledger out",
    "judging/pairing/rules": "one file a rule",
    "judging/audit": "measures of a judge's faults",
    "filtering": "stage 3: pairs in, kept pairs and the drop ledger out",
    "filtering/filters": "one file a filter",
    "filtering/formats": "one file a format of pairs, and what detects, reads and writes them",
    "filtering/near": "near-duplicate prompts: shingles, signatures, bands, an exact check",
    "filtering/overlap": "words that pairs share with eval sets",
    "training": "stage 4: pairs in, the next policy out",
    "training/losses": "preference losses: formulas, hyper-parameters, sources",
    "training/rows": "from the table of pairs to rows of token ids, and the ledger of the others",
    "training/reference": "the reference policy's log-probs: whose, from where, where they are kept",
    "training/prefix": "each prompt of a batch computed once for all its answers",
    "training/watching": "what a training shows while it runs, what it warns of, when it stops",
    "training/processes": "one training in several processes",
    "training/processes/accelerate": "accelerate's configs for GPUs",
    "training/policies": "policies as files: load, save, merge, average, describe",
    "training/fits": "beside preference training: first policies (SFT) and reward models",
    "evaluation": "two policies' answers in, win rates and the gate's decision out",
    "flows": "recipes, store, Prefect flows, command line",
    "recipes": "shipped recipes",
    "recipes/film_reviews": "the demo's small world: grammar, gold verifier, training of writer and reward model",
    "benchmarks": "measurements that anybody can repeat",
    "benchmarks/killing": "kill -9 at random moments, and what comes of it",
    "data": "the demo's models and prompts",
    "tests": "mirror the packages",
}


def tree() -> str:
    lines = []
    for folder, meaning in FOLDERS.items():
        lines.append(f"{folder + '/':26}{meaning}")
        files = [path for path in sorted((ROOT / folder).glob("*.*")) if path.suffix in {".py", ".yaml", ".jinja"}]
        lines += [f"  {path.name:24}{_first_line(path)}" for path in files if path.name != "__init__.py"]
    return "\n".join(line.rstrip() for line in lines)


def _first_line(path: Path) -> str:
    text = path.read_text()
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    return text.split("\n")[0].strip("{#} -")


def test_the_tree_is_complete_and_true():
    expected = tree()
    assert expected in (ROOT / "README.md").read_text(), f"the README's tree should be:\n\n{expected}"
