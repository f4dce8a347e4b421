"""The largest eigenvalue of Hessians that are known, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import UserError, jit
from jdarts.cli import parse_search
from jdarts.curvature import CurvatureConfig, dominant_eigenvalue, early_stop
from jdarts.loops.setup import setup
from jdarts.methods.asap import AsapConfig
from jdarts.methods.pc_darts import PcDartsConfig

pytestmark = pytest.mark.usefixtures("x64")

RANDOM = np.random.default_rng(0)
KEY = jax.random.key(0)


def quadratic(eigenvalues):
    """A quadratic function of a tree with these curvatures."""
    size = len(eigenvalues)
    axes, _ = np.linalg.qr(RANDOM.normal(size=(size, size)))
    hessian = axes @ np.diag(eigenvalues) @ axes.T

    def loss(point):
        x = jnp.concatenate([point["a"], point["b"].ravel()])
        return 0.5 * x @ hessian @ x + x.sum()

    return loss, {"a": jnp.zeros(2), "b": jnp.ones((size - 2, 1))}


def find(loss, point, iterations):
    run = jit(lambda p: dominant_eigenvalue(loss, p, KEY, iterations=iterations))
    return float(run(point))


@pytest.mark.parametrize(
    "eigenvalues",
    [[3.0, 1.0, 0.5, -1.0], [0.1, -5.0, -3.0, 0.2, 0.05], [-1.0, -2.0, -3.0]],
)
def test_all_directions(eigenvalues):
    """Also where another eigenvalue is larger in size, or all are negative."""
    loss, point = quadratic(eigenvalues)
    for iterations in (len(eigenvalues), 30):
        assert abs(find(loss, point, iterations) - max(eigenvalues)) < 1e-9


def test_few_iterations_suffice():
    eigenvalues = np.concatenate([[9.0], RANDOM.uniform(-1, 1, 199)])
    loss, point = quadratic(eigenvalues)
    found = [find(loss, point, i) for i in (1, 4, 12)]
    assert found[0] < found[1] < found[2] + 1e-9
    assert abs(found[2] - 9) < 1e-6


def test_repeated_eigenvalues():
    """The subspace ends early, and what follows does not count."""
    for value in (2.0, -2.0):
        loss, point = quadratic([value] * 6)
        assert abs(find(loss, point, 6) - value) < 1e-9


def test_at_a_point():
    """Of a function whose Hessian changes: exp has curvature exp(x)."""
    point = {"x": jnp.array([0.3, 1.7, -2.0])}
    found = find(lambda p: jnp.exp(p["x"]).sum(), point, 3)
    assert abs(found - np.exp(1.7)) < 1e-9


def test_bad_iterations():
    with pytest.raises(UserError, match="iterations: 0"):
        dominant_eigenvalue(jnp.sum, jnp.ones(3), KEY, iterations=0)


# --- early stopping -----------------------------------------------------------------


def reference(values, every, window, back, factor, start):
    """The published rule, on a list that grows: (epoch after, epoch of the result)."""
    averages, centres = [], []
    for number in range(1, len(values) + 1):
        seen = values[:number]
        if len(seen) < window:
            continue
        averages.append(np.mean(seen[-window:]))
        centres.append(every * number - every * int(np.floor(window / 2)))
        if len(averages) > back and centres[-1] - every * back >= start:
            now, before = averages[-1], averages[-1 - back]
            if before > 0 and now / before > factor:
                return every * number, centres[-1] - every * back
    return None


@pytest.mark.parametrize("seed", range(6))
def test_stopping_rule(seed):
    """On made-up series that grow, fall and waver."""
    random = np.random.default_rng(seed)
    for _ in range(30):
        every, window, back = (int(n) for n in random.integers(1, [4, 7, 6]))
        start, factor = int(random.integers(1, 14)), random.uniform(0.8, 1.6)
        growth = random.uniform(-0.03, 0.12)
        values = np.exp(growth * np.arange(25) + 0.3 * random.normal(size=25)) - 0.2
        config = CurvatureConfig(every, 20, factor, window, back, start)
        stops = (early_stop(config, list(values[:n])) for n in range(1, 26))
        first = next((stop for stop in stops if stop is not None), None)
        found = None if first is None else (first.after, first.epoch)
        assert found == reference(values, every, window, back, factor, start)


def test_published_rule():
    """Five measurements against the five that are four earlier, from epoch 10 on."""
    config = CurvatureConfig(every=2, stop=1.3)
    values = [1.0] * 6 + [2.0] * 5
    assert early_stop(config, values) == (22, 10, pytest.approx(2 / 1.2))
    assert early_stop(config, values[1:]) is None  # the result would be epoch 8
    assert early_stop(CurvatureConfig(every=2), values) is None
    assert early_stop(config, [1.0] * 6 + [1.29] * 5) is None
    assert early_stop(config, [-2.0] * 9 + [5.0] * 5) is None  # no ratio
    for odd in (float("nan"), float("inf")):  # among the last, and the earlier ones
        assert early_stop(config, [*values[:-1], odd]) is None
        assert early_stop(config, [1.0, 1.0, odd, *values[3:]]) is None


@pytest.mark.parametrize(
    ("settings", "epochs", "message"),
    [
        ({"every": -1}, 9, "every: -1; expected"),
        ({"every": 10}, 9, "every: 10 is more than the 9 epochs"),
        ({"every": 1, "iterations": 0}, 9, "iterations: 0; expected"),
        (
            {"iterations": 9},
            9,
            "iterations: has no effect with --c.every 0; expected 20, or",
        ),
        ({"stop": 1.3}, 50, "stop: has no effect with --c.every 0"),
        ({"every": 1, "stop": 0.0}, 50, "stop: 0.0; expected more than 0"),
        ({"every": 1, "stop": float("nan")}, 50, "stop: nan"),
        ({"every": 1, "window": 3}, 50, "window: has no effect with no --c.stop"),
        ({"every": 2, "stop": 1.3}, 21, "stop: has no effect in 21 .* at least 22"),
    ],
)
def test_bad_settings(settings, epochs, message):
    with pytest.raises(UserError, match=f"--c.{message}"):
        CurvatureConfig(**settings).check("--c", epochs)
    CurvatureConfig(every=2, stop=1.3).check("--c", 22)


def test_no_result_of_the_warm_up():
    """Alpha is random until then: of PC-DARTS 0.3, of ASAP while T is not below 1."""
    config = CurvatureConfig(every=1, stop=1.3, start=10)
    assert PcDartsConfig().warmup_epochs(50) == 15
    warm = AsapConfig().warmup_epochs(50)
    assert 1.6 * 0.95 ** (warm - 1) >= 1 > 1.6 * 0.95**warm
    config.check_warmup("--c", 9)
    with pytest.raises(UserError, match=r"--c\.start: 10, .* first 15 .* at least 16"):
        config.check_warmup("--c", 15)
    CurvatureConfig(every=1).check_warmup("--c", 15)  # nothing stops


def test_setup_refuses_it():
    arguments = "smoke --epochs 4 --method pc_darts --method.k 1 --curvature.every 1"
    arguments += " --method.warmup 0.5 --curvature.stop 1.3 --curvature.window 1"
    arguments += " --curvature.back 1 --curvature.start 2"
    with pytest.raises(UserError, match=r"--curvature\.start: 2, but the first 2 "):
        setup(parse_search(arguments.split()).config)
