"""Derivatives in all the ways that searches take them, each as one program."""

import jax
import jax.numpy as jnp


def every_way(loss, groups):
    """All derivatives of an op, for which each way may be another kernel.

    Args:
      loss: a number, from several arguments.
      groups: name to the numbers of some arguments, disjoint; together they are all.

    Returns:
      ``(point, tangents) -> {name: derivative}``, to be compiled as a whole.
    """
    everything, groups = _with_all(groups)
    both, gradient = (f(loss, everything) for f in (jax.value_and_grad, jax.grad))

    def along_some(at, along, move):
        """Of the value and of all gradients, along the others not at all."""

        def moving(*moved):
            arguments = list(at)
            for i, value in zip(move, moved, strict=True):
                arguments[i] = value
            return both(*arguments)

        start, tangents = (tuple(a[i] for i in move) for a in (at, along))
        return jax.jvp(moving, start, tangents)[1]

    def of_some(at, along, part):
        """Where the others are not read, they are not computed either."""
        second = jax.jvp(lambda *a: gradient(*a), at, along)[1]
        return tuple(second[i] for i in part)

    def slope(at, along):
        pairs = zip(jax.tree.leaves(gradient(*at)), jax.tree.leaves(along), strict=True)
        return sum(jnp.vdot(g, a) for g, a in pairs)

    def second(at, along):
        return jax.jvp(lambda *a: gradient(*a), at, along)[1]

    def run(at, along):
        found = {
            "reverse over reverse": jax.grad(slope)(at, along),
            "third": jax.jvp(lambda at: second(at, along), (at,), (along,))[1],
            "vmapped": jax.vmap(lambda at: gradient(*at))(_stacked(at, along)),
        }
        for name, some in groups.items():
            found[f"gradient, {name}"] = jax.grad(loss, some)(*at)
            found[f"along {name}"] = along_some(at, along, some)
            found[f"of the gradient, {name}"] = of_some(at, along, some)
        return found

    return run


def each_once(loss, groups, compiled):
    """What `every_way` has to find, from another `loss`, each derivative once.

    Derivatives are linear in their tangents, and second ones symmetric.

    Args:
      loss, groups: as there.
      compiled: what compiles a function; the identity if nothing may.
    """
    everything, ways = _with_all(groups)
    first = compiled(lambda at: jax.value_and_grad(loss, everything)(*at))
    second = compiled(lambda at, along: jax.jvp(first, (at,), (along,))[1])
    third = compiled(
        lambda at, along: jax.jvp(lambda at: second(at, along), (at,), (along,))[1]
    )

    def run(at, along):
        gradient, nothing = first(at)[1], jax.tree.map(jnp.zeros_like, along)
        moved = {
            name: second(
                at, tuple((along if i in some else nothing)[i] for i in everything)
            )
            for name, some in groups.items()
        }
        moved["all"] = jax.tree.map(lambda *parts: sum(parts), *moved.values())
        found = {
            "reverse over reverse": moved["all"][1],
            "third": third(at, along)[1],
            "vmapped": _stacked(gradient, first(along)[1]),
        }
        for name, some in ways.items():
            found[f"gradient, {name}"] = tuple(gradient[i] for i in some)
            found[f"along {name}"] = moved[name]
            found[f"of the gradient, {name}"] = tuple(moved["all"][1][i] for i in some)
        return found

    return run


def _with_all(groups):
    numbers = tuple(sorted(i for some in groups.values() for i in some))
    return numbers, {**groups, "all": numbers}


def _stacked(*trees):
    return jax.tree.map(lambda *a: jnp.stack(a), *trees)
