"""Networks behind one seam: `Network(init, apply)`. Nothing above imports flax."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jdarts.errors import UserError, unknown_choice
from jdarts.nets.cell import MixedCell
from jdarts.nets.partial import ALL_CHANNELS, PartialChannels
from jdarts.nets.paths import DropRates
from jdarts.nets.residual import ResidualBody
from jdarts.nets.stems import STEMS, ConvBN
from jdarts.ops import RNG
from jdarts.ops.init import draw, uniform_fan_in
from jdarts.spaces import SearchSpace
from jdarts.types import PyTree

__all__ = [
    "COMPUTE_DTYPES",
    "Network",
    "check_size",
    "narrow",
    "rng_of_ops",
    "supernet",
]

_OPS = 2**31  # the part of a network's key that is for ops; smaller ones are of cells

# By name: what `supernet` computes in.
COMPUTE_DTYPES: dict[str, DTypeLike | None] = {
    "default": None,
    "bfloat16": jnp.bfloat16,
}


class Network(NamedTuple):
    """A network as two pure functions.

    Attributes:
      init: ``init(key, images) -> (w, model_state)``; only the shape and dtype of
        `images` matter. `w` holds the weights, `model_state` the running statistics.
      apply: ``apply(w, model_state, mix, images, train, key=None, drop_rate=None) ->
        (logits, model_state)``.
        `mix` maps a cell type to the mixing weights of its edges, ``[edges,
        primitives]``; `images` are ``[batch, height, width, channels]``; `logits`
        ``[batch, classes]``. In training, normalisers use the batch's statistics and
        the returned model state holds the updated running ones (None keeps none); in
        evaluation they use `model_state`, which is returned unchanged. The key is for
        what is random in a network; without it nothing is. With it and `drop_rate`,
        the step's `DropRates`, whole edges are dropped, and elements of identities.
      apply_single: the same for mixing weights of which at most one of each edge,
        `none` apart, is positive: it alone is computed. Under `jax.vmap` over mixing
        weights all are.
      partial: which channels go through the ops.
      drop_rate: from the number of steps done to the `DropRates` at which it is to be
        trained; None: without.
      price: ``price(mix, start) -> scalar``: what a method that learns the architecture
        adds to the validation loss, of the expected mixing weights now and at its
        start; None: nothing.
    """

    init: Callable[[jax.Array, jax.Array], tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[jax.Array, PyTree]]
    apply_single: Callable[..., tuple[jax.Array, PyTree]]
    partial: PartialChannels = ALL_CHANNELS
    drop_rate: Callable[[jax.Array], DropRates] | None = None
    price: Callable[..., jax.Array] | None = None


class _Supernet(nn.Module):
    space: SearchSpace
    channels: int
    layers: int
    classes: int
    remat: bool
    partial: PartialChannels
    stem: str = "cifar"
    single: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channel"],
        mix: dict[str, Float[Array, "_edge primitive"]],
        key: Array | None = None,
        drop_rate: DropRates | None = None,
        *,
        train: bool,
    ) -> Float[Array, "batch class"]:
        x = self._body(x, mix, key, drop_rate, train)
        init, dtype = uniform_fan_in(x.shape[-1]), x.dtype
        w = self.param("head_kernel", init, (x.shape[-1], self.classes), dtype)
        b = self.param("head_bias", init, (self.classes,), dtype)
        return x.mean((1, 2), dtype=w.dtype) @ w + b

    def _body(
        self,
        x: Array,
        mix: dict[str, Array],
        key: Array | None,
        drop_rate: DropRates | None,
        train: bool,
    ) -> Array:
        """All between the images and the classifier."""
        if self.space.skeleton == "residual":
            body = ResidualBody(
                self.space,
                self.channels,
                self.layers,
                self.partial,
                self.single,
                self.remat,
                name="body",
            )
            return body(x, mix, key, drop_rate, train=train)
        channels = self.channels
        cell_type = nn.remat(MixedCell) if self.remat else MixedCell
        inputs, reduce_first = self._stem(x, train)
        for i, kind in enumerate(self.space.layout(self.layers)):
            spec = self.space.cells[kind]
            channels *= spec.stride
            cell = cell_type(
                spec,
                channels,
                reduce_first,
                train,
                self.partial,
                self.single,
                name=f"cell_{i}",
            )
            own_key = None if key is None else jax.random.fold_in(key, i)
            inputs = inputs[1], cell(inputs, mix[kind], own_key, drop_rate)
            reduce_first = spec.stride == 2
        return inputs[1]

    def _stem(self, x: Array, train: bool) -> tuple[tuple[Array, Array], bool]:
        """Both inputs of the first cell; whether the first is twice as large."""
        width = self.space.stem_multiplier * self.channels
        if self.stem == "cifar":
            x = ConvBN(width, name="stem")(x, train=train)
            return (x, x), False
        row = STEMS[self.stem]
        return row.build(width, name="stem")(x, train=train), row.reduces


def check_size(
    size: tuple[int, ...], space: SearchSpace, layers: int, stem: str
) -> None:
    """Raises a UserError unless the stem and every reduction can halve the images.

    Args:
      size: height and width of the images, in pixels.
      space: the space.
      layers: the number of cells.
      stem: a row of STEMS.
    """
    strides = [space.cells[kind].stride for kind in space.layout(layers)]
    if space.skeleton == "residual":
        strides = [2] * len({layers * n // d for n, d in space.reductions})
    unit = math.prod(strides) * STEMS[stem].stride
    if any(side % unit for side in size):
        before = f"{stem} stem and " if STEMS[stem].stride > 1 else ""
        fitting = " ".join(str(-(-side // unit) * unit) for side in size)
        raise UserError(
            f"images: {size[0]} x {size[1]} pixels; the network's {before}"
            f"{strides.count(2)} reductions expect a height and a width that {unit} "
            f"divides; --data.resize {fitting} makes them so"
        )


def rng_of_ops(key: jax.Array | None) -> jax.Array:
    """What ops draw from, given a network's key: without one always the same."""
    return jax.random.key(0) if key is None else jax.random.fold_in(key, _OPS)


