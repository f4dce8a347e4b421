"""What the found cells cost in the network that is trained with them."""

import functools
from typing import Any

from markupsafe import Markup

from jdarts.errors import UserError
from jdarts.nets.cost import Cost, network_cost
from jdarts.nets.fixed import cell_kinds, check_genotype
from jdarts.reports import html
from jdarts.reports.svg import short
from jdarts.run_network import RunNetwork
from jdarts.spaces import Genotype

__all__ = ["counted", "measured", "total_cost"]

_MIB = 2**20


def total_cost(genotype: Genotype, network: RunNetwork | None) -> Cost | None:
    """Of the whole network; None if there is none, or the genotype makes none."""
    if network is None:
        return None
    try:
        check_genotype(genotype, network.shape.layers)
        return functools.reduce(Cost.plus, network_cost(genotype, network.shape))
    except UserError:
        return None


def counted(genotype: Genotype, network: RunNetwork) -> Markup:
    """Parameters and multiply-adds by part, counted without running anything.

    Args:
      genotype: one that has a `total_cost`.
      network: in which network.
    """
    stem, *cells, head = network_cost(genotype, network.shape)
    kinds = cell_kinds(network.shape.layers)
    rows = [("Stem", stem)]
    for kind in dict.fromkeys(kinds):
        own = [cost for cost, name in zip(cells, kinds, strict=True) if name == kind]
        rows.append((f"{len(own)} {kind} cells", functools.reduce(Cost.plus, own)))
    rows += [("Head", head), ("All", functools.reduce(Cost.plus, [stem, *cells, head]))]
    per_cell = [(f"Cell {i}, {kinds[i]}", cost) for i, cost in enumerate(cells)]
    return (
        html.paragraph(
            f"Of a network of {network.described}, for one image; without an auxiliary "
            "head.",
            "note",
        )
        + _table("Cost of the network", rows)
        + html.details("Every cell", _table("Cost of every cell", per_cell))
    )


def _table(caption: str, rows: list[tuple[str, Cost]]) -> Markup:
    return html.table(
        caption,
        ["Part", "Parameters", "Multiply-adds, M"],
        [
            (name, f"{cost.parameters:,}", f"{cost.multiply_adds / 1e6:.2f}")
            for name, cost in rows
        ],
    )


def measured(cost: dict[str, Any]) -> Markup:
    """The table of ``cost.json``: with activation memory and times.

    Args:
      cost: what ``python -m jdarts.cost --json`` has written.
    """
    network, total = cost["network"], cost["total"]
    sizes = sorted(total["seconds"], key=int)
    image = " x ".join(map(str, network["image"]))
    where = f", on {cost['device']}" if cost["device"] else ""
    rows = [
        (
            part["name"],
            " x ".join(map(str, part["output"])),
            f"{part['parameters']:,}",
            f"{part['multiply_adds'] / 1e6:.2f}",
            f"{part['kept_bytes'] / _MIB:.1f}",
            *(short(1e3 * part["seconds"][size]) for size in sizes),
        )
        for part in (*cost["parts"], total)
    ]
    return html.paragraph(
        f"Measured in a network of {network['channels']} channels and "
        f"{network['layers']} cells for images of {image}{where}. Kept: by a training "
        f"step with batch {cost['batch_size']} for its backward pass.",
        "note",
    ) + html.table(
        "Cost as measured by jdarts.cost",
        [
            "Part",
            "Output",
            "Parameters",
            "Multiply-adds, M",
            "Kept, MiB",
            *(f"ms, batch {size}" for size in sizes),
        ],
        rows,
    )
