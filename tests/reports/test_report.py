"""What a report says, of runs in every state."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest
from folders import STEPS, config, make_run
from pages import Page
from selectolax.lexbor import LexborHTMLParser

from jdarts import Genotype, fixed_network, get_space
from jdarts.cli import run_command
from jdarts.io import read_json, read_metrics, write_json
from jdarts.report import main
from jdarts.reports import write_report


@pytest.fixture(scope="module")
def pages(reports):
    return {name: Page(file.read_text()) for name, file in reports.items()}


NAMES = (
    *("finished", "wide", "partial", "empty", "seeds", "retrained"),
    *("training", "trainings", "begun", "comparison", "undecided"),
)


@pytest.mark.parametrize("name", NAMES)
def test_well_formed_and_alone(pages, name):
    page = pages[name]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for key in ("href", "src", "action", "data", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:,"))
    links = {a["href"][1:] for a in page.all("a")}
    assert links <= set(ids)
    assert not page.all("script") and not page.all("iframe") and not page.all("img")


@pytest.mark.parametrize("name", NAMES)
def test_accessible_structure(pages, reports, name):
    page = pages[name]
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1 and len(page.all("main")) == 1
    assert len(page.all("table")) == len(page.all("caption")) > 0
    assert all("scope" in attributes for attributes in page.all("th"))
    text = reports[name].read_text()
    for svg in re.findall(r"<svg.*?</svg>", text, re.S):
        assert 'aria-hidden="true"' in svg or re.search(
            r"<title>[^<]+</title>\s*<desc>[^<]+</desc>", svg
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_same_folder_gives_the_same_bytes(reports, name):
    before = reports[name].read_bytes()
    assert write_report(reports[name].parent).read_bytes() == before


def test_a_finished_run_has_every_part(pages):
    page = pages["finished"]
    parts = {attributes["id"] for attributes in page.all("section")}
    assert parts == {
        "cells",
        "progress",
        "architecture",
        "cost",
        "time",
        "configuration",
        "reproduce",
    }
    assert not page.all("aside")
    assert "Finished search" in page.text
    assert "77.00 %" in page.text  # 0.75 and the seed, 2, in hundredths
    assert "always the most frequent class: 12.50 %" in page.text
    assert "3 of 3" in page.text


def test_times_add_up(pages):
    """By hand: 1 + 2, twice 5 + 10, and 3 epochs of 8 + 0.5 seconds."""
    text = pages["finished"].text
    assert "All 58.50 100.0" in text
    assert "search step: trace 4.00 6.8" in text
    assert "search step: lower 1.00 1.7" in text
    assert "steps 24.00 41.0" in text
    assert "A step 2 s" in text  # 24 s for 12 steps
    assert "Compiling 30 s" in text


def test_the_drawings_are_the_final_cells(pages, reports):
    genotype = Genotype.load(reports["finished"].parent / "genotype.json")
    text = reports["finished"].read_text()
    for kind, cell in genotype.cells.items():
        svg = next(
            s for s in re.findall(r"<svg.*?</svg>", text, re.S) if f">{kind} cell<" in s
        )
        labels = re.findall(r'class="label"[^>]*>([^<]+)<', svg)
        assert sorted(labels) == sorted(c.primitive for c in cell.connections)


def test_marks_are_the_kept_connections(pages, reports):
    """Every kept connection has one mark in the heat map of its primitive."""
    folder = reports["wide"].parent
    genotype = Genotype.load(folder / "genotype.json")
    maps = re.findall(r'<svg class="chart".*?</svg>', reports["wide"].read_text(), re.S)
    for kind, cell in genotype.cells.items():
        for primitive in get_space("darts_cnn").cells[kind].primitives:
            title = f"{kind} cell: mixing weights of {primitive}<"
            (found,) = [svg for svg in maps if title in svg]
            kept = [c.primitive for c in cell.connections].count(primitive)
            assert found.count('class="mark"') == kept


def test_the_table_of_weights_is_the_last_epochs(pages, reports):
    row = read_metrics(reports["finished"].parent / "arch.jsonl")[-1]
    for values in row["mix"]["normal"]:
        assert " ".join(f"{value:.4f}" for value in values) in pages["finished"].text


def test_panels_for_every_primitive_and_edge(reports):
    text = reports["wide"].read_text()
    for kind in ("normal", "reduce"):
        assert text.count(f"<title>{kind} cell: mixing weights of") == 8
        assert len(re.findall(rf"<title>{kind} cell, edge [^<]*: alpha", text)) == 14


def test_cost(pages, reports):
    """The weights of the network itself, counted; and the parts add up."""
    genotype = Genotype.load(reports["finished"].parent / "genotype.json")
    network = fixed_network(genotype, channels=8, layers=3, classes=10)
    images = jax.ShapeDtypeStruct((1, 8, 8, 1), np.float32)
    w, _ = jax.eval_shape(network.init, jax.random.key(0), images)
    count = sum(leaf.size for leaf in jax.tree.leaves(w))
    text = pages["finished"].text.split("Cost of the network")[1]
    found = re.findall(
        r"((?:\d+ )?[A-Za-z][a-z ]+) ([\d,]+) ([\d.]+) ", text.split("Every")[0]
    )
    assert [name for name, *_ in found] == [
        "Stem",
        "1 normal cells",
        "2 reduce cells",
        "Head",
        "All",
    ]
    *parts, total = [int(number.replace(",", "")) for _, number, _ in found]
    assert sum(parts) == total == count
    size = "8 channels, 3 cells, 10 classes, images of 8 x 8 x 1"
    assert f"{size} (of the recipe train_digits)" in pages["finished"].text


def test_cells_that_make_no_such_network_have_no_cost(tmp_path):
    """A space with other cell types, say."""
    make_run(tmp_path / "run")
    file = tmp_path / "run" / "genotype.json"
    file.write_text(file.read_text().replace('"reduce"', '"other"'))
    (tmp_path / "run" / "arch.jsonl").unlink()
    page = Page(write_report(tmp_path / "run").read_text())
    assert "cost" not in {attributes["id"] for attributes in page.all("section")}
    assert "other cell" in page.text


def test_a_measured_cost_is_shown(tmp_path):
    make_run(tmp_path / "run")
    part = {"name": "stem", "output": [32, 32, 12], "parameters": 348}
    part |= {"multiply_adds": 331776, "kept_bytes": 3 * 2**20, "temp_bytes": {}}
    part |= {"seconds": {"1": 0.0015, "32": 0.02}}
    cost = {"network": {"channels": 4, "layers": 2, "image": [32, 32, 3]}}
    cost |= {"device": "a device", "batch_size": 32, "parts": [part]}
    cost |= {"total": {**part, "name": "in all"}}
    write_json(tmp_path / "run" / "cost.json", cost)
    text = Page(write_report(tmp_path / "run").read_text()).text
    assert "stem 32 x 32 x 12 348 0.33 3.0 1.5 20 in all" in text
    assert "on a device" in text


def test_a_partial_run_says_what_is_missing(pages):
    text = pages["partial"].text
    assert "Search up to epoch 2 of 3" in text
    assert "Not in this report The end of the search: it is at epoch 2 of 3" in text
    assert "As derived after epoch 2" in text


def test_an_empty_run_says_what_is_missing(pages):
    text = pages["empty"].text
    assert "Search without a finished epoch" in text
    assert "no epoch has ended yet" in text and "no timing.jsonl" in text
    assert "python -m jdarts.search smoke --name tiny --epochs 3" in text


@pytest.mark.parametrize("name", NAMES)
def test_lines_of_every_look_are_in_the_legend(reports, name):
    """Colour and dash, and whether thin or thick."""
    widths, other = {"thin", "kept"}, {"line", "dot", "mean"}
    for figure in LexborHTMLParser(reports[name].read_text()).css("figure:not(.small)"):
        looks, shown = (
            {frozenset(path.attributes["class"].split()) for path in figure.css(places)}
            for places in ("svg.chart path.line", ".legend path.line")
        )
        if len(looks) > 1:
            colours = {look - widths - other for look in shown}
            assert {look - widths - other for look in looks} <= colours
            assert {w for look in looks for w in look & widths} <= set().union(*shown)


def test_several_seeds(pages):
    page = pages["seeds"]
    assert "3 78.00 1.3333 0.6667" in page.text  # seed, accuracy, losses by hand
    assert "8 83.00 1.3333 0.6667" in page.text
    assert "80.50 % mean of 2 seeds, deviation 3.54" in page.text
    assert {"seed-3", "seed-8"} <= {a["id"] for a in page.all("section")}
    assert "--seeds 3 8" in page.text


def test_one_seed_of_several(reports):
    """Its folder has its own report, with the time of all."""
    file = write_report(reports["seeds"].parent / "seed_8")
    text = Page(file.read_text()).text
    assert "83.00 %" in text and "All 58.50 100.0" in text and "--seed 8" in text
    file.unlink()


def test_names_are_escaped(tmp_path):
    name = "<script>&'\""
    make_run(tmp_path / "run", settings=config(name=name))
    page = Page(write_report(tmp_path / "run").read_text())
    assert not page.all("script") and name in page.words


def test_edge_logits_are_drawn_where_there_are_any(tmp_path):
    make_run(tmp_path / "run")
    file = tmp_path / "run" / "arch.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row["beta"] = {"normal": np.arange(5.0).tolist()}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = write_report(tmp_path / "run").read_text()
    assert text.count("normal cell: beta of the edges into node") == 2
    assert "reduce cell: beta" not in text


def test_a_run_of_before_is_drawn_as_far_as_it_goes(tmp_path):
    make_run(tmp_path / "run", timing=False)
    (tmp_path / "run" / "arch.jsonl").unlink()
    text = Page(write_report(tmp_path / "run").read_text()).text
    assert "Losses." in text and "the run has no arch.jsonl" in text


def test_a_search_that_ended_inside_an_epoch(tmp_path):
    """Its last row counts; once the search has gone on, it does not."""
    make_run(tmp_path / "run", epochs=1)
    metrics = tmp_path / "run" / "metrics.jsonl"
    row = json.loads(metrics.read_text().splitlines()[-1])
    stop = {**row, "kind": "stop", "epoch": 2, "step": STEPS + 1}
    whole = {**row, "epoch": 2, "step": 2 * STEPS, "supernet_accuracy": 0.5}
    stop["supernet_accuracy"] = 0.25
    with metrics.open("a") as file:
        file.write(json.dumps(stop) + "\n")
    assert "25.00 %" in Page(write_report(tmp_path / "run").read_text()).text
    with metrics.open("a") as file:
        file.write(json.dumps(whole) + "\n")
    text = Page(write_report(tmp_path / "run").read_text()).text
    assert "50.00 %" in text and "25.00 %" not in text


# --- the command ---


def test_the_command_writes_it(reports, tmp_path, capsys):
    make_run(tmp_path / "run")
    assert run_command(main, [str(tmp_path / "run")]) == 0
    file = tmp_path / "run" / "report.html"
    assert capsys.readouterr().out == f"written: {file}\n"
    assert file.read_bytes() == reports["finished"].read_bytes()


@pytest.mark.parametrize(
    "spoil, parts",
    [
        (lambda run: None, ["none: no such folder"]),
        (lambda run: run.mkdir(), ["none: holds no config.json", "folder of a run"]),
        (
            lambda run: (run.mkdir(), (run / "config.json").write_text("{")),
            ["config.json: not JSON"],
        ),
        (
            lambda run: (run.mkdir(), write_json(run / "config.json", {"epoch": 3})),
            ["unknown 'epoch'", "did you mean 'epochs'?"],
        ),
    ],
)
def test_what_is_no_run(tmp_path, capsys, spoil, parts):
    run = tmp_path / "none"
    spoil(run)
    before = sorted(tmp_path.rglob("*"))
    assert run_command(main, [str(run)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and all(part in said for part in parts), said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_file_is_named(tmp_path, caplog):
    """And left out; the rest of the report is there."""
    make_run(tmp_path / "run")
    (tmp_path / "run" / "arch.jsonl").write_text("not JSON\n")
    assert run_command(main, [str(tmp_path / "run")]) == 0
    line = f"{tmp_path / 'run' / 'arch.jsonl'}, line 1: damaged (not a JSON object)"
    text = Page((tmp_path / "run" / "report.html").read_text()).text
    assert line in caplog.text and line in text
    assert "Losses and accuracies" in text and "lacks epochs 1, 2, 3" in text


def test_only_differing_fields_stand_in_front(pages, reports):
    stored = read_json(reports["finished"].parent / "config.json")
    changed = pages["finished"].text.split("fields that differ")[1].split("All ")[0]
    assert "channels 4 16" in changed and "data.flip no yes" in changed
    assert "data.limit 512 not set" in changed
    assert "log_every" not in changed and stored["log_every"] == 10
    assert dataclasses.asdict(config())["log_every"] == 10


def test_numbers_that_were_never_finite_have_no_chart(tmp_path):
    make_run(tmp_path / "run")
    file = tmp_path / "run" / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        if row["kind"] == "epoch":
            row["curvature"] = "nan"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = write_report(tmp_path / "run").read_text()
    assert "Curvature." not in page and "Skip connections." in page
