"""The README's library example, as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def example():
    readme = ROOT / "README.md"
    text = readme.read_text() if readme.is_file() else ""
    found = re.search(r"^## Library$.*?^```python\n(.*?)^```$", text, re.M | re.S)
    if found is None:
        pytest.skip("README.md has no python block under '## Library'")
    return found[1]


def test_it_is_short(example):
    assert len(example.strip().splitlines()) <= 15


def test_it_runs(example, tmp_path):
    """On the toy space, which is compiled sooner; nothing else is changed."""
    code = re.sub(r'get_space\("\w+"\)', 'get_space("toy")', example)
    assert 'get_space("toy")' in code
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Genotype(space='toy'" in done.stdout
