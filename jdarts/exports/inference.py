"""A derived network as a plain sequence of well-known operations, for inference.

Written once for every format: an `Operations` says what a convolution is there. It
knows nothing of how the network is trained (no batched edges, no kernels for it),
and normalisers are folded into the convolutions before them. So it is a second,
independent implementation, and an exported file is only written after both have agreed.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from jdarts.errors import UserError
from jdarts.exports.weights import Weights
from jdarts.nets.fixed import cell_kinds
from jdarts.ops import OPS, Separable
from jdarts.ops.norm import EPSILON
from jdarts.spaces import CellGenotype, Genotype

__all__ = ["EXPORTED", "InferenceNetwork", "Operations"]

Value = Any
"""What an `Operations` passes on: an array, or the name of a tensor."""
_GROUPS = 8  # of the grouped line convolutions, see `jdarts.ops.line_conv`


class Operations(Protocol):
    """What a format has to know. Padding is ``(height, width)``, on both sides."""

    def scale_images(
        self, images: Value, scale: np.ndarray, shift: np.ndarray
    ) -> Value:
        """From uint8 pixels: ``images * scale + shift``, by channel, in float32."""
        ...

    def conv(
        self,
        x: Value,
        kernel: np.ndarray,
        bias: np.ndarray,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: int = 1,
        groups: int = 1,
    ) -> Value:
        """A convolution; `kernel` is ``[height, width, in / groups, out]``."""
        ...

    def max_pool(self, x: Value, kernel: int, stride: int) -> Value:
        """The maximum of a window, padded by kernel // 2."""
        ...

    def mean_pool(self, x: Value, kernel: int, stride: int) -> Value:
        """The mean of a window over its pixels inside the image; same padding."""
        ...

    def affine(self, x: Value, scale: np.ndarray, shift: np.ndarray) -> Value:
        """``x * scale + shift``, by channel."""
        ...

    def relu(self, x: Value) -> Value:
        """``max(x, 0)``"""
        ...

    def without_first(self, x: Value) -> Value:
        """Without the first row and column."""
        ...

    def add(self, x: Value, y: Value) -> Value:
        """The sum."""
        ...

    def concat(self, values: list[Value]) -> Value:
        """Channels side by side."""
        ...

    def classify(self, x: Value, kernel: np.ndarray, bias: np.ndarray) -> Value:
        """Mean over height and width, then a linear layer."""
        ...


@dataclasses.dataclass(frozen=True)
class InferenceNetwork:
    """A trained network.

    Attributes:
      genotype: its cells.
      layers: number of cells.
      stem: a row of `jdarts.nets.stems.STEMS`.
      weights: see `named_weights`.
      mean: of each channel of the images, pixels scaled to [0, 1].
      std: standard deviation of each channel, same scale.
    """

    genotype: Genotype
    layers: int
    stem: str
    weights: Weights
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, operations: Operations, images: Value) -> Value:
        """The logits ``[batch, classes]`` of images as they are in the data set.

        Args:
          operations: the format.
          images: uint8 ``[batch, height, width, channel]``.

        Raises:
          UserError: if a primitive has no form for inference.
        """
        std = np.asarray(self.std, np.float64)
        scale = (1 / (255 * std)).astype(np.float32)
        shift = (-np.asarray(self.mean) / std).astype(np.float32)
        part = _Part(operations, self.weights, "stem")
        x = operations.scale_images(images, scale, shift)
        inputs, reduces_before = self._stem(part, x)
        for i, kind in enumerate(cell_kinds(self.layers)):
            cell, reduces = self.genotype.cells[kind], kind == "reduce"
            part = _Part(operations, self.weights, f"cell_{i}")
            out = _cell(part, cell, inputs, 2 if reduces else 1, reduces_before)
            inputs, reduces_before = (inputs[1], out), reduces
        head = _Part(operations, self.weights, "head")
        return operations.classify(inputs[1], head.get("kernel"), head.get("bias"))

    def _stem(self, part: "_Part", x: Value) -> tuple[tuple[Value, Value], bool]:
        """The first cell's inputs, and whether input 0 is twice as large."""
        if self.stem == "cifar":
            y = part.folded("conv_0/conv", "conv_0/bn", x, padding=1)
            return (y, y), False
        values = [x]
        for name in ("conv_0", "conv_1", "conv_2"):
            value = part.folded(
                f"{name}/conv", f"{name}/bn", values[-1], stride=2, padding=1
            )
            values += [value, part.operations.relu(value)]
        return (values[3], values[5]), True


