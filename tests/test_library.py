"""The README's library examples, as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def readme():
    file = ROOT / "README.md"
    return file.read_text() if file.is_file() else ""


def example(readme, heading):
    """The python block below a heading."""
    found = re.search(
        rf"^{heading}$.*?^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL
    )
    assert found, f"README.md has no python block under '{heading}'"
    return found[1]


def run(code, folder):
    """What it prints; it must print nothing else."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "JAX_COMPILATION_CACHE_DIR": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_search_is_short(readme):
    assert len(example(readme, "## Library").strip().splitlines()) <= 15


def test_the_search_runs(readme, tmp_path):
    """On the toy space, which is compiled sooner; nothing else is changed."""
    text = example(readme, "## Library")
    code = re.sub(r'get_space\("\w+"\)', 'get_space("toy")', text)
    assert 'get_space("toy")' in code
    assert "Genotype(space='toy'" in run(code, tmp_path)


def test_the_derived_network_runs(readme, tmp_path):
    """With one cell, which is compiled sooner; nothing else is changed."""
    text = example(readme, "### A derived network in your own loop")
    code = text.replace("layers=3", "layers=1")
    assert code != text
    value, shape = run(code, tmp_path).split(maxsplit=1)
    assert float(value) > 0 and shape == "(8, 10)\n"
