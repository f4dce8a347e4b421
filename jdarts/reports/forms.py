"""The forms of what runs write down, as far as pages read it; see `io.records`."""

from collections.abc import Collection, Mapping
from typing import Any

from jdarts.io.records import (
    COUNT,
    EPOCH,
    FINITE,
    NUMBER,
    TEXT,
    Arrays,
    Columns,
    Each,
    Full,
    Maybe,
)
from jdarts.spaces import SearchSpace

__all__ = [
    "COMPARE",
    "COST",
    "TIMING",
    "arch",
    "metrics",
    "stages_misfit",
]

# What an epoch's row has in any case, by kind of run and data.
_EPOCH = {
    ("search", "images"): (
        "epoch_train_loss",
        "epoch_train_accuracy",
        "supernet_loss",
        "supernet_accuracy",
    ),
    ("search", "text"): (
        "epoch_train_loss",
        "supernet_loss",
        "supernet_accuracy",
        "supernet_perplexity",
        "unigram_perplexity",
        "bigram_perplexity",
    ),
    ("train", "images"): ("epoch_train_loss", "epoch_train_accuracy"),
    ("train", "text"): ("epoch_train_loss", "valid_perplexity"),
}


def metrics(run: str, task: str) -> dict[str, Any]:
    """Forms of the rows of ``metrics.jsonl``, by kind.

    Args:
      run: search or train.
      task: images or text.
    """
    place = {"kind": TEXT, "step": COUNT}
    epoch = place | {"epoch": EPOCH} | dict.fromkeys(_EPOCH[run, task], NUMBER)
    whole = Columns(epoch, NUMBER)
    return {"step": Columns(place, NUMBER), "epoch": whole, "stop": whole}


def arch(space: SearchSpace, kinds: Collection[str]) -> dict[str, Any]:
    """Forms of the rows of ``arch.jsonl``, by kind.

    Args:
      space: what is searched.
      kinds: the cell types that the networks have.
    """
    shapes: dict[str, tuple[int, ...]] = {
        kind: (len(spec.edges), len(spec.primitives))
        for kind, spec in space.cells.items()
        if kind in kinds
    }
    edges = {kind: shape[:1] for kind, shape in shapes.items()}
    row = {
        "step": COUNT,
        "epoch": COUNT,
        "alpha": Arrays(shapes),
        "mix": Arrays(shapes),
    }
    row["beta"] = Arrays(edges, all=False)
    return {"epoch": row, "stop": row}


def stages_misfit(stages: list[dict[str, Any]], space: SearchSpace) -> str | None:
    """What of the content of ``stages.json`` is not of a space, in words."""
    for i, row in enumerate(stages, 1):
        if len(row["epochs"]) != 2:
            return f"stage {i}: epochs {row['epochs']}"
        for kind, spec in space.cells.items():
            if len(row["primitives"].get(kind, ())) != len(spec.edges):
                return f"stage {i}: not the edges of the {kind} cell"
    return None


_PLACE = {"kind": TEXT, "step": COUNT}
TIMING: Mapping[str, Any] = {
    "start": _PLACE
    | {"jdarts": TEXT, "jax": TEXT, "platform": TEXT, "device": TEXT, "devices": COUNT},
    "compile": _PLACE
    | {
        "program": TEXT,
        "trace_seconds": FINITE,
        "lower_seconds": FINITE,
        "compile_seconds": FINITE,
        "temp_bytes": Maybe(COUNT),
    },
    "part": Columns(_PLACE | {"epoch": COUNT, "steps": COUNT}, FINITE),
}
"""Forms of the rows of ``timing.jsonl``, by kind."""

_COST = {"parameters": COUNT, "multiply_adds": FINITE, "kept_bytes": FINITE}
_PART = _COST | {"name": TEXT, "output": [COUNT], "seconds": Each(FINITE)}
COST = {
    "network": {"channels": COUNT, "layers": COUNT, "image": [COUNT]},
    "batch_size": COUNT,
    "device": Maybe(TEXT),
    "parts": [_PART],
    "total": _PART,
}
"""The form of ``cost.json``."""

_INTERVAL = Maybe({"low": FINITE, "high": FINITE})
# `of_means` is not in a file of an earlier version.
_SIDE = Columns(
    {
        "mean": FINITE,
        "between": Maybe(FINITE),
        "within": Maybe(FINITE),
        "interval": _INTERVAL,
    },
    Maybe(FINITE),
)
_SIZES = {"parameters": COUNT, "multiply_adds": FINITE, "accuracies": Full(FINITE)}
COMPARE = {
    "sentence": TEXT,
    "comparison": {
        "difference": FINITE,
        "interval": _INTERVAL,
        "effect": Maybe(FINITE),
        "wins": FINITE,
        "pairs": COUNT,
        "p": FINITE,
        "smallest_p": FINITE,
    },
    "found": _SIDE,
    "random": _SIDE,
    "searches": Full(
        {"path": TEXT, "seed": COUNT, **_SIZES}
        | {"random": Full({"network": TEXT, **_SIZES})}
    ),
    "progress": [
        {
            "epoch": COUNT,
            "mean": FINITE,
            "searches": Full({"accuracies": Full(FINITE)}),
        }
    ],
}
"""The form of ``compare.json``."""
