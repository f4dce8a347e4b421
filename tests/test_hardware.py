"""Hardware-aware search: the price in every method's loss, tables, bad input."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import METHODS, UserError, build_method
from jdarts import make_supernet as supernet_of
from jdarts.config import from_json, load_config, to_json
from jdarts.hardware import (
    Hardware,
    HardwareConfig,
    hardware_of,
    latency_model,
    pinned_files,
    read_latencies,
)
from jdarts.methods import bilevel, learns_architecture
from jdarts.methods.base import alternating_step
from jdarts.nets.cost import NetworkShape
from jdarts.nets.expected_cost import skeleton
from jdarts.relaxation import Relaxation, discrete, edge_softmax, sigmoid, softmax
from jdarts.spaces import TOY
from jdarts.spaces.random import random_genotype

SHAPE = NetworkShape(channels=2, layers=3, classes=3, image=(8, 8, 3))
LEARNING = [n for n, row in METHODS.items() if learns_architecture(row.config())]


def table_of(milliseconds=lambda place: float(place.channels + 10 * place.stride)):
    """A table of latencies without any measuring."""
    places = sorted({place for *_, place in skeleton(TOY, SHAPE).places()})
    entries = [p._asdict() | {"milliseconds": milliseconds(p)} for p in places]
    table = {"device": "here", "space": "toy", "network": dataclasses.asdict(SHAPE)}
    return table | {"fixed_milliseconds": 5.0, "entries": entries}


def written(folder, table):
    file = folder / "table.json"
    file.write_text(json.dumps(table))
    return file


@pytest.fixture(scope="module")
def latencies(tmp_path_factory):
    file = written(tmp_path_factory.mktemp("latency"), table_of())
    return HardwareConfig("latency", weight=0.5, latency_table=file)


def test_price(latencies):
    """Both forms, by hand."""
    mix = {kind: np.full((5, 3), 0.5) for kind in TOY.cells}
    hardware = hardware_of(latencies, TOY, SHAPE)
    model = hardware.model
    # 3 weights of 0.5 an edge against 3 of 1 / 3; any others of the same sum would do.
    start = {kind: np.eye(3)[[0, 2, 1, 1, 2]] for kind in TOY.cells}
    uniform = model.expected({kind: np.full((5, 3), 1 / 3) for kind in TOY.cells})
    assert model.uniform(start) == pytest.approx(uniform)
    relative = model.expected(mix) / uniform
    np.testing.assert_allclose(hardware.price(mix, start), 0.5 * relative, rtol=1e-6)
    for share, over in ((0.8, 0.25), (1.25, 0.0)):
        target = share * model.expected(mix)
        own = Hardware(dataclasses.replace(latencies, target=target), model)
        np.testing.assert_allclose(own.price(mix, start), 0.5 * over, rtol=1e-5)
        genotype = random_genotype(TOY, np.random.default_rng(0))
        row = own.row(genotype, mix)
        assert row["derived_cost"] == model.of(genotype)
        assert row["expected_cost"] == model.expected(mix)
        assert row["target_cost"] == target
        assert f"target {target:.4g}" in own.sentence(row)


def test_contents_of_the_table_are_pinned(tmp_path):
    def digest(table):
        file = written(tmp_path, table)
        config = HardwareConfig("latency", latency_table=file)
        return pinned_files(config)["--hardware.latency-table"]

    assert digest(table_of()) == digest(table_of())
    assert digest(table_of()) != digest(table_of(lambda place: 1.0))
    assert pinned_files(HardwareConfig("parameters")) == {}
    with pytest.raises(UserError, match="absent.json: cannot be read"):
        pinned_files(HardwareConfig("latency", latency_table=tmp_path / "absent.json"))


def test_latency_is_the_sum_over_places(latencies):
    """The toy network of three cells: channels 2, then 4, then 8."""
    model = hardware_of(latencies, TOY, SHAPE).model
    np.testing.assert_array_equal(model.edges["normal"][:, 1:], 2 + 10)
    # The connections that leave an input have stride 2.
    for edge, (source, _) in enumerate(TOY.cells["reduce"].edges):
        both = (4 + 20) + (8 + 20) if source < 2 else (4 + 10) + (8 + 10)
        np.testing.assert_array_equal(model.edges["reduce"][edge], [0, both, both])
    assert (model.edges["normal"][:, 0] == 0).all() and model.fixed == 5.0


@pytest.mark.parametrize("name", LEARNING)
def test_every_method_that_learns_minimises_the_price(name, monkeypatch):
    """Its loss has what the network's price says of the expected mixing weights."""
    penalties = []

    def spy(*args, penalty=None, **options):
        penalties.append(penalty)
        return alternating_step(*args, penalty=penalty, **options)

    monkeypatch.setattr(bilevel, "alternating_step", spy)

    def price(mix, start):
        del start
        return 3.0 * jnp.stack([m[:, 2].sum() for m in mix.values()]).sum()

    config = METHODS[name].config()
    network = supernet_of(config, TOY, channels=4, layers=3, classes=3)
    for priced in (network, network._replace(price=price)):
        method = build_method(config, TOY, priced, epochs=2, steps_per_epoch=2)
    images = jax.ShapeDtypeStruct((4, 8, 8, 3), jnp.float32)
    arch = jax.eval_shape(method.init, jax.random.key(0), images).arch
    arch = jax.tree.map(_drawn, arch)
    own, both = penalties
    before, without = (0.0, 0.0) if own is None else _derivative(own, arch)
    value, gradient = _derivative(both, arch)
    expected = 3 * sum(m[:, 2].sum() for m in method.weights(arch).values())
    np.testing.assert_allclose(value - before, expected, rtol=1e-5)
    if own is not None:
        gradient = jax.tree.map(jnp.subtract, gradient, without)
    for kind in gradient.alpha.values():
        assert (kind[:, 2] > 0).any() and jnp.isfinite(kind).all()


