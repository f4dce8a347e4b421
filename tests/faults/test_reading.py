"""Damaged run folders: a right result that says what is missing, or one line.

Every file of every kind of run folder, altered in every way, is read by every command
that reads it; `test_the_size_of_the_product` counts them.
"""

import contextlib
import dataclasses
import sys

import numpy as np
import pytest
from alterations import alterations, copy_of
from folders import (
    STEPS,
    add_columns,
    config,
    make_comparison,
    make_run,
    make_seed,
    make_timing,
    make_training,
    recipe,
)
from judging import Reached, begin, ending

from jdarts import (
    compare,
    cost,
    derive_genotype,
    export,
    get_space,
    pareto,
    perturb,
    regret,
    report,
    reports,
    run_network,
    train,
)
from jdarts.cli import run_command
from jdarts.config import load_config, to_json
from jdarts.io import GenotypeLog, MetricsLog, RunFolder, write_json
from jdarts.io.data_facts import DataFacts
from jdarts.loops.text_result import TextResult, text_results_json
from jdarts.methods.p_darts import PDartsConfig
from jdarts.train_config import load_recipe, recipe_to_json

# --- run folders, as small as they can be ---


def make_table(folder):
    """A search whose cells a table knows."""
    make_run(folder)
    names = ("regret", "random_regret", "table_test_accuracy")
    names += ("table_mean_test_accuracy", "table_best_test_accuracy")
    add_columns(folder, lambda epoch, path: dict.fromkeys(names, 0.5 / epoch))


def make_search(folder):
    """A search with everything that can be in its folder."""
    make_run(folder)
    make_training(folder / "again")
    make_comparison(folder / "compare")
    part = {"name": "stem", "output": [8, 8, 4], "parameters": 8, "multiply_adds": 64}
    part |= {"kept_bytes": 256, "seconds": {"1": 0.5, "32": 2.0}}
    network = {"channels": 4, "layers": 3, "image": [8, 8, 1]}
    found = {"network": network, "batch_size": 32, "device": "cpu"}
    write_json(folder / "cost.json", found | {"parts": [part], "total": part})
    DataFacts(tuple("0123456789"), (8, 8, 1), "0" * 64).write(folder)


def make_perturbation(folder):
    """What `perturb` writes into the folder of a search."""
    make_run(folder.parent / "perturbed")
    with RunFolder.open(folder.parent / "perturbed", to_json(config())) as run:
        part = run.part("perturbation", to_json(config()))
        log = GenotypeLog(run.genotype)
        GenotypeLog(part.genotype).finish(log.final)
        write_json(part.path / "perturbation.json", {"settings": {}, "decisions": []})
    part.path.rename(folder)


def make_stages(folder):
    method = PDartsConfig(added_layers=(0, 1), dropped=(1,), skip_dropout=(0.0, 0.4))
    make_run(folder, epochs=2, settings=config(method=method, epochs=2))
    cells = get_space("toy").cells
    rows = [
        {
            "epochs": [stage, stage],
            "added_layers": stage - 1,
            "primitives": {
                kind: [list(spec.primitives[: 4 - stage]) for _ in spec.edges]
                for kind, spec in cells.items()
            },
        }
        for stage in (1, 2)
    ]
    write_json(folder / "stages.json", rows)


def make_text_search(folder):
    settings = dataclasses.replace(load_config("rnn_demo"), epochs=2)
    folder.mkdir()
    write_json(folder / "config.json", to_json(settings))
    make_timing(folder, 2)
    make_seed(folder, settings.space, 2, 2, True)
    names = ("supernet_perplexity", "train_perplexity")
    names += ("unigram_perplexity", "bigram_perplexity")
    add_columns(folder, lambda epoch, path: dict.fromkeys(names, 99.5 / epoch))


