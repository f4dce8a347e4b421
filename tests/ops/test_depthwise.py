"""Depthwise convolution against XLA's grouped convolution, in float64."""

import itertools

import jax
import jax.numpy as jnp
import pytest
from helpers import (
    assert_close,
    feature_groups,
    lowered,
    random_like,
    switch_off_kernels,
)
from jax import lax

from jdarts import jit
from jdarts.ops.depthwise import depthwise_conv
from jdarts.ops.fence import fence

# kernel, stride, dilation, sources, edges
CASES = [
    (kernel, stride, dilation, 1, 2)
    for kernel, stride, dilation in itertools.product((3, 5, 7), (1, 2), (1, 2))
] + [(3, 1, 1, 3, 3), (3, 2, 1, 2, 6), (5, 2, 2, 2, 4), (3, 1, 1, 1, 1)]
BATCH, HEIGHT, WIDTH, CHANNELS = 2, 6, 7, 3


def oracle(x, w, stride, dilation):
    """Edge by edge, by XLA's own grouped convolution."""
    per_source, padding = len(w) // len(x), dilation * (w.shape[1] // 2)
    return jnp.stack(
        [
            lax.conv_general_dilated(
                x[edge // per_source],
                w[edge][:, :, None],
                (stride, stride),
                ((padding, padding),) * 2,
                rhs_dilation=(dilation, dilation),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=x.shape[-1],
            )
            for edge in range(len(w))
        ]
    )


def arguments(kernel, sources, edges, seed=0):
    x = jnp.zeros((sources, BATCH, HEIGHT, WIDTH, CHANNELS))
    w = jnp.zeros((edges, kernel, kernel, CHANNELS))
    return random_like(jax.random.key(seed), (x, w))


EXPECTED = {}  # case to what `first_and_second` finds of the oracle


def first_and_second(f, arguments, tangents, cotangent):
    """Value, gradients, jvp, and second derivatives in one mode."""

    def gradient(*arguments):
        return jax.vjp(f, *arguments)[1](cotangent)

    value, along = jax.jvp(f, arguments, tangents)
    start, second = jax.jvp(gradient, arguments, tangents)
    return {
        "value": value,
        "jvp": along,
        "gradient": start,
        "forward over reverse": second,
    }


def derivatives(f, arguments, tangents, cotangent):
    """The same, second derivatives in the other mode, and third ones."""

    def gradient(*arguments):
        return jax.vjp(f, *arguments)[1](cotangent)

    def slope(*arguments):
        return sum(
            jnp.vdot(a, b) for a, b in zip(gradient(*arguments), tangents, strict=True)
        )

    return {
        **first_and_second(f, arguments, tangents, cotangent),
        "reverse over reverse": jax.grad(slope, argnums=(0, 1))(*arguments),
        "third order": jax.jvp(jax.grad(slope, argnums=(0, 1)), arguments, tangents)[1],
    }


@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: "k{}s{}d{} {} sources {} edges".format(*c)
)
def test_all_derivatives(case, kernels, x64):
    kernel, stride, dilation, sources, edges = case
    point = arguments(kernel, sources, edges)
    tangents = arguments(kernel, sources, edges, seed=1)
    ours = lambda x, w: depthwise_conv(x, w, stride=stride, dilation=dilation)  # noqa: E731
    theirs = lambda x, w: oracle(x, w, stride, dilation)  # noqa: E731
    shape = jax.eval_shape(theirs, *point)
    cotangent = random_like(jax.random.key(2), shape)
    found = jit(derivatives, static_argnums=0)(ours, point, tangents, cotangent)
    if case not in EXPECTED:  # by the other lowering
        EXPECTED[case] = jit(first_and_second, static_argnums=0)(
            theirs, point, tangents, cotangent
        )
    expected = dict(EXPECTED[case])
    expected["reverse over reverse"] = expected["forward over reverse"]  # symmetric
    # The convolution is bilinear: its third derivatives along one direction are 0.
    assert all(jnp.abs(leaf).max() < 1e-9 for leaf in found.pop("third order"))
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 2)])
def test_vmap(axes, kernels, x64):
    x, w = arguments(3, 2, 4)
    many = [
        a if d is None else jnp.stack([a, 2 * a, a - 1], axis=d)
        for a, d in zip((x, w), axes, strict=True)
    ]

    def pull(f):
        """The function and both gradients."""
        return lambda x, w: (
            f(x, w),
            jax.grad(lambda *a: (f(*a) ** 2).sum(), (0, 1))(x, w),
        )

    ours = pull(lambda x, w: depthwise_conv(x, w, stride=2))
    theirs = pull(lambda x, w: oracle(x, w, 2, 1))
    found, expected = (jit(jax.vmap(f, axes))(*many) for f in (ours, theirs))
    assert_close(found, expected, 1e-12)


def test_eager_is_compiled(x64):
    x, w = arguments(3, 1, 2)
    assert_close(depthwise_conv(x, w), oracle(x, w, 1, 1), 1e-13)


@pytest.mark.usefixtures("unchecked_shapes")
def test_mismatched_shapes():
    x, w = arguments(3, 2, 4)
    with pytest.raises(TypeError, match="depthwise_conv"):
        depthwise_conv(x, w[:3])
    with pytest.raises(TypeError, match="depthwise_conv"):
        depthwise_conv(x[..., :2], w)


def loss(x, w):
    return (depthwise_conv(x, w) ** 2).sum()


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("derivative", [loss, jax.grad(loss), jax.grad(loss, 1)])
def test_lowering(platform, derivative, kernels):
    """Grouped convolution on accelerators; on CPU our kernels or shifted products."""
    sources, edges = 2, 4
    text = lowered(platform, derivative, *arguments(3, sources, edges))
    groups = feature_groups(text)
    assert ("@jdarts_" in text) == (platform == "cpu" and kernels == "compiled")
    if platform == "cpu":
        assert "stablehlo.convolution" not in text and not groups
    else:
        assert "stablehlo.convolution" in text
        assert sources * CHANNELS in groups


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_fences_are_for_cpu_only(platform, monkeypatch):
    text = lowered(platform, jax.grad(lambda x: jnp.sin(fence(x)).sum()), jnp.ones(3))
    assert ("optimization_barrier" in text) == (platform == "cpu")
    switch_off_kernels(monkeypatch)
    text = lowered(platform, loss, *arguments(3, 1, 2))
    assert ("optimization_barrier" in text) == (platform == "cpu")
    jax.clear_caches()


def test_fence_is_the_identity(x64):
    x, t = random_like(jax.random.key(0), (jnp.zeros((2, 3)), jnp.zeros((2, 3))))
    found = jax.jvp(jax.vmap(fence), (x,), (t,))
    assert_close(found, (x, t), 0.0)
    assert_close(jax.vjp(fence, x)[1](t), (t,), 0.0)


def test_bfloat16_has_no_compiled_kernel(x64):
    """Other dtypes take the plain lowering, and keep their dtype."""
    x, w = (a.astype(jnp.bfloat16) for a in arguments(3, 1, 2))
    y = depthwise_conv(x, w)
    assert y.dtype == jnp.bfloat16
    assert_close(y, oracle(x, w, 1, 1), 0.05)
