"""The search command on texts: results, resuming, seeds, and what can be wrong."""

import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, compiled_once

from jdarts import load_genotype
from jdarts.cli import parse_search, run_command
from jdarts.data import TextConfig, load_text
from jdarts.io import Checkpoints, read_metrics
from jdarts.loops import text_train
from jdarts.loops.programs import abstract
from jdarts.loops.run import Run
from jdarts.loops.search import setup
from jdarts.loops.text_train_setup import text_train_setup
from jdarts.nets.recurrent import Dropout, Masks, fixed_recurrent
from jdarts.problem import Evaluation
from jdarts.search import main
from jdarts.stopwatch import devices_text
from jdarts.train import main as train_main
from jdarts.train_cli import parse_train

BASE = (
    "rnn_demo --space toy_rnn --units 6 --length 6 --batch-size 4 --evaluation-batch 3 "
    "--data.name file --data.level word --epochs 2 --log-every 1 "
    "--method.hypergradient.name first_order --method.no-clip-virtual "
    "--method.weights.lr 1"
).split()
PER_EPOCH = 24


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A text of which each next word is a function of the last one or two."""
    file = tmp_path_factory.mktemp("text") / "text.txt"
    line = "one two three one three two four\n"
    file.write_text(line * 80)
    return file


@pytest.fixture(scope="module")
def search(text):
    """``search(folder, *arguments)``; programs of BASE are compiled only once."""
    made = {}

    def run(folder, *arguments):
        with compiled_once(made):
            given = [*BASE, "--data.dir", str(text), "--run-dir", str(folder)]
            assert run_command(main, [*given, *arguments]) == 0
        return folder

    return run


@pytest.fixture(scope="module")
def unbroken(search, tmp_path_factory):
    return search(tmp_path_factory.mktemp("runs") / "unbroken")


def test_metrics(unbroken):
    rows = read_metrics(unbroken / "metrics.jsonl")
    steps = [row for row in rows if row["kind"] == "step"]
    assert [row["step"] for row in steps] == list(range(1, 2 * PER_EPOCH + 1))
    epochs = [row for row in rows if row["kind"] == "epoch"]
    assert [row["step"] for row in epochs] == [PER_EPOCH, 2 * PER_EPOCH]
    for row in epochs:
        assert_close(row["supernet_perplexity"], math.exp(row["supernet_loss"]), 1e-6)
        assert_close(row["train_perplexity"], math.exp(row["epoch_train_loss"]), 1e-6)
        assert row["bigram_perplexity"] < row["unigram_perplexity"] < 5
        assert 0 <= row["supernet_accuracy"] <= 1 and "skips_recurrent" not in row


def test_results(unbroken):
    genotype = load_genotype(unbroken)
    cell = genotype.cells["recurrent"]
    assert (
        genotype.space == "toy_rnn" and cell.output == "mean" and len(cell.nodes) == 2
    )
    last = read_metrics(unbroken / "metrics.jsonl")[-1]
    text = (unbroken / "summary.txt").read_text()
    assert (
        f"supernet perplexity on the validation text: {last['supernet_perplexity']:.2f}"
        f" (unigrams: {last['unigram_perplexity']:.2f}, bigrams: "
    ) in text
    assert re.search(r"recurrent cell\nnode 0 = \w+\(s_0\)\n", text)
    assert "h_t" in (unbroken / "cell_recurrent.svg").read_text()
    report = (unbroken / "report.html").read_text()
    for part in ("Supernet perplexity", "Perplexities", "recurrent cell", "bigrams"):
        assert part in report
    assert "--space toy_rnn" in report and "python -m jdarts.search rnn_demo" in report


def test_perplexity_word_by_word(unbroken, text):
    """The saved supernet reads the validation text: no segments, plain logarithms."""
    start = setup(parse_search([*BASE, "--data.dir", str(text)]).config)
    with Checkpoints(unbroken / "checkpoints") as checkpoints:
        state = checkpoints.restore(start.state).state
    words = load_text(TextConfig("file", text)).valid
    rows = len(words) // 3
    table = words[: 3 * rows].reshape(3, rows).T
    network = parse_network(start)
    hidden, losses = jnp.zeros((3, 6)), []
    run = jax.jit(network.apply, static_argnums=7)
    for now, following in zip(table[:-1], table[1:], strict=True):
        reading, _ = run(
            state.w,
            state.model_state["statistics"],
            start.method.weights(state.arch),
            jnp.asarray(now)[None],
            1,
            hidden,
            Masks(),
            False,
        )
        hidden = reading.hidden
        logits = np.asarray(reading.logits[0], np.float64)
        logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        losses += [-logp[i, word] for i, word in enumerate(following)]
    row = read_metrics(unbroken / "metrics.jsonl")[-1]
    assert_close(row["supernet_perplexity"], np.exp(np.mean(losses)), 1e-4)


def parse_network(start):
    from jdarts.nets.recurrent import Dropout, mixed_recurrent
    from jdarts.spaces import TOY_RNN

    return mixed_recurrent(
        TOY_RNN, vocabulary=len(start.text.vocabulary), units=6, dropout=Dropout()
    )


def test_a_stopped_run_goes_on(search, unbroken, tmp_path):
    """Inside an epoch, and between two; then it is the unbroken run, bit for bit."""
    folder = tmp_path / "run"
    for steps in ("5", str(PER_EPOCH), "40"):
        search(folder, "--steps", steps)
    search(folder, "--steps", str(2 * PER_EPOCH))
    for name in ("metrics.jsonl", "arch.jsonl"):
        assert whole_rows(folder / name) == read_metrics(unbroken / name), name
    for name in ("genotype.json", "summary.txt"):
        assert (folder / name).read_bytes() == (unbroken / name).read_bytes(), name


def whole_rows(file):
    """Without those of an end inside an epoch."""
    return [row for row in read_metrics(file) if row["kind"] != "stop"]


def test_seeds(search, unbroken, tmp_path):
    """Each seed of several is a run of its own."""
    folder = search(tmp_path / "run", "--seeds", "3", "5")
    table = (folder / "summary.txt").read_text()
    assert "perplexity" in table and "mean" in table
    names = "supernet_loss", "epoch_valid_loss"
    ours, other = (read_metrics(folder / f"seed_{s}" / "metrics.jsonl") for s in (3, 5))
    single = read_metrics(unbroken / "metrics.jsonl")  # seed 3 is the default
    for name in names:
        assert_close(ours[-1][name], single[-1][name], 1e-3)
        assert other[-1][name] != ours[-1][name]
    for seed in (3, 5):
        assert json.loads((folder / f"seed_{seed}" / "config.json").read_text())
        load_genotype(folder / f"seed_{seed}")


# --- bad input --------------------------------------------------------------------


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """``refused(arguments)``: the one line; nothing was written."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        assert run_command(main, list(arguments)) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("error: ") and err.count("\n") == 1, err
        assert not list(tmp_path.glob("runs"))
        return err

    return run


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("rnn_demo --space darts_cnn", "--space: 'darts_cnn' is searched on images"),
        ("smoke --space darts_rnn", "--space: 'darts_rnn' is searched on text"),
        ("rnn_demo --space dart_rnn", "did you mean 'darts_rnn'"),
        ("rnn_demo --channels 3", "unknown '--channels'"),
        ("rnn_demo --units 0", "--units: 0"),
        ("rnn_demo --length 1", "--length: 1"),
        ("rnn_demo --halved 2", "--halved: 2.0"),
        ("rnn_demo --dropout.hidden 1", "--dropout.hidden: 1.0"),
        ("rnn_demo --slowness -1", "--slowness: -1.0"),
        ("rnn_demo --data.name ptb", "--data.dir: not given"),
        ("rnn_demo --batch-size 2000", "expected at least 2000 x 22 tokens"),
        ("rnn_demo --evaluation-batch 20000", "expected at least 20000 x 2 tokens"),
        ("rnn_demo --steps 9999999", "--steps: 9999999 is more than"),
        ("rnn_demo --method pc_darts", "--method.k: 4, but the recurrent cells"),
    ],
)
def test_refused(refused, arguments, part):
    assert part in refused(*arguments.split())


