"""The search steps that the benchmarks build, by name."""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import torch_plan
from harness import TorchCandidate, TorchProcess

import jdarts
from jdarts.errors import unknown_choice
from jdarts.methods.optimizers import (
    WeightOptimizer,
    cosine_by_epoch,
    descend,
    weight_transformation,
)
from jdarts.problem import classification
from jdarts.relaxation import softmax

__all__ = [
    "CLASSES",
    "SIDE",
    "STEPS",
    "Size",
    "StepRow",
    "build",
    "check_step",
    "make_method",
    "make_torch",
    "size_of",
]

SIDE, CLASSES = 32, 10
_STEPS_PER_EPOCH = 100  # for the learning rate's schedule; of no other effect


class Size(NamedTuple):
    """The supernet and its batches."""

    space: jdarts.SearchSpace
    batch: int
    channels: int
    layers: int
    remat: bool = False


class StepRow(NamedTuple):
    """A step.

    Attributes:
      hypergradient: its configuration; None: the weights alone are trained.
      torch: the step of the PyTorch baseline that serves the same purpose.
    """

    hypergradient: dict[str, Any] | None
    torch: str


def _exact(**options: Any) -> StepRow:
    return StepRow({"name": "unrolled", **options}, "finite difference")


STEPS: dict[str, StepRow] = {
    "weights only": StepRow(None, "weights only"),
    "first order": StepRow({"name": "first_order"}, "first order"),
    "exact, K=1, forward": _exact(mode="forward"),
    "exact, K=1, reverse": _exact(mode="reverse"),
    "exact, K=3, forward": _exact(mode="forward", steps=3),
    "exact, K=3, reverse": _exact(mode="reverse", steps=3),
    "finite difference": StepRow({"name": "finite_difference"}, "finite difference"),
}


def check_step(flag: str, name: str) -> None:
    """Raises a UserError unless there is a step of that name."""
    if name not in STEPS:
        raise unknown_choice(flag, name, (f"'{step}'" for step in STEPS))


def size_of(args: argparse.Namespace) -> Size:
    """The size that the parsed arguments give."""
    space, remat = jdarts.get_space(args.space), getattr(args, "remat", False)
    return Size(space, args.batch, args.channels, args.layers, remat)


def make_torch(
    process: TorchProcess,
    step: str,
    size: Size,
    *,
    compiled: bool = False,
    layout: str = "channels_last",
) -> TorchCandidate:
    """The same step of the PyTorch baseline.

    Args:
      process: where it is built.
      step: a row of the baseline's STEPS.
      size: the network's.
      compiled: whether by `torch.compile`.
      layout: of images in memory, "channels_last" or "nchw".
    """
    plan = torch_plan.make_plan(size.space, size.channels, size.layers, CLASSES)
    return process.make(
        "step",
        step=step,
        plan=torch_plan.to_json(plan),
        batch=size.batch,
        compiled=compiled,
        channels_last=layout == "channels_last",
    )


def make_method(name: str, size: Size) -> jdarts.SearchMethod:
    """The search method whose step is the named one."""
    space = size.space
    network = jdarts.supernet(
        space,
        channels=size.channels,
        layers=size.layers,
        classes=CLASSES,
        remat=size.remat,
    )
    options = STEPS[name].hypergradient
    config = jdarts.DartsConfig(
        hypergradient=jdarts.HypergradientConfig(**options or {"name": "first_order"})
    )
    method = jdarts.build_method(
        config, space, network, epochs=1, steps_per_epoch=_STEPS_PER_EPOCH
    )
    return method if options else method._replace(step=_weights_only(network))


def _weights_only(network: jdarts.Network) -> Callable[..., Any]:
    """The weight step of a search method without its architecture step."""
    problem = classification(network, softmax().weights)
    config = WeightOptimizer()
    schedule = cosine_by_epoch(config, 1, _STEPS_PER_EPOCH)
    optimizer = weight_transformation(config, schedule, clip=True)

    def step(
        key: jax.Array, state: jdarts.SearchState, batches: jdarts.SearchBatches
    ) -> tuple[jdarts.SearchState, dict[str, jax.Array]]:
        first = jax.tree.map(lambda x: x[0], batches.train)
        (loss, (model_state, _)), gradient = jax.value_and_grad(
            problem.train_loss, has_aux=True
        )(state.w, state.model_state, state.arch, first)
        w, w_opt = descend(optimizer, gradient, state.w_opt, state.w)
        new = state._replace(
            step=state.step + 1, w=w, model_state=model_state, w_opt=w_opt
        )
        return new, {"train_loss": loss}

    return step


def build(name: str, size: Size, repeat: int = 1) -> tuple[Callable[..., Any], tuple]:
    """A loop of steps to compile, and its arguments.

    Args:
      name: a row of STEPS.
      size: the network's.
      repeat: steps in the loop, on the same batches. A search, too, does many steps in
        one compiled loop.
    """
    method = make_method(name, size)
    images = jax.random.normal(jax.random.key(0), (size.batch, SIDE, SIDE, 3))
    batch = jdarts.Batch(images, jnp.arange(size.batch) % CLASSES)
    train = jax.tree.map(lambda x: jnp.stack([x] * method.train_batches), batch)
    state = method.init(jax.random.key(1), images)

    def run(key: jax.Array, state: Any, batches: jdarts.SearchBatches) -> Any:
        def body(_: jax.Array, state: Any) -> Any:
            return method.step(key, state, batches)[0]

        return jax.lax.fori_loop(0, repeat, body, state)

    return run, (jax.random.key(2), state, jdarts.SearchBatches(train, batch))
