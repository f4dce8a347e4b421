"""Decisions by perturbation, against a score with a known answer and by brute force."""

import itertools

import numpy as np
import pytest

from jdarts import SearchSpace, get_space
from jdarts.perturbation import Perturbation, Question
from jdarts.spaces import CellSpec

CELL = CellSpec(primitives=("none", "a", "b", "c"), nodes=3)  # 2 + 3 + 4 edges
SPACE = SearchSpace("small", {"normal": CELL, "reduce": CELL})


def even_mix(space=SPACE):
    return {
        kind: np.full((len(spec.edges), len(spec.primitives)), 0.25)
        for kind, spec in space.cells.items()
    }


def answer_all(found, score):
    """Answers every question by `score`, of mixing weights."""
    for questions in found.rounds:
        for question in questions:
            values = [score(mix) for mix in found.without(question)]
            found.decide(question, values, [-v for v in values])


def carried(rng):
    """A score that is a sum over ops: what each one carries, and the score."""
    worth = {kind: rng.uniform(1, 2, (9, 4)) for kind in SPACE.cells}
    return worth, lambda mix: sum((worth[k] * mix[k]).sum() for k in worth)


def test_the_op_that_carries_the_signal_is_kept_whatever_its_weight():
    mix = even_mix()
    mix["normal"][4] = [0.1, 0.05, 0.25, 0.6]  # the largest weight does not decide
    found, worth = Perturbation(SPACE, mix, 0), np.array([0, 1.0, 0, 0])
    question = Question("normal", "edge", 4)
    values = [worth @ m["normal"][4] for m in found.without(question)]
    assert values == [0, 0.05, 0.05]
    for before, after in zip([mix] * 3, found.without(question), strict=True):
        # No other op makes up for it: `none` gets its weight, and channels that are
        # passed by the ops keep theirs.
        changed = before["normal"][:, 1:] != after["normal"][:, 1:]
        assert changed.sum() == 1 and not after["normal"][:, 1:][changed].any()
        np.testing.assert_allclose(after["normal"].sum(1), before["normal"].sum(1))
        np.testing.assert_array_equal(before["reduce"], after["reduce"])
    decision = found.decide(question, values, [0, 0, 0])
    assert decision["kept"] == ["a"] and decision["candidates"] == ["a", "b", "c"]
    np.testing.assert_allclose(found.mix["normal"][4], [0, 1, 0, 0])  # the whole weight
    np.testing.assert_array_equal(found.mix["normal"][:4], mix["normal"][:4])


def test_candidates_are_what_an_edge_has():
    space = get_space("s1")
    mix = {kind: np.array(s.offered) / 2.0 for kind, s in space.cells.items()}
    found = Perturbation(space, mix, 0)
    spec = space.cells["normal"]
    for edge, own in enumerate(spec.edge_primitives):
        columns = found.candidates(Question("normal", "edge", edge))
        assert [spec.primitives[c] for c in columns] == list(own)


def test_all_decisions_against_brute_force():
    worth, score = carried(np.random.default_rng(1))
    found = Perturbation(SPACE, even_mix(), seed=3)
    answer_all(found, score)
    genotype = found.genotype()
    for kind, cell in genotype.cells.items():
        best = worth[kind][:, 1:].max(axis=1)  # of each edge, `none` apart
        ops = worth[kind][:, 1:].argmax(axis=1) + 1
        for rows, node in zip(CELL.node_slices, cell.nodes, strict=True):
            pairs = itertools.combinations(range(rows.stop - rows.start), 2)
            kept = max(pairs, key=lambda pair: best[rows][list(pair)].sum())
            names = [CELL.primitives[ops[rows.start + source]] for source in kept]
            assert node == tuple(zip(names, kept, strict=True))
    # what is left of the supernet is the genotype: two edges a node, one op each
    assert all((mix > 0).sum() == 6 for mix in found.mix.values())


def test_rounds():
    found = Perturbation(SPACE, even_mix(), seed=3)
    assert len(found.rounds) == 9 + 2  # node 0 has no edge too many
    for questions in found.rounds:  # both cells decide the same one
        first, second = questions
        assert first[1:] == second[1:] and (first.kind, second.kind) == tuple(
            SPACE.cells
        )
    edges = [q.number for q, _ in found.rounds[:9]]
    assert sorted(edges) == list(range(9)) and edges != sorted(edges)
    assert sorted(q.number for q, _ in found.rounds[9:]) == [1, 2]
    assert Perturbation(SPACE, even_mix(), seed=3).rounds == found.rounds
    assert Perturbation(SPACE, even_mix(), seed=4).rounds != found.rounds


@pytest.mark.parametrize(
    "criterion, accuracy, loss, kept",
    [
        ("accuracy", [0.5, 0.4, 0.6], [1, 1, 9], "b"),
        ("accuracy", [0.5, 0.4, 0.4], [9, 1, 2], "c"),  # equal: the higher loss
        ("accuracy", [0.4, 0.4, 0.4], [1, 1, 1], "a"),  # equal: the earlier one
        ("loss", [0.1, 0.5, 0.6], [1, 2, 9], "c"),
    ],
)
def test_criterion(criterion, accuracy, loss, kept):
    found = Perturbation(SPACE, even_mix(), 0, criterion)
    decision = found.decide(Question("reduce", "edge", 0), accuracy, loss)
    assert decision["kept"] == [kept]


def test_decisions_that_were_written_down_give_the_same():
    _, score = carried(np.random.default_rng(2))
    found, again = (Perturbation(SPACE, even_mix(), seed=0) for _ in range(2))
    answer_all(found, score)
    for decision in found.decisions:
        again.apply(decision)
    assert again.genotype() == found.genotype()
    for kind, mix in found.mix.items():
        np.testing.assert_array_equal(again.mix[kind], mix)


def test_a_space_that_keeps_every_edge_may_keep_none():
    spec = CellSpec(("none", "a"), nodes=2, inputs=1, keep=None, output="last")
    space = SearchSpace("every", {"normal": spec})
    found = Perturbation(space, {"normal": np.full((3, 2), 0.5)}, seed=0)
    assert len(found.rounds) == 3
    for edge, accuracy in enumerate([[0.5, 0.4], [0.5, 0.6], [0.5, 0.4]]):
        found.decide(Question("normal", "edge", edge), accuracy, [0, 0])
    assert found.genotype().cells["normal"].nodes == ((("a", 0),), (("a", 1),))
