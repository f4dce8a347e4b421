"""bfloat16 computation with float32 state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import shapes

from jdarts import (
    Batch,
    DartsConfig,
    HypergradientConfig,
    SearchBatches,
    build_method,
    get_space,
    jit,
    supernet,
)
from jdarts.hypergradient import HYPERGRADIENTS
from jdarts.ops.norm import BatchNorm, project_plain, standardise_plain
from jdarts.problem import classification
from jdarts.relaxation import softmax
from jdarts.spaces import DARTS_CNN

TOY = get_space("toy")
CLASSES, SIZE, BATCH = 3, 8, 12
UNIT = 2.0**-8  # half the distance of neighbouring bfloat16 numbers, relative
WIDE = {jnp.dtype(jnp.float32)}
# Products and convolutions; the normaliser's statistics are inside of its primitives.
CONVOLUTIONS = ("dense_conv", "depthwise_conv")  # and their gradients
LARGE = {"blend", "blend_inner", "dot_general", "standardise", "project"}


def network(layers=2, space=TOY, dtype=jnp.bfloat16):
    return supernet(space, channels=2, layers=layers, classes=CLASSES, dtype=dtype)


def search(hypergradient, **sizes):
    config = DartsConfig(hypergradient=HypergradientConfig(**hypergradient))
    space = sizes.get("space", TOY)
    return build_method(config, space, network(**sizes), epochs=9, steps_per_epoch=9)


def easy_batch(number):
    """Images whose mean colour is their class."""
    random = np.random.default_rng(number)
    labels = random.integers(CLASSES, size=BATCH)
    images = 0.5 * random.normal(size=(BATCH, SIZE, SIZE, 3))
    images += 2 * np.eye(3)[labels][:, None, None]
    return Batch(jnp.asarray(images, jnp.float32), jnp.asarray(labels, jnp.int32))


def batches(number, train_batches=1):
    train = jax.tree.map(lambda x: jnp.stack([x] * train_batches), easy_batch(number))
    return SearchBatches(train, easy_batch(number + 1))


def equations(jaxpr):
    """Every equation, those of nested programs too."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(value, "jaxpr", value)  # of a closed one
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def start(method):
    images = jnp.zeros((BATCH, SIZE, SIZE, 3))
    return jax.eval_shape(method.init, jax.random.key(0), images)


HYPERGRADIENT_CASES = [
    {"name": name, **({"mode": mode} if mode else {})}
    for name in HYPERGRADIENTS
    for mode in (("forward", "reverse") if name == "unrolled" else (None,))
]


@pytest.mark.parametrize(
    "case", HYPERGRADIENT_CASES, ids=lambda c: "-".join(c.values())
)
def test_every_hypergradient_computes_in_bfloat16(case):
    """State and metrics stay float32; only the head multiplies in float32."""
    method = search(case, layers=1, space=DARTS_CNN)
    state, key = start(method), jax.random.key(0)
    traced = jax.jit(method.step).trace(key, state, batches(0, method.train_batches))
    found, metrics = jax.tree.map(lambda x: x, traced.out_info)
    assert shapes(found) == shapes(state)
    assert {x.dtype for x in jax.tree.leaves(metrics)} == WIDE
    narrow = 0
    for equation in equations(traced.jaxpr.jaxpr):
        name = equation.primitive.name
        if name not in LARGE and not name.startswith(CONVOLUTIONS):
            continue
        values = [v.aval for v in (*equation.invars, *equation.outvars)]
        if name.startswith("blend"):
            assert {v.dtype for v in values} == {jnp.dtype(jnp.bfloat16)}, equation
        if {v.dtype for v in values} == WIDE:  # the head, known by the classes
            assert name == "dot_general", equation
            assert any(CLASSES in v.shape for v in values), equation
        else:  # statistics are matrices
            assert all(v.ndim < 3 for v in values if v.dtype in WIDE), equation
            narrow += 1
    assert narrow > 100


def test_lowered_convolutions():
    """XLA gets no float32 convolution, for any platform."""
    method = search({"name": "first_order"})
    traced = jax.jit(method.step).trace(jax.random.key(0), start(method), batches(0))
    for platform in ("cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        lines = [x for x in text.splitlines() if "stablehlo.convolution" in x]
        assert len(lines) > 10
        assert all("f32" not in x for x in lines)


def test_search_goes_down():
    method = search({"name": "first_order"})
    step, key = jit(method.step), jax.random.key(0)
    state = method.init(key, easy_batch(0).images)
    expected, losses = shapes(state), []
    for number in range(30):
        state, metrics = step(key, state, batches(number))
        losses.append(metrics)
    assert shapes(state) == expected
    for name in ("train_loss", "valid_loss"):
        values = [float(m[name]) for m in losses]
        assert np.isfinite(values).all()
        assert np.mean(values[-5:]) < 0.8 * np.mean(values[:5]), name
    alpha = state.arch.alpha["normal"]  # moves by steps far below bfloat16's spacing
    assert len(np.unique(np.asarray(alpha, np.float32))) == alpha.size


def test_gradients_are_close_to_float32():
    """One cell, each of its roundings at most 2^-8, one after the other.

    On the longest way 21 forward and as many backward: image, stem and its normaliser
    (3), an input's product and normaliser (2), then two edges, each of two stages of
    convolution, product and normaliser, weighted and added (8). The weights' gradient
    comes within half of that, the architecture's, a mean over images, far within.
    """
    relaxation, batch = softmax(0.5), easy_batch(0)
    arch = relaxation.init(jax.random.key(1), TOY)
    w, _ = network(1).init(jax.random.key(0), batch.images)

    def gradient(dtype):
        loss = classification(network(1, dtype=dtype), relaxation.weights).loss
        return jit(jax.grad(loss, argnums=(0, 1)))(w, arch, batch)

    found, expected = gradient(jnp.bfloat16), gradient(None)
    assert shapes(found) == shapes(expected)
    for a, b, roundings in zip(found, expected, (25, 5), strict=True):
        a, b = (
            jnp.concatenate([x.ravel() for x in jax.tree.leaves(t)]) for t in (a, b)
        )
        error = jnp.linalg.norm(a - b) / jnp.linalg.norm(b)
        assert UNIT / 2 < error < roundings * UNIT


def test_statistics_are_sums_in_float32():
    """Ones and a little: in bfloat16 their sum would stop growing at 256."""
    x = (1 + jnp.arange(4096.0).reshape(1, 4, 32, 32, 1) / 2**15).astype(jnp.bfloat16)
    exact = np.asarray(x, np.float64)
    axes = (1, 2, 3)
    for function in (standardise_plain, BatchNorm().apply):
        if function is standardise_plain:
            n, _, mean, var = function(x)
            np.testing.assert_allclose(mean, exact.mean(axes), rtol=1e-6)
            np.testing.assert_allclose(var, exact.var(axes), rtol=1e-4)
        else:
            n = function({}, x, train=True)
        assert n.dtype == jnp.bfloat16
        expected = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
        np.testing.assert_allclose(np.asarray(n, np.float64), expected, atol=3 * UNIT)
    t, r = jnp.ones_like(x), jnp.ones((1, 1))
    assert jnp.abs(project_plain(t, jnp.zeros_like(x), r)[0]).max() == 0
