"""Which networks a comparison trains: the found ones, random ones, earlier ones."""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from jdarts.comparisons.searches import Search
from jdarts.errors import UserError
from jdarts.nets.cost import Cost, NetworkShape, network_cost
from jdarts.phase import phased
from jdarts.spaces import Genotype
from jdarts.spaces.random import network_of, random_genotype_of_size

__all__ = ["MEASURES", "Entry", "Plan", "make_plan"]

MEASURES = Cost._fields
"""What sizes can be matched in."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One genotype of the comparison.

    Attributes:
      network: the name of its network; equal networks have one name, and are trained
        once.
      genotype: the genotype.
      cost: parameters and multiply-adds of the network that is trained.
      tries: for a random genotype, how many draws it took to find that size.
    """

    network: str
    genotype: Genotype
    cost: Cost
    tries: int | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """All genotypes of a comparison.

    Attributes:
      found: what each search found.
      random: for each search, random genotypes of the size of what it found.
      progress: epoch to what each search would have found after it.
    """

    found: tuple[Entry, ...]
    random: tuple[tuple[Entry, ...], ...]
    progress: dict[int, tuple[Entry, ...]]

    @property
    def networks(self) -> dict[str, Entry]:
        """Every distinct network by name, in the order in which they are trained."""
        rows = [
            entry
            for found, random in zip(self.found, self.random, strict=True)
            for entry in (found, *random)
        ]
        rows += [entry for entries in self.progress.values() for entry in entries]
        networks: dict[str, Entry] = {}
        for entry in rows:
            networks.setdefault(entry.network, entry)
        return networks


@phased("drawing random genotypes")
def make_plan(
    searches: Sequence[Search],
    shape: NetworkShape,
    *,
    random: int,
    measure: str = "parameters",
    tolerance: float = 0.05,
    progress: Sequence[int] = (),
    seed: int = 0,
) -> Plan:
    """Draws the random genotypes and names the networks.

    The same arguments give the same plan.

    Args:
      searches: at least one.
      shape: of the networks that are trained.
      random: number of random genotypes, divided evenly over the searches.
      measure: what is matched, one of MEASURES.
      tolerance: the allowed relative difference of that size.
      progress: epochs of whose genotypes the networks are trained, too.
      seed: of the draws.

    Raises:
      UserError: if the numbers do not fit, a search has no genotype of an epoch, no
        random genotype has that size, or the network cannot be built.
    """
    _check_random(random, len(searches))
    names = _Names()

    def cost(genotype: Genotype) -> Cost:
        costs = network_cost(genotype, shape)
        return Cost(*(sum(column) for column in zip(*costs, strict=True)))

    def entry(genotype: Genotype, name: str, tries: int | None = None) -> Entry:
        return Entry(names(genotype, name), genotype, cost(genotype), tries)

    for search in searches:
        shape.check(search.genotype)
    found = [entry(s.genotype, f"search_{i}") for i, s in enumerate(searches)]
    rng = np.random.default_rng(seed)
    drawn: list[list[Entry]] = [[] for _ in searches]
    for number in range(random):
        i = number % len(searches)
        genotype, tries = random_genotype_of_size(
            searches[i].draw,
            rng,
            lambda genotype: getattr(cost(genotype), measure),
            getattr(found[i].cost, measure),
            tolerance=tolerance,
            exclude=names.known,
            kinds=searches[i].genotype.cells,
        )
        drawn[i].append(entry(genotype, f"random_{number}", tries))
    earlier = {
        epoch: tuple(
            entry(_at(search, epoch), f"search_{i}_epoch_{epoch}")
            for i, search in enumerate(searches)
        )
        for epoch in sorted(set(progress))
    }
    return Plan(tuple(found), tuple(map(tuple, drawn)), earlier)


class _Names:
    """Names networks: an equal one keeps the first name."""

    def __init__(self) -> None:
        self.known: dict[Hashable, str] = {}

    def __call__(self, genotype: Genotype, name: str) -> str:
        return self.known.setdefault(network_of(genotype), name)


def _check_random(random: int, searches: int) -> None:
    least = max(2, searches)
    if random < least:
        raise UserError(
            f"--random: {random} for {searches} searches; expected at least {least}"
        )
    if random % searches:
        below = random - random % searches
        near = [n for n in (below, below + searches) if n >= least]
        raise UserError(
            f"--random: {random} cannot be divided evenly over {searches} searches; "
            f"expected {' or '.join(map(str, near))}"
        )


def _at(search: Search, epoch: int) -> Genotype:
    if epoch not in search.epochs:
        known = sorted(search.epochs)
        raise UserError(
            f"--progress: {search.path} has no genotype of epoch {epoch}; expected "
            + (f"{known[0]} to {known[-1]}" if known else "a search with epochs")
        )
    return search.epochs[epoch]
