"""Exported programs give the network's logits, with every primitive."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from jax import export

from jdarts import Genotype, UserError
from jdarts.exports.inference import EXPORTED, InferenceNetwork
from jdarts.exports.onnx_file import run_onnx, to_onnx
from jdarts.exports.stablehlo import PLATFORMS, to_stablehlo
from jdarts.ops import DRAWING, OPS
from jdarts.spaces import CellGenotype, Connection

TOLERANCE = 2e-6  # of the largest logit: float32 sums in another order


def assert_logits(found, expected):
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.fixture(scope="session")
def program(case):
    return to_stablehlo(case.network, case.images.shape[1:])


def test_every_primitive_can_be_exported():
    """But those that draw: what a program gives must not depend on that."""
    assert EXPORTED.keys() == OPS.keys() - DRAWING


def test_the_logits_tell_images_apart(case):
    """Otherwise the tests below would show little."""
    spread = np.ptp(case.logits, axis=0) / np.abs(case.logits).max()
    assert spread.max() > 0.01


def test_stablehlo(case, program):
    called = export.deserialize(bytearray(program))
    assert called.platforms == PLATFORMS
    for count in (3, 1):  # any number of images
        assert_logits(np.asarray(called.call(case.images[:count])), case.logits[:count])


def test_stablehlo_needs_no_kernels(program):
    text = export.deserialize(bytearray(program)).mlir_module()
    assert set(re.findall(r"custom_call @(\w+)", text)) <= {"shape_assertion"}


def test_stablehlo_needs_no_jdarts(case, program, tmp_path):
    if case.network.stem == "cifar":
        pytest.skip("the smaller one tells as much")
    (tmp_path / "program").write_bytes(program)
    np.savez(tmp_path / "case.npz", images=case.images, logits=case.logits)
    script = f"""
import sys
import numpy as np
from jax import export
program = export.deserialize(bytearray(open("program", "rb").read()))
case = np.load("case.npz")
error = np.abs(program.call(case["images"]) - case["logits"]).max()
assert error <= {TOLERANCE} * np.abs(case["logits"]).max(), error
assert not any(name.startswith("jdarts") for name in sys.modules)
"""
    command = [sys.executable, "-I", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_onnx(case):
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    content = to_onnx(case.network, case.images.shape[1:])
    for count in (3, 1):
        assert_logits(run_onnx(content, case.images[:count]), case.logits[:count])
    model = onnx.load_from_string(content)
    assert [i.name for i in model.graph.input] == ["images"]
    assert [o.name for o in model.graph.output] == ["logits"]
    assert {node.domain for node in model.graph.node} == {""}  # standard ones only


def test_onnx_knows_the_names_of_the_classes(case):
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    names = ["ant", "b\u00e9e", 'c"at']
    model = to_onnx(case.network, case.images.shape[1:], names)
    (row,) = onnx.load_from_string(model).metadata_props
    assert row.key == "class_names" and json.loads(row.value) == names


def test_onnx_by_its_own_reference(case):
    """Not only as one runtime understands it."""
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    from onnx.reference import ReferenceEvaluator

    if case.network.stem == "imagenet":
        pytest.skip("slow, and no other operations")
    content = to_onnx(case.network, case.images.shape[1:])
    (found,) = ReferenceEvaluator(content).run(None, {"images": case.images})
    assert_logits(found, case.logits)


def test_a_primitive_without_a_form_is_named():
    cell = CellGenotype(((Connection("sep_conv_9x9", 0),),), (2,))
    genotype = Genotype("x", {"normal": cell, "reduce": cell})
    zeros = np.zeros((1, 4), np.float32)
    norm = {key: zeros for key in ("scale", "shift", "mean", "var")}
    names = {"stem/conv_0/conv": np.zeros((3, 3, 1, 4), np.float32)}
    names |= {f"stem/conv_0/bn/{key}": value for key, value in norm.items()}
    for i in range(2):
        names[f"cell_0/input_{i}/pointwise"] = np.zeros((1, 4, 4), np.float32)
        names |= {f"cell_0/input_{i}/bn/{key}": value for key, value in norm.items()}
    network = InferenceNetwork(genotype, 1, "cifar", names, (0.5,), (0.5,))
    with pytest.raises(UserError, match="'sep_conv_9x9': cannot be exported"):
        to_stablehlo(network, (8, 8, 1))
