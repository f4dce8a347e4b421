"""SGAS: one edge after the other is decided for good."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jdarts.errors import UserError
from jdarts.hypergradient import HypergradientConfig
from jdarts.methods.base import SearchMethod
from jdarts.methods.bilevel import BilevelConfig, build_bilevel
from jdarts.methods.optimizers import check_init_scale, check_value
from jdarts.problem import Networks
from jdarts.relaxation import Held, Prune, pruned_softmax
from jdarts.spaces import CellSpec, SearchSpace
from jdarts.types import Arch

__all__ = [
    "SgasConfig",
    "build",
    "choice",
    "decide_edge",
    "decision_epochs",
    "decisions",
    "scores",
]

_HISTORY = 4  # epochs that criterion 2 compares with, as in the authors' code


@dataclasses.dataclass(frozen=True)
class SgasConfig(BilevelConfig):
    """Li et al., 'SGAS', CVPR 2020; defaults as in the authors' code for CIFAR-10."""

    hypergradient: HypergradientConfig = HypergradientConfig("first_order")
    """How the architecture's gradient is taken."""
    criterion: int = 1
    """Which edge is decided next. 1: the most important and most certain one; 2: that
    times the stability of its ops over the last epochs."""
    history: int | None = None
    """criterion 2: number of earlier epochs that it compares with, >= 1 (default 4)."""
    decide_from: float = 0.2
    """Share of the epochs before the first decision, in (0, 1]; more than warmup."""
    decide_every: float = 0.1
    """Share of the epochs from one decision to the next, > 0; the last one has to fall
    inside the search."""
    init_scale: float = 1e-3
    """Standard deviation of alpha at the start, >= 0."""


def decision_epochs(config: SgasConfig, space: SearchSpace, epochs: int) -> list[int]:
    """The epochs at whose end an edge of every cell type is decided, from 1.

    As many as the nodes have inputs in a genotype; in a short search several can fall
    on one epoch.

    Args:
      config: the settings.
      space: the search space.
      epochs: length of the search.

    Raises:
      UserError: for a setting out of range.
    """
    first, every = config.decide_from, config.decide_every
    count = max(
        sum(min(spec.keep or n, n) for n in spec.intermediate)
        for spec in space.cells.values()
    )
    valid = config.warmup < first <= 1
    check_value("--method.decide-from", first, valid, "more than warmup, at most 1")
    most = (1 - first) / max(count - 1, 1)
    valid = 0 < every <= most + 1e-9  # 0.2 + 8 * 0.1 is a little more than 1
    expected = f"more than 0, at most {most:.4g} for {count} decisions"
    check_value("--method.decide-every", every, valid, expected)
    return [max(1, round((first + n * every) * epochs)) for n in range(count)]


def build(
    config: SgasConfig,
    space: SearchSpace,
    network: Networks,
    *,
    epochs: int,
    steps_per_epoch: int,
) -> SearchMethod:
    """SGAS on a supernet; arguments and errors as of `jdarts.methods.darts.build`.

    A decided edge has its strongest op, without `none`, with weight 1; the other edges
    of a node that has its inputs are cut. The alphas of both stay as they are. All
    steps are of one program, so that decided edges cost what they did; the authors'
    code leaves out the other ops, and enlarges the batch.
    """
    check_init_scale(config.init_scale)
    check_value(
        "--method.criterion", config.criterion, config.criterion in (1, 2), "1 or 2"
    )
    if config.history is not None:
        if config.criterion != 2:
            raise UserError(
                "--method.history: has no effect with --method.criterion "
                f"{config.criterion}; expected --method.criterion 2"
            )
        check_value("--method.history", config.history, config.history >= 1, ">= 1")
    due = decision_epochs(config, space, epochs)
    memory = {}
    if config.criterion == 2:
        length = config.history or _HISTORY
        memory = {
            kind: jnp.zeros((length, len(spec.edges), len(spec.op_columns)))
            for kind, spec in space.cells.items()
        }
    return build_bilevel(
        config,
        space,
        network,
        pruned_softmax(config.init_scale, memory=memory),
        prune=decisions(space, due),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    )