@dataclasses.dataclass(frozen=True)
class _Part:
    """A part of the network: the weights under a common name."""

    operations: Operations
    weights: Weights
    name: str

    def inside(self, name: str) -> "_Part":
        return dataclasses.replace(self, name=f"{self.name}/{name}")

    def get(self, name: str) -> np.ndarray:
        return self.weights[f"{self.name}/{name}"]

    def norm(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A normaliser as ``x * scale + shift``."""
        wide = {
            key: self.get(f"{name}/{key}")[0].astype(np.float64)
            for key in ("scale", "shift", "mean", "var")
        }
        scale = wide["scale"] / np.sqrt(wide["var"] + EPSILON)
        return scale, wide["shift"] - wide["mean"] * scale

    def folded(
        self, kernel: str | np.ndarray, norm: str, x: Value, **options: Any
    ) -> Value:
        """A convolution with the normaliser after it."""
        scale, shift = self.norm(norm)
        array = self.get(kernel) if isinstance(kernel, str) else kernel
        return self.conv(x, array * scale, shift, **options)

    def conv(
        self,
        x: Value,
        kernel: np.ndarray,
        bias: np.ndarray | None = None,
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        **options: int,
    ) -> Value:
        """A convolution in float32."""
        bias = np.zeros(kernel.shape[-1]) if bias is None else bias
        stride = (stride, stride) if isinstance(stride, int) else stride
        padding = (padding, padding) if isinstance(padding, int) else padding
        return self.operations.conv(
            x,
            kernel.astype(np.float32),
            bias.astype(np.float32),
            stride=stride,
            padding=padding,
            **options,
        )


def _cell(
    part: _Part,
    cell: CellGenotype,
    inputs: tuple[Value, Value],
    stride: int,
    halve_first: bool,
) -> Value:
    """The output of a cell, see `jdarts.nets.fixed_cell.FixedCell`."""
    adapt = (_halve if halve_first else _adapt, _adapt)
    values = [f(part.inside(f"input_{i}"), inputs[i]) for i, f in enumerate(adapt)]
    number = itertools.count()
    for node in cell.nodes:
        terms = [
            _connect(part, next(number), name, values[source], stride, source)
            for name, source in node
        ]
        terms = [term for term in terms if term is not None]
        values.append(_sum(part.operations, terms, values[0], stride))
    return part.operations.concat([values[i] for i in cell.concat])


def _sum(operations: Operations, terms: list[Value], first: Value, stride: int) -> Any:
    """A node; one that nothing enters is 0."""
    if not terms:
        like = operations.max_pool(first, 1, stride)
        return operations.affine(like, np.zeros(1, np.float32), np.zeros(1, np.float32))
    value = terms[0]
    for term in terms[1:]:
        value = operations.add(value, term)
    return value


def _connect(
    part: _Part, number: int, name: str, x: Value, stride: int, source: int
) -> Value | None:
    if name not in EXPORTED:
        raise UserError(
            f"primitive '{name}': cannot be exported; expected a genotype of "
            + ", ".join(sorted(EXPORTED))
        )
    own = part.inside(f"op_{number}/{name}")
    return EXPORTED[name](own, x, stride if source < 2 else 1)


def _adapt(part: _Part, x: Value) -> Value:
    """ReLU, 1x1 convolution, normaliser."""
    kernel = part.get("pointwise")[:, None]
    return part.folded(kernel, "bn", part.operations.relu(x))


def _halve(part: _Part, x: Value) -> Value:
    """See `jdarts.ops.conv.FactorizedReduce`: the normaliser is divided, too."""
    x, halves = part.operations.relu(x), []
    scale, shift = part.norm("bn")
    width, start = len(scale) // 2, 0
    for name, value in (("even", x), ("odd", part.operations.without_first(x))):
        kernel = part.get(f"pointwise_{name}")[:, None]
        own = slice(start, start + width)
        halves.append(part.conv(value, kernel * scale[own], shift[own], stride=2))
        start += width
    return part.operations.concat(halves)


def _separable(op: Separable) -> Callable[[_Part, Value, int], Value]:
    def apply(part: _Part, x: Value, stride: int) -> Value:
        part = part.inside("ops")
        for i, window in enumerate(op.windows(stride)):
            depthwise = part.get(f"conv_depthwise_{i}")[0][:, :, None]
            x = part.conv(
                part.operations.relu(x),
                depthwise,
                stride=window.stride,
                padding=window.padding,
                dilation=window.dilation,
                groups=depthwise.shape[-1],
            )
            x = part.folded(part.get(f"pointwise_{i}")[:, None], f"bn_{i}", x)
        return x

    return apply


def _skip(part: _Part, x: Value, stride: int) -> Value:
    return x if stride == 1 else _halve(part, x)


def _nothing(part: _Part, x: Value, stride: int) -> None:
    return None


def _max(kernel: int) -> Callable[[_Part, Value, int], Value]:
    return lambda part, x, stride: part.operations.max_pool(x, kernel, stride)


def _mean(kernel: int) -> Callable[[_Part, Value, int], Value]:
    return lambda part, x, stride: part.operations.mean_pool(x, kernel, stride)


def _normalised_max(part: _Part, x: Value, stride: int) -> Value:
    scale, shift = part.norm("bn")
    pooled = part.operations.max_pool(x, 3, stride)
    return part.operations.affine(
        pooled, scale.astype(np.float32), shift.astype(np.float32)
    )


def _dense(part: _Part, x: Value, stride: int) -> Value:
    kernel = part.get("dense")[0]
    padding = len(kernel) // 2
    x = part.operations.relu(x)
    return part.folded(kernel, "bn", x, stride=stride, padding=padding)


def _lines(part: _Part, x: Value, stride: int) -> Value:
    """A row of pixels, then a column, each striding along its own line."""
    row, column = part.get("row")[0][None], part.get("column")[0][:, None]
    reach = row.shape[1] // 2
    x = part.operations.relu(x)
    x = part.conv(x, row, stride=(1, stride), padding=(0, reach))
    return part.folded(column, "bn", x, stride=(stride, 1), padding=(reach, 0))


def _grouped_lines(part: _Part, x: Value, stride: int) -> Value:
    def side_by_side(name: str) -> np.ndarray:
        kernel = part.get(name)[0]  # [group, tap, in, out]
        return np.concatenate(list(kernel), axis=-1)

    row, column = side_by_side("row")[None], side_by_side("column")[:, None]
    reach = row.shape[1] // 2
    x = part.operations.relu(x)
    x = part.conv(x, row, stride=(1, stride), padding=(0, reach), groups=_GROUPS)
    x = part.folded(
        column, "bn_0", x, stride=(stride, 1), padding=(reach, 0), groups=_GROUPS
    )
    x = part.operations.relu(x)
    return part.folded(part.get("pointwise")[:, None], "bn_1", x)


EXPORTED: dict[str, Callable[[_Part, Value, int], Value | None]] = {
    "none": _nothing,
    "skip_connect": _skip,
    "max_pool_3x3": _max(3),
    "max_pool_5x5": _max(5),
    "max_pool_7x7": _max(7),
    "avg_pool_3x3": _mean(3),
    "max_pool_3x3_bn": _normalised_max,
    "conv_1x1": _dense,
    "conv_3x3": _dense,
    "conv_3x1_1x3": _lines,
    "conv_7x1_1x7": _lines,
    "group_conv_3x1_1x3": _grouped_lines,
    **{name: _separable(op) for name, op in OPS.items() if isinstance(op, Separable)},
}
"""Primitive to ``apply(part, x, stride)``, the value of a connection: None is 0."""
