"""Reads the golden files; maps their tensors to our parameter trees and back.

Conventions of the files: images NCHW, kernels OIHW, linear weights ``[out, in]``, the
tensors of a network packed into one vector. Everything (sizes, hyper-parameters, cases)
comes from the files.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import absent, assert_close

from jdarts import Arch, Batch, Network, SearchSpace, get_space, supernet
from jdarts.nets.partial import PartialChannels
from jdarts.ops import OPS
from jdarts.problem import classification
from jdarts.relaxation import edge_softmax, softmax
from jdarts.spaces import DARTS_CNN, NASP_CNN, CellSpec

OWN = Path(__file__).resolve().parents[1] / "golden"  # a small part of the files
_ALL = OWN.parents[2] / "shared" / "golden"
FOLDER = Path(os.environ.get("JDARTS_GOLDEN", _ALL if _ALL.is_dir() else OWN))


def files(pattern):
    """The files of a pattern; skips if there is none. (`test_manifest` counts them.)"""
    paths = sorted(FOLDER.glob(pattern))
    if not paths:
        absent("golden", f"no golden file {pattern} in {FOLDER}; set JDARTS_GOLDEN")
    return paths


def cases(*patterns):
    """A parametrisation over the files of those patterns."""
    found = [path for pattern in patterns for path in sorted(FOLDER.glob(pattern))]
    none = [pattern for pattern in patterns if not any(FOLDER.glob(pattern))]
    paths = [*found, *map(Path, none)]  # what is not there is skipped as it runs
    return pytest.mark.parametrize("path", paths, ids=[p.name for p in paths])


class GoldenFile:
    """One file: arrays in float64 (whole numbers as they are), `meta` parsed."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as file:
            self._arrays = {name: file[name] for name in file.files}
        self.name = path.name
        self.meta = json.loads(str(self._arrays["meta"]))

    def __contains__(self, name):
        return name in self._arrays

    def __iter__(self):
        return iter(self._arrays)

    def __getitem__(self, name):
        value = self._arrays[name]
        return value.astype(np.float64) if value.dtype.kind == "f" else value

    @functools.cached_property
    def index(self):
        """``[(tensor name, shape), ...]`` of packed vectors of weights."""
        return self._index("w_index")

    @functools.cached_property
    def stats_index(self):
        """The same of packed vectors of running statistics."""
        return self._index("stats_index")

    def _index(self, name):
        return [(n, tuple(s)) for n, s in json.loads(str(self._arrays[name]))]

    def unpack(self, name, index=None):
        """A packed vector as tensors by name."""
        flat, tensors, start = self[name], {}, 0
        for tensor, shape in index or self.index:
            size = int(np.prod(shape))
            tensors[tensor] = flat[start : start + size].reshape(shape)
            start += size
        assert start == flat.size, f"{name}: the index covers {start} of {flat.size}"
        return tensors

    def norms(self, name):
        """A vector of norms per tensor, by tensor name."""
        return dict(zip((n for n, _ in self.index), self[name], strict=True))


load = functools.cache(GoldenFile)


worst: dict[str, float] = {}  # per file, for the summary of the test run


def check(file, found, expected, tolerance, what=""):
    """`assert_close`, and notes the error."""
    error = assert_close(found, expected, tolerance, what)
    worst[file.name] = max(worst.get(file.name, 0.0), error)


def images(x):
    """NCHW (with any leading axes) to NHWC."""
    return jnp.asarray(np.moveaxis(x, -3, -1))


# --- tensors <-> trees --------------------------------------------------------------


class _Layout(NamedTuple):
    ours: Callable  # from the files' layout
    theirs: Callable  # back, given the files' shape


DENSE = _Layout(lambda t: t[:, :, 0, 0].T, lambda t: t.T[:, :, None, None])
DEPTHWISE = _Layout(
    lambda t: t[:, 0].transpose(1, 2, 0), lambda t: t.transpose(2, 0, 1)[:, None]
)
CONV = _Layout(lambda t: t.transpose(2, 3, 1, 0), lambda t: t.transpose(3, 2, 0, 1))
LINEAR = _Layout(lambda t: t.T, lambda t: t.T)
VECTOR = _Layout(lambda t: t, lambda t: t)
_ROW = _Layout(
    lambda t: t[:, :, 0].transpose(2, 1, 0), lambda t: t.transpose(2, 1, 0)[:, :, None]
)
_COLUMN = _Layout(
    lambda t: t[..., 0].transpose(2, 1, 0), lambda t: t.transpose(2, 1, 0)[..., None]
)

