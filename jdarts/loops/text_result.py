"""What a training of a recurrent cell leaves as its result.

``result.json`` in the folder of a training of one seed (and in each ``seed_N``)::

    {
      "kind": "train",
      "task": "text",
      "name": "train_ptb",               the run's name
      "seed": 0,
      "genotype": {...},                 as `Genotype.to_json`
      "parameters": 22960000,
      "text": "ptb",
      "steps": 100000,
      "last": {"epoch": 150, "perplexity": 60.0},       on the validation text
      "best": {"epoch": 140, "perplexity": 59.0},
      "averaged_from": 100,              the epoch after which averaging began, or null
      "test": {"perplexity": 58.0, "tokens": 82429},    of the best epoch's weights
      "baselines": {"valid": {...}, "test": {...}},     perplexities of counting
      "returned_at": [...],              steps at which numbers were not finite, and the
                                         best epoch's weights taken; if there are any
      "gaps": [...]                      what records lack, if they lack something
    }

In the folder of a training of several seeds it is ``{"kind": "train", "task": "text",
"name": ..., "runs": [RESULT, ...]}``.
"""

import dataclasses
from pathlib import Path
from typing import Any

from jdarts.errors import UserError
from jdarts.io import read_json
from jdarts.io.records import COUNT, FINITE, TEXT, Maybe, misfit
from jdarts.loops.train_record import result_rows
from jdarts.spaces import Genotype

__all__ = ["TextResult", "read_text_results", "text_results_json"]

_SCORE = {"epoch": COUNT, "perplexity": FINITE}
_COUNTED = {"unigram_perplexity": FINITE, "bigram_perplexity": FINITE}
_FORM = {
    "name": TEXT,
    "seed": COUNT,
    "parameters": COUNT,
    "text": TEXT,
    "steps": COUNT,
    "last": _SCORE,
    "best": _SCORE,
    "averaged_from": Maybe(COUNT),
    "test": {"perplexity": FINITE},
    "baselines": {"test": _COUNTED},
}


@dataclasses.dataclass(frozen=True)
class TextResult:
    """How the training of a seed ended; see the module for the fields' meaning."""

    name: str
    seed: int
    genotype: Genotype
    parameters: int
    text: str
    steps: int
    last: dict[str, float]
    best: dict[str, float]
    averaged_from: int | None
    test: dict[str, float]
    baselines: dict[str, dict[str, float]]
    returned_at: tuple[int, ...] = ()
    gaps: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in ``result.json``."""
        data = {"kind": "train", "task": "text", **dataclasses.asdict(self)}
        for name in ("returned_at", "gaps"):
            if not data[name]:
                del data[name]
        return data | {"genotype": self.genotype.to_json()}

    @classmethod
    def from_json(cls, data: Any, source: str) -> "TextResult":
        """Reads what `to_json` wrote.

        Raises:
          UserError: if it is not that.
        """
        try:
            if text := misfit(data, _FORM):
                raise ValueError(text)
            own = {k: v for k, v in data.items() if k not in ("kind", "task")}
            own["genotype"] = Genotype.from_json(own["genotype"], source)
            for name in ("returned_at", "gaps"):
                own[name] = tuple(own.get(name, ()))
            return cls(**own)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{source}: not the result of a training on a text "
                f"({type(error).__name__}: {error}); expected what jdarts.train wrote"
            ) from None


def text_results_json(name: str, results: list[TextResult]) -> dict[str, Any]:
    """Plain data of one seed or several, as in ``result.json``."""
    if len(results) == 1:
        return results[0].to_json()
    runs = [result.to_json() for result in results]
    return {"kind": "train", "task": "text", "name": name, "runs": runs}


def read_text_results(folder: Path) -> list[TextResult]:
    """The results of a finished training, one a seed.

    Raises:
      UserError: if the file is damaged.
    """
    file = folder / "result.json"
    data = read_json(file)
    return [TextResult.from_json(row, str(file)) for row in result_rows(data, file)]
