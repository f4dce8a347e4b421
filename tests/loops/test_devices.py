"""One and eight devices, in a process that has eight."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("eight_devices.py")
HYPERGRADIENTS = ("first_order", "unrolled")
OTHERS = ("training", "text search", "text training")


@pytest.fixture(scope="module")
def eight(environment):
    flags = os.environ.get("XLA_FLAGS", "")
    flags += " --xla_force_host_platform_device_count=8"
    return {**environment, "XLA_FLAGS": flags, "JAX_ENABLE_X64": "1"}


@pytest.fixture(scope="module")
def compared(eight):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *HYPERGRADIENTS, "seeds", *OTHERS],
        env=eight,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", HYPERGRADIENTS)
def test_eight_devices_find_what_one_finds(compared, name):
    found = compared[name]
    assert found["steps"] == 3 and found["moved"] > 0.01
    assert found["state"] < 1e-10
    assert found["metrics"] < 1e-10
    assert found["evaluation"] < 1e-10


@pytest.mark.parametrize("name", OTHERS)
def test_trainings_and_texts_find_what_one_device_finds(compared, name):
    found = compared[name]
    assert found["steps"] == 3 and found["moved"] > 0.01
    assert found["all_reduce"] == [False, True]
    assert max(found[name] for name in ("state", "metrics", "evaluation")) < 1e-10


@pytest.mark.parametrize("name", HYPERGRADIENTS)
def test_the_batch_is_divided_and_the_state_is_not(compared, name):
    found = compared[name]
    assert found["images"] == [[16], [2]]  # in the stem's convolution
    assert found["all_reduce"] == [False, True]
    assert found["replicated"]


def test_seeds_on_two_of_eight_devices(compared):
    """Each device has a seed and its whole batches, and needs no other device."""
    found = compared["seeds"]
    assert found["steps"] == [3, 3]
    assert max(found[name] for name in ("state", "metrics", "evaluation")) < 1e-10
    assert found["places"] == [[1, 0], [1, 1]]  # [seeds, device]
    assert found["communication"] == []


def test_a_batch_that_cannot_be_divided(eight, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "jdarts.search", "smoke", "--batch-size", "12"]
    done = subprocess.run(
        [*command, "--run-dir", str(folder)], env=eight, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "error: --batch-size: 12 images cannot be divided over 8 devices; "
        "expected a multiple of 8\n"
    )
    assert not folder.exists()
