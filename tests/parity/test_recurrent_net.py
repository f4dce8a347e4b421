"""Recurrent networks: the search cell, derived cells, second order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import cases, check, load
from helpers import assert_close, directional_difference
from recurrent_files import (
    arch,
    derived_network,
    packed,
    passage,
    problem,
    problem_of,
    relaxation,
    search_network,
    to_tree,
)

from jdarts import tree
from jdarts.hypergradient import finite_difference, unrolled_forward
from jdarts.methods.optimizers import clip_by_norm
from jdarts.nets.recurrent import Masks

SEARCH = "09_rnn_search*.npz"
DERIVED = "09_rnn_derived_*.npz"
SECOND = "09_rnn_second_order_*.npz"
RADIUS = 1e-6  # of our finite difference: no ReLU changes its side on so short a way


def read(network, w, statistics, mix, found, train):
    return jax.jit(network.apply, static_argnums=7)(
        w,
        statistics,
        mix,
        found.segment.tokens,
        found.segment.length,
        found.hidden,
        Masks(),
        train,
    )


@cases(SEARCH)
def test_search_network(path):
    file = load(path)
    network = search_network(file.meta["ntokens"], file.meta["nhid"])
    w, mix = to_tree(file.unpack("w")), relaxation.weights(arch(file))
    found, _ = read(network, w, None, mix, passage(file), True)
    check(file, jax.nn.log_softmax(found.logits), file["log_probs"], 1e-11, "log_probs")
    check(file, found.hidden, file["hidden_out"][0], 1e-11, "hidden_out")
    check(file, found.states, file["rnn_out"], 1e-11, "rnn_out")
    statistics = {"mean": file["bn_mean"], "var": file["bn_var"]}
    found, after = read(network, w, statistics, mix, passage(file), False)
    assert_close(after, statistics, 0.0)
    check(file, jax.nn.log_softmax(found.logits), file["eval.log_probs"], 1e-11, "eval")
    check(file, found.hidden, file["eval.hidden_out"][0], 1e-11, "eval.hidden_out")


@cases(SEARCH)
def test_one_cell(path):
    """Its input as the embedding of a vocabulary with one token a column."""
    file = load(path)
    x, units = file["cell_step.x"], file.meta["nhid"]
    network = search_network(len(x), units)
    w = to_tree(file.unpack("w")) | {"embedding": x, "decoder_bias": np.zeros(len(x))}
    found, _ = network.apply(
        w,
        None,
        relaxation.weights(arch(file)),
        jnp.arange(len(x))[None],
        jnp.int32(1),
        jnp.asarray(file["cell_step.h"]),
        Masks(),
        True,
    )
    check(file, found.hidden, file["cell_step.out"], 1e-11, "cell_step")


@cases(SEARCH)
@pytest.mark.parametrize("slow", [False, True])
def test_search_gradients(path, slow):
    file = load(path)
    posed = problem(file, file.meta["slowness_beta"] if slow else 0.0)
    w = to_tree(file.unpack("w"))
    state = {"statistics": None}
    loss = jax.jit(jax.value_and_grad(posed.train_loss, (0, 2), has_aux=True))
    (value, _), (g, galpha) = loss(w, state, arch(file), passage(file))
    suffix = "_with_slowness" if slow else ""
    check(file, value, file[f"loss{suffix}"], 1e-11, "loss")
    check(file, packed(g, file), file[f"g{suffix}"], 1e-10, "g")
    if not slow:
        check(file, galpha.alpha["recurrent"], file["galpha"], 1e-10, "galpha")


@cases(DERIVED)
def test_derived_cell(path):
    file = load(path)
    network, w = derived_network(file.meta), to_tree(file.unpack("w"))
    where = passage(file)

    def loss(w):
        found, _ = read(network, w, (), {}, where, True)
        logp = jax.nn.log_softmax(found.logits)
        chosen = jnp.take_along_axis(logp, where.segment.targets[..., None], -1)
        return -chosen.mean(), (logp, found)

    (value, (logp, found)), g = jax.jit(jax.value_and_grad(loss, has_aux=True))(w)
    check(file, value, file["loss"], 1e-11, "loss")
    check(file, logp, file["log_probs"], 1e-11, "log_probs")
    check(file, found.hidden, file["hidden_out"][0], 1e-11, "hidden_out")
    check(file, found.states, file["rnn_out"], 1e-11, "rnn_out")
    check(file, packed(g, file), file["g"], 1e-10, "g")


# --- second order -----------------------------------------------------------------


@functools.cache
def programs(vocabulary, units):
    """Compiled once for all files of a size."""
    loss = problem_of(search_network(vocabulary, units)).loss

    @jax.jit
    def product(w, arch, passage, v):
        """The mixed second derivative of the loss times v."""
        return jax.grad(lambda a: tree.dot(jax.grad(loss)(w, a, passage), v))(arch)

    def hypergradient(rule, w, arch, train, valid, settings):
        def step(w, opt, gradient):
            gradient, _ = clip_by_norm(settings["clip"]).update(gradient, opt)
            decayed = tree.add_scaled(gradient, settings["wdecay"], w)
            return tree.add_scaled(w, -settings["eta"], decayed), opt

        train = jax.tree.map(lambda x: x[None], train)
        return rule(loss, loss, step, w, (), arch, train, valid)

    rules = unrolled_forward(1), finite_difference(RADIUS)
    second = [jax.jit(functools.partial(hypergradient, rule)) for rule in rules]
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1))), product, *second


class Case:
    """A file, and its virtual step."""

    def __init__(self, path):
        self.file = file = load(path)
        self.meta = file.meta
        self.derivatives, self.product, self.exact, self.quotient = programs(
            self.meta["ntokens"], self.meta["nhid"]
        )
        self.w, self.arch = to_tree(file.unpack("w")), arch(file)
        self.train, self.valid = passage(file, "_train"), passage(file, "_val")
        self.loss, (self.gradient, _) = self.derivatives(self.w, self.arch, self.train)

    def clipped(self, gradient):
        return clip_by_norm(self.meta["clip"]).update(gradient, None)[0]

    def virtual(self, gradient):
        decayed = tree.add_scaled(self.clipped(gradient), self.meta["wdecay"], self.w)
        return tree.add_scaled(self.w, -self.meta["eta"], decayed)

    def parts(self, reference):
        """(value, direct part, clipped v) at the virtual weights; as the original was
        run, these keep the old embedding."""
        w = self.virtual(self.gradient)
        if reference:
            w |= {"embedding": self.w["embedding"]}
        value, (v, direct) = self.derivatives(w, self.arch, self.valid)
        return value, direct.alpha["recurrent"], self.clipped(v)

    def check(self, found, name, tolerance):
        check(self.file, found, self.file[name], tolerance, name)


@cases(SECOND)
def test_first_gradient(path):
    case = Case(path)
    norm = tree.norm(case.gradient)
    case.check(case.loss, "train_loss", 1e-11)
    case.check(norm, "train_grad_norm", 1e-10)
    case.check(case.meta["clip"] / (norm + 1e-6), "clip_coef_train", 1e-10)


@cases(SECOND)
@pytest.mark.parametrize("version", ["textbook", "as_reference"])
def test_parts_of_the_second_order(path, version):
    """The original takes the clipping's factor for a constant, and clips v; as it was
    run, the factor is not limited to 1."""
    case, reference = Case(path), version == "as_reference"
    value, direct, v = case.parts(reference)
    product = case.product(case.w, case.arch, case.train, v).alpha["recurrent"]
    case.check(value, f"{version}.val_loss", 1e-10)
    case.check(direct, f"{version}.direct", 1e-9)
    case.check(product, f"{version}.hvp_exact", 1e-8)
    factor = case.file["clip_coef_train"]
    factor = factor if reference else min(1.0, factor)
    total = direct - case.meta["eta"] * factor * product
    case.check(total, f"{version}.galpha_exact", 1e-8)


@cases(SECOND)
def test_finite_difference_as_it_was_run(path):
    case = Case(path)
    _, direct, v = case.parts(reference=True)
    radius = case.meta["r"] / tree.norm(v)
    ahead, behind = (
        case.derivatives(
            tree.add_scaled(case.w, sign * radius, v), case.arch, case.train
        )[1][1].alpha["recurrent"]
        for sign in (1, -1)
    )
    factor = case.meta["eta"] * case.file["clip_coef_train"]
    found = direct - factor * (ahead - behind) / (2 * radius)
    case.check(found, "galpha_fd", 1e-7)


@cases(SECOND)
def test_exact_second_order(path):
    """Ours is the true derivative, through the clipping as well: the textbook's where
    nothing is clipped, and the slope of the validation loss always."""
    case = Case(path)
    settings = {name: case.meta[name] for name in ("eta", "wdecay", "clip")}
    value, gradient = case.exact(case.w, case.arch, case.train, case.valid, settings)
    case.check(value, "textbook.val_loss", 1e-10)
    if case.file["clip_coef_train"] >= 1:
        case.check(gradient.alpha["recurrent"], "textbook.galpha_exact", 1e-8)
    value, near = case.quotient(case.w, case.arch, case.train, case.valid, settings)
    case.check(value, "textbook.val_loss", 1e-10)
    assert_close(near.alpha["recurrent"], gradient.alpha["recurrent"], 1e-6)
    random = np.random.default_rng(0)
    direction = jax.tree.map(lambda a: random.normal(size=a.shape), case.arch)

    def after_step(arch):
        _, (gradient, _) = case.derivatives(case.w, arch, case.train)
        return case.derivatives(case.virtual(gradient), arch, case.valid)[0]

    slope = directional_difference(after_step, case.arch, direction)
    assert_close(tree.dot(gradient, direction), slope, 1e-6)