def test_a_configuration_keeps_its_kind():
    config = parse_search(["rnn_demo", "--method", "nasp"]).config
    assert config.method.weights.lr == 20.0 and config.method.arch.lr == 3e-3


# --- training ---------------------------------------------------------------------

TRAIN = (
    "RNN_DARTS_V1 train_topics --units 6 --length 6 --deviation 1 --batch-size 4 "
    "--evaluation-batch 3 --test-batch 2 --data.name file --data.level word --epochs 6 "
    "--patience 1 --log-every 1 --optimizer.lr 30"
).split()


@pytest.fixture(scope="module")
def train(text):
    """``train(folder, *arguments)``; programs of TRAIN are compiled only once."""
    made = {}

    def run(folder, *arguments, given=TRAIN):
        with compiled_once(made):
            words = [*given, "--data.dir", str(text), "--run-dir", str(folder)]
            assert run_command(train_main, [*words, *arguments]) == 0
        return folder

    return run


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "trained")


def epochs(folder):
    rows = read_metrics(folder / "metrics.jsonl")
    return [row for row in rows if row["kind"] == "epoch"]


def test_training(trained, text):
    rows, result = epochs(trained), json.loads((trained / "result.json").read_text())
    found = [row["valid_perplexity"] for row in rows]
    assert len(rows) == 6 and result["steps"] == rows[-1]["step"]
    best = int(np.argmin(found))
    assert result["best"] == {"epoch": best + 1, "perplexity": found[best]}
    assert result["last"] == {"epoch": 6, "perplexity": found[-1]}
    # Five words: less than what knows nothing has.
    assert result["test"]["perplexity"] < 5
    tokens = len(load_text(TextConfig("file", text)).test)
    assert result["test"]["tokens"] == 2 * (tokens // 2 - 1)
    # The trigger, by its definition.
    since = next(
        (i + 1 for i in range(len(found)) if i > 1 and found[i] > min(found[: i - 1])),
        None,
    )
    assert since is not None and result["averaged_from"] == since
    assert [row["averaging"] for row in rows] == [
        float(since is not None and i + 1 > since) for i in range(6)
    ]
    assert "test perplexity" in (trained / "summary.txt").read_text()
    report = (trained / "report.html").read_text()
    assert "Test perplexity" in report and "train_topics" in report


def test_best_weights_word_by_word(trained, text):
    """On the validation and the test text: no segments, plain logarithms."""
    command = parse_train([*TRAIN, "--data.dir", str(text)])
    start = text_train_setup(command.config, command.genotype)
    with Checkpoints(trained / "checkpoints") as checkpoints:
        state = checkpoints.restore(start.state).state
    found, words = {}, load_text(TextConfig("file", text))
    network = fixed_recurrent(
        command.genotype, vocabulary=len(words.vocabulary), units=6, dropout=Dropout()
    )
    run = jax.jit(network.apply, static_argnums=7)
    for part, columns in (("valid", 3), ("test", 2)):
        tokens = words.parts[part]
        rows = len(tokens) // columns
        table = tokens[: columns * rows].reshape(columns, rows).T
        hidden, losses = jnp.zeros((columns, 6)), []
        for now, following in zip(table[:-1], table[1:], strict=True):
            reading, _ = run(
                *(state.best, {}, {}, jnp.asarray(now)[None], 1, hidden, Masks(), False)
            )
            hidden = reading.hidden
            logits = np.asarray(reading.logits[0], np.float64)
            logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            losses += [-logp[i, word] for i, word in enumerate(following)]
        found[part] = np.exp(np.mean(losses))
    result = json.loads((trained / "result.json").read_text())
    assert_close(result["best"]["perplexity"], found["valid"], 1e-4)
    assert_close(result["test"]["perplexity"], found["test"], 1e-4)


def test_the_test_reads_the_best_weights_on_the_test_text(text):
    """A trainer that gives its weights for losses, and says which text it reads."""
    command = parse_train([*TRAIN, "--data.dir", str(text)])
    start = text_train_setup(command.config, command.genotype)

    def evaluate(w, passage, mask):
        counts = mask * (jnp.arange(mask.shape[0]) < passage.segment.length)[:, None]
        read = (passage.segment.tokens * counts).sum()
        return Evaluation(w["w"] * counts.sum(), read, counts.sum()), passage.hidden

    start = start._replace(trainer=start.trainer._replace(evaluate=evaluate))
    of = {"w": {"w": 2.0}, "average": {"w": 3.0}, "best": {"w": 5.0}}
    state = start.state._replace(averaged=jnp.int32(0), **of)
    found = start.test(command.config)(state, start.data)
    words = load_text(TextConfig("file", text))
    rows = len(words.test) // 2
    table = words.test[: 2 * rows].reshape(2, rows)
    assert int(found.count) == 2 * (rows - 1)
    assert int(found.correct) == table[:, :-1].sum()
    assert float(found.loss) == 5.0 * int(found.count)
    _, evaluation = start.programs(command.config)
    for averaged, expected in ((0, 2.0), (1, 3.0)):
        now = state._replace(averaged=jnp.int32(averaged))
        sums = evaluation(now, start.data, jnp.int32(0), jnp.int32(0))
        assert float(sums.loss) == expected * int(sums.count)
        assert int(sums.count) == 3 * (len(words.valid) // 3 - 1)


def test_a_stopped_training_goes_on(train, trained, tmp_path):
    folder, last = tmp_path / "run", epochs(trained)[-1]["step"]
    for steps in (last // 6, last // 2 + 1, last):
        train(folder, "--steps", str(steps))
    name = "metrics.jsonl"
    assert whole_rows(folder / name) == read_metrics(trained / name)
    for name in ("result.json", "summary.txt"):
        assert (folder / name).read_bytes() == (trained / name).read_bytes(), name


def test_other_devices_are_said(train, tmp_path, monkeypatch, capsys):
    folder = train(tmp_path / "run", "--steps", "3")
    train(folder, "--steps", "4")
    assert "sums are in another order" not in capsys.readouterr().out
    here = devices_text()
    monkeypatch.setattr("jdarts.loops.run.devices_text", lambda: "cpu (one core)")
    train(folder, "--steps", "5")
    out = capsys.readouterr().out
    assert f"until here on {here}, from here on cpu (one core): sums are in" in out


def test_an_extended_training(train, trained, tmp_path):
    """Its rate is the same in all epochs, so it ends where the unbroken one does."""
    folder = train(tmp_path / "run", "--epochs", "3")
    train(folder, "--extend")
    name = "metrics.jsonl"
    assert whole_rows(folder / name) == read_metrics(trained / name)
    assert (folder / "result.json").read_bytes() == (
        trained / "result.json"
    ).read_bytes()
    for file in ("summary.txt", "report.html"):
        assert (
            "extended from 3 to 6 epochs after epoch 3" in (folder / file).read_text()
        )
        assert "extended" not in (trained / file).read_text()


def spoil(monkeypatch, *steps):
    """Makes the weights of these steps not finite, each once."""
    advance, left = Run._advance, list(steps)

    def spoiled(self, count, progress):
        if left and self.step == left[0]:
            left.pop(0)
            nan = jax.tree.map(lambda w: w * jnp.nan, self.state.w)
            self.state = self.state._replace(w=nan)
        if left and self.step < left[0]:
            count = min(count, left[0] - self.step)
        return advance(self, count, progress)

    monkeypatch.setattr(Run, "_advance", spoiled)


def test_what_is_not_finite_ends_no_training(
    train, trained, tmp_path, monkeypatch, capsys
):
    """It goes on with the best weights, by other random numbers; also if it is stopped
    after that."""
    per_epoch = epochs(trained)[0]["step"]
    bad = 2 * per_epoch + 3
    spoil(monkeypatch, bad)
    folder = train(tmp_path / "run")
    out = capsys.readouterr().out
    best = min(epochs(trained)[:2], key=lambda row: row["valid_perplexity"])
    (line,) = re.findall(r"^not finite at .*", out, re.MULTILINE)
    assert line.startswith(f"not finite at step {bad + 1} (gradient_norm nan, lr ")
    assert line.endswith(
        f"train_loss nan): on with the weights of epoch {best['epoch']} (valid "
        f"perplexity {best['valid_perplexity']:.2f}), other random numbers"
    )
    assert json.loads((folder / "result.json").read_text())["returned_at"] == [bad]
    line = f"not finite after step {bad}: went on with the weights of the best epoch"
    assert line in (folder / "summary.txt").read_text()
    rows, unspoilt = (read_metrics(f / "metrics.jsonl") for f in (folder, trained))
    steps = [row["step"] for row in rows if row["kind"] == "step"]
    assert steps == list(range(1, 6 * per_epoch + 1))
    until = [row for row in unspoilt if row["step"] <= bad]
    assert rows[: len(until)] == until and rows[len(until)] != unspoilt[len(until)]

    spoil(monkeypatch, bad)
    broken = train(tmp_path / "broken", "--steps", str(bad + 2))
    train(broken)
    assert whole_rows(broken / "metrics.jsonl") == rows
    name = "result.json"
    assert (broken / name).read_bytes() == (folder / name).read_bytes()


def test_the_weights_that_it_goes_on_with(train, text, tmp_path, monkeypatch):
    per_epoch = 26
    spoil(monkeypatch, per_epoch + 1)
    states, returned = [], text_train._TextTraining.diverged

    def diverged(self, *args):
        before = self.start.key
        returned(self, *args)
        states.append(jax.device_get(self.state))
        assert (jax.random.bits(self.start.key) != jax.random.bits(before)).all()
        raise SystemExit(3)

    monkeypatch.setattr(text_train._TextTraining, "diverged", diverged)
    with pytest.raises(SystemExit):
        train(tmp_path / "run")
    (state,) = states
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        saved = checkpoints.restore(abstract(jax.tree.map(jnp.asarray, state)))
    assert saved.step < state.step
    expected = jax.device_get(saved.state.current())
    assert_close(state.w, expected, 0.0)
    assert_close(state.best, expected, 0.0)
    assert state.step == per_epoch + 1 and not state.hidden.any()


@pytest.mark.parametrize("steps", [(3,), (30, 33)])
def test_a_training_that_cannot_go_on(steps, text, tmp_path, monkeypatch, capsys):
    """In its first epoch, and twice in a row."""
    spoil(monkeypatch, *steps)
    words = [*TRAIN, "--data.dir", str(text), "--run-dir", str(tmp_path / "run")]
    assert run_command(train_main, words) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"not finite at step {steps[-1] + 1}" in err


def test_evaluation_only(train, trained, capsys):
    expected = json.loads((trained / "result.json").read_text())["test"]["perplexity"]
    for steps in ([], ["--steps", "1000000000"]):  # it asks nothing of training
        train(trained, *steps, "--data.eval-only")
        assert f"test perplexity {expected:.2f}" in capsys.readouterr().out


def test_a_training_inside_its_first_epoch(train, tmp_path, capsys):
    """There is no best epoch yet: the last weights count, also of the checkpoint."""
    folder = train(tmp_path / "run", "--steps", "3")
    found = json.loads((folder / "result.json").read_text())["test"]["perplexity"]
    capsys.readouterr()
    train(folder, "--steps", "3", "--data.eval-only")
    assert f"test perplexity {found:.2f}" in capsys.readouterr().out


def test_help_of_a_recurrent_genotype(capsys):
    with pytest.raises(SystemExit) as stop:
        train_main(["RNN_DARTS_V2", "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "--deviation" in out and "--layers" not in out


def test_a_found_cell(train, unbroken, text):
    """The search's folder names the text; the recipe has to be told."""
    words = [str(unbroken), *TRAIN[1:]]
    folder = train(unbroken / "t", "--epochs", "1", "--seeds", "0", "1", given=words)
    result = json.loads((folder / "result.json").read_text())
    assert [run["seed"] for run in result["runs"]] == [0, 1]
    assert result["runs"][0]["genotype"] == load_genotype(unbroken).to_json()
    assert "mean" in (folder / "summary.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (
            "DARTS_V2 train_ptb",
            "convolutional cells, but recipe 'train_ptb'",
        ),
        (
            "RNN_ENAS train_digits",
            "recurrent cells, but recipe 'train_digits'",
        ),
        ("RNN_ENAS train_ptb", "--data.dir: not given; text 'ptb' expects a folder"),
        ("RNN_ENAS --patience -1", "--patience: -1"),
        ("RNN_ENAS --deviation 99", "--deviation: 99.0"),
        ("RNN_ENAS --channels 4", "unknown '--channels'"),
    ],
)
def test_refused_trainings(tmp_path, monkeypatch, capsys, arguments, part):
    monkeypatch.chdir(tmp_path)
    assert run_command(train_main, arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    assert part in err and not list(tmp_path.iterdir())
