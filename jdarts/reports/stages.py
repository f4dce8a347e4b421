"""The stages of a search: what each edge had in each of them."""

from markupsafe import Markup

from jdarts.config import SearchConfig
from jdarts.reports import html
from jdarts.reports.architecture import edge_names
from jdarts.reports.run import SearchRun

__all__ = ["stages"]


def stages(run: SearchRun) -> Markup:
    """A table of the stages, and one a cell type of what the edges had.

    Args:
      run: a search that has some, which is one on images.
    """
    rows, config = run.stages, run.config
    assert isinstance(config, SearchConfig)
    table = html.table(
        "Each stage: a new network of the primitives that the stage before has left",
        ["Stage", "Epochs", "Cells"],
        [
            (
                f"Stage {i}",
                "{} to {}".format(*row["epochs"]),
                str(config.layers + row["added_layers"]),
            )
            for i, row in enumerate(rows, 1)
        ],
    )
    return table + html.join(
        html.details(
            f"Primitives of each edge of the {kind} cell",
            html.table(
                f"Primitives in each stage, {kind} cell",
                ["Edge", *(f"Stage {i}" for i in range(1, len(rows) + 1))],
                [
                    (
                        name,
                        *(", ".join(r["primitives"][kind][edge]) for r in rows),
                    )
                    for edge, name in enumerate(edge_names(spec))
                ],
                words=len(rows) + 1,
            ),
        )
        for kind, spec in run.space.cells.items()
    )
