"""Meshes and placements; what they do to a search is in tests/loops/test_devices.py."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import jdarts
from jdarts import UserError, sharding

CODE = """
import json, chex, jax, jax.numpy as jnp, numpy as np
from jdarts import sharding
from jdarts.types import Batch

chex.set_n_cpu_devices(4)

def held(x):
    return sorted({s.data.shape for s in x.addressable_shards})

mesh, pair = sharding.make_mesh(), sharding.make_mesh(jax.devices()[2:4])
batch = Batch(jnp.arange(3 * 8 * 2.0).reshape(3, 8, 2), jnp.arange(24).reshape(3, 8))
divide = jax.jit(lambda b: sharding.shard_batch(b, mesh, axis=1))
divided = divide(batch)
whole = jax.device_put(batch, sharding.replicated(mesh))
print(json.dumps({
    "sizes": [mesh.size, pair.size],
    "pair": [d.id for d in pair.devices],
    "dividing": [sharding.make_dividing_mesh(n, "seed").size for n in range(1, 9)],
    "divided": [held(x) for x in divided],
    "whole": [held(x) for x in whole],
    "equal": all(np.array_equal(a, b) for a, b in zip(batch, divided)),
}))
"""


def test_four_devices():
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        cwd=Path(jdarts.__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "sizes": [4, 2],
        "pair": [2, 3],
        "dividing": [1, 2, 3, 4, 1, 3, 1, 4],
        "divided": [[[3, 2, 2]], [[3, 2]]],
        "whole": [[[3, 8, 2]], [[3, 8]]],
        "equal": True,
    }


def test_one_device_divides_everything():
    mesh = sharding.make_mesh(jax.devices()[:1])
    assert mesh.size == 1
    for batch_size in (1, 7):
        sharding.check_divides(batch_size, mesh)


@pytest.mark.parametrize("batch_size", [1, 6, 9])
def test_a_batch_that_cannot_be_divided(batch_size):
    mesh = jax.sharding.AbstractMesh((4,), ("data",))
    sharding.check_divides(8, mesh)
    with pytest.raises(UserError) as error:
        sharding.check_divides(batch_size, mesh)
    assert f"--batch-size: {batch_size} images" in str(error.value)
    assert "expected a multiple of 4" in str(error.value)
