"""The annotations of shapes are checked while the tests run."""

import jax.numpy as jnp
import jaxtyping
import pytest
import shape_checks
from beartype import beartype

from jdarts.nets.partial import halve
from jdarts.ops.conv import every


def test_a_wrong_shape_is_refused():
    assert halve(jnp.ones((4, 4, 1))).shape == (2, 2, 1)
    with pytest.raises(jaxtyping.TypeCheckError, match="height width channel"):
        halve(jnp.ones((4, 4)))


@pytest.mark.usefixtures("unchecked_shapes")
def test_but_not_where_a_test_wants_none():
    with pytest.raises(Exception) as caught:
        halve(jnp.ones((4, 4)))
    assert not isinstance(caught.value, jaxtyping.TypeCheckError)


def test_only_functions_with_shapes_are_checked():
    """Others are called as they are: `every` says in words what it takes."""
    assert shape_checks.check(every, typechecker=beartype) is every
    assert {"jdarts.ops", "jdarts.nets.cell"} <= set(shape_checks.modules())
