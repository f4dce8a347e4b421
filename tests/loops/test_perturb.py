"""``python -m jdarts.perturb``: measured as by hand, resumed, of several seeds."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import compiled_once
from search_runs import BASE

from jdarts import UserError, get_space, load_genotype
from jdarts.cli import parse_search, run_command
from jdarts.config import to_json
from jdarts.data import augment_spec, normalise
from jdarts.io import Checkpoints, GenotypeLog, write_json
from jdarts.loops.perturb import Rounds, check_mix, check_partial
from jdarts.loops.setup import setup
from jdarts.perturb import main, supernet_only
from jdarts.reports.read import read_run
from jdarts.spaces import TOY

SIZE = [*BASE, "--data.limit", "64"]
TUNE = ["--epochs-between", "1", "--lr", "0.1"]


@pytest.fixture(autouse=True, scope="module")
def once():
    """Nothing is compiled twice."""
    with compiled_once({}):
        yield


def make_search(folder, *arguments):
    """The folder of a search that has ended where it began; what it started from."""
    config = parse_search([*SIZE, *arguments]).config
    start = setup(config)
    folder.mkdir()
    write_json(folder / "config.json", to_json(config))
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(0, start.state, {})
    archs = start.seeds.each(start.state.arch)
    for seed, arch in zip(config.all_seeds, archs, strict=True):
        own = folder if config.seeds is None else folder / f"seed_{seed}"
        own.mkdir(exist_ok=True)
        GenotypeLog(own / "genotype.json").finish(start.method.discretize(arch))
    return config, start


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("perturb") / "run"
    found = make_search(folder)
    assert main([str(folder), *TUNE]) == 0
    return folder, *found


def decisions(folder):
    return json.loads((folder / "perturbation/perturbation.json").read_text())[
        "decisions"
    ]


def test_first_round_is_measured_as_by_hand(unbroken):
    folder, config, start = unbroken
    first, *_ = decisions(folder)
    state, data = start.state, start.data
    assert len(set(first["loss"])) == 2
    images = normalise(
        jnp.asarray(data.images[data.valid]),
        augment_spec(config.data, start.images),
        np.float32,
    )
    labels = data.labels[data.valid]
    mix = {k: np.array(a) for k, a in start.method.weights(state.arch).items()}

    @jax.jit
    def measure(mix):
        """With the statistics of each batch."""
        found = []
        for i in range(0, len(images), config.batch_size):
            part = slice(i, i + config.batch_size)
            logits, _ = start.network.apply(
                state.w, state.model_state, mix, images[part], True
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels[part])
            found.append(((logits.argmax(1) == labels[part]).mean(), loss.mean()))
        return jax.tree.map(lambda *x: sum(x) / len(x), *found)

    assert first["candidates"] == ["skip_connect", "sep_conv_3x3"]
    losses, accuracies = [], []
    for name in first["candidates"]:
        changed = {k: a.copy() for k, a in mix.items()}
        column = TOY.cells[first["cell"]].primitives.index(name)
        changed[first["cell"]][first["edge"], column] = 0
        accuracy, loss = measure(changed)
        accuracies.append(accuracy)
        losses.append(loss)
    np.testing.assert_allclose(first["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(first["accuracy"], accuracies, rtol=1e-6)


def test_what_is_decided_is_tuned(unbroken, tmp_path, monkeypatch):
    """The tuned weights are those of the mix without what was given up; others than the
    search's, on its training half, for as many epochs as asked, by keys of their own.
    """
    folder, tune, seen = tmp_path / "run", Rounds._tune, []
    _, start = make_search(folder)

    def tuned(self):
        before = jax.device_get(self._state)
        own, searched = map(jax.random.key_data, (self._key, start.key))
        assert not np.array_equal(own, searched)
        for kind, mix in self._own[0].mix.items():
            np.testing.assert_array_equal(before.arch.alpha[kind], np.float32(mix))
        tune(self)
        seen.append((before, jax.device_get(self._state)))

    monkeypatch.setattr(Rounds, "_tune", tuned)
    assert run_command(main, [str(folder), "--epochs-between", "2", *TUNE[2:]]) == 0
    assert len(seen) == 5  # between six rounds
    for before, after in seen:
        assert after.step == before.step + 2 * start.steps_per_epoch
        moved = [not np.array_equal(a, b) for a, b in leaves_of(before.w, after.w)]
        assert all(moved)
        for a, b in leaves_of(before.arch.alpha, after.arch.alpha):
            np.testing.assert_array_equal(a, b)


def leaves_of(*trees):
    return zip(*map(jax.tree.leaves, trees), strict=True)


def test_results(unbroken):
    folder, *_ = unbroken
    found = decisions(folder)
    for kind in TOY.cells:
        # Of each edge its op; the second node alone chooses its inputs.
        assert sum(d["cell"] == kind for d in found) == 5 + 1
    part = folder / "perturbation"
    for kind, cell in load_genotype(part).cells.items():
        ops = {d["edge"]: d["kept"] for d in found if d["cell"] == kind and "edge" in d}
        assert [c.primitive for c in cell.nodes[0]] == [ops[0][0], ops[1][0]]
        (choice,) = [d for d in found if d["cell"] == kind and "node" in d]
        assert [c.source for c in cell.nodes[1]] == sorted(choice["kept"])
        assert [c.primitive for c in cell.nodes[1]] == [
            ops[2 + source][0] for source in sorted(choice["kept"])
        ]
    assert (
        read_run(part).finished and "perturbation" in (part / "summary.txt").read_text()
    )
    drawn = {f"cell_{kind}.svg" for kind in TOY.cells}
    assert {path.name for path in part.glob("cell_*")} == drawn


def test_resumed_is_the_same(unbroken, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    make_search(folder)
    save = Checkpoints.save

    def save_and_die(self, step, *args):
        save(self, step, *args)
        if step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_die)
        assert run_command(main, [str(folder), *TUNE]) == 130
    assert not (folder / "perturbation" / "genotype.json").exists()
    with pytest.raises(UserError, match="begun with 0.1; expected that"):
        main([str(folder), "--epochs-between", "1"])
    assert main([str(folder), *TUNE]) == 0
    assert decisions(folder) == decisions(unbroken[0])


def test_several_seeds_decide_as_each_by_itself(unbroken, tmp_path, capsys):
    folder, untuned = tmp_path / "run", ["--epochs-between", "0"]
    make_search(folder, "--seeds", "2", "3")
    assert main([str(folder), *untuned]) == 0
    said = capsys.readouterr().out
    assert "seed 3, reduce edge" in said and "tuning step" not in said
    own, other = (decisions(folder / f"seed_{seed}") for seed in (2, 3))
    expected = decisions(unbroken[0])
    places = [[(d["cell"], d.get("edge", "node")) for d in x] for x in (own, expected)]
    assert places[0] == places[1]
    for a, b in zip(own[:1], expected[:1], strict=True):  # before any tuning
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)
    assert [d.get("edge") for d in other] != [d.get("edge") for d in own]
    assert main([str(folder), *untuned]) == 0  # all is decided: written again
    assert "compiled" not in capsys.readouterr().out
    with pytest.raises(UserError, match="a part of another run"):
        main([str(folder / "seed_2")])


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ("", ["RUN"]),
        ("nowhere", ["nowhere: holds no config.json"]),
        ("open", ["open", "the search is not finished"]),
        ("words", ["words: a search for recurrent cells", "on images"]),
        ("capped", ["capped: searched with --max-skips 1", "without a cap"]),
        ("open --epochs-between -1", ["--epochs-between: -1", ">= 0"]),
        ("open --epochs-between 0 --lr 0.1", ["--lr: has no effect"]),
        ("open --lr 0", ["--lr: 0", "more than 0"]),
        ("open --lr-min 1", ["--lr-min: 1", "0 to lr"]),
        ("open --criterion speed", ["--criterion", "speed"]),
        ("open --epoch-between 2", ["did you mean '--epochs-between'?"]),
    ],
)
def test_refused(arguments, parts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    capped = [*SIZE, "--max-skips", "1"]
    for name, words in ("open", SIZE), ("words", ["rnn_demo"]), ("capped", capped):
        Path(name).mkdir()
        write_json(Path(name) / "config.json", to_json(parse_search(words).config))
    genotype = load_genotype("DARTS_V2")
    GenotypeLog(Path("open/genotype.json")).record(1, genotype)
    assert run_command(main, arguments.split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and all(part in err for part in parts), err


def test_weights_of_one_op_an_edge_leave_no_choice():
    single = {kind: np.eye(3)[[1, 2, 0, 1, 2]] for kind in TOY.cells}
    with pytest.raises(UserError, match="at most one op on each edge"):
        check_mix(TOY, single, Path("run"))


def test_passed_channels_need_none_for_a_missing_op():
    """It takes the weight: their sum stays what passed channels are multiplied by."""
    check_partial(get_space("darts_cnn"), 4, Path("run"))
    check_partial(get_space("nas_bench_201"), 1, Path("run"))
    for name in ("nasp_cnn", "nas_bench_201"):
        with pytest.raises(UserError, match=f"run: one 4-th .* --space {name} has no"):
            check_partial(get_space(name), 4, Path("run"))


def test_what_only_a_search_needs_is_left_out():
    """A table of latencies that is gone does not matter, nor when it would stop."""
    config = parse_search(
        [*BASE, "--hardware.cost", "latency", "--hardware.latency-table", "gone.json"]
        + ["--curvature.every", "1"]
    ).config
    assert supernet_only(config) == parse_search(BASE).config