# Part of an op -> our leaf and its layout; of a separable op: the stage.
SEPARABLE = {
    "dw": (0, DEPTHWISE),
    "dw1": (0, DEPTHWISE),
    "dw2": (1, DEPTHWISE),
    "pw": (0, DENSE),
    "pw1": (0, DENSE),
    "pw2": (1, DENSE),
}
OTHER = {
    "conv": ("pointwise", DENSE),
    "conv_a": ("pointwise_even", DENSE),
    "conv_b": ("pointwise_odd", DENSE),
    "dense": (
        "dense",
        CONV,
    ),  # `conv` in the files, of an op that is a dense convolution
    "conv_row": ("row", _ROW),
    "conv_col": ("column", _COLUMN),
}


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a tensor lives in our tree: `row` of the leaf at `path`."""

    path: tuple[str, ...]
    row: int | None
    layout: _Layout


def our_name(op: str) -> str:
    """A primitive's name in the OPS table."""
    op = op.replace(" ", "_")
    return (
        op.replace("sep_", "sep_conv_") if op[:5] in ("sep_3", "sep_5", "sep_7") else op
    )


def locate(name: str, cells: tuple[CellSpec, ...] = ()) -> Place:
    """The one place that knows both sides' names.

    Args:
      name: as in the files' index; a single part ("dw1") for an op on its own.
      cells: the type of each cell; not needed for an op on its own.
    """
    match name.split("."):
        case ["stem", "conv"]:
            return Place(("stem", "conv"), None, CONV)
        case ["stem", "bn", part]:
            return Place(("stem", "bn", part), 0, VECTOR)
        case ["head", "weight"]:
            return Place(("head_kernel",), None, LINEAR)
        case ["head", "bias"]:
            return Place(("head_bias",), None, VECTOR)
        case [part] if part in SEPARABLE:
            stage, layout = SEPARABLE[part]
            stem = "conv_depthwise" if layout is DEPTHWISE else "pointwise"
            return Place(("ops", f"{stem}_{stage}"), 0, layout)
        case [part]:
            leaf, layout = OTHER[part]
            return Place((leaf,), 0, layout)
        case [cell, pre, part] if pre.startswith("pre"):
            leaf, layout = OTHER[part]
            number = cell.removeprefix("cell")
            return Place((f"cell_{number}", f"input_{pre[-1]}", leaf), 0, layout)
        case [cell, edge, op, part]:
            spec, op = cells[int(cell.removeprefix("cell"))], our_name(op)
            part = "dense" if op in ("conv_1x1", "conv_3x3") else part
            edge = int(edge.removeprefix("edge"))
            source = spec.edges[edge][0]
            leaving = [e for e, (s, _) in enumerate(spec.edges) if s == source]
            row = leaving.index(edge)
            head = (f"cell_{cell.removeprefix('cell')}", f"source_{source}")
            if part not in SEPARABLE:
                leaf, layout = OTHER[part]
                return Place((*head, op, leaf), row, layout)
            stage, layout = SEPARABLE[part]
            # Ops of as many stages lie one after another, in the primitives' order.
            chains = {n: OPS[n].kernels for n in spec.primitives if n[3:8] == "_conv"}
            stages = len(chains[op])
            head = (*head, f"separable_{stages}")
            if layout is DEPTHWISE:
                return Place((*head, f"{op}_depthwise_{stage}"), row, layout)
            together = [n for n, kernels in chains.items() if len(kernels) == stages]
            row += len(leaving) * together.index(op)
            return Place((*head, f"pointwise_{stage}"), row, layout)
    raise KeyError(name)