def decisions(space: SearchSpace, due: list[int]) -> Prune:
    """After an epoch: the decisions that are due, one edge of each cell type each."""

    def prune(arch: Arch, epoch: jax.Array) -> Held:
        held: Held = arch.held
        count, kept, memory = jnp.sum(jnp.array(due) == epoch), {}, {}
        for kind, spec in space.cells.items():
            alpha, past = arch.alpha[kind], held.memory.get(kind)
            score = scores(spec, alpha, past, epoch - 1)
            kept[kind] = lax.fori_loop(
                0,
                count,
                lambda _, kept, spec=spec, alpha=alpha, score=score: decide_edge(
                    spec, alpha, kept, score
                ),
                held.kept[kind],
            )
            if past is not None:
                now = choice(spec, alpha)[None]
                memory[kind] = jnp.concatenate([now, past[:-1]])
        return held._replace(kept=kept, memory=memory)

    return prune


def choice(
    spec: CellSpec, alpha: Float[Array, "edge primitive"]
) -> Float[Array, "edge op"]:
    """The distribution of an edge's ops, given that it is not `none` (equation 4)."""
    return jax.nn.softmax(alpha[:, jnp.array(spec.op_columns)], axis=1)


def scores(
    spec: CellSpec,
    alpha: Float[Array, "edge primitive"],
    past: Float[Array, "epoch edge op"] | None,
    epochs: int | jax.Array,
) -> Float[Array, " edge"]:
    """How much each edge asks to be decided, in [0, 1].

    With p an edge's softmax and q its `choice`, over all edges of the cell,

        norm(1 - p_none) * norm(1 - H(q) / log ops)            (criterion 1),

    and times ``norm(mean over past epochs of sum_o min(q, q'))`` (criterion 2);
    Li et al., 'SGAS', CVPR 2020, section 3.2; ``norm`` maps the least and the largest
    value to 0 and 1. Where all are equal, as importances are without `none`, it leaves
    them out (1; in the authors' code 0, so that no edge differs from another).

    Args:
      spec: the cell type.
      alpha: its logits.
      past: choices after earlier epochs, the newest first; None: criterion 1.
      epochs: number of these epochs; more than `past` has room for count as that many.
    """
    q = choice(spec, alpha)
    entropy = jax.scipy.special.entr(q).sum(1) / math.log(max(q.shape[1], 2))
    score = _norm(1 - entropy)
    if "none" in spec.primitives:
        none = jax.nn.softmax(alpha, axis=1)[:, spec.primitives.index("none")]
        score *= _norm(1 - none)
    if past is not None:
        filled = jnp.clip(epochs, 1, past.shape[0])
        score *= _norm(jnp.minimum(q, past).sum((0, 2)) / filled)
    return score


def decide_edge(
    spec: CellSpec,
    alpha: Float[Array, "edge primitive"],
    kept: Bool[Array, "edge primitive"],
    score: Float[Array, " edge"],
) -> Bool[Array, "edge primitive"]:
    """Decides the undecided edge of the highest score; ties go to the earlier edge.

    Nothing happens where there is none left.

    Args:
      spec: the cell type.
      alpha: its logits.
      kept: what each edge keeps: all, one primitive, or none at all.
      score: of each edge.
    """
    ops = jnp.array(spec.op_columns)
    best = ops[choice(spec, alpha).argmax(1)]
    undecided = kept.all(1)
    edge = jnp.where(undecided, score, -jnp.inf).argmax()
    now = undecided & (jnp.arange(len(score)) == edge)
    one_op = jnp.arange(kept.shape[1]) == best[:, None]
    kept = jnp.where(now[:, None], one_op, kept)
    left = []
    for rows in spec.node_slices:
        node = kept[rows]
        inputs = (node.sum(1) == 1).sum()
        full = inputs >= (spec.keep or len(node))
        left.append(node & ~(full & node.all(1))[:, None])
    return jnp.concatenate(left)


def _norm(values: Float[Array, " edge"]) -> Float[Array, " edge"]:
    span = values.max() - values.min()
    return jnp.where(span > 0, (values - values.min()) / jnp.maximum(span, 1e-30), 1.0)
