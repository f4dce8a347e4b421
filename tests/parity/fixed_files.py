"""Golden files of derived networks: their tensors in our trees, and back."""

import jax
import jax.numpy as jnp
import numpy as np
from golden import CONV, DENSE, DEPTHWISE, LINEAR, OTHER, SEPARABLE, VECTOR, Place

from jdarts import Genotype, fixed_network
from jdarts.ops import OPS, Separable
from jdarts.spaces import CellGenotype, Connection

_ENDS = {"scale", "shift", "mean", "var"}


OTHER_NAMES = {
    "NASNet": "NASNet_A",
    "AmoebaNet": "AmoebaNet_A",
    "NASP": "NASP_12op",
    "ENAS": "RNN_ENAS",
}
"""Of genotypes in the files: what they are called in the ZOO."""


def genotype_of(spec):
    """From ``{"normal": [[primitive, source], ...], "normal_concat": [...], ...}``."""
    cells = {}
    for kind in ("normal", "reduce"):
        edges = [Connection(n.replace(" ", "_"), int(s)) for n, s in spec[kind]]
        nodes = zip(edges[::2], edges[1::2], strict=True)
        cells[kind] = CellGenotype(tuple(nodes), tuple(spec[f"{kind}_concat"]))
    return Genotype("golden", cells)


def network_of(file, **options):
    meta = file.meta
    return fixed_network(
        genotype_of(meta["genotype"]),
        channels=meta["C"],
        layers=meta["layers"],
        classes=meta["classes"],
        auxiliary=meta["auxiliary"],
        **options,
    )


def whole_loss(file):
    """The name of what is minimised: of a network without auxiliary head, its loss."""
    return "train.loss_total" if "train.loss_total" in file else "train.loss"


def _op_leaf(name, row, part):
    """(path inside the op's module, layout) of a convolution's tensor."""
    if not isinstance(row, Separable):
        leaf, layout = OTHER["dense" if part == "conv" else part]
        return (name, leaf), layout
    stage, layout = SEPARABLE[part]
    stem = "conv_depthwise" if layout is DEPTHWISE else "pointwise"
    return (name, "ops", f"{stem}_{stage}"), layout


def _bn_of(name, row, part):
    """Path of an op's normaliser: bn, bn1, bn2."""
    if not isinstance(row, Separable):
        return name, part
    stage = 1 if part == "bn2" else 0
    return name, "ops", f"bn_{stage}"


def locate(name, genotype, layers):
    """Where a tensor of a derived network lives in our tree (cells not scanned)."""
    match name.split("."):
        case ["stem", "conv"]:
            return Place(("stem", "conv_0", "conv"), None, CONV)
        case ["stem", "bn", end]:
            return Place(("stem", "conv_0", "bn", end), 0, VECTOR)
        case ["head", "weight"]:
            return Place(("head", "kernel"), None, LINEAR)
        case ["head", "bias"]:
            return Place(("head", "bias"), None, VECTOR)
        case ["aux", "conv1"]:
            return Place(("auxiliary", "conv_0"), 0, DENSE)
        case ["aux", "conv2"]:
            return Place(("auxiliary", "conv_1"), None, CONV)
        case ["aux", bn, end] if end in _ENDS:
            number = int(bn.removeprefix("bn")) - 1
            return Place(("auxiliary", f"bn_{number}", end), 0, VECTOR)
        case ["aux", "head", "weight"]:
            return Place(("auxiliary", "head", "kernel"), None, LINEAR)
        case ["aux", "head", "bias"]:
            return Place(("auxiliary", "head", "bias"), None, VECTOR)
        case [cell, pre, "bn", end] if pre.startswith("pre"):
            number = cell.removeprefix("cell")
            return Place((f"cell_{number}", f"input_{pre[-1]}", "bn", end), 0, VECTOR)
        case [cell, pre, part] if pre.startswith("pre"):
            leaf, layout = OTHER[part]
            number = cell.removeprefix("cell")
            return Place((f"cell_{number}", f"input_{pre[-1]}", leaf), 0, layout)
        case [cell, op, *rest]:
            number = int(cell.removeprefix("cell"))
            reduces = number in (layers // 3, 2 * layers // 3)
            connections = genotype.cells["reduce" if reduces else "normal"].connections
            primitive = connections[int(op.removeprefix("op"))].primitive
            row = OPS[primitive]
            head = (f"cell_{number}", f"op_{op.removeprefix('op')}")
            if rest[-1] in _ENDS:
                path = (*_bn_of(primitive, row, rest[0]), rest[1])
                return Place((*head, *path), 0, VECTOR)
            path, layout = _op_leaf(primitive, row, rest[0])
            return Place((*head, *path), 0, layout)
    raise KeyError(name)


def leaf_of(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def to_tree(file, tensors, template):
    """Our tree, every entry of it filled by exactly one tensor of the file."""
    genotype, layers = genotype_of(file.meta["genotype"]), file.meta["layers"]
    tree = jax.tree.map(lambda t: np.full(t.shape, np.nan), template)
    for name, value in tensors.items():
        place = locate(name, genotype, layers)
        leaf = leaf_of(tree, place.path)
        row = ... if place.row is None else place.row
        assert np.isnan(leaf[row]).all(), f"{name}: {place.path} is filled twice"
        leaf[row] = place.layout.ours(value)
    for path, leaf in jax.tree.leaves_with_path(tree):
        where = jax.tree_util.keystr(path)
        assert not np.isnan(leaf).any(), f"{where}: not in the file"
    return jax.tree.map(jnp.asarray, tree)


def from_tree(file, tree, names):
    """The named tensors of our tree, in the files' layout."""
    genotype, layers = genotype_of(file.meta["genotype"]), file.meta["layers"]
    tensors = {}
    for name in names:
        place = locate(name, genotype, layers)
        leaf = np.asarray(leaf_of(tree, place.path))
        row = leaf if place.row is None else leaf[place.row]
        tensors[name] = np.ascontiguousarray(place.layout.theirs(row))
    return tensors
