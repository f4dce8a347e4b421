"""Genotypes derived from given mixing weights."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from golden import cases, load

from jdarts.derive import derive_cell
from jdarts.spaces import DARTS_RNN, CellSpec, Connection

KINDS = ("normal", "reduce")


def cell_spec(primitives, edges, kept):
    """The cell type with that number of edges and of kept connections."""
    nodes = 1
    while nodes * (nodes + 3) // 2 < edges:  # 2 + 3 + ... + (nodes + 1)
        nodes += 1
    spec = CellSpec(primitives=tuple(primitives), nodes=nodes, keep=kept // nodes)
    assert len(spec.edges) == edges
    return spec


def derived(file, kind):
    """(the cell type, the genotype of every case)."""
    alpha = file[f"alpha_{kind}"]
    chosen = file[f"{kind}_op"]
    spec = cell_spec(file.meta[f"primitives_{kind}"], alpha.shape[1], chosen.shape[1])
    mix = jax.nn.softmax(jnp.asarray(alpha), axis=-1)
    if f"weights2_{kind}" in file:  # of edges: multiply the rows
        mix = mix * file[f"weights2_{kind}"][..., None]
    return spec, [derive_cell(spec, np.asarray(weights)) for weights in mix]


@cases("05_genotype_[!r]*.npz")  # all but the recurrent cell's
def test_chosen_connections(path):
    file = load(path)
    for kind in KINDS:
        spec, genotypes = derived(file, kind)
        ops, sources = file[f"{kind}_op"], file[f"{kind}_src"]
        assert len(genotypes) == len(ops) > 0
        for i, genotype in enumerate(genotypes):
            expected = [
                Connection(spec.primitives[op], int(source))
                for op, source in zip(ops[i], sources[i], strict=True)
            ]
            label = (i, file["kind"][i], kind)
            assert list(genotype.connections) == expected, label
            assert "none" not in [c.primitive for c in genotype.connections]
            assert [len(node) for node in genotype.nodes] == [spec.keep] * spec.nodes


@cases("05_genotype_[!r]*.npz")
def test_named_genotypes(path):
    """The JSON beside each file: names, nodes, and which nodes are concatenated."""
    file = load(path)
    named = json.loads(path.with_suffix(".json").read_text())["cases"]
    for kind in KINDS:
        _, genotypes = derived(file, kind)
        for genotype, case in zip(genotypes, named, strict=True):
            assert [list(c) for c in genotype.connections] == case[kind]
            assert list(genotype.concat) == case[f"{kind}_concat"]


@cases("05_genotype_rnn.npz")
def test_recurrent_genotypes(path):
    """One connection a node; names and averaged nodes as in the JSON beside."""
    file, spec = load(path), DARTS_RNN.cells["recurrent"]
    assert tuple(file.meta["primitives"]) == spec.primitives
    named = json.loads(path.with_suffix(".json").read_text())["cases"]
    for i, case in enumerate(named):
        mix = jax.nn.softmax(jnp.asarray(file["alpha"][i]), axis=-1)
        cell = derive_cell(spec, np.asarray(mix))
        ops, sources = file["op"][i], file["src"][i]
        chosen = zip(ops, sources, strict=True)
        expected = [(spec.primitives[op], source) for op, source in chosen]
        assert [tuple(c) for c in cell.connections] == expected, (i, file["kind"][i])
        assert [list(c) for c in cell.connections] == case["recurrent"]
        assert list(cell.concat) == case["concat"] and cell.output == "mean"
