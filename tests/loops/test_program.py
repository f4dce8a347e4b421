"""What XLA makes of a search step: work, memory and the size of its fusions."""

import re

import jax
import jax.numpy as jnp
import pytest
from helpers import compile_fusions_as_users_do, kernels_or_skip

from jdarts import DartsConfig, HypergradientConfig, build_method, compile, supernet
from jdarts.data import AugmentSpec
from jdarts.loops.chunk import DeviceData, make_chunk
from jdarts.spaces import DARTS_CNN

BATCH, SIDE = 4, 8

# Of one step, recorded with jax 0.10.2 and a tenth to spare: what XLA itself computes
# (it does not see into our kernels), the MB it reads and writes, and those it reserves;
# the program's instructions, and those of them that are run one after the other: what
# compiling, loading and the program's own memory go by.
CEILINGS = {
    "first_order": {
        "mflop": 2.3,
        "accessed": 7.6,
        "kept": 1.55,
        "instructions": 17_100,
        "parts": 1_810,
    },
    "unrolled": {
        "mflop": 5.0,
        "accessed": 15.3,
        "kept": 3.4,
        "instructions": 24_200,
        "parts": 3_140,
    },
}
LARGEST_FUSION = 50  # images computed; a node's whole history would have hundreds


@pytest.fixture(scope="module", params=CEILINGS)
def program(request):
    """(hypergradient, compiled chunk of steps, its text); never run."""
    if jax.default_backend() != "cpu":
        pytest.skip("ceilings are those of the CPU program with compiled kernels")
    kernels_or_skip()
    network = supernet(DARTS_CNN, channels=4, layers=3, classes=10)
    config = DartsConfig(hypergradient=HypergradientConfig(name=request.param))
    method = build_method(config, DARTS_CNN, network, epochs=1, steps_per_epoch=2)
    spec = AugmentSpec(mean=(0.5,), std=(0.2,), crop_padding=1, flip=True, cutout=2)
    chunk = make_chunk(method, spec, None, batch_size=BATCH, steps_per_epoch=2)

    def start():
        key, half = jax.random.key(0), jnp.zeros(8, jnp.int32)
        images = jnp.zeros((16, SIDE, SIDE, 1), jnp.uint8)
        state = method.init(key, jnp.zeros((BATCH, SIDE, SIDE, 1)))
        data = DeviceData(images, jnp.zeros(16, jnp.int32), half, half)
        return key, state, data, jnp.int32(1)

    shapes = jax.eval_shape(start)
    with pytest.MonkeyPatch.context() as patch:
        compile_fusions_as_users_do(patch)
        compiled = compile.jit(chunk, donate_argnums=1).lower(*shapes).compile()
    return request.param, compiled, compiled.as_text()


def test_work_and_memory(program):
    name, compiled, text = program
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    found = {
        "mflop": cost["flops"] / 1e6,
        "accessed": cost["bytes accessed"] / 1e6,
        "kept": memory.temp_size_in_bytes / 1e6,
        "instructions": len(re.findall(r"^ +(?:ROOT )?\S+ = ", text, re.M)),
        "parts": len(re.findall(r" = \S.* (?:fusion|custom-call|dot)\(", text)),
    }
    ceilings = CEILINGS[name]
    assert all(found[what] <= ceilings[what] for what in ceilings), found
    assert all(found[what] > ceilings[what] / 2 for what in ceilings), found  # current


def test_no_fusion_takes_a_history(program):
    """A fusion without end is how XLA:CPU evaluates values again in every reader."""
    _, _, text = program
    bodies = re.findall(r"^%?\S*fused\S* .*?\{\n(.*?)^\}", text, re.M | re.S)
    assert bodies
    image = re.compile(r" = \w+\[\d+(?:,\d+){3,}\]")
    assert max(len(image.findall(body)) for body in bodies) <= LARGEST_FUSION


def test_nothing_leaves_the_device(program):
    _, _, text = program
    targets = set(re.findall(r'custom_call_target="([^"]+)"', text))
    assert targets and not [t for t in targets if "callback" in t]
    for operation in ("infeed", "outfeed", "send", "recv"):
        assert not re.search(rf"= \S+ {operation}\(", text)


def test_the_state_is_updated_in_place(program):
    _, compiled, _ = program
    memory = compiled.memory_analysis()
    outputs = memory.output_size_in_bytes
    assert memory.alias_size_in_bytes > outputs / 2  # all but the metrics
