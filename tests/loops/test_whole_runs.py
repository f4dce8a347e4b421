"""Whole searches: every method, and what is rare elsewhere, on colour images.

The network has a normal cell and reductions, images are flipped and cropped, and
batches divide neither half. What a run measured is measured again from what it left: by
the network alone, with the weights of its last checkpoint and the mix of its record.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jdarts.search
from jdarts import METHODS, get_space, load_genotype
from jdarts.cli import parse_search, run_command
from jdarts.data import augment_spec, normalise
from jdarts.io import Checkpoints, read_metrics
from jdarts.loops.setup import setup

CLASSES, TRAIN, SIDE, EPOCHS = 3, 46, 8, 2
PER_EPOCH = 5  # 23 images a half in batches of 4: three are left over
SIZE = (
    f"smoke --channels 4 --layers 3 --batch-size 4 --epochs {EPOCHS} --log-every 1 "
    f"--data.name npz --data.flip --data.limit {TRAIN}"
).split()
FIRST = "--method.hypergradient.name first_order"
ONE_OP = {"gdas", "nasp"}
"""Methods whose networks are judged with the likeliest op of each edge alone."""

METHOD_WORDS = {
    name: f"--method {name} {FIRST if name != 'random' else ''}" for name in METHODS
}
METHOD_WORDS["p_darts"] += (
    " --method.added-layers 0 --method.dropped --method.skip-dropout 0.3"
)

OPTIONS = {
    "two virtual steps": "--method.hypergradient.name unrolled "
    "--method.hypergradient.steps 2",
    "bfloat16": f"{FIRST} --compute-dtype bfloat16 --remat",
    "hardware": f"{FIRST} --hardware.cost parameters --hardware.weight 50",
    "table": f"{FIRST} --space nas_bench_201 --table TABLE",
}
CASES = METHOD_WORDS | OPTIONS
TABLE_NAMES = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images whose class is the colour of their left half; true accuracies of cells."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    images = rng.integers(0, 128, (TRAIN, SIDE, SIDE, 3), np.uint8)
    labels = np.arange(TRAIN) % CLASSES
    for image, label in zip(images, labels, strict=True):
        image[:, : SIDE // 2, label] += 127
    np.savez(folder / "colours.npz", train_images=images, train_labels=labels)
    names = TABLE_NAMES
    cells = np.array(list(itertools.product(range(len(names)), repeat=6)), np.uint8)
    accuracy = rng.uniform(10, 90, len(cells))
    columns = {"c10_val_200": accuracy, "c10_test_200": accuracy}
    np.savez(folder / "table.npz", op_names=np.array(names), ops=cells, **columns)
    return folder


@pytest.fixture(scope="module")
def found(files, tmp_path_factory):
    """``found(case)``: a finished run's folder and the arguments that it had."""
    made = {}

    def run(case):
        if case not in made:
            words = CASES[case].replace("TABLE", str(files / "table.npz")).split()
            arguments = [*SIZE, "--data.dir", str(files / "colours.npz"), *words]
            folder = tmp_path_factory.mktemp("runs") / case.replace(" ", "_")
            command = [*arguments, "--run-dir", str(folder)]
            assert run_command(jdarts.search.main, command) == 0
            made[case] = folder, arguments
        return made[case]

    return run


@pytest.mark.parametrize("case", CASES)
def test_what_it_measured(found, case):
    folder, arguments = found(case)
    config = parse_search(arguments).config
    start = setup(config)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        state = checkpoints.restore(start.state).state
    assert int(state.step) == EPOCHS * PER_EPOCH
    mix = read_metrics(folder / "arch.jsonl")[-1]["mix"]
    mix = {kind: np.float32(rows) for kind, rows in mix.items()}
    if case in ONE_OP:
        mix = {
            k: np.eye(m.shape[1], dtype=m.dtype)[m.argmax(1)] for k, m in mix.items()
        }
    half = np.asarray(start.data.valid)
    images, labels = (part[half] for part in (start.data.images, start.data.labels))
    images = normalise(jnp.asarray(images), augment_spec(config.data, start.images))
    logits, _ = jax.jit(start.network.apply, static_argnums=4)(
        state.w, state.model_state, mix, images, False
    )
    row = read_metrics(folder / "metrics.jsonl")[-1]
    accuracy = float((logits.argmax(1) == labels).mean())
    assert row["supernet_accuracy"] == pytest.approx(accuracy, rel=1e-6)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    tolerance = 0.02 if case == "bfloat16" else 1e-4
    assert row["supernet_loss"] == pytest.approx(float(losses.mean()), rel=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_both_cells_move(found, case):
    """Random search tries another architecture in each epoch."""
    folder, arguments = found(case)
    start = setup(parse_search(arguments).config)
    rows = read_metrics(folder / "arch.jsonl")
    assert len(rows) == EPOCHS
    for kind in start.kinds:
        before = np.asarray(start.state.arch.alpha[kind])
        assert any((np.float32(row["alpha"][kind]) != before).any() for row in rows)
    genotype = load_genotype(folder)
    assert genotype.space == start.stage.space.name
    assert {*genotype.cells} == {*start.kinds}


def test_the_price_is_in_the_loss(found):
    """The only op with weights gets less of the mix than in the same run without it."""
    column = get_space("toy").cells["normal"].primitives.index("sep_conv_3x3")
    plain, priced = (
        read_metrics(found(case)[0] / "arch.jsonl")[-1]["mix"]
        for case in ("darts", "hardware")
    )
    for kind in plain:
        share = [np.array(mix[kind])[:, column] for mix in (plain, priced)]
        assert (share[1] < share[0]).all()


def test_the_table_is_the_files(found, files):
    folder, _ = found("table")
    genotype, row = load_genotype(folder), read_metrics(folder / "metrics.jsonl")[-1]
    with np.load(files / "table.npz") as table:
        names, cells, accuracy = (
            table[name] for name in ("op_names", "ops", "c10_test_200")
        )
    ops = [
        {c.source: c.primitive for c in node}.get(source, "none")
        for number, node in enumerate(genotype.cells["normal"].nodes)
        for source in range(number + 1)
    ]
    names = [name.removeprefix("nor_") for name in names]
    (place,) = np.flatnonzero((np.array(names)[cells] == ops).all(1))
    assert row["table_test_accuracy"] == pytest.approx(accuracy[place] / 100)
    regret = (accuracy.max() - accuracy[place]) / 100
    assert row["regret"] == pytest.approx(regret)
