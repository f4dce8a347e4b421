"""The table of faults is about the lines and tests that there are."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location(
    "mutants_run", ROOT / "tests/mutants/run.py"
)
run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run)
FAULTS = run.faults()


def test_names_are_unique():
    assert len({row.name for row in FAULTS}) == len(FAULTS) >= 40


@pytest.mark.parametrize("fault", FAULTS, ids=lambda row: row.name)
def test_rows(fault):
    """Its line is in the file once, and the file with the fault is still Python."""
    text = run.changed((ROOT / fault.file).read_text(), fault)
    assert fault.before != fault.after and fault.tests
    if fault.file.endswith(".py"):
        compile(text, fault.file, "exec")
    for test in fault.tests:
        file, *name = test.split("::")
        tree = ast.parse((ROOT / file).read_text())
        found = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        if name:
            assert name[0].partition("[")[0] in found, test
