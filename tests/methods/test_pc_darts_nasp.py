"""What PC-DARTS and NASP add to the contract of a method."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

from jdarts import (
    SPACES,
    Arch,
    DartsConfig,
    HypergradientConfig,
    UserError,
    build_method,
    make_supernet,
    supernet,
)
from jdarts.methods.dr_nas import DrNasConfig
from jdarts.methods.fair_darts import FairDartsConfig
from jdarts.methods.nasp import NaspConfig, burden
from jdarts.methods.pc_darts import PcDartsConfig
from jdarts.methods.snas import SnasConfig
from jdarts.relaxation import discrete, edge_softmax
from jdarts.relaxation.discrete import keep_one_op
from jdarts.spaces import NAS_BENCH_201, NASP_CNN, TOY, TOY_RNN, CellSpec

SPEC = CellSpec(primitives=("skip_connect", "conv_1x1", "conv_3x3"), nodes=2)


def build(config, space=TOY, network=None):
    network = network or make_supernet(config, space, channels=4, layers=3, classes=3)
    return build_method(config, space, network, epochs=10, steps_per_epoch=4)


def random_arch(space, seed):
    random = np.random.default_rng(seed)
    alpha, beta = {}, {}
    for kind, spec in space.cells.items():
        shape = len(spec.edges), len(spec.primitives)
        alpha[kind] = jnp.asarray(random.normal(size=shape), jnp.float32)
        beta[kind] = jnp.asarray(random.normal(size=shape[0]), jnp.float32)
    return Arch(alpha, beta)


# --- PC-DARTS -----------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
def test_edge_normalisation(name):
    """The weights of all edges into a node add up to 1; beta alone moves between."""
    space, arch = SPACES[name], random_arch(SPACES[name], 0)
    mix = edge_softmax(space).weights(arch)
    for kind, spec in space.cells.items():
        for rows in spec.node_slices:
            assert_close(mix[kind][rows].sum(), 1.0, 1e-6)
            beta = np.exp(arch.beta[kind][rows])
            assert_close(mix[kind][rows].sum(1), beta / beta.sum(), 1e-6)
        logits = np.exp(arch.alpha[kind])
        expected = logits / logits.sum(1, keepdims=True)
        assert_close(mix[kind] / mix[kind].sum(1, keepdims=True), expected, 1e-5)


def test_beta_decides_the_edges():
    method = build(PcDartsConfig())
    arch = random_arch(TOY, 1)
    last = TOY.cells["normal"].node_slices[-1]  # edges from nodes 0, 1 and 2
    for dropped in range(3):
        beta = arch.beta["normal"].at[last.start + dropped].set(-9.0)
        genotype = method.discretize(arch._replace(beta={**arch.beta, "normal": beta}))
        sources = {c.source for c in genotype.cells["normal"].nodes[-1]}
        assert sources == {0, 1, 2} - {dropped}


def test_beta_has_an_optimiser_of_its_own():
    method = build(PcDartsConfig())
    state = method.init(jax.random.key(0), jnp.zeros((2, 8, 8, 3)))
    assert len(state.arch_opt) == 2
    assert {leaf.shape for leaf in jax.tree.leaves(state.arch.beta)} == {(5,)}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PcDartsConfig(warmup=1.0), "--method.warmup: 1.0; expected a share"),
        (PcDartsConfig(k=3), "--channels: 4 do not divide into --method.k 3"),
        (PcDartsConfig(k=1, sample=True), "--method.sample: has no effect"),
        (PcDartsConfig(init_scale=-1.0), "--method.init-scale: -1.0"),
        (NaspConfig(eta=-0.1), "--method.eta: -0.1; expected >= 0"),
        (NaspConfig(start=1.5), "--method.start: 1.5; expected 0 to 1"),
        (NaspConfig(rank="alfa"), "--method.rank.*did you mean 'alpha'"),
        (NaspConfig(clip_virtual=True), "--method.clip-virtual: has no effect"),
    ],
)
def test_bad_settings(config, message):
    with pytest.raises(UserError, match=message):
        build(config)


def test_parts_that_do_not_fit():
    whole = supernet(TOY, channels=4, layers=3, classes=3)
    with pytest.raises(UserError, match=r"k=1.*expects.*k=4.*make_supernet"):
        build(PcDartsConfig(), network=whole)
    partial = make_supernet(PcDartsConfig(), TOY, channels=4, layers=3, classes=3)
    with pytest.raises(UserError, match=r"k=4.*expects.*k=1.*make_supernet"):
        build(DartsConfig(HypergradientConfig("first_order")), network=partial)


# --- NASP ---------------------------------------------------------------------------


def test_kept_ops_by_hand():
    alpha = jnp.array(
        [
            [0.2, 0.1, 0.0],  # node 2: both edges, first ops
            [0.0, 0.3, 0.3],  # a tie: the earlier op
            [0.9, 0.0, 0.0],  # node 3: edges 0 and 2; a tie of edges 0, 1 and 2
            [0.0, 0.9, 0.0],
            [0.0, 0.0, 0.9],
        ]
    )
    expected = [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(keep_one_op(SPEC, alpha), expected)
    none = dataclasses.replace(SPEC, primitives=("none", "conv_1x1", "conv_3x3"))
    assert not keep_one_op(none, alpha)[:, 0].any()


def test_discrete_weights():
    """Exactly 0 and 1; their derivative in alpha is the identity; the box."""
    relaxation = discrete(NASP_CNN)
    arch = relaxation.init(jax.random.key(0), NASP_CNN)
    assert all((a == 0.5).all() for a in jax.tree.leaves(arch.alpha))
    arch = random_arch(NASP_CNN, 3)
    factors = random_arch(NASP_CNN, 4).alpha

    def total(arch):
        mix = relaxation.weights(arch)
        return sum((mix[kind] * factors[kind]).sum() for kind in mix), mix

    gradient, mix = jax.grad(total, has_aux=True)(arch)
    assert_close(gradient.alpha, factors, 0.0)
    for kind, spec in NASP_CNN.cells.items():
        assert set(np.unique(mix[kind])) == {0.0, 1.0}
        for rows in spec.node_slices:
            assert mix[kind][rows].sum() == spec.keep
        box = relaxation.project(arch).alpha[kind]
        np.testing.assert_array_equal(box, np.clip(arch.alpha[kind], 0, 1))


def test_the_two_rankings_disagree():
    """Rows (.90, seven .88), (.80, seven 0), (.70, seven 0) into one node."""
    spec = NASP_CNN.cells["normal"]
    alpha = np.zeros((14, 8), np.float32)
    rows = spec.node_slices[1]
    alpha[rows.start] = [0.9] + [0.88] * 7
    alpha[rows.start + 1, 0], alpha[rows.start + 2, 0] = 0.8, 0.7
    arch = Arch({"normal": jnp.asarray(alpha), "reduce": jnp.zeros((14, 5))}, {})
    for rank, expected in (("alpha", [0, 1]), ("softmax", [1, 2])):
        genotype = build(NaspConfig(rank=rank), NASP_CNN).discretize(arch)
        node = genotype.cells["normal"].nodes[1]
        assert [connection.source for connection in node] == expected


def test_none_is_never_derived():
    """Nor is it in the forward pass, also where every edge is kept."""
    alpha = np.zeros((6, 5), np.float32)
    none = NAS_BENCH_201.cells["normal"].primitives.index("none")
    alpha[:, none], alpha[:, 3] = 1.0, 0.5
    found = build(NaspConfig(), NAS_BENCH_201).discretize(
        Arch({"normal": jnp.asarray(alpha)}, {})
    )
    names = {c.primitive for node in found.cells["normal"].nodes for c in node}
    assert names == {NAS_BENCH_201.cells["normal"].primitives[3]}


def test_dr_nas_ranks_edges_by_the_softmax():
    """Two edges of whose weights softmax and mean of the distribution disagree."""
    spec = SPACES["darts_cnn"].cells["normal"]
    alpha = np.full((14, 8), -3.0, np.float32)
    none, first = spec.primitives.index("none"), spec.node_slices[1].start
    alpha[:, none] = 3
    alpha[first] = [0.0] * 8
    alpha[first, 4] = 1.5
    alpha[first + 1] = [-1.0] * 8
    alpha[first + 1, 4] = 0.3
    method = build(DrNasConfig(k=2), SPACES["darts_cnn"])
    arch = Arch(dict.fromkeys(SPACES["darts_cnn"].cells, jnp.asarray(alpha)), {})
    cell = method.discretize(arch).cells["normal"]
    assert [c.source for c in cell.nodes[1]] == [0, 1]
    mean = np.asarray(method.weights(arch)["normal"])[first : first + 2, 4]
    assert mean[0] < mean[1]


@pytest.mark.parametrize(
    ("config", "space", "message"),
    [
        (NaspConfig(eta=1.0), TOY_RNN, "--method.eta: 1.0 has no effect in --space"),
        (NaspConfig(rank="alpha"), NAS_BENCH_201, "--method.rank: 'alpha' has no eff"),
        (FairDartsConfig(threshold=0.5), NAS_BENCH_201, "--method.threshold: 0.5 has"),
        (SnasConfig(simultaneous=True), TOY, "--method.simultaneous: has no effect"),
    ],
)
def test_settings_without_effect(config, space, message):
    network = supernet(TOY, channels=2, layers=3, classes=3)
    with pytest.raises(UserError, match=message):
        build_method(config, space, network, epochs=2, steps_per_epoch=1)


def test_burden_by_hand():
    """At 12 channels: k k C for a depthwise and C C for a pointwise convolution."""
    shares = burden(NASP_CNN)
    counts = [0, 864, 252, 144, 1296, 504, 888, 1464]
    assert_close(shares["normal"], np.array(counts) / sum(counts), 1e-6)
    assert not shares["reduce"].any()
