"""What a search method is, and the alternating step that bilevel methods share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jdarts import tree
from jdarts.hypergradient import Hypergradient
from jdarts.lazy import LazyModule
from jdarts.methods.optimizers import descend, start_descent
from jdarts.ops.pack import pack
from jdarts.problem import BilevelProblem
from jdarts.relaxation import Relaxation
from jdarts.spaces import Genotype, SearchSpace
from jdarts.types import Arch, Metrics, Now, PyTree

if TYPE_CHECKING:
    import optax
else:
    optax = LazyModule("optax")

__all__ = [
    "SearchBatches",
    "SearchMethod",
    "SearchState",
    "Training",
    "alternating_step",
    "evaluation",
    "init_state",
    "weight_step",
]


class SearchState(NamedTuple):
    """What the next step needs, and nothing else.

    Attributes:
      step: number of steps done, int32.
      w: the weights.
      model_state: the running statistics, and what texts hand on to the next segment.
      arch: the architecture parameters.
      w_opt: the weight optimiser's state, of the packed weights.
      arch_opt: the architecture optimiser's states: alpha's and beta's.
    """

    step: jax.Array
    w: PyTree
    model_state: PyTree
    arch: Arch
    w_opt: PyTree
    arch_opt: tuple[PyTree, ...]


class SearchBatches(NamedTuple):
    """What one step reads.

    Attributes:
      train: training batches on a leading axis: the first is the weight step's, and
        virtual step k reads number k. In a search that is the batch of the k-th weight
        step from here (after the epoch's last one its first ones again).
      valid: one validation batch.
    """

    train: PyTree
    valid: PyTree


class SearchMethod(NamedTuple):
    """A search method as three functions.

    Attributes:
      init: ``init(key, example) -> SearchState``; only the shape and dtype of `example`
        matter: images, or a segment of text.
      step: ``step(key, state, batches) -> (state, metrics)``, to be compiled with
        `jdarts.jit`. The key is the run's: what is random in a step derives from it and
        from ``state.step``. Metrics are scalars: `train_loss` and `train_accuracy`
        before the weight step, `valid_loss` where the architecture's gradient was
        taken and with all that is added to it (penalties, the network's price; 0 in the
        first `unjudged_steps`), `gradient_norm` before clipping, `arch_gradient_norm`,
        `lr`.
      weights: ``weights(arch) -> mix``, the mixing weights that the networks gets.
      evaluate: ``evaluate(state, batch, mask)``: what the problem's `evaluate` gives of
        the supernet.
      discretize: ``discretize(arch) -> Genotype``.
      train_batches: number of training batches that a step reads.
      unjudged_steps: so many steps, at the start, read no validation batch.
      mean_loss: ``mean_loss(state, alpha, batch)``: the validation loss, without
        penalties, of another alpha where each mixing weight is the mean of its draws:
        whose curvature in alpha can be measured. None where alpha follows no gradient.
    """

    init: Callable[[jax.Array, Any], SearchState]
    step: Callable[[jax.Array, SearchState, SearchBatches], tuple[SearchState, Metrics]]
    weights: Callable[[Arch], dict[str, jax.Array]]
    evaluate: Callable[..., Any]
    discretize: Callable[[Arch], Genotype]
    train_batches: int
    unjudged_steps: int = 0
    mean_loss: Callable[..., jax.Array] | None = None


class Training(NamedTuple):
    """The optimisers of a search.

    Attributes:
      weights: of the real weight step.
      virtual: of the virtual weight steps; its state has the form of `weights`'.
      arch: of alpha and beta, each with its own state.
      schedule: step to the weights' learning rate, for the record.
    """

    weights: "optax.GradientTransformation"
    virtual: "optax.GradientTransformation"
    arch: "optax.GradientTransformation"
    schedule: "optax.Schedule"


def init_state(
    problem: BilevelProblem,
    relaxation: Relaxation,
    training: Training,
    space: SearchSpace,
) -> Callable[[jax.Array, Any], SearchState]:
    """The `init` of a method made of these parts."""

    def init(key: jax.Array, example: Any) -> SearchState:
        w_key, arch_key = jax.random.split(key)
        w, model_state = problem.init(w_key, example)
        arch = relaxation.init(arch_key, space)
        return SearchState(
            step=jnp.zeros((), jnp.int32),
            w=w,
            model_state=model_state,
            arch=arch,
            w_opt=start_descent(training.weights, w),
            arch_opt=(training.arch.init(arch.alpha), training.arch.init(arch.beta)),
        )

    return init


def evaluation(problem: BilevelProblem) -> Callable[..., Any]:
    """The `evaluate` of a method: the supernet at the state's architecture."""

    def evaluate(state: SearchState, batch: PyTree, mask: jax.Array) -> Any:
        return problem.evaluate(state.w, state.model_state, state.arch, batch, mask)

    return evaluate


def weight_step(
    problem: BilevelProblem,
    training: Training,
    state: SearchState,
    arch: Arch,
    batches: SearchBatches,
    now: Now,
) -> tuple[SearchState, dict[str, Any]]:
    """One step of the weights.

    Args:
      problem: holds the training loss.
      training: the optimisers.
      state: before the step.
      arch: the architecture that the gradient is taken at.
      batches: of the step.
      now: the step, for what is random in it.

    Returns:
      The state after the step, the architecture as it was, and the step's metrics.
    """
    first = jax.tree.map(lambda x: x[0], batches.train)
    (loss, (model_state, accuracy)), gradient = jax.value_and_grad(
        problem.train_loss, has_aux=True
    )(state.w, state.model_state, arch, first, now)
    w, w_opt = descend(training.weights, gradient, state.w_opt, state.w)
    info = {
        "train_loss": loss,
        "train_accuracy": accuracy,
        "gradient_norm": tree.norm(pack(gradient)),
        "lr": training.schedule(state.step),
    }
    state = state._replace(
        step=state.step + 1, w=w, model_state=model_state, w_opt=w_opt
    )
    return state, info


def alternating_step(
    problem: BilevelProblem,
    relaxation: Relaxation,
    hypergradient: Hypergradient,
    training: Training,
    *,
    simultaneous: bool = False,
    warmup_steps: int = 0,
    penalty: Callable[[Arch], jax.Array] | None = None,
    settle: Callable[[Arch, Arch, jax.Array], Arch] | None = None,
) -> Callable[[jax.Array, SearchState, SearchBatches], tuple[SearchState, Metrics]]:
    """First the architecture, then the weights at the new architecture.

    Liu et al., 'DARTS', ICLR 2019, algorithm 1.

    Args:
      problem: the two losses.
      relaxation: projects the architecture after its step.
      hypergradient: of the validation loss.
      training: the optimisers.
      simultaneous: take the weights' gradient at the old architecture instead. It is
        then that of the first virtual step, and XLA shares their forward pass.
      warmup_steps: so many steps, at the start, leave the architecture as it is, and
        compute nothing of a validation batch.
      penalty: a function of the architecture that the validation loss gets added.
      settle: ``settle(before, after, steps) -> arch``: what becomes of the
        architecture at the end of a step, after so many steps; by default `after`.
    """

    def virtual_step(w: PyTree, opt: PyTree, gradient: PyTree) -> tuple[PyTree, PyTree]:
        return descend(training.virtual, gradient, opt, w)

    def valid_loss(
        w: PyTree, arch: Arch, batch: PyTree, now: Now
    ) -> tuple[jax.Array, PyTree]:
        loss, carried = problem.valid_loss(w, arch, batch, now)
        return loss if penalty is None else loss + penalty(arch), carried

    def arch_step(
        state: SearchState, batches: SearchBatches, now: Now
    ) -> tuple[SearchState, Arch, dict[str, Any]]:
        held = state.arch.held  # a constant, and not always of numbers

        def inner_loss(w: PyTree, learnt: Arch, batch: PyTree) -> jax.Array:
            # One draw for all passes of the step.
            return problem.loss(w, learnt._replace(held=held), batch, now)

        def outer_loss(w: PyTree, learnt: Arch, batch: PyTree) -> Any:
            return valid_loss(w, learnt._replace(held=held), batch, now)

        learnt = state.arch.learnt
        (loss, carried), gradient = hypergradient(
            inner_loss,
            outer_loss,
            virtual_step,
            state.w,
            state.w_opt,
            learnt,
            batches.train,
            batches.valid,
            has_aux=True,
        )
        stepped = [
            training.arch.update(g, opt, part)
            for g, opt, part in zip(
                gradient[:2], state.arch_opt, learnt[:2], strict=True
            )
        ]
        updates, opt = zip(*stepped, strict=True)
        arch: Any = optax.apply_updates(learnt, Arch(*updates))
        arch = relaxation.project(arch._replace(held=held))
        info = {"valid_loss": loss, "arch_gradient_norm": tree.norm(gradient)}
        model_state = problem.keep(state.model_state, carried)
        return state._replace(model_state=model_state, arch_opt=opt), arch, info

    def no_arch_step(
        state: SearchState, batches: SearchBatches, now: Now
    ) -> tuple[SearchState, Arch, dict[str, Any]]:
        none = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype),
            jax.eval_shape(arch_step, state, batches, now)[2],
        )
        return state, state.arch, none

    def step(
        key: jax.Array, state: SearchState, batches: SearchBatches
    ) -> tuple[SearchState, Metrics]:
        arch_key, w_key = jax.random.split(jax.random.fold_in(key, state.step))
        now = Now(arch_key, state.step)
        batches = SearchBatches(*problem.prepare(state, *batches, now))
        if warmup_steps:
            state, arch, info = lax.cond(
                state.step < warmup_steps, no_arch_step, arch_step, state, batches, now
            )
        else:
            state, arch, info = arch_step(state, batches, now)
        # Where both updates are of one gradient, of one draw as well.
        now = now if simultaneous else Now(w_key, state.step)
        before, at = state.arch, state.arch if simultaneous else arch
        state, w_info = weight_step(problem, training, state, at, batches, now)
        arch = settle(before, arch, state.step) if settle else arch
        return state._replace(arch=arch), info | w_info

    return step
