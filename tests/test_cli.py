"""The command line: every field, its help, errors in one line."""

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jdarts
from jdarts import METHODS, RunError, UserError
from jdarts.cli import parse_search, run_command
from jdarts.config import SearchConfig, config_names, load_config
from jdarts.options import option_types


def leaves(config, path=()):
    """(names on the way, value) of every field that is not a part."""
    for field in dataclasses.fields(config):
        value, names = getattr(config, field.name), (*path, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, names)
        else:
            yield names, value


def parts(config):
    """The configuration and everything it is composed of."""
    yield type(config)
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(getattr(config, field.name)):
            yield from parts(getattr(config, field.name))


def look_up(config, names):
    for name in names:
        config = getattr(config, name)
    return config


FIELDS = [names for names, _ in leaves(SearchConfig())]
# Where the value above the default is not valid, or there is none.
SAMPLES = {
    ("name",): "mine",
    ("space",): "toy",
    ("seeds",): (3, 1),
    ("stem",): "imagenet",
    ("compute_dtype",): "bfloat16",
    ("steps",): 3,
    ("table",): Path("x"),
    ("table_data",): "c100",
    ("data", "name"): "npz",
    ("data", "dir"): Path("x"),
    ("data", "classes"): 3,
    ("data", "limit"): 3,
    ("data", "resize"): (3, 5),
    ("data", "split"): "file_order",
    ("data", "valid_fraction"): 0.25,
    ("method", "hypergradient", "name"): "first_order",
    ("method", "hypergradient", "steps"): 2,
    ("method", "hypergradient", "mode"): "reverse",
    ("method", "hypergradient", "radius"): 0.5,
    ("method", "hypergradient", "terms"): 2,
    ("method", "hypergradient", "scale"): 0.5,
    ("method", "arch", "clip"): 0.5,
    ("method", "weights", "momentum"): 0.5,
    ("method", "arch", "b1"): 0.25,
    ("method", "arch", "b2"): 0.5,
    ("method", "weights", "weight_decay_last"): 0.5,
    ("max_skips",): 2,
    ("drop_path", "rate"): 0.5,
    ("drop_path", "growth"): "constant",
    ("curvature", "stop"): 2.0,
    ("hardware", "cost"): "parameters",
    ("hardware", "target"): 0.5,
    ("hardware", "latency_table"): Path("x"),
    ("hardware", "channels"): 3,
    ("hardware", "layers"): 3,
}

# What has no effect without others.
NEEDS = {
    ("drop_path", "growth"): {("drop_path", "rate"): 0.5},
    ("hardware", "weight"): {("hardware", "cost"): "parameters"},
    ("hardware", "target"): {
        ("hardware", "cost"): "parameters",
        ("hardware", "weight"): 0.5,
    },
    ("hardware", "latency_table"): {("hardware", "cost"): "latency"},
    ("hardware", "channels"): {("hardware", "cost"): "parameters"},
    ("hardware", "layers"): {("hardware", "cost"): "parameters"},
    ("curvature", "iterations"): {("curvature", "every"): 1},
    ("curvature", "stop"): {("curvature", "every"): 1},
} | {
    ("curvature", name): {("curvature", "every"): 1, ("curvature", "stop"): 2.0}
    for name in ("window", "back", "start")
}


def sample(names):
    """A valid value that is not the default."""
    value = look_up(SearchConfig(), names)
    if names in SAMPLES:
        return SAMPLES[names]
    return not value if isinstance(value, bool) else value + 1


def written(names, value):
    """As a user writes it."""
    *path, name = (part.replace("_", "-") for part in names)
    prefix = "--" + "".join(f"{part}." for part in path)
    if isinstance(value, bool):
        return [f"{prefix}{name}" if value else f"{prefix}no-{name}"]
    if isinstance(value, tuple):
        return [f"{prefix}{name}", *map(str, value)]
    return [f"{prefix}{name}", str(value)]


@pytest.mark.parametrize("names", FIELDS, ids=".".join)
def test_every_field_is_an_option(names):
    value = sample(names)
    assert value != look_up(SearchConfig(), names)
    # A configuration file whose values are the defaults, except for the name.
    base = load_config("darts_cifar10")
    given = {**NEEDS.get(names, {}), names: value}
    words = [word for item in given.items() for word in written(*item)]
    config = parse_search(["darts_cifar10", *words]).config
    found = dict(leaves(config))
    assert found[names] == value
    expected = dict(leaves(base)) | given
    if names == ("seeds",):  # instead of the seed
        expected[("seed",)] = None
    if names == ("data", "name"):  # the run is named by its data
        expected[("name",)] = "darts_cifar10_npz"
    assert found == expected
    assert written(names, value)[0] in set(option_types(config))


def test_underscores_and_equal_signs():
    found = parse_search(["smoke", "--batch_size=7", "--data.crop_padding", "0"]).config
    assert (found.batch_size, found.data.crop_padding) == (7, 0)


