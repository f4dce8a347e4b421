"""Applies faults to a copy of the checkout and shows that tests notice them.

    python tests/mutants/run.py                       all of faults.toml
    python tests/mutants/run.py --only NAME ...       these
    python tests/mutants/run.py --rotate K --of N     each N-th, from number K mod N on

The named tests have to pass without a fault and to fail with it. Ends with a table; the
exit status is 1 if a fault is not noticed, if tests fail without one, or if a line is
not found once in its file.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("benchmarks", "configs", "docs", "jdarts", "tests")
FILES = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "pyproject.toml")


class Fault(NamedTuple):
    """One changed line.

    Attributes:
      name: of the row.
      file: which file, from the root of the checkout.
      before: a part of it that occurs once.
      after: what replaces it.
      tests: as pytest names them; all together have to fail.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


def faults() -> list[Fault]:
    """The table."""
    rows = tomllib.loads((Path(__file__).parent / "faults.toml").read_text())["fault"]
    return [Fault(**row | {"tests": tuple(row["tests"])}) for row in rows]


def changed(text: str, fault: Fault) -> str:
    """The file's text with the fault.

    Raises:
      ValueError: if the line does not occur exactly once.
    """
    count = text.count(fault.before)
    if count != 1:
        raise ValueError(f"{fault.file}: {count} times, expected once: {fault.before}")
    return text.replace(fault.before, fault.after)


def copy_to(folder: Path) -> None:
    """The checkout without what runs have left in it."""
    for name in COPIED:
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)


def run_tests(folder: Path, tests: list[str]) -> tuple[int, str]:
    """pytest's exit status and output; programs are compiled into one cache for all."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "--tb=line"]
    cache = ["-o", f"cache_dir={folder.parent / 'cache'}"]
    # Bytecode is chosen by size and time of a file, which a fault may not change.
    own = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *cache, *tests],
        cwd=folder,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def verdict(folder: Path, fault: Fault) -> str:
    """What the named tests say of the fault."""
    path = folder / fault.file
    original = path.read_text()
    try:
        path.write_text(changed(original, fault))
    except ValueError as error:
        return f"LINE NOT FOUND: {error}"
    try:
        status, output = run_tests(folder, list(fault.tests))
    finally:
        path.write_text(original)
    if status == 1:
        return "noticed"
    last = output.strip().splitlines()[-1:]
    return "NOT NOTICED" if status == 0 else f"NOT RUN (status {status}): {last}"


def chosen(arguments: argparse.Namespace) -> list[Fault]:
    """The rows that are asked for."""
    rows = faults()
    if arguments.only:
        unknown = set(arguments.only) - {row.name for row in rows}
        if unknown:
            raise SystemExit(f"no such fault: {', '.join(sorted(unknown))}")
        return [row for row in rows if row.name in arguments.only]
    return rows[arguments.rotate % arguments.of :: arguments.of]


def main() -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--rotate", type=int, default=0, metavar="K")
    parser.add_argument("--of", type=int, default=1, metavar="N")
    rows = chosen(parser.parse_args())
    table = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "checkout"
        copy_to(folder)
        tests = sorted({test for row in rows for test in row.tests})
        status, output = run_tests(folder, tests)
        if status:
            print(output, "without any fault the tests fail", sep="\n")
            return 1
        for row in rows:
            start = time.perf_counter()
            table.append((row.name, verdict(folder, row), time.perf_counter() - start))
            print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    width = max(len(row.name) for row in rows)
    for name, text, seconds in table:
        print(f"{name:{width}}  {seconds:5.1f} s  {text}")
    missed = sum(text != "noticed" for _, text, _ in table)
    print(f"{len(table) - missed} of {len(table)} faults noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