def make_text_training(folder):
    settings = dataclasses.replace(load_recipe("train_topics"), epochs=2)
    space = get_space("darts_rnn")
    spec = space.cells["recurrent"]
    mix = {"recurrent": np.eye(len(spec.edges), len(spec.primitives))}
    cell = derive_genotype(space, mix)
    folder.mkdir()
    write_json(folder / "config.json", recipe_to_json(settings, cell))
    make_timing(folder, 2)
    GenotypeLog(folder / "genotype.json").finish(cell)
    log = MetricsLog(folder / "metrics.jsonl")
    counted = {"unigram_perplexity": 99.0, "bigram_perplexity": 55.0}
    for epoch in (1, 2):
        place = {"step": epoch * STEPS}
        values = {"train_loss": 2.5 / epoch, "gradient_norm": 1.0, "lr": 0.5}
        log.append({"kind": "step", **place, **values})
        row = {"epoch_train_loss": 4.5, "valid_perplexity": 90.0 / epoch}
        log.append({"kind": "epoch", **place, "epoch": epoch, **row, **counted})
    score = {"epoch": 2, "perplexity": 45.0}
    result = TextResult(
        name="topics",
        seed=0,
        genotype=cell,
        parameters=999,
        text="topics",
        steps=2 * STEPS,
        last=score,
        best=score,
        averaged_from=None,
        test={"perplexity": 46.0, "tokens": 99},
        baselines={"valid": counted, "test": counted},
    )
    write_json(folder / "result.json", text_results_json("topics", [result]))


KINDS = {
    "search": make_search,
    "table": make_table,
    "seeds": lambda folder: make_run(
        folder, settings=config(seed=None, seeds=(3, 8), epochs=2), epochs=2
    ),
    "stages": make_stages,
    "perturbation": make_perturbation,
    "unfinished": lambda folder: make_run(folder, epochs=2, finished=False),
    "text search": make_text_search,
    "training": make_training,
    "trainings": lambda folder: make_training(
        folder, settings=recipe(seed=None, seeds=(3, 8))
    ),
    "text training": make_text_training,
    "comparison": make_comparison,
}

# --- commands ---


SIZE = "--channels 2 --layers 3 --classes 3 --image 8 8 1".split()
COMMANDS = {
    "report": lambda run, other: (report.main, [run]),
    "cells": lambda run, other: (report.main, [run, "--cells", "svg", "dot"]),
    "pareto": lambda run, other: (pareto.main, [run, other, *SIZE]),
    "regret": lambda run, other: (regret.main, [run]),
    "cost": lambda run, other: (cost.main, [run, *SIZE]),
    "train": lambda run, other: (train.main, [run]),
    "compare": lambda run, other: (compare.main, [run]),
    "perturb": lambda run, other: (perturb.main, [run]),
    "export": lambda run, other: (export.main, [run]),
}


@pytest.fixture(scope="module", autouse=True)
def nothing_is_computed():
    """Commands end where they would load data, compile or count."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "jdarts.train.train_setup",
            "jdarts.text_training.text_train_setup",
            "jdarts.compare.train_setup",
            "jdarts.perturb.setup",
            "jdarts.exports.trained.train_setup",
            "jdarts.cost.count",
        ):
            patch.setattr(name, begin)
        # What most of a report's time goes to.
        for module, name in (
            (reports.search, "total_cost"),
            (reports.search, "counted"),
            (reports.command, "load_config"),
            (reports.command, "load_recipe"),
            (reports.architecture, "cell_svg"),
            (reports.architecture, "cell_width"),
            (run_network, "load"),
        ):
            patch.setattr(module, name, remembered(getattr(module, name)))
        yield


def remembered(function):
    """The same, which is computed once for each arguments."""
    found = {}

    def once(*arguments, **options):
        key = repr((arguments, options))
        if key not in found:
            found[key] = function(*arguments, **options)
        return found[key]

    return once


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Kind to an intact folder; and one more search."""
    root = tmp_path_factory.mktemp("whole")
    for kind, make in KINDS.items():
        make(root / kind)
    make_run(root / "other", settings=config(seed=9, epochs=3))
    return root


