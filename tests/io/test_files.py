"""Atomic files, metrics and genotype logs."""

import errno
import json
import math
import os

import jax.numpy as jnp
import numpy as np
import pytest

from jdarts import Genotype, UserError
from jdarts.io import (
    GenotypeLog,
    MetricsLog,
    read_json,
    read_metrics,
    write_atomic,
    write_json,
)
from jdarts.spaces import CellGenotype, Connection

FULL = OSError(errno.ENOSPC, "No space left on device")


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch, function):
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    monkeypatch.setattr(os, function, raising(FULL))
    with pytest.raises(UserError, match=r"a.json: cannot be written \(No space left"):
        write_atomic(path, b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_write_into_no_folder(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        write_json(tmp_path / "none" / "a.json", {})


def test_json_round_trip_and_errors(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"ü": [1, None]})
    assert read_json(path) == {"ü": [1, None]}
    path.write_bytes(b"{\xff")
    with pytest.raises(UserError, match="a.json: not JSON"):
        read_json(path)
    with pytest.raises(UserError, match="b.json: cannot be read"):
        read_json(tmp_path / "b.json")


def test_metrics_are_valid_json_and_come_back(tmp_path):
    path = tmp_path / "m.jsonl"
    log = MetricsLog(path)
    log.append({"step": 1, "loss": jnp.float32(0.5), "n": np.int64(3), "on": True})
    log.append({"step": 2, "loss": math.nan, "up": np.float32("inf"), "s": "test"})
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=raising(AssertionError("not JSON")))
    log.append({"deep": {"a": [[1.5, np.float64("-inf")], []]}})
    first, second, third = read_metrics(path)
    assert first == {"step": 1, "loss": 0.5, "n": 3, "on": True}
    assert math.isnan(second["loss"]) and second["up"] == math.inf
    assert second["s"] == "test"
    assert third == {"deep": {"a": [[1.5, -math.inf], []]}}


def test_resumed_metrics_equal_an_unbroken_run(tmp_path):
    whole, broken = tmp_path / "a", tmp_path / "b"
    for step in range(6):
        MetricsLog(whole).append({"step": step, "loss": step / 7})
    for step in range(5):
        MetricsLog(broken).append({"step": step, "loss": step / 7})
    with broken.open("a") as file:
        file.write('{"step": 5, "lo')
    assert len(read_metrics(broken)) == 5
    log = MetricsLog(broken)
    log.truncate_after(3)
    assert [row["step"] for row in read_metrics(broken)] == [0, 1, 2, 3]
    for step in (4, 5):
        log.append({"step": step, "loss": step / 7})
    assert broken.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("garbage", ["nonsense", "[1]", "", "\x00\x00"])
def test_metrics_garbage_names_the_line(tmp_path, garbage):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n' + garbage + '\n{"step": 2}\n')
    with pytest.raises(UserError, match="m.jsonl, line 2: not a JSON object"):
        read_metrics(path)


@pytest.mark.parametrize("garbage", ["nonsense", "[1]", "", "\x00\x00"])
def test_metrics_garbage_is_dropped_when_the_run_goes_on(tmp_path, garbage, caplog):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n' + garbage + '\n{"step": 2}\n')
    MetricsLog(path).truncate_after(1)
    assert path.read_text() == '{"step": 1}\n'
    assert f"{path}: line 2 damaged; dropped" in caplog.messages


def test_missing_metrics(tmp_path):
    MetricsLog(tmp_path / "m").truncate_after(3)
    assert not (tmp_path / "m").exists()
    with pytest.raises(UserError, match="no such file"):
        read_metrics(tmp_path / "m")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_metrics_on_a_full_disk(tmp_path):
    (tmp_path / "m").symlink_to("/dev/full")
    log = MetricsLog(tmp_path / "other")
    log.path = tmp_path / "m"
    with pytest.raises(UserError, match=r"m: cannot be written \(No space left"):
        log.append({"step": 1})


def genotype(primitive):
    nodes = ((Connection(primitive, 0), Connection("skip_connect", 1)),)
    return Genotype("toy", {"normal": CellGenotype(nodes, (2,))})


def test_genotypes_of_a_run(tmp_path):
    path = tmp_path / "genotype.json"
    a, b = genotype("skip_connect"), genotype("sep_conv_3x3")
    log = GenotypeLog(path)
    log.record(0, a)
    log.record(1, b)
    assert read_json(path) == {
        "final": None,
        "epochs": [
            {"epoch": 0, "genotype": a.to_json()},
            {"epoch": 1, "genotype": b.to_json()},
        ],
    }
    log.finish(b)
    assert Genotype.load(path) == b
    again = GenotypeLog(path)
    assert again.epochs == {0: a, 1: b} and again.final == b
    again.truncate_after(1)  # the run goes on: what it ended with is no result yet
    assert GenotypeLog(path).epochs == {0: a, 1: b} and GenotypeLog(path).final is None
    again.truncate_after(0)
    assert GenotypeLog(path).epochs == {0: a} and GenotypeLog(path).final is None
    again.record(0, b)
    assert GenotypeLog(path).epochs == {0: b}


@pytest.mark.parametrize("content", ["[]", "{", '{"final": {}, "epochs": []}'])
def test_a_bad_genotype_file_is_named(tmp_path, content):
    path = tmp_path / "genotype.json"
    path.write_text(content)
    with pytest.raises(UserError, match="genotype.json"):
        GenotypeLog(path)


def test_genotypes_on_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "genotype.json"
    log = GenotypeLog(path)
    log.record(0, genotype("a"))
    before = path.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(UserError):
        patch.setattr(os, "fsync", raising(FULL))
        log.record(1, genotype("b"))
    assert path.read_bytes() == before and list(log.epochs) == [0]
