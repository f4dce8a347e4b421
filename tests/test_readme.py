"""Every command of the README runs, in the order in which it stands, in one folder.

So that names of folders that clash, options that were renamed, and files that no
command before has made are noticed. Commands run in this process, made small:

* `REDUCED` appends options to the commands of each kind: a toy space, few channels,
  cells, images and steps. Nothing else is changed, no command is left out. A command
  of a kind that is not in the table fails: it needs a row.
* ``DIR``, ``book.txt``, ``nb201.npz`` and ``genotypes.py`` are there, with little data
  in the forms that the README names.
* Programs of search and training steps are traced and not compiled: in their place,
  ones of the right shapes are computed. What compiled programs compute is tested
  elsewhere.

``python3 -m venv`` and ``pip`` are not run here, nor are the tests: `.ci/run` takes
these lines from the README, word for word.
"""

import importlib
import io
import itertools
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import shapes
from PIL import Image

from jdarts import ZOO, UserError
from jdarts.accuracy_table import TABLE_DATA
from jdarts.cli import parse_search
from jdarts.commands import COMMANDS
from jdarts.compile import Compiled
from jdarts.config import SearchConfig, load_config
from jdarts.data.cifar import CIFAR10
from jdarts.entry import run_command
from jdarts.spaces import NAS_BENCH_201
from jdarts.text_train_config import TextTrainConfig
from jdarts.train_cli import parse_train

ROOT = Path(__file__).resolve().parents[1]
CI = ROOT / ".ci" / "run"

_BLOCK = re.compile(r"(?:^<!-- (\S+) -->\n)?^```bash\n(.*?)^```$", re.M | re.S)
_SETTING_UP = re.compile(r"python3 -m venv|\.venv/bin/pip install|.* -m pytest")


def commands(text):
    """``(marker of the block, command)``: in order, continued lines joined, comments
    dropped, several of one line apart."""
    for marker, block in _BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for ends, part in itertools.groupby(words, lambda word: word == "&&"):
                if not ends:
                    yield marker, list(part)


README = (ROOT / "README.md").read_text() if (ROOT / "README.md").is_file() else ""
ALL = list(commands(README))
SETTING_UP = [c for c in ALL if _SETTING_UP.match(" ".join(c[1]))]
RUN = [c[1] for c in ALL if c not in SETTING_UP]


def test_there_are_commands():
    assert len(RUN) > 20 and len(SETTING_UP) >= 4


@pytest.mark.skipif(not CI.is_file(), reason="outside of a checkout")
def test_what_sets_up_is_run_by_ci():
    script = CI.read_text()
    for marker, words in SETTING_UP:
        assert marker, f"{' '.join(words)}: in a block that .ci/run does not know"
        assert f"command_of {marker}" in script


# --- small ----------------------------------------------------------------------------

_IMAGES = "--channels 2 --layers 3 --batch-size 4 --data.limit 64".split()
_FIRST = ["--method.hypergradient.name", "first_order"]  # half as much to trace
_TEXT = "--units 4 --length 6 --batch-size 4 --evaluation-batch 2 --steps 2".split()
_LARGE = ("darts_cnn", "darts_cnn_7", "s2")
_EPOCHS = (5, 10, 25, 50)  # the fewest that a search's own options allow


def search(words):
    named = words and not words[0].startswith("-")
    config = load_config(words[0] if named else "digits")
    if not isinstance(config, SearchConfig):
        return [*_TEXT, "--space", "toy_rnn"]
    small = [*_IMAGES, *_FIRST]
    if config.space in _LARGE:
        small += ["--space", "toy"]
    if "--epochs" in words and int(words[words.index("--epochs") + 1]) <= _EPOCHS[0]:
        return small
    for epochs in _EPOCHS:
        try:
            parse_search([*words, *small, "--epochs", str(epochs)])
        except UserError as error:
            refused = error
        else:
            return [*small, "--epochs", str(epochs)]
    raise refused


def train(words):
    config = parse_train(words).config
    if isinstance(config, TextTrainConfig):
        return [*_TEXT, "--test-batch", "2"]
    return [*_IMAGES, "--epochs", "2"]


REDUCED = {
    "search": search,
    "train": train,
    "compare": lambda words: [
        *(*_IMAGES, "--epochs", "2", "--tolerance", "10"),
        *("--random", "4", "--retrainings", "1"),
    ],
    "perturb": lambda words: ["--epochs-between", "1"],
    "cost": lambda words: ["--channels", "2", "--layers", "3"],
    "latency": lambda words: ["--space", "toy", "--channels", "2", "--layers", "3"],
    "report": lambda words: [],
    "export": lambda words: [],
    "pareto": lambda words: [],
    "regret": lambda words: [],
    "methods": lambda words: [],
}
"""Kind of command to ``options(words)``: what is appended to it."""


