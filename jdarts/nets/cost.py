"""What a derived network costs: parameters, multiply-adds, activation memory."""

import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jdarts.errors import UserError
from jdarts.nets.fixed import CellPlan, fixed_network, plan_cells
from jdarts.nets.fixed_cell import Connection, FixedCell
from jdarts.nets.heads import AuxiliaryHead, Head
from jdarts.nets.recurrent_cell import ACTIVATIONS
from jdarts.nets.stems import STEMS
from jdarts.ops import make_op
from jdarts.ops.count import kept_bytes, multiply_adds
from jdarts.ops.init import draw
from jdarts.spaces import CellGenotype, Genotype, SearchSpace
from jdarts.types import PyTree

__all__ = [
    "Cost",
    "NetworkShape",
    "Part",
    "auxiliary_head",
    "connection_part",
    "fixed_parts",
    "module_part",
    "network_cost",
    "parts",
    "placed_cells",
    "weights_of_op",
]


@dataclasses.dataclass(frozen=True)
class NetworkShape:
    """All of a derived network but its genotype; see `fixed_network`.

    Attributes:
      channels: width of the first cells.
      layers: number of cells.
      classes: number of classes.
      image: ``(height, width, channels)`` of an image.
      stem: a row of STEMS.
    """

    channels: int
    layers: int
    classes: int
    image: tuple[int, int, int]
    stem: str = "cifar"

    @property
    def described(self) -> str:
        """The size in words."""
        image = " x ".join(map(str, self.image))
        stem = "" if self.stem == "cifar" else f", stem {self.stem}"
        cells = "1 cell" if self.layers == 1 else f"{self.layers} cells"
        return (
            f"{self.channels} channels, {cells}, {self.classes} classes, images of "
            f"{image}{stem}"
        )

    def images(self, batch: int) -> jax.ShapeDtypeStruct:
        """A batch of images."""
        return jax.ShapeDtypeStruct((batch, *self.image), jnp.result_type(float))

    def check_sizes(self) -> None:
        """Raises a UserError, as of a command's option, for a size out of range."""
        for name, least in (("channels", 1), ("layers", 1), ("classes", 2)):
            found = getattr(self, name)
            if found < least:
                raise UserError(f"--{name}: {found}; expected at least {least}")
        if min(self.image) < 1:
            found = " ".join(map(str, self.image))
            raise UserError(f"--image: {found}; expected three numbers >= 1")

    def check(self, genotype: Genotype) -> None:
        """Raises the UserError of `fixed_network` if there is no such network."""
        network = fixed_network(
            genotype,
            channels=self.channels,
            layers=self.layers,
            classes=self.classes,
            stem=self.stem,  # type: ignore[arg-type]
        )
        jax.eval_shape(network.init, jax.random.key(0), self.images(1))


class Cost(NamedTuple):
    """What can be counted without running anything.

    Attributes:
      parameters: learnt values; running statistics are none.
      multiply_adds: of convolutions and linear layers, for one image.
    """

    parameters: int
    multiply_adds: int

    def plus(self, other: "Cost") -> "Cost":
        """Of both together."""
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))


