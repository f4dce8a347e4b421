"""The command, on a training that was made by hand."""

import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from trainings import make_training, tiny

import jdarts.export
from jdarts import Batch
from jdarts.cli import run_command
from jdarts.exports import FORMATS, TOLERANCE, named_weights, read_weights
from jdarts.io import write_json
from jdarts.training import Scores


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """``(folder, start)`` of a finished training."""
    folder = tmp_path_factory.mktemp("runs") / "training"
    return folder, make_training(folder, tiny())


def run(*arguments):
    return run_command(jdarts.export.main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def exported(training, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "a" / "b"
    assert run(training[0], "--out", out) == 0
    return out


def test_files(exported):
    names = {path.name for path in exported.iterdir()}
    assert names == {"weights.npz", "network.jax", "export.json"}


def test_the_averaged_weights_are_exported(training, exported):
    """A training that averages evaluates the average."""
    state = training[1].state
    expected = named_weights(*state.average)
    found = read_weights(exported / "weights.npz")
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_description(training, exported):
    data = json.loads((exported / "export.json").read_text())
    start = training[1]
    assert data["images"]["shape"] == [8, 8, 1] and data["classes"] == 10
    assert data["class_names"] == list(map(str, range(10)))
    assert data["images"]["mean"] == pytest.approx(start.images.mean)
    assert data["genotype"] == start.genotype.to_json()
    row = data["files"]["jax"]
    assert row["platforms"] == ["cpu", "cuda", "tpu"]
    assert row["checked_images"] == 64 and row["difference"] <= TOLERANCE
    assert row["bytes"] == (exported / "network.jax").stat().st_size


def test_the_program_is_that_network(training, exported):
    """Its accuracy on the test images is the training's own evaluation."""
    start = training[1]
    program = export.deserialize(bytearray((exported / "network.jax").read_bytes()))
    images = start.images.test_images[:32]
    found = np.asarray(program.call(images))
    x = (images / 255 - start.images.mean) / start.images.std
    batch = start.trainer.evaluate(
        start.state,
        Batch(jnp.float32(x), jnp.asarray(found.argmax(1))),
        np.ones(32, np.float32),
        Scores.zero(10, np.float32),
    )
    assert float(batch.correct) == 32


def test_onnx_too(training, tmp_path):
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    assert run(training[0], "--formats", "onnx", "--out", tmp_path / "o") == 0
    data = json.loads((tmp_path / "o" / "export.json").read_text())
    assert data["files"].keys() == {"onnx"}
    assert data["files"]["onnx"]["difference"] <= TOLERANCE


def test_a_second_export_keeps_the_record_of_the_first(training, tmp_path):
    out = tmp_path / "o"
    assert run(training[0], "--formats", "npz", "--out", out) == 0
    first = json.loads((out / "export.json").read_text())
    assert run(training[0], "--formats", "jax", "--out", out) == 0
    both = json.loads((out / "export.json").read_text())
    assert both["files"].keys() == {"npz", "jax"}
    assert both == first | {"files": both["files"]}
    assert both["files"]["npz"] == first["files"]["npz"]
    (out / "weights.npz").unlink()  # what is gone is not described
    assert run(training[0], "--formats", "jax", "--out", out) == 0
    assert json.loads((out / "export.json").read_text())["files"].keys() == {"jax"}


def test_a_folder_is_of_one_network(training, tmp_path, capsys):
    """Files of another one do not stay beside it; they can be replaced."""
    out, other = tmp_path / "o", tmp_path / "other"
    assert run(training[0], "--formats", "npz", "jax", "--out", out) == 0
    make_training(other, tiny(seed=9))
    before = {path: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    assert run(other, "--formats", "npz", "--out", out) == 2
    said = capsys.readouterr().err
    assert "holds network.jax of another network" in said and said.count("\n") == 1
    assert "expected --formats npz jax" in said
    assert before == {path: path.read_bytes() for path in out.iterdir()}
    assert run(other, "--formats", "npz", "jax", "--out", out) == 0
    (out / "export.json").write_text("[]")
    assert run(other, "--formats", "npz", "--out", out) == 2
    assert "not the record of an export" in capsys.readouterr().err


def test_one_of_several_seeds(tmp_path, capsys):
    make_training(tmp_path / "run", tiny(seed=None, seeds=(4, 6)))
    assert run(tmp_path / "run", "--formats", "npz") == 2
    assert "--seed: not given;" in capsys.readouterr().err
    assert run(tmp_path / "run", "--formats", "npz", "--seed", "6") == 0
    assert (tmp_path / "run" / "export" / "seed_6" / "weights.npz").exists()


# --- what is refused: one line, nothing written ---


@pytest.fixture
def refused(tmp_path, capsys):
    def check(*arguments, status=2):
        before = sorted(tmp_path.rglob("*"))
        assert run(*arguments, "--out", tmp_path / "out") == status
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and said.startswith("error: ")
        assert sorted(tmp_path.rglob("*")) == before
        return said

    return check


def test_what_is_no_training(refused, tmp_path):
    assert "none: no such folder" in refused(tmp_path / "none")
    assert "holds no config.json" in refused(tmp_path)
    write_json(tmp_path / "config.json", {"name": "search"})
    assert "no training; expected" in refused(tmp_path)
    (tmp_path / "part.txt").write_text("")
    assert "one seed of several; expected" in refused(tmp_path)


def test_a_training_that_goes_on(refused, tmp_path):
    make_training(tmp_path / "run", tiny(), finished=False)
    assert "expected the folder of a finished training" in refused(tmp_path / "run")


def test_options(refused, training):
    folder = training[0]
    assert "did you mean 'onnx'?" in refused(folder, "--formats", "onx")
    assert "--formats: none given" in refused(folder, "--formats")
    assert "did you mean '--formats'?" in refused(folder, "--format", "jax")
    assert "--seed: 3;" in refused(folder, "--seed", "3")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package(refused, training, monkeypatch, package):
    if package == "onnxruntime":
        pytest.importorskip("onnx", reason="the extra onnx is not installed")
    monkeypatch.setitem(sys.modules, package, None)
    said = refused(training[0], "--formats", "npz", "onnx")
    assert f"needs the package {package}" in said and "the extra onnx" in said


def test_a_program_that_differs_is_not_written(refused, training, monkeypatch):
    wrong = FORMATS["jax"]._replace(run=lambda content, x: np.ones((len(x), 10)))
    monkeypatch.setitem(FORMATS, "jax", wrong)
    said = refused(training[0], "--formats", "npz", "jax", status=1)
    assert "network.jax: its logits differ from the network's by" in said