def files_of(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


class Opened:
    """The files that are opened in a ``with``."""

    def __init__(self):
        self._seen = None
        sys.addaudithook(self._note)  # for ever: there is no way to take it back

    def _note(self, event, arguments):
        if event == "open" and self._seen is not None:
            self._seen.add(str(arguments[0]))

    def __enter__(self):
        self._seen = set()
        return self._seen

    def __exit__(self, *rest):
        self._seen = None


def named(path, name):
    """Whether a report has to name the file: not one that need not be there, and not
    one that it needs so much that it refuses, or that it does not show."""
    if path.name == "config.json" or path.match("again/timing.jsonl"):
        return False
    if path.match("again/genotype.json"):
        return False  # the configuration has it, too
    return name != "deleted" or path.name not in ("cost.json", "data.json")


SURE = ("deleted", "emptied", "replaced_by_a_folder", "type_7", "type_[]")
"""Alterations that leave nothing of the file."""

QUICK = ("report", "regret")
"""Commands to try with all alterations; the others read less, through the same
functions: they are tried with fewer, and not with runs inside the run."""
TELLING = (
    *SURE,
    "cut",
    "one_byte_0",
    "type_null",
    "numbers_int_10000000",
    "numbers_str_text",
    "lists_dict_{}",
)


def tried(command, file):
    """The alterations to try."""
    names = [alter.__name__ for alter in alterations(file)]
    if command in QUICK:
        return names
    inside = file.parent.name in ("again", "compare")
    return [] if inside else [name for name in names if name in TELLING]


def problem(command, run, other, capsys):
    """What is wrong with how a command ends; None if nothing is."""
    return ending(*COMMANDS[command](str(run), str(other)), capsys)[2]


@pytest.fixture(scope="module")
def read_by(whole):
    """Kind to command to the files that it reads; of those that take such a folder."""
    opened, found = Opened(), {}
    for kind in KINDS:
        for command in COMMANDS:
            main, arguments = COMMANDS[command](str(whole / kind), str(whole / "other"))
            status = 0
            with opened as seen, contextlib.suppress(Reached):
                status = run_command(main, arguments)
            files = [f for f in files_of(whole / kind) if str(whole / kind / f) in seen]
            if status == 0:
                found.setdefault(kind, {})[command] = files
    return found


TAKEN = {
    "search": {"report", "cells", "pareto", "cost", "train", "compare", "perturb"},
    "table": {"report", "cells", "pareto", "regret", "cost", "train", "compare"}
    | {"perturb"},
    "seeds": {"report", "cells", "pareto", "compare", "perturb"},
    "stages": {"report", "cells", "pareto", "cost", "train", "compare"},
    "perturbation": {"report", "cells", "cost", "train", "compare", "perturb"},
    "unfinished": {"report", "cells"},
    "text search": {"report", "cells", "train"},
    "training": {"report", "cost", "train", "export"},
    "trainings": {"report"},
    "text training": {"report", "train"},
    "comparison": {"report"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_alteration(kind, whole, read_by, tmp_path, capsys):
    done, wrong = 0, []
    for file in files_of(whole / kind):
        commands = [name for name, files in read_by[kind].items() if file in files]
        for alter in alterations(file) if commands else ():
            for command in commands:
                if alter.__name__ not in tried(command, file):
                    continue
                done += 1
                run = copy_of(whole / kind, tmp_path / "run")
                alter(run / file)
                (run / "report.html").unlink(missing_ok=True)
                text = problem(command, run, whole / "other", capsys)
                if text is None and command == "report":
                    text = unsaid(run, file, alter.__name__)
                if text is not None:
                    wrong.append(f"{command}, {file} {alter.__name__}: {text[-400:]}")
    assert done and not wrong, f"{len(wrong)} of {done}:\n" + "\n".join(wrong[:40])


def unsaid(run, file, name):
    """A report that does not name a record which is gone; None if it does."""
    page = run / "report.html"
    if name not in SURE or not named(file, name) or not page.is_file():
        return None
    text = page.read_text()
    said = file.name in text or "no epoch has ended yet" in text
    return None if said else "the report does not name it"


def test_which_commands_take_which_folders(read_by):
    assert {kind: set(found) for kind, found in read_by.items()} == TAKEN


def test_the_size_of_the_product(read_by, capsys):
    """So that nobody makes it smaller unseen."""
    size = sum(
        len(tried(command, file))
        for commands in read_by.values()
        for command, files in commands.items()
        for file in files
    )
    with capsys.disabled():
        print(f"\n{size} altered run folders are read")
    assert size > 1500
