"""What a run asks of its seeds, and no more of those that have ended."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from jdarts import RunError, UserError
from jdarts.loops.run import Run

GOOD, BAD = (
    {"train_loss": np.array([2.0, 1.0])},
    {"train_loss": np.array([3.0, np.nan])},
)


class Seeds(Run):
    """Seeds whose weights are finite or not; nothing is compiled."""

    shown = {"train_loss": "train"}  # noqa: RUF012

    def __init__(self, finite, ended):
        self.told = []
        self.records = [
            SimpleNamespace(
                seed=i,
                ended=over,
                meta=dict,
                pins=lambda *place: {},
                add_step=lambda *_, seed=i, **__: self.told.append(seed),
            )
            for i, over in enumerate(ended)
        ]
        self.config = SimpleNamespace(log_every=1, epochs=1)
        each = SimpleNamespace(each=lambda tree: tree)
        self.start = SimpleNamespace(seeds=each, steps_per_epoch=2)
        self.folder = SimpleNamespace(path="run")
        self.timing = SimpleNamespace(
            part=lambda name: contextlib.nullcontext(), saved=lambda *_: None
        )
        self.state, self.step, self.evaluated = None, 0, 0
        self._finite = lambda weights: list(finite)

    def weights(self):
        return ()


CHECKPOINTS = SimpleNamespace(save=lambda *_: None)


def test_a_seed_that_has_ended_may_diverge():
    run = Seeds(finite=(True, False), ended=(False, True))
    run._write_down(2, [GOOD, BAD], print)
    assert run.step == 2
    run.save(CHECKPOINTS, print)
    assert run.of_going([GOOD, BAD]) == [GOOD] and run.means == ""


def test_files_that_a_run_depends_on_may_not_change():
    def begun(digest):
        run = Seeds(finite=(True,), ended=(False,))
        run.records[0].meta, run.records[0].restore = dict, lambda meta: None
        run.pinned = lambda: {"--hardware.latency-table": digest}
        return run

    meta = begun("a")._meta()
    begun("a")._take(meta)
    with pytest.raises(UserError, match="--hardware.latency-table: its contents have"):
        begun("b")._take(meta)


def test_a_seed_that_goes_on_may_not():
    run = Seeds(finite=(False, True), ended=(False, True))
    with pytest.raises(RunError, match=r"run: seed 0 not finite after step 0"):
        run.save(CHECKPOINTS, print)
    with pytest.raises(RunError, match=r"seed 0 not finite at step 2 \(train_loss nan"):
        run._write_down(2, [BAD, GOOD], print)
    assert run.step == 1
    both = Seeds(finite=(True, True), ended=(False, False))
    assert both.means == "means of 2 seeds: "