def test_seeds_of_the_configuration_are_overridden(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"seeds": [3, 1, 4]}')
    assert parse_search([str(path)]).config.all_seeds == (3, 1, 4)
    assert parse_search([str(path), "--seed", "5"]).config.all_seeds == (5,)
    assert parse_search([str(path), "--seeds", "6", "7"]).config.all_seeds == (6, 7)
    assert parse_search(["smoke", "--seeds", "8"]).config.seed == 8


@pytest.fixture(scope="module")
def help_text():
    """What --help prints, without frames and white space."""
    command = [sys.executable, "-m", "jdarts.search", "--help"]
    root = Path(jdarts.__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0 and done.stderr == ""
    return re.sub(r"\x1b\[[0-9;]*m|[─│╭╮╰╯]|\s", "", done.stdout)


@pytest.mark.parametrize(
    "part", list(parts(SearchConfig())), ids=lambda part: part.__name__
)
def test_every_field_is_documented_in_the_help(help_text, part):
    documented = {}
    for own in reversed([c for c in part.__mro__ if dataclasses.is_dataclass(c)]):
        [tree] = ast.parse(inspect.getsource(own)).body
        documented |= {
            field.target.id: text.value.value
            for field, text in zip(tree.body, tree.body[1:], strict=False)
            if isinstance(field, ast.AnnAssign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        }
    assert list(documented) == [field.name for field in dataclasses.fields(part)]
    for text in documented.values():
        assert re.sub(r"\s", "", text) in help_text


def test_the_help_lists_the_accepted_options(help_text):
    flags = set(option_types(load_config("digits")))
    for flag in flags:
        assert flag in help_text
    # and no other ones: each has a default, and so have --run-dir and --extend.
    assert help_text.count("(default:") == len(FIELDS) + 2
    for name in (*config_names(), *METHODS):
        assert name in help_text


def test_the_default_configuration_and_folder():
    command = parse_search([])
    assert command.config == load_config("digits")
    assert command.run_dir == Path("runs/digits")
    assert parse_search(["smoke"]).run_dir == Path("runs/smoke")
    assert parse_search(["smoke", "--name", "x"]).run_dir == Path("runs/x")
    assert parse_search(["--run-dir", "y"]).run_dir == Path("y")


@pytest.mark.parametrize("arguments", [["--method", "darts"], ["--method=darts"]])
def test_the_method(arguments):
    """The configuration's own method keeps the configuration's settings."""
    config = load_config("digits")
    assert config.method != METHODS["darts"].config()
    assert parse_search(arguments).config == config
    found = parse_search([*arguments, "--method.arch.lr", "0.5"]).config
    assert found.method.arch.lr == 0.5


@dataclasses.dataclass(frozen=True)
class OtherConfig:
    """A method's settings."""

    strength: float = 2.0
    """How strong."""


def test_another_method(monkeypatch):
    """A row of the table is all that a new method needs here."""
    row = METHODS["darts"]._replace(config=OtherConfig)
    monkeypatch.setitem(METHODS, "other", row)
    found = parse_search(["--method", "other", "--method.strength", "3"]).config
    assert found.method == OtherConfig(3.0)
    with pytest.raises(UserError, match="unknown '--method.arch.lr'"):
        parse_search(["--method", "other", "--method.arch.lr", "1"])


@pytest.mark.parametrize(
    "error, status", [(UserError("a\n b"), 2), (RunError("a b"), 1)]
)
def test_errors_are_one_line(capsys, error, status):
    def main(arguments):
        raise error

    assert run_command(main, []) == status
    assert capsys.readouterr() == ("", "error: a b\n")


@pytest.mark.parametrize(
    "error, line",
    [
        (
            PermissionError(13, "Permission denied", "/secret/run"),
            "/secret/run: cannot be used (Permission denied)",
        ),
        (MemoryError("Unable to allocate 9 TiB"), "fewer images (--data.limit) need"),
        (
            RuntimeError("Unable to initialize backend 'gpu': none\nmore"),
            "JAX_PLATFORMS: Unable to initialize backend 'gpu': none; expected cpu",
        ),
        (RuntimeError("RESOURCE_EXHAUSTED: out of memory"), "a smaller --batch-size"),
    ],
)
def test_what_the_system_refuses_is_one_line(capsys, error, line):
    def main(arguments):
        raise error

    assert run_command(main, []) == 2
    found = capsys.readouterr().err
    assert found.startswith("error: ") and found.count("\n") == 1 and line in found


def test_interrupted(capsys):
    def main(arguments):
        raise KeyboardInterrupt

    assert run_command(main, []) == 130
    assert (
        capsys.readouterr().err == "error: interrupted; what was saved before stays\n"
    )


@pytest.mark.parametrize("error", [ZeroDivisionError, OSError, RuntimeError])
def test_mistakes_in_the_code_are_not_hidden(error):
    def main(arguments):
        raise error

    with pytest.raises(error):
        run_command(main, [])


def test_nobody_reads_the_output():
    """``python -m jdarts.search | head``: no traceback."""
    code = (
        "import sys; from jdarts.cli import run_command\n"
        "def main(arguments):\n"
        "    for _ in range(10**6): print('x' * 80, flush=True)\n"
        "sys.exit(run_command(main, []))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(jdarts.__file__).parents[1],
    )
    process.stdout.read(100)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141
