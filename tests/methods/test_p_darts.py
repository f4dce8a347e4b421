"""P-DARTS: what each stage drops, the dropout's schedule, the derived cell, errors."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import Arch, DartsConfig, UserError, supernet
from jdarts.config import SearchConfig
from jdarts.curvature import CurvatureConfig
from jdarts.derive import cap_skips, derive_in_order
from jdarts.loops.stages import first_stage, next_stage, read_stage, write_stage
from jdarts.methods import stages_of
from jdarts.methods.drop_path import DropPathConfig
from jdarts.methods.p_darts import PDartsConfig, skip_schedule
from jdarts.relaxation import offered_softmax
from jdarts.spaces import DARTS_CNN, CellSpec

CONFIG = SearchConfig(layers=5, epochs=75, max_skips=2, method=PDartsConfig())


def test_each_edge_loses_its_weakest_primitives(tmp_path):
    """8, 5, 3 of them, `none` like any other; in a file that is read back."""
    rng, stage, path = np.random.default_rng(0), first_stage(CONFIG), tmp_path / "s"
    write_stage(path, stage)
    left = {kind: [set(range(8)) for _ in range(14)] for kind in DARTS_CNN.cells}
    for number, (count, layers) in enumerate([(8, 5), (5, 11), (3, 17)]):
        assert CONFIG.layers + stage.added_layers == layers
        assert stage.steps(10) == (250 * number, 250 * (number + 1))
        assert f"{layers} cells, {count} primitives an edge" in stage.described(5)
        for kind, spec in stage.space.cells.items():
            own = [set(np.flatnonzero(row)) for row in spec.offered]
            assert own == left[kind] and {len(row) for row in own} == {count}
        assert stage.space.cells["normal"].max_skips == 2
        assert read_stage(CONFIG, path, first_stage(CONFIG)) == stage
        alpha = {kind: rng.normal(size=(14, 8)) for kind in DARTS_CNN.cells}
        mix = offered_softmax(stage.space).weights(
            Arch(jax.tree.map(jnp.asarray, alpha), {})
        )
        for kind, rows in left.items():
            shares = np.zeros((14, 8))
            for edge, row in enumerate(rows):
                own = sorted(row)
                shares[edge, own] = np.exp(alpha[kind][edge, own])
                for lost in sorted(own, key=lambda i: shares[edge, i])[
                    : 3 - (number == 1)
                ]:
                    row.remove(lost)
            shares /= shares.sum(1, keepdims=True)
            np.testing.assert_allclose(mix[kind], shares, rtol=1e-5)
            np.testing.assert_array_equal(np.asarray(mix[kind])[shares == 0], 0)
        following = next_stage(CONFIG, stage, mix)
        if following is not None:
            stage = following
            write_stage(path, stage)
    assert following is None and stage.number == 2


def test_damaged_record_of_stages(tmp_path):
    path, first = tmp_path / "stages.json", first_stage(CONFIG)
    assert read_stage(CONFIG, path, first) is first
    row = {"epochs": [1, 1], "added_layers": 0, "primitives": {}}
    for rows, message in [
        ({}, "not a record of stages"),
        ([{}, row], r"not a record of stages \(\[0\].epochs: not there\)"),
        ([row, row], "no primitives of the 14 edges"),
        (
            [row, row | {"primitives": {"normal": [["a"]] * 14}}],
            "'a'.*expected some",
        ),
    ]:
        path.write_text(json.dumps(rows))
        with pytest.raises(UserError, match=message):
            read_stage(CONFIG, path, first)


def test_equally_weak_primitives():
    """The earlier ones go first; of what is left, at the second time."""
    stage = first_stage(CONFIG)
    even = {kind: np.full((14, 8), 0.125) for kind in DARTS_CNN.cells}
    stage = next_stage(CONFIG, stage, even)
    names = DARTS_CNN.cells["normal"].primitives
    assert stage.space.cells["normal"].edge_primitives == (names[3:],) * 14
    stage = next_stage(CONFIG, stage, even)
    assert stage.space.cells["normal"].edge_primitives == (names[5:],) * 14


def test_schedule_of_the_dropout():
    """Of 25 epochs, 10 of them for the weights alone: it begins again at the 11th."""
    schedule = skip_schedule(PDartsConfig(), 0.7, 25, 4)
    for epoch in range(25):
        rate = 0.7 * (24 - epoch) / 25
        if epoch >= 10:
            rate = 0.7 * np.exp(-0.2 * (epoch - 10))
        for step in (4 * epoch, 4 * epoch + 3):
            np.testing.assert_allclose(schedule(step), rate, rtol=1e-6)
    rates = stages_of(PDartsConfig()).skip_rate
    assert rates(0, 25, 4) is None  # published as 0
    np.testing.assert_allclose(rates(1, 25, 4)(40), 0.4, rtol=1e-6)


def test_derived_cell():
    """Sources in order, `none` apart; the weakest skips give way, or their edges."""
    spec = CellSpec(primitives=("none", "skip_connect", "a"), nodes=2, max_skips=1)
    weights = [
        [0, 0.6, 0.4],  # node 0: the only skip that stays
        [0, 0.5, 0.2],  # its runner-up comes
        [0.9, 0.0, 0.1],
        [0, 0.4, 0.05],  # loses its place to the edge above
        [0, 0.3, 0.7],
    ]
    uncapped = derive_in_order(spec, weights)
    found = cap_skips(derive_in_order)(spec, weights)
    assert [[tuple(c) for c in node] for node in uncapped.nodes] == [
        [("skip_connect", 0), ("skip_connect", 1)],
        [("skip_connect", 1), ("a", 2)],
    ]
    assert [[tuple(c) for c in node] for node in found.nodes] == [
        [("skip_connect", 0), ("a", 1)],
        [("a", 0), ("a", 2)],
    ]
    even = derive_in_order(spec, np.full((5, 3), 0.2)).nodes[1]
    assert [c.source for c in even] == [1, 2]


def changed(**changes):
    return dataclasses.replace(CONFIG, **changes)


def with_method(**settings):
    return changed(method=PDartsConfig(**settings))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed(seed=None, seeds=(0, 1)), "--seeds: with --method p_darts"),
        (changed(epochs=50), "--epochs: 50; expected .* 3 stages .* as 51"),
        (
            changed(curvature=CurvatureConfig(every=1, stop=1.3)),
            "--curvature.stop: 1.3; a search",
        ),
        (changed(epochs=3, drop_path=DropPathConfig(0.3)), "--drop-path.rate: has no"),
        (changed(space="s3"), "--method.dropped: 5 in all; expected at most 0"),
        (with_method(added_layers=()), "--method.added-layers: 0 numbers; expected 1"),
        (with_method(added_layers=(0, 1)), "--method.dropped: 2 numbers; expected 1"),
        (with_method(skip_dropout=(0.1,)), "--method.skip-dropout: 1 numbers; expe"),
        (with_method(added_layers=(-1, 0, 0)), "--method.added-layers: -1"),
        (with_method(dropped=(0, 2)), "--method.dropped: 0; expected each >= 1"),
        (with_method(skip_dropout=(1.0, 0, 0)), "--method.skip-dropout: 1.0"),
        (with_method(skip_decay=-0.1), "--method.skip-decay: -0.1"),
        (with_method(skip_dropout=(0.0,) * 3, skip_decay=0.1), "skip-decay: has no ef"),
        (with_method(init_scale=-1.0), "--method.init-scale: -1.0"),
    ],
)
def test_bad_settings(config, message):
    with pytest.raises(UserError, match=message):
        first_stage(config)


def test_other_methods_have_one_stage():
    stage = first_stage(changed(method=DartsConfig()))
    assert (stage.number, stage.count, stage.epochs) == (0, 1, 75)
    assert next_stage(changed(method=DartsConfig()), stage, {}) is None


def test_weights_of_the_first_network():
    """As many as in the authors' code, whose count includes alpha."""
    network = supernet(DARTS_CNN, channels=16, layers=5, classes=10)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    w, _ = jax.eval_shape(network.init, jax.random.key(0), images)
    alphas = 2 * 14 * 8
    assert sum(leaf.size for leaf in jax.tree.leaves(w)) + alphas == 1_276_058