def parsed(command):
    """The kind of a command, and its arguments."""
    words = [word.removeprefix(".venv/bin/") for word in command]
    if words[0] == "jdarts":
        words = ["python", "-m", *words]
    assert words[:2] == ["python", "-m"], f"{' '.join(command)}: unknown to this test"
    module, *arguments = words[2:]
    if module == "jdarts" and arguments:
        module = f"jdarts.{arguments.pop(0)}"
    kind = module.removeprefix("jdarts.")
    assert kind in REDUCED and kind in COMMANDS, (
        f"{' '.join(command)}: a new kind of command; it needs a row in REDUCED"
    )
    return kind, arguments


_TRACED = {}


def traced(fun, *args, out_shardings=None, **options):
    """In place of `compile_timed`: results are ones."""

    def one(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.broadcast_to(jax.random.key(1), leaf.shape)
        return np.ones(leaf.shape, leaf.dtype)

    key = getattr(fun, "__name__", ""), str(shapes(args))
    if key not in _TRACED:
        _TRACED[key] = jax.tree.map(one, jax.eval_shape(fun, *args))
    ones = _TRACED[key]

    def call(*args):
        return ones if out_shardings is None else jax.device_put(ones, out_shardings)

    seconds = {name: 0.0 for name in Compiled._fields if name.endswith("_seconds")}
    return Compiled(call=call, temp_bytes=None, **seconds)


# --- data -----------------------------------------------------------------------------


def make_files(folder):
    """What the commands expect to find, in the forms that the README names."""
    rng, data = np.random.default_rng(0), folder / "DIR"
    batches = data / CIFAR10.binary_folder
    batches.mkdir(parents=True)
    for name in (*CIFAR10.train, CIFAR10.test):
        records = rng.integers(0, 256, (40, 3073), np.uint8)
        records[:, 0] = np.arange(40) % 10
        (batches / f"{name}.bin").write_bytes(records.tobytes())
    for part, count in (("train", 40), ("test", 4)):
        for name in ("cat", "dog"):
            (data / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(data / part / name / f"{i}.png")
    words = " ".join(f"word{i % 17} and{i % 5}" for i in range(600))
    for part in ("train", "valid", "test"):
        (data / f"ptb.{part}.txt").write_text(f" {words} \n" * 3)
        (data / f"wiki.{part}.tokens").write_text(f" {words} \n" * 3)
    (folder / "book.txt").write_text(f"{words}\n" * 20)
    spec = NAS_BENCH_201.cells["normal"]
    cells = list(itertools.product(range(len(spec.primitives)), repeat=len(spec.edges)))
    accuracies = {
        f"{name}_{part}_200": rng.uniform(10, 90, len(cells))
        for name in TABLE_DATA
        for part in ("val", "test")
    }
    names = {"conv_1x1": "nor_conv_1x1", "conv_3x3": "nor_conv_3x3"}
    ops = [names.get(name, name) for name in spec.primitives]
    np.savez(folder / "nb201.npz", op_names=ops, ops=np.array(cells), **accuracies)
    found = ", ".join(
        f"{kind}={[tuple(edge) for edge in cell.connections]}, "
        f"{kind}_concat=range(2, 6)"
        for kind, cell in ZOO["DARTS_V1"].cells.items()
    )
    (folder / "genotypes.py").write_text(f"MINE = Genotype({found})\nOTHER = MINE\n")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    make_files(folder)
    return folder


@pytest.mark.parametrize("command", RUN, ids=[" ".join(c[1:])[:80] for c in RUN])
def test_runs_after_those_before(command, scratch, monkeypatch, capsys):
    """In the folder in which all commands before have run."""
    monkeypatch.chdir(scratch)
    kind, arguments = parsed(command)
    module = importlib.import_module(COMMANDS[kind].module)
    for name in ("search", "train", "compare", "perturb", "export", "latency", "cost"):
        other = importlib.import_module(f"jdarts.{name}")
        if hasattr(other, "compile_timed"):
            monkeypatch.setattr(other, "compile_timed", traced)
        if hasattr(other, "median_seconds"):
            monkeypatch.setattr(other, "median_seconds", lambda *args, **_: 1e-3)
    monkeypatch.setattr("jdarts.compile.compile_timed", traced)
    monkeypatch.setattr("jdarts.loops.run.programs_folder", lambda: None)
    if "--help" in arguments:
        with pytest.raises(SystemExit) as stop, redirect_stdout(io.StringIO()) as out:
            module.main(arguments)
        assert stop.value.code in (0, None) and "--help" in out.getvalue()
        return
    arguments += REDUCED[kind](arguments)
    status = run_command(module.main, arguments)
    out, err = capsys.readouterr()
    assert status == 0, f"{kind} {' '.join(arguments)}\n{err}"
    assert "Traceback" not in err and out.strip()
