"""Who may import whom: a file imports only from lines below its own, or its folder."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "jdarts"

# From the top down. Parts of one line do not import each other.
ORDER = [
    {"__init__", "__main__"},
    {"completion"},
    {"search", "train", "report", "cost", "compare", "export", "perturb"}
    | {"latency", "pareto", "regret"},
    {"text_training"},
    {"comparisons", "train_cli"},
    {"cli", "reports", "exports"},
    {"loops"},
    {"run_network"},
    {"recipes"},
    {"train_config"},
    {"text_train_config"},
    {"config"},
    {"text_config"},
    {"config_fields"},
    {"training", "program_store"},
    {"methods"},
    {"problem", "hardware"},
    {"nets"},
    {"ops"},
    {"hypergradient", "curvature"},
    {"relaxation", "derive", "perturbation", "accuracy_table"},
    {"data", "io", "sharding"},
    {"spaces"},
    {"tree", "types", "errors", "limits", "compile", "statistics", "stopwatch"}
    | {"fingerprint", "trust", "entry", "output", "commands", "lazy", "version"}
    | {"phase", "synonyms", "options", "guard", "regular_file"},
]
LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}
FLAX = {"nets", "ops"}
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def part_of(path):
    """``nets/cell.py`` -> nets, ``tree.py`` -> tree."""
    return path.parts[0].removesuffix(".py")


def imported(path):
    """Full names of all modules that a file imports, wherever it does so."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            if node.module == "jdarts":
                yield from (f"jdarts.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_order(path):
    own = part_of(path)
    assert own in LEVEL, f"{path}: not in the module map"
    for name in imported(path):
        package, *rest = name.split(".")
        if package == "jdarts" and rest and rest[0] != own:
            target = rest[0]
            assert target in LEVEL, f"{path}: imports unknown {name}"
            lowest = len(ORDER) - 1
            below = LEVEL[target] > LEVEL[own] or LEVEL[own] == LEVEL[target] == lowest
            assert below, f"{path}: imports {name}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_flax_stays_below_the_seam(path):
    if part_of(path) not in FLAX:
        assert "flax" not in {name.split(".")[0] for name in imported(path)}


def test_the_parser_sees_imports():
    """The tests above would pass if nothing was found."""
    assert "jdarts.hypergradient" in set(imported(Path("methods/base.py")))
    assert "flax.linen" in set(imported(Path("ops/norm.py")))
    assert {"jdarts.tree"} <= set(imported(Path("hypergradient.py")))
