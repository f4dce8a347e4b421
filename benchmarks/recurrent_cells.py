"""What found recurrent cells are worth beside random ones and two made by hand.

Command: python benchmarks/recurrent_cells.py RUN [RUN ...] [--random 6] \\
    [--retrainings 3] [-- RECIPE --field value ...]

Each RUN is a finished search for a recurrent cell; what follows `--` is handed on to
`python -m jdarts.train`. Every cell is trained alike, with seeds 0, 1, ..., each in a
separate folder below `--out`; the same command goes on where it ended. All cells of
the space have equally many weights. By hand: `tanh`, every node a highway tanh of the
one before (a recurrent highway network), and `LSTM-like`, which in turn keeps its
memory as it is (identity) and reads it through a tanh; the gates are the highway's.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from harness import Row, count, print_table, run_script, write_rows

from jdarts import train
from jdarts.errors import UserError
from jdarts.io import write_json
from jdarts.loops.text_result import read_text_results
from jdarts.reports.read import read_search
from jdarts.spaces import DARTS_RNN, CellGenotype, Connection, Genotype
from jdarts.spaces.random import random_genotype
from jdarts.statistics import compare

BY_HAND = {"tanh": ("tanh",) * 8, "LSTM-like": ("identity", "tanh") * 4}


def parser() -> argparse.ArgumentParser:
    text = __doc__ or ""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path("runs/recurrent_cells"))
    parser.add_argument("--random", type=count, default=6, help="random cells")
    parser.add_argument("--retrainings", type=count, default=3, help="of each cell")
    parser.add_argument("--json", type=Path, help="append a row a cell to this file")
    return parser


def chain(primitives: tuple[str, ...]) -> Genotype:
    """Each node reads the one before; the output is the mean of all."""
    nodes = tuple((Connection(name, at),) for at, name in enumerate(primitives))
    concat = tuple(range(1, 1 + len(nodes)))
    cell = CellGenotype(nodes, concat, inputs=1, output="mean")
    return Genotype(DARTS_RNN.name, {"recurrent": cell})


def found_cells(runs: list[Path]) -> dict[str, Genotype]:
    """What each seed of each search found."""
    cells = {}
    for path in runs:
        for seed in read_search(path).seeds:
            if seed.genotype is None or seed.final is None:
                raise UserError(f"{seed.path}: expected a search that is finished")
            cells[f"found_{len(cells)}"] = seed.genotype
    return cells


def trained(
    cells: dict[str, Genotype], folder: Path, seeds: int, recipe: list[str]
) -> dict[str, list[float]]:
    """Test perplexities of each cell, one a seed."""
    perplexities = {}
    for number, (name, genotype) in enumerate(cells.items(), 1):
        print(f"cell {number} of {len(cells)}: {name}", flush=True)
        file = folder / f"{name}.json"
        write_json(file, genotype.to_json())
        own = ["--run-dir", str(folder / name), "--seeds", *map(str, range(seeds))]
        if status := train.main([str(file), *recipe, *own]):
            sys.exit(status)
        results = read_text_results(folder / name)
        perplexities[name] = [result.test["perplexity"] for result in results]
    return perplexities


def columns(values: list[float]) -> tuple[list[float], ...]:
    """All, their mean, and the sample's deviation where there is one."""
    deviation = [float(np.std(values, ddof=1))] if len(values) > 1 else []
    return values, [float(np.mean(values))], deviation


def main(argv: list[str]) -> int:
    split = argv.index("--") if "--" in argv else len(argv)
    args, recipe = parser().parse_args(argv[:split]), argv[split + 1 :]
    rng, cells = np.random.default_rng(0), found_cells(args.runs)
    found = list(cells)
    if args.random % len(found):
        raise UserError(
            f"--random: {args.random}; expected a multiple of {len(found)}, the number "
            "of found cells"
        )
    cells |= {
        f"random_{i}": random_genotype(DARTS_RNN, rng) for i in range(args.random)
    }
    cells |= {name: chain(primitives) for name, primitives in BY_HAND.items()}
    args.out.mkdir(parents=True, exist_ok=True)
    perplexities = trained(cells, args.out, args.retrainings, recipe)
    rows = [Row(name, extra={"perplexities": p}) for name, p in perplexities.items()]
    print_table(
        ("cell", "test perplexities", "mean", "deviation"),
        [
            (name, *("  ".join(f"{x:.2f}" for x in xs) for xs in columns(p)))
            for name, p in perplexities.items()
        ],
    )
    random = [perplexities[f"random_{i}"] for i in range(args.random)]
    for name, group in (
        ("found", [perplexities[n] for n in found]),
        ("random", random),
    ):
        means = np.mean(group, axis=1)
        spread = (
            f", deviation of means {means.std(ddof=1):.2f}" if len(means) > 1 else ""
        )
        print(f"{name}: {len(means)} cells, mean {means.mean():.2f}{spread}")
    write_rows(rows, args)
    # Of logarithms, so that a difference is a ratio; the higher the better.
    ours = -np.log([perplexities[name] for name in found])
    chance = -np.log(random).reshape(len(found), -1, args.retrainings)
    names = [str(cells[name].to_json()) for name in found]
    verdict = compare(ours, chance, networks=names)
    print(f"p = {verdict.p:.3g}. {verdict.sentence('% of perplexity')}")
    return 0


if __name__ == "__main__":
    run_script(main)