def _leaf(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def to_tree(tensors, template, cells=()):
    """Our tree, every entry of it filled by exactly one tensor of the file."""
    tree = jax.tree.map(lambda t: np.full(t.shape, np.nan), template)
    for name, value in tensors.items():
        place = locate(name, cells)
        leaf = _leaf(tree, place.path)
        row = ... if place.row is None else place.row
        assert np.isnan(leaf[row]).all(), f"{name}: {place.path} is filled twice"
        leaf[row] = place.layout.ours(value)
    for path, leaf in jax.tree.leaves_with_path(tree):
        assert not np.isnan(leaf).any(), (
            f"{jax.tree_util.keystr(path)}: not in the file"
        )
    return jax.tree.map(jnp.asarray, tree)


def from_tree(tree, names, cells=()):
    """The named tensors of our tree, in the files' layout."""
    tensors = {}
    for name in names:
        place = locate(name, cells)
        leaf = np.asarray(_leaf(tree, place.path))
        row = leaf if place.row is None else leaf[place.row]
        tensors[name] = np.ascontiguousarray(place.layout.theirs(row))
    return tensors


# --- the search network of a file ----------------------------------------------------

SPACE = DARTS_CNN
relaxation = softmax()


@jax.custom_jvp
def _together(w, mix):
    """The identity, of which either all outputs are differentiated or none."""
    return w, mix


@_together.defjvp
def _together_jvp(primals, tangents):
    some = [leaf.ravel()[0] for tree in tangents for leaf in jax.tree.leaves(tree)]
    nothing = 0.0 * (some[0] + some[-1])  # one of w, one of mix
    return primals, jax.tree.map(lambda t: t + nothing, tangents)


@functools.cache
def network(
    space: str, channels: int, layers: int, classes: int, k: int = 1
) -> Network:
    """The supernet, compiled by itself; returns activations in place of model state.

    Whoever differentiates it, in whichever argument, meets the same compiled parts, so
    that all tests on nets of one size together compile it once per order and mode.
    """
    net = supernet(
        get_space(space),
        channels=channels,
        layers=layers,
        classes=classes,
        partial=PartialChannels(k),
    )

    @functools.partial(jax.jit, static_argnums=3)
    def run(w, mix, x, train):
        seen = {}

        def record(call, args, kwargs, context):
            out = call(*args, **kwargs)
            if context.method_name == "__call__" and len(context.module.path) == 1:
                seen[context.module.name] = out
            return out

        with nn.intercept_methods(record):
            logits, _ = net.apply(w, None, mix, x, train)
        return logits, seen

    def apply(w, model_state, mix, x, train, key=None, drop_rate=None):
        assert model_state is None
        return run(*_together(w, mix), x, train)

    single = jax.jit(net.apply_single, static_argnums=4)
    return net._replace(apply=apply, apply_single=single)


def file_space(file: GoldenFile) -> SearchSpace:
    """The space of a search network."""
    space = SPACE if "primitives" in file.meta else NASP_CNN
    for kind, spec in space.cells.items():
        names = file.meta.get("primitives") or file.meta[f"primitives_{kind}"]
        assert tuple(map(our_name, names)) == spec.primitives
    return space


def file_cells(file: GoldenFile) -> tuple[CellSpec, ...]:
    """The type of each cell of a search network."""
    space = file_space(file)
    return tuple(space.cells[kind] for kind in space.layout(file.meta["layers"]))


def file_network(file: GoldenFile) -> Network:
    meta, space = file.meta, file_space(file)
    sizes = meta["C"], meta["layers"], meta["classes"]
    return network(space.name, *sizes, meta.get("k", 1))


def file_relaxation(file: GoldenFile):
    """Of DARTS, or of PC-DARTS."""
    return edge_softmax(SPACE) if "beta_normal" in file else relaxation


def file_problem(file: GoldenFile):
    return classification(file_network(file), file_relaxation(file).weights)


def weights(file: GoldenFile, name: str = "w"):
    """A packed vector as our tree of weights."""
    x = next(file[k] for k in ("x", "x_train") if k in file)
    image = images(x.reshape(-1, *x.shape[-3:])[:1])
    template, _ = jax.eval_shape(file_network(file).init, jax.random.key(0), image)
    return to_tree(file.unpack(name), template, file_cells(file))


def check_packed(file: GoldenFile, tree, name: str, tolerance: float):
    """Checks a tree against a packed vector, relative to the vector's largest entry."""
    expected = file.unpack(name)
    found = from_tree(tree, expected, file_cells(file))
    flat = [np.concatenate([t[n].ravel() for n in expected]) for t in (found, expected)]
    check(file, *flat, tolerance, name)


def arch(file: GoldenFile) -> Arch:
    alpha = {kind: jnp.asarray(file[f"alpha_{kind}"]) for kind in SPACE.cells}
    if "beta_normal" not in file:
        return Arch(alpha=alpha, beta={})
    beta = {kind: jnp.asarray(file[f"beta_{kind}"]) for kind in SPACE.cells}
    return Arch(alpha=alpha, beta=beta)


def arch_names(arch: Arch):
    """The files' name of each array of an architecture: ``alpha_normal``, ..."""
    return {
        f"{name}_{k}": a
        for name, part in (("alpha", arch.alpha), ("beta", arch.beta))
        for k, a in part.items()
    }


def batch(file: GoldenFile, which: str = "") -> Batch:
    labels = jnp.asarray(file[f"y{which}"], jnp.int32)
    return Batch(images(file[f"x{which}"]), labels)
