"""The table of faults in docs/faults.md holds exactly the cases that are tested."""

import ast
from pathlib import Path

TABLE = Path(__file__).parents[2] / "docs" / "faults.md"


def cases() -> list[str]:
    names = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path.name != Path(__file__).name:
            functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
            names += [str(ast.get_docstring(node)) for node in functions if node.name.startswith("test_")]
    return names


def listed() -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if row[0].strip() != "fault"]


def test_every_fault_in_the_table_is_tested_and_every_test_is_in_the_table():
    assert sorted(row[0] for row in listed()) == sorted(cases())


def test_every_row_says_what_detects_it_what_happens_and_what_to_do():
    assert all(len(row) == 4 and all(row) for row in listed())


def test_there_are_at_least_25_faults():
    assert len(set(cases())) >= 25
