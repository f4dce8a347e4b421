"""Derived networks behind one seam: `FixedNetwork(init, apply)`."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from jdarts.errors import UserError, unknown_choice
from jdarts.nets.fixed_cell import FixedCell
from jdarts.nets.heads import AuxiliaryHead, Head
from jdarts.nets.network import narrow, rng_of_ops
from jdarts.nets.paths import path_masks
from jdarts.nets.stems import STEMS
from jdarts.ops import RNG, get_op
from jdarts.ops.init import draw
from jdarts.spaces import Genotype
from jdarts.types import PyTree

__all__ = [
    "DropPath",
    "FixedNetwork",
    "Outputs",
    "cell_kinds",
    "check_genotype",
    "fixed_network",
]


class Outputs(NamedTuple):
    """What a derived network computes.

    Attributes:
      logits: ``[batch, classes]``.
      auxiliary: those of the auxiliary head; None in a network without one.
    """

    logits: jax.Array
    auxiliary: jax.Array | None


class DropPath(NamedTuple):
    """Drops connections at random, for each image by itself, in training.

    All but plain identities: the rest is scaled by ``1 / (1 - rate)``.

    Attributes:
      key: a typed random key, another one in each step.
      rate: the probability, in [0, 1); may be traced.
    """

    key: jax.Array
    rate: ArrayLike


class FixedNetwork(NamedTuple):
    """A derived network as two pure functions.

    Attributes:
      init: ``init(key, images) -> (w, model_state)``; only the shape and dtype of
        `images` matter. `w` holds the weights, `model_state` the running statistics.
        With `scan` cells of a run of equal ones have a common entry
        ``cells_FIRST_LAST``, their arrays stacked on a leading axis.
      apply: ``apply(w, model_state, images, train, drop_path=None, key=None) ->
        (Outputs, model_state)``; `images` are ``[batch, height, width, channels]``,
        `drop_path` a `DropPath` or None, `key` what ops that draw (`noise`) draw from
        (None: always the same values). In training, normalisers use the batch's
        statistics and the returned model state holds the updated running ones; in
        evaluation they use `model_state`, which is returned unchanged. Where nobody
        uses the auxiliary logits, a compiled program does not compute them.
    """

    init: Callable[[jax.Array, jax.Array], tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Outputs, PyTree]]


class CellPlan(NamedTuple):
    """What makes one cell's program: cells with equal plans can share one.

    Attributes:
      kind: the cell type.
      channels: width of its nodes.
      stride: of the connections that leave its inputs.
      reduce_first: whether input 0 is twice as large as input 1.
      widths: channels of the two inputs.
    """

    kind: str
    channels: int
    stride: int
    reduce_first: bool
    widths: tuple[int, int]


def plan_cells(
    genotype: Genotype,
    *,
    channels: int,
    layers: int,
    widths: tuple[int, int],
    reduce_first: bool,
) -> list[CellPlan]:
    """The cells from the input on; the width doubles at a third and at two thirds.

    Args:
      genotype: the cells by type.
      channels: width of the first cells.
      layers: number of cells.
      widths: channels of the first cell's two inputs.
      reduce_first: whether its input 0 is twice as large as its input 1.
    """
    plans = []
    check_kinds(genotype, layers)
    for kind in cell_kinds(layers):
        stride = 2 if kind == "reduce" else 1
        channels *= stride
        plans.append(CellPlan(kind, channels, stride, reduce_first, widths))
        widths = widths[1], channels * len(genotype.cells[kind].concat)
        reduce_first = kind == "reduce"
    return plans


def cell_kinds(layers: int) -> tuple[str, ...]:
    """The type of each cell, from the input on."""
    reduces = (layers // 3, 2 * layers // 3)
    return tuple("reduce" if i in reduces else "normal" for i in range(layers))


def check_kinds(genotype: Genotype, layers: int) -> None:
    """Raises a UserError unless the genotype has a cell for each of that many layers.

    That of a search with one or two cells, which are reductions, has no normal one.
    """
    for kind in dict.fromkeys(cell_kinds(layers)):
        if kind in genotype.cells:
            continue
        fitting = [
            n for n in range(1, layers) if set(cell_kinds(n)) <= {*genotype.cells}
        ]
        found = f" --layers {' or '.join(map(str, fitting))}, or" if fitting else ""
        raise UserError(
            f"--layers: {layers} cells, one of them {kind}, but the genotype has only "
            f"{', '.join(genotype.cells)} cells; expected{found} a genotype with both, "
            "as of a search with --layers 3 or more"
        )


def group_runs(plans: list[CellPlan]) -> list[tuple[int, int]]:
    """The first and last cell of each run of equal cells that can be scanned.

    A scan hands on values of one shape: the two inputs and the output of every cell
    of a longer run are alike.
    """
    runs = [(0, 0)]
    for i, plan in enumerate(plans[1:], start=1):
        first, _ = runs[-1]
        if plan == plans[first] and plan.widths[0] == plan.widths[1]:
            runs[-1] = first, i
        else:
            runs.append((i, i))
    return runs


class _Fixed(nn.Module):
    genotype: Genotype
    channels: int
    layers: int
    classes: int
    stem: str
    auxiliary: bool
    scan: bool
    remat: bool

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channel"],
        masks: Float[Array, "cell connection batch"] | None,
        *,
        train: bool,
    ) -> Outputs:
        stem = STEMS[self.stem]
        inputs = stem.build(self.channels, name="stem")(x, train=train)
        plans = plan_cells(
            self.genotype,
            channels=self.channels,
            layers=self.layers,
            widths=(inputs[0].shape[-1], inputs[1].shape[-1]),
            reduce_first=stem.reduces,
        )
        runs = group_runs(plans)
        if not self.scan:
            runs = [(i, i) for i in range(self.layers)]
        auxiliary = None
        for first, last in runs:
            own = None if masks is None else masks[first : last + 1]
            inputs = self._run(plans[first], first, last, train, inputs, own)
            if self.auxiliary and first == 2 * self.layers // 3:
                head = AuxiliaryHead(self.classes, stem.auxiliary, name="auxiliary")
                auxiliary = head(inputs[1], train=train)
                if train:
                    # In the published code the head's ReLU works in place. Every cell
                    # begins with one: this shows only where no cell follows.
                    inputs = inputs[0], nn.relu(inputs[1])
        return Outputs(Head(self.classes, name="head")(inputs[1]), auxiliary)

    def _run(
        self,
        plan: CellPlan,
        first: int,
        last: int,
        train: bool,
        inputs: tuple[Array, Array],
        masks: Array | None,
    ) -> tuple[Array, Array]:
        """A cell, or a run of equal ones as one loop."""
        genotype = self.genotype.cells[plan.kind]
        args = genotype, plan.channels, plan.stride, plan.reduce_first, train
        cell = nn.remat(FixedCell) if self.remat else FixedCell
        if first == last:
            own = None if masks is None else masks[0]
            return cell(*args, name=f"cell_{first}")(inputs, own)[0]
        loop = nn.scan(
            cell,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True, RNG: True},
            length=last - first + 1,
        )
        return loop(*args, name=f"cells_{first}_{last}")(inputs, masks)[0]


def fixed_network(
    genotype: Genotype,
    *,
    channels: int,
    layers: int,
    classes: int,
    stem: Literal["cifar", "imagenet"] = "cifar",
    auxiliary: bool = False,
    scan: bool = False,
    remat: bool = False,
    dtype: DTypeLike | None = None,
) -> FixedNetwork:
    """The network of a derived architecture, to be trained from scratch.

    As in the DARTS code (Liu et al., ICLR 2019, sections 3.2.1 and 3.3): cells of type
    ``"reduce"`` at a third and at two thirds of the depth, where the width doubles and
    the maps are halved; normalisers with a learnt scale and shift and running
    statistics; no normaliser after pools.

    Args:
      genotype: cells of the types ``"normal"`` and ``"reduce"``.
      channels: width of the first cells, >= 1 (even with the stem ``"imagenet"``).
      layers: number of cells, >= 1.
      classes: number of classes, >= 2.
      stem: ``"cifar"``: one convolution; ``"imagenet"``: three of stride 2.
      auxiliary: whether the second reduction cell's output has its own classifier.
      scan: run equal cells that follow each other as one loop: it compiles faster, but
        a step copies what it keeps for the backward pass. The same numbers, and weights
        stacked as said in `FixedNetwork`.
      remat: keep only what passes between cells for the backward pass, and compute the
        inside of each cell again: less memory for more time, the same numbers.
      dtype: type of the activations and of every convolution and product, for example
        ``jnp.bfloat16``. Weights, running statistics and gradients keep the type that
        `init` gave them; statistics of a batch, classifiers and logits too, in float32
        at least. None: that type everywhere.

    Raises:
      UserError: if a size is out of range, or the genotype names an unknown primitive
        or a node that there is not. `init` and `apply` raise it for images of a size
        that does not fit.
    """
    least = (("channels", channels, 1), ("layers", layers, 1), ("classes", classes, 2))
    for name, value, lowest in least:
        if value < lowest:
            raise UserError(f"--{name}: {value}; expected at least {lowest}")
    if stem not in STEMS:
        raise unknown_choice("--stem", stem, STEMS)
    if stem == "imagenet" and channels % 2:
        raise UserError(
            f"--channels: {channels}; the stem 'imagenet' expects an even number"
        )
    check_genotype(genotype, layers)
    module = _Fixed(genotype, channels, layers, classes, stem, auxiliary, scan, remat)
    connections = max(len(c.connections) for c in genotype.cells.values())

    def init(key: jax.Array, images: jax.Array) -> tuple[PyTree, PyTree]:
        _check_size(images.shape[1:3], stem, layers, auxiliary)
        init = functools.partial(module.init, train=False)
        boxed = jax.eval_shape(init, key, images, None)
        return draw(key, boxed["params"]), draw(key, boxed["batch_stats"])

    def apply(
        w: PyTree,
        model_state: PyTree,
        images: jax.Array,
        train: bool,
        drop_path: DropPath | None = None,
        key: jax.Array | None = None,
    ) -> tuple[Outputs, PyTree]:
        _check_size(images.shape[1:3], stem, layers, auxiliary)
        masks = None
        if train and drop_path is not None:
            masks = path_masks(*drop_path, (layers, connections, len(images)))
        if dtype is not None:
            w, images = narrow(w, dtype), images.astype(dtype)
        variables = {"params": w, "batch_stats": model_state}
        keep = ["batch_stats"] if train else []
        # With `mutable` the result is always a pair.
        outputs: Any
        outputs, updated = module.apply(
            variables,
            images,
            masks,
            train=train,
            mutable=keep,
            rngs={RNG: rng_of_ops(key)},
        )
        return outputs, updated["batch_stats"] if train else model_state

    return FixedNetwork(init, apply)


def check_genotype(genotype: Genotype, layers: int | None = None) -> None:
    """Raises a UserError unless a network can be made of the genotype.

    Args:
      genotype: the cells.
      layers: of the network; None: of some network.
    """
    if not {"reduce"} <= set(genotype.cells) <= {"normal", "reduce"}:
        found = ", ".join(genotype.cells) or "none"
        raise UserError(
            f"genotype: cells of the types {found}; expected normal and reduce"
        )
    if layers is not None:
        check_kinds(genotype, layers)
    for kind, cell in genotype.cells.items():
        for name, _ in cell.connections:
            try:
                get_op(name)
            except UserError as error:
                raise UserError(f"genotype, {kind} cell: {error}") from None
        try:
            cell.check()
        except ValueError as error:
            raise UserError(f"genotype, {kind} cell: {error}") from None


def _check_size(size: tuple[int, ...], stem: str, layers: int, auxiliary: bool) -> None:
    """Raises a UserError unless the images fit the network."""
    stride, shape = STEMS[stem].stride, STEMS[stem].auxiliary
    until_second = stride * 2 ** len({layers // 3, 2 * layers // 3})
    if any(side % until_second for side in size):
        raise UserError(
            f"images: {size[0]} x {size[1]} pixels; the network halves them until "
            f"1/{until_second}: expected a height and a width that {until_second} "
            "divides"
        )
    least = shape.least * until_second
    if auxiliary and min(size) < least:
        raise UserError(
            f"images: {size[0]} x {size[1]} pixels; the auxiliary head expects at "
            f"least {least} x {least}; smaller ones need --no-auxiliary"
        )
