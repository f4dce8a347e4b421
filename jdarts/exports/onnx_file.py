"""The network as an ONNX model."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from jdarts.errors import UserError
from jdarts.exports.inference import InferenceNetwork

__all__ = ["OPSET", "run_onnx", "to_onnx"]

OPSET = 17
"""Of ONNX 1.12 (2022): what runtimes of today read."""
_IR_VERSION = 8  # of the same release


def to_onnx(
    network: InferenceNetwork,
    image_shape: tuple[int, int, int],
    class_names: Sequence[str] = (),
) -> bytes:
    """The model as the content of a file.

    Args:
      network: what to export.
      image_shape: ``(height, width, channels)``.
      class_names: in the order of the logits; if given, a JSON list under
        ``class_names`` in the model's metadata.

    Returns:
      A model from ``images``, uint8 ``[batch, height, width, channels]``, to
      ``logits``, float32 ``[batch, classes]``, for any batch.

    Raises:
      UserError: if the package onnx is missing.
    """
    onnx = _require("onnx")
    graph = _Graph(onnx)
    logits = network(graph, "images")
    graph.node("Identity", [logits], "logits")
    types, helper = onnx.TensorProto, onnx.helper
    classes = len(network.weights["head/bias"])
    made = helper.make_graph(
        graph.nodes,
        "network",
        [helper.make_tensor_value_info("images", types.UINT8, ["batch", *image_shape])],
        [helper.make_tensor_value_info("logits", types.FLOAT, ["batch", classes])],
        graph.constants,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="jdarts",
    )
    if class_names:
        helper.set_model_props(model, {"class_names": json.dumps(list(class_names))})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def run_onnx(model: bytes, images: np.ndarray) -> np.ndarray:
    """The model's logits of some images, by ONNX Runtime on the CPU.

    Raises:
      UserError: if the package onnxruntime is missing.
    """
    runtime = _require("onnxruntime")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": images})[0]


def _require(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        raise UserError(
            f"--formats: onnx needs the package {name}; expected an installation with "
            "the extra onnx (pip install 'jdarts[onnx]'), or other formats"
        ) from None


class _Graph:
    """`Operations` that note down nodes; values are names of ``[batch, channel, height,
    width]`` tensors.

    Attributes:
      nodes: in the order of computation.
      constants: the weights.
    """

    def __init__(self, onnx: Any) -> None:
        self._helper, self._numpy = onnx.helper, onnx.numpy_helper
        self._float = onnx.TensorProto.FLOAT
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(
        self, kind: str, inputs: Sequence[str], name: str = "", **attributes: Any
    ) -> str:
        """Adds a node; returns the name of its result."""
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        made = self._helper.make_node(kind, inputs, [name], name=name, **attributes)
        self.nodes.append(made)
        return name

    def constant(self, array: np.ndarray) -> str:
        """Adds a constant; returns its name."""
        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(array)
        self.constants.append(self._numpy.from_array(array, name))
        return name

    def scale_images(self, images: str, scale: np.ndarray, shift: np.ndarray) -> str:
        x = self.node("Cast", [images], to=self._float)
        return self.affine(self.node("Transpose", [x], perm=(0, 3, 1, 2)), scale, shift)

    def conv(
        self,
        x: str,
        kernel: np.ndarray,
        bias: np.ndarray,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: int = 1,
        groups: int = 1,
    ) -> str:
        weights = self.constant(kernel.transpose(3, 2, 0, 1))
        return self.node(
            "Conv",
            [x, weights, self.constant(bias)],
            kernel_shape=kernel.shape[:2],
            strides=stride,
            pads=padding * 2,
            dilations=(dilation, dilation),
            group=groups,
        )

    def max_pool(self, x: str, kernel: int, stride: int) -> str:
        return self.node("MaxPool", [x], **_window(kernel, stride))

    def mean_pool(self, x: str, kernel: int, stride: int) -> str:
        window = _window(kernel, stride)
        return self.node("AveragePool", [x], count_include_pad=0, **window)

    def affine(self, x: str, scale: np.ndarray, shift: np.ndarray) -> str:
        factors, terms = (self.constant(a.reshape(-1, 1, 1)) for a in (scale, shift))
        return self.node("Add", [self.node("Mul", [x, factors]), terms])

    def relu(self, x: str) -> str:
        return self.node("Relu", [x])

    def without_first(self, x: str) -> str:
        end = np.iinfo(np.int64).max
        ranges = ([1, 1], [end, end], [2, 3])  # starts, ends, axes
        constants = [self.constant(np.array(r, np.int64)) for r in ranges]
        return self.node("Slice", [x, *constants])

    def add(self, x: str, y: str) -> str:
        return self.node("Add", [x, y])

    def concat(self, values: list[str]) -> str:
        return self.node("Concat", values, axis=1)

    def classify(self, x: str, kernel: np.ndarray, bias: np.ndarray) -> str:
        mean = self.node("Flatten", [self.node("GlobalAveragePool", [x])])
        weights = self.constant(kernel.astype(np.float32))
        return self.node(
            "Gemm", [mean, weights, self.constant(bias.astype(np.float32))]
        )


def _window(kernel: int, stride: int) -> dict[str, Any]:
    return {
        "kernel_shape": (kernel, kernel),
        "strides": (stride, stride),
        "pads": (kernel // 2,) * 4,
    }