@dataclasses.dataclass(frozen=True)
class Part:
    """A piece of a network that runs by itself: the stem, a cell, a head.

    Attributes:
      name: for tables.
      build: ``build(train)``: the module.
      call: ``call(module, inputs, train)``: its results.
      inputs: their shapes and types, ``[batch, ...]``.
    """

    name: str
    build: Callable[[bool], nn.Module]
    call: Callable[[Any, PyTree, bool], PyTree]
    inputs: PyTree

    @property
    def same(self) -> Hashable:
        """Equal for parts that compute alike."""
        return self.build(False), tuple(jax.tree.leaves(self.inputs))

    def init(self, key: jax.Array) -> PyTree:
        """Initial variables, ``{"params": ..., "batch_stats": ...}``."""

        def init(key: jax.Array, inputs: PyTree) -> PyTree:
            return self.build(False).init(key, inputs, False, method=self.call)

        boxed = jax.eval_shape(init, key, self.inputs)
        return {name: draw(key, tree) for name, tree in boxed.items()}

    def apply(self, variables: PyTree, inputs: PyTree, train: bool = False) -> PyTree:
        """The results; in training those with the batch's statistics."""
        results, _ = self.build(train).apply(
            variables, inputs, train, method=self.call, mutable=["batch_stats"]
        )
        return results

    def output(self) -> tuple[int, ...]:
        """Shape of its last result for one image."""
        results = jax.eval_shape(self.apply, self._variables(), self.inputs)
        return jax.tree.leaves(results)[-1].shape[1:]

    def cost(self) -> Cost:
        """Counted by tracing it once, as it makes its weights."""
        weights = []

        def first_call(key: jax.Array, inputs: PyTree) -> PyTree:
            module = self.build(False)
            results, variables = module.init_with_output(
                key, inputs, False, method=self.call
            )
            weights.extend(jax.tree.leaves(variables.get("params", {})))
            return results

        operations = multiply_adds(first_call, jax.random.key(0), self.inputs)
        batch = jax.tree.leaves(self.inputs)[0].shape[0]
        return Cost(sum(w.size for w in weights), operations // batch)

    def kept_bytes(self) -> int:
        """Activation memory of a training step: what this part adds to the bytes that
        a step keeps from its forward for its backward pass, for the whole batch. Its
        last input counts if it is kept: no part before reads it. See
        `jdarts.ops.count.kept_bytes`.
        """

        def train(variables: PyTree, inputs: PyTree) -> PyTree:
            *before, last = jax.tree.leaves(inputs)
            made = [*before, -last]  # a value made here, for the count
            inputs = jax.tree.unflatten(jax.tree.structure(inputs), made)
            return self.apply(variables, inputs, train=True)

        return kept_bytes(train, self._variables(), self.inputs)

    def _variables(self) -> PyTree:
        return jax.eval_shape(self.init, jax.random.key(0))


def parts(genotype: Genotype, shape: NetworkShape, batch: int) -> list[Part]:
    """The stem, each cell and the head, for batches of that many images.

    Args:
      genotype: one that `NetworkShape.check` accepts.
      shape: of the network.
      batch: number of images.
    """
    placed = _placed(genotype, shape, batch)
    cells = [
        _cell(f"cell {i}, {plan.kind}", genotype.cells[plan.kind], plan, inputs)
        for i, (plan, inputs, _) in enumerate(placed)
    ]
    return [_stem(shape, shape.images(batch)), *cells, _head(shape, placed[-1].output)]


def auxiliary_head(genotype: Genotype, shape: NetworkShape, batch: int) -> Part | None:
    """The auxiliary head, which is used in training only; arguments as for `parts`.

    None where the images are too small for one.
    """
    variant = STEMS[shape.stem].auxiliary
    source = _placed(genotype, shape, batch)[2 * shape.layers // 3].output
    if min(source.shape[1:3]) < variant.least:
        return None
    module = AuxiliaryHead(shape.classes, variant)
    return Part("auxiliary head", _always(module), _call, source)


def network_cost(genotype: Genotype, shape: NetworkShape) -> list[Cost]:
    """The cost of the stem, of each cell and of the head, in this order.

    The same as `Part.cost` of all `parts`, but made of the costs of single connections,
    which are remembered: the next thousands of genotypes take a moment.

    Args:
      genotype: one that `NetworkShape.check` accepts.
      shape: of the network.
    """
    placed = _placed(genotype, shape, 1)
    costs = [_stem_cost(shape)]
    for plan, inputs, output in placed:
        cell = genotype.cells[plan.kind]
        cost = _inputs_cost(plan._replace(kind=""), inputs)
        for name, source in cell.connections:
            at_input = source < cell.inputs
            stride = plan.stride if at_input else 1
            size = (inputs[1] if at_input else output).shape[1:3]
            cost = cost.plus(_connection_cost(name, stride, (*size, plan.channels)))
        costs.append(cost)
    return [*costs, _head_cost(shape, placed[-1].output)]


@functools.cache
def weights_of_op(name: str, channels: int) -> int:
    """Weights that an edge of a search network has for an op of stride 1.

    Args:
      name: a row of OPS, or of ACTIVATIONS: those have none of their own.
      channels: width of the edge.
    """
    if name in ACTIVATIONS:
        return 0
    op = make_op(name, edges=1, channels=channels)
    if op is None:
        return 0
    x = jax.ShapeDtypeStruct((1, 8, 8, channels), jnp.float32)
    init = functools.partial(op.init, train=True)
    made = jax.eval_shape(init, jax.random.key(0), x)
    return sum(leaf.size for leaf in jax.tree.leaves(made.get("params", {})))


def connection_part(name: str, stride: int, source: tuple[int, ...]) -> Part:
    """One connection of a cell.

    Args:
      name: a row of OPS that computes something.
      stride: 1 or 2.
      source: ``(batch, height, width, channels)`` of what it reads.
    """
    x = jax.ShapeDtypeStruct(source, jnp.result_type(float))
    return Part(name, _always(Connection(name, stride)), _call, x)


def module_part(
    name: str, module: nn.Module, source: tuple[int, ...], takes_train: bool = True
) -> Part:
    """A module that reads one image or map of ``(height, width, channels)``."""
    x = jax.ShapeDtypeStruct((1, *source), jnp.result_type(float))
    return Part(name, _always(module), _call if takes_train else _call_head, x)


def placed_cells(space: SearchSpace, shape: NetworkShape) -> "list[_Placed]":
    """The cells of every network that a genotype of the space makes, for one image.

    Args:
      space: whose cells read two inputs.
      shape: of the network.
    """
    return _placed(_without_connections(space), shape, 1)


def fixed_parts(space: SearchSpace, shape: NetworkShape) -> list[Part]:
    """Those networks without connections: stem, inputs of each cell, head."""
    placed = placed_cells(space, shape)
    bare = CellGenotype(nodes=(), concat=(0, 1))
    cells = [_cell("inputs", bare, p.plan._replace(kind=""), p.inputs) for p in placed]
    return [_stem(shape, shape.images(1)), *cells, _head(shape, placed[-1].output)]


def _without_connections(space: SearchSpace) -> Genotype:
    cells = {k: CellGenotype((), spec.concat) for k, spec in space.cells.items()}
    return Genotype(space.name, cells)


@functools.cache
def _stem_cost(shape: NetworkShape) -> Cost:
    return _stem(shape, shape.images(1)).cost()


@functools.cache
def _inputs_cost(plan: CellPlan, inputs: tuple[jax.ShapeDtypeStruct, ...]) -> Cost:
    """Of what brings both inputs to the cell's width: of a cell without connections."""
    return _cell("inputs", CellGenotype(nodes=(), concat=(0, 1)), plan, inputs).cost()


@functools.cache
def _connection_cost(name: str, stride: int, source: tuple[int, int, int]) -> Cost:
    return connection_part(name, stride, (1, *source)).cost()


@functools.cache
def _head_cost(shape: NetworkShape, source: jax.ShapeDtypeStruct) -> Cost:
    return _head(shape, source).cost()


class _Placed(NamedTuple):
    """A cell, and the shapes of its inputs and of its output."""

    plan: CellPlan
    inputs: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]
    output: jax.ShapeDtypeStruct


def _placed(genotype: Genotype, shape: NetworkShape, batch: int) -> list[_Placed]:
    """The cells of a network, from the input on."""
    inputs = _stem_outputs(shape, shape.images(batch))
    plans = plan_cells(
        genotype,
        channels=shape.channels,
        layers=shape.layers,
        widths=(inputs[0].shape[-1], inputs[1].shape[-1]),
        reduce_first=STEMS[shape.stem].reduces,
    )
    placed = []
    for plan in plans:
        _, height, width, _ = inputs[1].shape
        channels = plan.channels * len(genotype.cells[plan.kind].concat)
        size = (batch, height // plan.stride, width // plan.stride, channels)
        output = jax.ShapeDtypeStruct(size, inputs[1].dtype)
        placed.append(_Placed(plan, inputs, output))
        inputs = inputs[1], output
    return placed


@functools.cache
def _stem_outputs(shape: NetworkShape, images: jax.ShapeDtypeStruct) -> PyTree:
    stem = _stem(shape, images)
    variables = jax.eval_shape(stem.init, jax.random.key(0))
    return jax.eval_shape(stem.apply, variables, stem.inputs)


def _stem(shape: NetworkShape, images: jax.ShapeDtypeStruct) -> Part:
    module = STEMS[shape.stem].build(shape.channels)
    return Part("stem", _always(module), _call, images)


def _cell(name: str, cell: CellGenotype, plan: CellPlan, inputs: PyTree) -> Part:
    def build(train: bool) -> nn.Module:
        return FixedCell(cell, plan.channels, plan.stride, plan.reduce_first, train)

    return Part(name, build, _call_cell, inputs)


def _head(shape: NetworkShape, source: jax.ShapeDtypeStruct) -> Part:
    return Part("head", _always(Head(shape.classes)), _call_head, source)


def _always(module: nn.Module) -> Callable[[bool], nn.Module]:
    return lambda train: module


def _call(module: Any, x: Any, train: bool) -> Any:
    return module(x, train=train)


def _call_cell(module: Any, inputs: Any, train: bool) -> Any:
    (_, out), _ = module(inputs, None)
    return out


def _call_head(module: Any, x: Any, train: bool) -> Any:
    return module(x)