def narrow(w: PyTree, dtype: DTypeLike) -> PyTree:
    """The weights in that type, those of classifiers (head...) unchanged."""

    def cast(path: tuple, leaf: jax.Array) -> jax.Array:
        if any(key.key.startswith("head") for key in path):
            return leaf
        return leaf.astype(dtype)

    return jax.tree.map_with_path(cast, w)


def supernet(
    space: SearchSpace,
    *,
    channels: int,
    layers: int,
    classes: int,
    remat: bool = False,
    dtype: DTypeLike | None = None,
    partial: PartialChannels = ALL_CHANNELS,
    stem: str = "cifar",
    drop_rate: Callable[[jax.Array], DropRates] | None = None,
) -> Network:
    """The search network of a space: all ops on all edges.

    Args:
      space: the search space.
      channels: width of the first cells, >= 1; it doubles at every reduction.
      layers: number of cells, >= 1.
      classes: number of classes, >= 2.
      remat: keep only what passes between cells for the backward pass, and compute the
        inside of each cell again: less memory for more time, the same numbers.
      dtype: type of the activations and of every convolution and product, for example
        ``jnp.bfloat16``. Weights, running statistics and gradients keep the type that
        `init` gave them; statistics of a batch, the head and the logits too, in float32
        at least. None: that type everywhere.
      partial: which channels go through the ops; by default all.
      stem: a row of STEMS; imagenet makes images eight times smaller.
      drop_rate: see `Network`.

    Raises:
      UserError: if a size is out of range.
    """
    for name, value, least in (
        ("channels", channels, 1),
        ("layers", layers, 1),
        ("classes", classes, 2),
    ):
        if value < least:
            raise UserError(f"--{name}: {value}; expected at least {least}")
    if stem not in STEMS:
        raise unknown_choice("--stem", stem, STEMS)
    partial.check(channels)
    module = _Supernet(space, channels, layers, classes, remat, partial, stem)
    mix_shape = {
        kind: jax.ShapeDtypeStruct((len(s.edges), len(s.primitives)), jnp.float32)
        for kind, s in space.cells.items()
    }

    def init(key: jax.Array, images: jax.Array) -> tuple[PyTree, PyTree]:
        check_size(images.shape[1:3], space, layers, stem)
        init = functools.partial(module.init, train=False)
        boxed = jax.eval_shape(init, key, images, mix_shape)
        return draw(key, boxed["params"]), draw(key, boxed["batch_stats"])

    def run(
        module: _Supernet,
        w: PyTree,
        model_state: PyTree,
        mix: PyTree,
        images: jax.Array,
        train: bool,
        key: jax.Array | None = None,
        drop_rate: DropRates | None = None,
    ) -> tuple[jax.Array, PyTree]:
        if dtype is not None:
            w, images = narrow(w, dtype), images.astype(dtype)
        variables = {"params": w}
        if model_state is not None:
            variables["batch_stats"] = model_state
        keep = ["batch_stats"] if train and model_state is not None else []
        rngs = {RNG: rng_of_ops(key)}
        # With `mutable` the result is always a pair.
        logits: Any
        logits, updated = module.apply(
            variables, images, mix, key, drop_rate, train=train, mutable=keep, rngs=rngs
        )
        return logits, updated["batch_stats"] if keep else model_state

    apply = functools.partial(run, module)
    apply_single = functools.partial(run, module.clone(single=True))
    return Network(init, apply, apply_single, partial, drop_rate)
