"""Runs that cannot begin, go on or end: one line, and nothing lost."""

import errno
import logging
import os
import shutil

import pytest
from search_runs import (
    EPOCHS,
    OFTEN,
    PER_EPOCH,
    STEPS,
    assert_same_run,
    last_checkpoint,
)

from jdarts.io import Checkpoints, MetricsLog, read_metrics


@pytest.fixture
def copied(unbroken, tmp_path):
    """A finished run of one's own."""
    return shutil.copytree(unbroken, tmp_path / "run")


def error_line(capsys):
    """The only line on stderr."""
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: "), err
    return err


def spoil(folder, step):
    """Overwrites what a checkpoint says of the numbers."""
    files = [
        f
        for f in (folder / "checkpoints" / str(step) / "state").rglob("*")
        if f.is_file() and f.parent.name == "d"
    ]
    assert files
    for path in files:
        path.write_bytes(bytes(len(path.read_bytes())))


def contents(folder):
    files = [f for f in folder.rglob("*") if f.is_file() and f.name != ".lock"]
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}


# --- losses ---


def test_a_loss_that_is_not_finite(start_search, tmp_path):
    folder = tmp_path / "run"
    weights = ("--method.weights.lr", "1e30", "--method.weights.clip", "1e30")
    process = start_search(folder, *OFTEN, *weights)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.count("\n") == 1 and err.startswith(
        f"error: {folder}: not finite at step"
    )
    step = int(err.split("at step ")[1].split()[0])
    assert "gradient_norm nan" in err and "valid_loss" in err and "weights.lr" in err
    rows = read_metrics(folder / "metrics.jsonl")
    assert rows and all(row["step"] < step for row in rows)
    saved = last_checkpoint(folder)
    assert saved.step == rows[-1]["step"] < step
    assert not (folder / "genotype.json").exists()


# --- what the folder holds ---


def test_the_newest_checkpoint_is_corrupt(copied, unbroken, search, capsys, caplog):
    spoil(copied, STEPS)
    with caplog.at_level(logging.WARNING, "jdarts"):
        assert search(copied) == 0
    assert f"checkpoints/{STEPS}: damaged" in caplog.text
    assert f"continuing from step {STEPS - PER_EPOCH}" in caplog.text
    assert f"resuming {copied} at step {STEPS - PER_EPOCH}" in capsys.readouterr().out
    shutil.rmtree(copied / "checkpoints" / f"{STEPS}.damaged")
    assert_same_run(copied, unbroken)


def test_all_checkpoints_are_corrupt(copied, search, capsys):
    for epoch in EPOCHS:
        spoil(copied, epoch * PER_EPOCH)
    before = contents(copied)
    assert search(copied) == 2
    said = error_line(capsys)
    assert "none of its 3 checkpoints can be read" in said
    assert str(copied / "checkpoints") in said
    assert contents(copied) == before


@pytest.mark.parametrize(
    "name, content",
    [
        ("genotype.json", b'{"final": '),
        ("genotype.json", b'{"final": {"space": "toy"}, "epochs": []}'),
        ("config.json", b"{"),
    ],
)
def test_a_corrupt_file(copied, search, capsys, name, content):
    (copied / name).write_bytes(content)
    before = contents(copied)
    assert search(copied) == 2
    assert str(copied / name) in error_line(capsys)
    assert contents(copied) == before


def test_corrupt_metrics(copied, search, capsys, caplog):
    """They end no run; what is lost is said."""
    file = copied / "metrics.jsonl"
    file.write_bytes(b'{"kind": "step"}\nnot a row\n{}\n')
    assert search(copied) == 0
    assert f"{file}: line 2 damaged; dropped" in caplog.text
    assert f"{file}: lacks " in capsys.readouterr().out
    assert f"incomplete: {file}" in (copied / "summary.txt").read_text()


def test_no_checkpoints_any_more(copied, unbroken, search):
    """The run begins again, and its records with it."""
    shutil.rmtree(copied / "checkpoints")
    assert search(copied) == 0
    assert_same_run(copied, unbroken)


def test_another_configuration(copied, search, capsys):
    before = contents(copied)
    arguments = ("--seed", "3", "--method.weights.lr", "0.5")
    arguments += ("--compute-dtype", "bfloat16")
    assert search(copied, *arguments) == 2
    said = error_line(capsys)
    assert str(copied) in said
    assert "seed: 3 here, 2 in the folder" in said
    assert "method.weights.lr: 0.5 here, 0.1 in the folder" in said
    assert 'compute_dtype: "bfloat16" here, "default" in the folder' in said
    assert contents(copied) == before


@pytest.mark.parametrize("inside", [False, True])
def test_the_folder_is_a_file(search, capsys, tmp_path, inside):
    (tmp_path / "file").write_text("mine")
    assert search(tmp_path / "file" / "run" if inside else tmp_path / "file") == 2
    assert str(tmp_path / "file") in error_line(capsys)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_folder_holds_other_things(search, capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert search(tmp_path) == 2
    assert "thesis.tex" in error_line(capsys)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_place_that_cannot_be_written(search, capsys):
    if not os.path.isdir("/proc/self"):
        pytest.skip("needs a file system that nobody can write")
    assert search("/proc/jdarts") == 2
    assert "/proc/jdarts: cannot be created" in error_line(capsys)


# --- a disk that is full for a while ---


def test_full_disk_while_writing_metrics(
    search, unbroken, capsys, monkeypatch, tmp_path
):
    folder, appended = tmp_path / "run", []
    original = MetricsLog.append

    def append(log, row):
        ours = log.path.name == "metrics.jsonl"
        appended.extend([row] * ours)
        with monkeypatch.context() as patch:
            if ours and len(appended) == PER_EPOCH + 5:
                patch.setattr(type(log.path), "open", full)
            original(log, row)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "append", append)
        assert search(folder) == 2
    said = error_line(capsys)
    assert f"{folder / 'metrics.jsonl'}: cannot be written (No space left" in said
    assert len(read_metrics(folder / "metrics.jsonl")) == PER_EPOCH + 4
    assert search(folder) == 0
    assert_same_run(folder, unbroken)


def test_full_disk_while_saving(search, unbroken, capsys, monkeypatch, tmp_path):
    folder, original = tmp_path / "run", Checkpoints.save

    def save(checkpoints, step, *rest):
        if step > PER_EPOCH:
            checkpoints.wait()
            with monkeypatch.context() as patch:
                patch.setattr(checkpoints._manager, "save", full)
                original(checkpoints, step, *rest)
        else:
            original(checkpoints, step, *rest)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        assert search(folder, *OFTEN) == 2
    said = error_line(capsys)
    assert "the checkpoint cannot be written (No space left on device)" in said
    assert last_checkpoint(folder).step == PER_EPOCH
    assert search(folder) == 0
    assert_same_run(folder, unbroken)