def _drawn(x):
    if x.dtype == bool:  # nothing is given up
        return jnp.ones(x.shape, bool)
    return jnp.linspace(0.1, 0.9, x.size).reshape(x.shape)


def _derivative(penalty, arch):
    """The value, and the gradient in what is learnt."""
    learnt = lambda own: penalty(own._replace(held=arch.held))  # noqa: E731
    return jax.value_and_grad(learnt)(arch.learnt)


@pytest.mark.parametrize(
    ("relaxation", "sums"),
    [
        (softmax(), (2, 3)),  # every edge into a node counts as one
        (edge_softmax(TOY), (1, 1)),  # they share one
        (sigmoid(), (3, 4.5)),  # three sigmoids of 0 an edge
        (discrete(TOY), (2, 2)),  # the two that are kept
    ],
)
def test_at_its_start_a_method_pays_the_weight(latencies, relaxation, sums):
    """E / E_0 is 1 where all primitives into a node weigh the same."""
    hardware, prices = hardware_of(latencies, TOY, SHAPE), []

    def price(mix, start):
        prices.append(hardware.price(mix, start))
        return prices[-1]

    arch = relaxation.init(jax.random.key(1), TOY)
    bilevel._with_price(None, price, relaxation, TOY)(arch)
    even = {
        kind: np.repeat(np.divide(sums, (6, 9)), (2, 3))[:, None] * np.ones((5, 3))
        for kind in TOY.cells
    }
    start = relaxation.expected(arch)
    unit = hardware.model.uniform(start)
    np.testing.assert_allclose(unit, hardware.model.expected(even), rtol=1e-3)
    expected = hardware.model.expected(start)
    np.testing.assert_allclose(prices, 0.5 * expected / unit, rtol=1e-3)


def test_a_methods_own_penalty_stays():
    identity = Relaxation(lambda *_: 0.0, lambda arch: arch, lambda arch: arch)
    both = bilevel._with_price(
        lambda arch: 2 * arch, lambda mix, start: mix + 1, identity, TOY
    )
    assert both(3.0) == 6 + 4
    assert bilevel._with_price(None, None, identity, TOY) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["entries"].pop(), "lacks skip_connect of stride 2 on 8 x 8 x 4"),
        (lambda t: t["network"].update(channels=4), "channels 4, but .* channels 2"),
        (lambda t: t.update(space="darts_cnn"), "measured with space darts_cnn, but"),
        (lambda t: t.pop("network"), "no table of latencies; expected a file"),
        (lambda t: t["entries"][0].update(milliseconds=-1), "no table of latencies"),
    ],
)
def test_bad_tables(tmp_path, change, message):
    table = json.loads(json.dumps(table_of()))
    change(table)
    file = written(tmp_path, table)
    with pytest.raises(UserError, match=message):
        latency_model(read_latencies(file, "--t"), TOY, SHAPE, f"--t: {file}")


def configured(method="darts", **hardware):
    data = to_json(load_config("smoke")) | {"method": {"name": method}}
    return from_json(data | {"hardware": hardware})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cost": "parameter"}, "--hardware.cost: unknown 'parameter'.*'parameters'"),
        ({"weight": 0.1}, "--hardware.weight: has no effect without --hardware.cost"),
        ({"target": 5.0}, "--hardware.target: has no effect without --hardware.cost"),
        ({"cost": "parameters", "weight": -0.1}, "--hardware.weight: -0.1; expected"),
        (
            {"cost": "parameters", "weight": 1.0, "target": 0.0},
            "--hardware.target: 0.0; expected more than 0",
        ),
        (
            {"cost": "parameters", "target": 5.0},
            "--hardware.target: has no effect without --hardware.weight",
        ),
        ({"cost": "latency"}, "--hardware.latency-table: .* latency without a table"),
        (
            {"cost": "parameters", "layers": 0},
            "--hardware.layers: 0; expected at",
        ),
        (
            {"cost": "parameters", "weight": 1.0, "method": "random"},
            "has no effect with --method random, which learns no architecture",
        ),
    ],
)
def test_bad_input(fields, message):
    with pytest.raises(UserError, match=message):
        configured(**fields)


def test_configuration_is_written_and_read():
    config = configured(cost="parameters", weight=0.25, target=1000.0)
    assert from_json(to_json(config)) == config
    assert configured(method="random", cost="parameters").hardware.weight == 0
