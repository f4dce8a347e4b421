"""Perturbation: keeps what a trained supernet misses most, not what weighs most.

Wang, Cheng, Chen, Tang, Hsieh, 'Rethinking Architecture Selection in Differentiable
NAS' (DARTS-PT), ICLR 2021, section 4 and algorithm 1. What decides, without a network.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jdarts.spaces import CellGenotype, CellSpec, Connection, Genotype, SearchSpace

__all__ = ["Criterion", "Perturbation", "Question"]

Criterion = Literal["accuracy", "loss"]
Mix = dict[str, np.ndarray]


class Question(NamedTuple):
    """What is decided at one time.

    Attributes:
      kind: the cell type.
      part: which op an edge keeps, or which edges a node keeps.
      number: of the edge (row of the mixing weights), or of the intermediate node.
    """

    kind: str
    part: Literal["edge", "node"]
    number: int


class Perturbation:
    """The decisions of one supernet, and the mixing weights that follow from them.

    First each edge, in random order, keeps the op whose removal hurts most; then each
    node, in random order, the ``spec.keep`` edges whose removal hurts most. An edge's
    op that was kept takes the whole weight of the edge (1 under a softmax); an edge
    that was not kept has weight 0. `none` is no candidate, except in a space that keeps
    every edge. Such a space, and nodes that have no edge too many, decide no edges.

    Attributes:
      rounds: questions to be answered together: the supernet is tuned between rounds.
        Cells of one size decide the same edge, or node, in the same round.
      mix: the mixing weights now: cell type to ``[edges, primitives]``.
      decisions: what was decided so far, plain data.
    """

    def __init__(
        self,
        space: SearchSpace,
        mix: Mapping[str, ArrayLike],
        seed: int,
        criterion: Criterion = "accuracy",
        kinds: Collection[str] | None = None,
    ) -> None:
        """Nothing is decided yet.

        Args:
          space: the search space.
          mix: mixing weights at the end of a search.
          seed: the order derives from it.
          criterion: what hurts: a lower accuracy (where equal, a higher loss), or a
            higher loss alone. Ties go to the earlier candidate.
          kinds: the cell types that the supernet has; None: all of the space.
        """
        self._space, self._criterion = space, criterion
        self.mix: Mix = {kind: np.array(mix[kind]) for kind in space.cells}
        self.decisions: list[dict[str, Any]] = []
        self._built = {
            kind: spec
            for kind, spec in space.cells.items()
            if kinds is None or kind in kinds
        }
        built = self._built.items()
        edges = {k: _order(seed, len(spec.edges)) for k, spec in built}
        nodes = {k: _order(seed, spec.nodes) for k, spec in built}
        self.rounds: list[list[Question]] = [
            *_rounds("edge", edges),
            *_rounds(
                "node",
                {
                    kind: [n for n in nodes[kind] if _too_many(spec, n)]
                    for kind, spec in built
                },
            ),
        ]

    def candidates(self, question: Question) -> list[int]:
        """Columns of the mixing weights, or of a node their rows."""
        spec = self._space.cells[question.kind]
        if question.part == "edge":
            return spec.choices(question.number)
        rows = spec.node_slices[question.number]
        return list(range(rows.start, rows.stop))

    def without(self, question: Question) -> list[Mix]:
        """The mixing weights without each candidate; the others stay as they are.

        What an op weighed goes to `none`, where there is one: the channels that partial
        connections pass by the ops have the edge's whole weight, and keep it."""
        spec, found = self._space.cells[question.kind], []
        for candidate in self.candidates(question):
            weights = self.mix[question.kind].copy()
            if question.part == "edge":
                own = weights[question.number]
                weight, own[candidate] = own[candidate], 0
                if "none" in spec.primitives:
                    none = spec.primitives.index("none")
                    own[none] += weight if none != candidate else 0
            else:
                weights[candidate] = 0
            found.append({**self.mix, question.kind: weights})
        return found

    def decide(
        self, question: Question, accuracy: Sequence[float], loss: Sequence[float]
    ) -> dict[str, Any]:
        """Answers a question, and changes the mixing weights.

        Args:
          question: of the rounds, in their order.
          accuracy: of the supernet without each candidate.
          loss: the same for its loss.

        Returns:
          The decision: ``cell``, ``edge`` or ``node``, ``candidates`` (primitives, or
          the sources of edges), ``accuracy`` and ``loss`` without each, and ``kept``,
          what hurts most first.
        """
        spec = self._space.cells[question.kind]
        keys = [-np.asarray(loss)]  # the last key is the first to sort by
        keys += [np.asarray(accuracy)] if self._criterion == "accuracy" else []
        count = 1 if question.part == "edge" else spec.keep or len(keys[0])
        places = np.lexsort(keys)[:count]
        names: list[Any] = [
            spec.primitives[c] if question.part == "edge" else spec.edges[c][0]
            for c in self.candidates(question)
        ]
        decision = {
            "cell": question.kind,
            question.part: question.number,
            "candidates": names,
            "accuracy": [float(x) for x in accuracy],
            "loss": [float(x) for x in loss],
            "kept": [names[place] for place in places],
        }
        self.apply(decision)
        return decision

    def apply(self, decision: dict[str, Any]) -> None:
        """Takes a decision as it was written down."""
        kind = decision["cell"]
        # A copy: on CPU the device's array may be this very memory.
        spec, weights = self._space.cells[kind], self.mix[kind].copy()
        if "edge" in decision:
            edge, column = decision["edge"], spec.primitives.index(decision["kept"][0])
            # The edge's whole weight; where ops do not share one (sigmoids), all of it.
            total = min(1.0, weights[edge].sum())
            weights[edge] = 0
            weights[edge, column] = total
        else:
            rows = spec.node_slices[decision["node"]]
            gone = set(range(rows.stop - rows.start)) - set(decision["kept"])
            weights[[rows.start + source for source in sorted(gone)]] = 0
        self.mix = {**self.mix, kind: weights}
        self.decisions.append(decision)

    def genotype(self) -> Genotype:
        """What was kept; connections of a node by their source.

        Every question has to be answered.
        """
        cells = {k: self._cell(k, spec) for k, spec in self._built.items()}
        return Genotype(space=self._space.name, cells=cells)

    def _cell(self, kind: str, spec: CellSpec) -> CellGenotype:
        own = [d for d in self.decisions if d["cell"] == kind]
        ops = {d["edge"]: d["kept"][0] for d in own if "edge" in d}
        kept = {d["node"]: set(d["kept"]) for d in own if "node" in d}
        nodes = []
        for number, rows in enumerate(spec.node_slices):
            sources = range(rows.stop - rows.start)
            nodes.append(
                tuple(
                    Connection(ops[rows.start + source], source)
                    for source in sources
                    if source in kept.get(number, sources)
                    and ops[rows.start + source] != "none"
                )
            )
        return CellGenotype(tuple(nodes), spec.concat, spec.inputs, spec.merge)


def _too_many(spec: CellSpec, node: int) -> bool:
    """Whether more edges enter a node than it keeps."""
    return spec.keep is not None and spec.inputs + node > spec.keep


def _order(seed: int, count: int) -> list[int]:
    """The same for all cell types of that size."""
    return [int(n) for n in np.random.default_rng(seed).permutation(count)]


def _rounds(
    part: Literal["edge", "node"], orders: dict[str, list[int]]
) -> list[list[Question]]:
    """One question of each cell type in a round, as long as it has any."""
    length = max(map(len, orders.values()))
    return [
        [Question(kind, part, o[i]) for kind, o in orders.items() if i < len(o)]
        for i in range(length)
    ]
