"""Searches against chance: the whole comparison."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from jdarts.statistics.base import LEVEL, Interval
from jdarts.statistics.deviations import detectable_difference, distinct, effect_size
from jdarts.statistics.permutation import (
    permutation_interval,
    permutation_test,
    smallest_p,
)

__all__ = ["Comparison", "compare"]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Searches against chance.

    Attributes:
      difference: mean accuracy over the searches minus that of the random genotypes.
      interval: of the difference, see `permutation_interval`: without 0 where the
        verdict is one, and with it where it is not. None for so few networks that
        there is none.
      effect: see `effect_size`; None where it is not defined.
      wins: in how many pairs of a search and one of its random genotypes the search's
        mean is higher; ties count half.
      pairs: the number of those pairs.
      networks: distinct networks that the searches found.
      p: two-sided, of `permutation_test`.
      smallest_p: the least p that so few genotypes can give.
      detectable: the true difference that a comparison of this size finds in 80 % of
        cases, if means of networks are normal and deviate as they did; None where they
        did not, or `smallest_p` is above LEVEL.
      verdict: ``"better"``, ``"worse"`` or ``"cannot tell"``.
    """

    difference: float
    interval: Interval | None
    effect: float | None
    wins: float
    pairs: int
    networks: int
    p: float
    smallest_p: float
    detectable: float | None
    verdict: str

    def sentence(self, unit: str = "points", scale: float = 100.0) -> str:
        """Whether the search beat chance, in plain words.

        Args:
          unit: the name of the unit that accuracies have when multiplied by `scale`.
          scale: what differences are multiplied by.
        """
        how = "better" if self.difference >= 0 else "worse"
        fact = (
            f"its networks were on average {scale * abs(self.difference):.2f} {unit} "
            f"{how} than random ones of the same size"
        )
        test = f"p = {self.p:.2g} by permutation"
        alone = ""
        if self.networks == 1:
            fact = fact.replace("networks were on average", "network was")
            alone = " This is about one network, not about what other runs would find."
        if self.verdict == "better":
            return f"The search beat chance: {fact} ({test}).{alone}"
        if self.verdict == "worse":
            return f"The search did worse than chance: {fact} ({test}).{alone}"
        text = (
            f"Cannot tell whether the search beat chance: {fact}, "
            f"but chance alone could explain that ({test})."
        )
        if self.smallest_p > LEVEL:
            text += (
                f" So few networks cannot give p below {self.smallest_p:.2g} whatever "
                "their accuracies; it takes more searches or random genotypes."
            )
        elif self.detectable is not None:
            text += (
                " A comparison of this size misses a true difference of "
                f"{scale * self.detectable:.2f} {unit} in about one case of five, and "
                "smaller ones more often."
            )
        return text + alone


def compare(
    found: Float[ArrayLike, "search retraining"],
    random: Float[ArrayLike, "search genotype retraining"],
    seed: int = 0,
    networks: Sequence[str] | None = None,
) -> Comparison:
    """Compares searches with random genotypes, all retrained alike.

    Args:
      found: the accuracies of each search's genotype.
      random: those of the random genotypes that each search is compared with.
      seed: of the permutations where there are too many.
      networks: a name for what each search found, the same for the same network; not
        given: all are different.

    Raises:
      ValueError: if the shapes do not fit or one of the sizes is 0.
    """
    found, random = np.asarray(found, float), np.asarray(random, float)
    if found.ndim != 2 or random.ndim != 3 or 0 in found.shape + random.shape:
        raise ValueError(f"found {found.shape}, random {random.shape}")
    own, others = found.mean(1), random.mean(2)
    first, of_block, counts = distinct(networks, len(own))
    blocks = [
        np.concatenate([found[i][None], *random[of_block == block]])
        for block, i in enumerate(first)
    ]
    means = [block.mean(1) for block in blocks]
    difference, p = permutation_test(means, counts, seed)
    least = smallest_p([len(block) for block in blocks])
    outcomes = np.sign(own[:, None] - others)
    verdict = "cannot tell"
    if p <= LEVEL:
        verdict = "better" if difference > 0 else "worse"
    return Comparison(
        difference=difference,
        interval=permutation_interval(means, counts, seed),
        effect=effect_size(blocks, difference),
        wins=float((outcomes + 1).sum() / 2),
        pairs=outcomes.size,
        networks=len(blocks),
        p=p,
        smallest_p=least,
        detectable=detectable_difference(blocks, counts) if least <= LEVEL else None,
        verdict=verdict,
    )
