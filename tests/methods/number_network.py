"""A network of one weight that notes what it is given, and two steps of a method on it.

Nothing is compiled.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jdarts import METHODS, Batch, Network, SearchBatches, build_method
from jdarts.spaces import TOY

KEY = jax.random.key(3)
W = 0.75


def network(seen):
    """Of two classes; it notes its batches, keys, rates and mixing weights."""

    def apply(w, model_state, mix, images, train, key=None, drop_rate=None):
        rate = None if drop_rate is None else float(drop_rate)
        data = None
        if key is not None and not isinstance(key, jax.core.Tracer):
            data = tuple(jax.random.key_data(key).tolist())
        seen.append((images, data, rate, mix, train))
        share = 0.02 * sum(m.sum() for m in mix.values()) + mix["normal"][0, 1]
        logits = (w["w"] * share * images.reshape(len(images), -1).mean(1))[:, None]
        return logits * jnp.array([1.0, -1.0]), model_state

    def init(key, images):
        return {"w": jnp.array(W)}, {}

    return Network(init, apply, apply)


def image_batches():
    """Two training batches and one of validation, told apart by their brightness."""
    train = jnp.stack([jnp.full((2, 1, 1, 1), value) for value in (1.0, 2.0)])
    labels = jnp.zeros((2,), jnp.int32)
    valid = Batch(jnp.full((2, 1, 1, 1), 4.0), labels)
    return SearchBatches(Batch(train, jnp.stack([labels, labels])), valid)


def brightness(seen):
    return [float(images.mean()) for images, *_ in seen]


def built(name, **options):
    """(method, its first state, what its network is given)."""
    config = dataclasses.replace(METHODS[name].config(), **options)
    seen = []
    own = network(seen)._replace(partial=METHODS[name].partial(config))
    method = build_method(config, TOY, own, epochs=4, steps_per_epoch=1)
    return method, method.init(KEY, jnp.zeros((2, 1, 1, 1))), seen


def step_of(name, **options):
    """What the method's network was given in each of two steps."""
    method, state, seen = built(name, **options)
    per_step = []
    for _ in range(2):
        seen.clear()
        state, _ = method.step(KEY, state, image_batches())
        per_step.append(list(seen))
    return per_step
