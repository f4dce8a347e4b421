"""Reads the golden files of recurrent networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jdarts import Arch, Genotype
from jdarts.data import Segment
from jdarts.nets.language import language_model
from jdarts.nets.recurrent import Dropout, fixed_recurrent, mixed_recurrent
from jdarts.problem import Passage, next_token
from jdarts.relaxation import softmax
from jdarts.spaces import DARTS_RNN, CellGenotype, Connection

NOTHING = Dropout(output=0.0, hidden=0.0, input=0.0, embedded=0.0, word=0.0)
relaxation = softmax()


def to_tree(tensors):
    """The file's tensors as our weights."""
    nodes = sorted((int(n[1:]), t) for n, t in tensors.items() if n[0] == "W")
    tree = {
        "embedding": tensors["embedding"],
        "first": tensors["W0"],
        "nodes": np.stack([tensor for number, tensor in nodes if number > 0]),
        "decoder_bias": tensors["decoder_bias"],
    }
    return jax.tree.map(jnp.asarray, tree)


def from_tree(tree):
    """The reverse."""
    tensors = {"embedding": tree["embedding"], "W0": tree["first"]}
    tensors |= {f"W{i}": matrix for i, matrix in enumerate(tree["nodes"], 1)}
    return tensors | {"decoder_bias": tree["decoder_bias"]}


def packed(tree, file):
    """Our weights, or a gradient of them, as the file packs them."""
    tensors = from_tree(tree)
    return np.concatenate([np.ravel(tensors[name]) for name, _ in file.index])


@functools.cache
def search_network(vocabulary, units):
    assert DARTS_RNN.cells["recurrent"].nodes == 8
    return mixed_recurrent(
        DARTS_RNN, vocabulary=vocabulary, units=units, dropout=NOTHING
    )


def derived_network(meta):
    nodes = tuple((Connection(*c),) for c in meta["recurrent"])
    cell = CellGenotype(nodes, tuple(meta["concat"]), inputs=1, output="mean")
    genotype = Genotype("darts_rnn", {"recurrent": cell})
    return fixed_recurrent(
        genotype, vocabulary=meta["ntokens"], units=meta["nhid"], dropout=NOTHING
    )


def problem(file, slowness=0.0):
    return problem_of(search_network(file.meta["ntokens"], file.meta["nhid"]), slowness)


def problem_of(network, slowness=0.0):
    model = language_model(network, lambda step: 1.0, slowness=slowness)
    return next_token(model, relaxation.weights)


def passage(file, which=""):
    tokens, targets = (
        jnp.asarray(file[f"{name}{which}"], jnp.int32) for name in ("tokens", "targets")
    )
    segment = Segment(tokens, targets, jnp.int32(len(tokens)), jnp.asarray(False))
    hidden = jnp.asarray(file[f"hidden_in{which}"][0])
    return Passage(segment, hidden, jnp.int32(0))


def arch(file):
    return Arch({"recurrent": jnp.asarray(file["alpha"])}, {})
