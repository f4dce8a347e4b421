"""Shells complete what there is."""

import shutil
import subprocess

import pytest

from jdarts import ZOO
from jdarts.cli import run_command
from jdarts.commands import COMMANDS
from jdarts.completion import SHELLS, main, words
from jdarts.config import config_names


@pytest.fixture(scope="module")
def scripts():
    return {shell: write() for shell, write in SHELLS.items()}


def completed(script, *line):
    """What bash offers for the last word of a line."""
    typed = " ".join(f"'{word}'" for word in line)
    code = (
        f"{script}\nCOMP_WORDS=({typed})\nCOMP_CWORD={len(line) - 1}\n_jdarts\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "line, offered",
    [
        (["se"], {"search"}),
        ([""], {*COMMANDS, "--help", "--version"}),
        (["search", "--epo"], {"--epochs"}),
        (["search", "--method.weights.l"], {"--method.weights.lr"}),
        (["search", "--method.tau"], {"--method.tau", "--method.tau-min"}),
        (["search", "smo"], {"smoke"}),
        (["train", "DARTS"], {"DARTS_V1", "DARTS_V2"}),
        (["train", "--optimizer.sch"], {"--optimizer.schedule"}),
        (["export", "--form"], {"--formats"}),
        (["compare", "--retr"], {"--retrainings"}),
        (["search", "--ext"], {"--extend"}),
        (["train", "--no-e"], {"--no-extend"}),
        (["completion", ""], set(SHELLS)),
    ],
)
def test_bash(scripts, tmp_path, monkeypatch, line, offered):
    monkeypatch.chdir(tmp_path)  # no files
    assert offered <= completed(scripts["bash"], "jdarts", *line)
    others = completed(scripts["bash"], "jdarts", *line) - offered
    assert all(word.startswith(line[-1]) for word in others)


def test_bash_offers_files(scripts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert completed(scripts["bash"], "jdarts", "report", "ru") == {"runs"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_words(scripts, name):
    own = words(name)
    assert len(own) == len(set(own)) and all(" " not in word for word in own)
    for script in scripts.values():
        assert all(word in script for word in own)


def test_names_are_offered():
    assert set(config_names()) <= set(words("search"))
    assert set(ZOO) <= set(words("train")) and set(ZOO) <= set(words("cost"))


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_valid(scripts, shell):
    program = shutil.which(shell)
    if program is None:
        assert shell != "bash"  # the others are not everywhere
        return
    done = subprocess.run([program, "-n"], input=scripts[shell].encode())
    assert done.returncode == 0


def test_the_command(capsys, scripts):
    assert run_command(main, ["bash"]) == 0
    assert capsys.readouterr().out == scripts["bash"] + "\n"
    assert run_command(main, ["--help"]) == 0
    assert "jdarts completion zsh" in capsys.readouterr().out
    for arguments in (["basch"], [], ["bash", "zsh"]):
        assert run_command(main, arguments) == 2
    assert "did you mean 'bash'?" in capsys.readouterr().err
