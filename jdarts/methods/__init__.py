"""What searches: one file a method, one row in METHODS."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jdarts.derive import MixingWeights, derive_genotype, without_none
from jdarts.errors import UserError, unknown_choice
from jdarts.hypergradient import HYPERGRADIENTS
from jdarts.methods import (
    asap,
    darts,
    dr_nas,
    fair_darts,
    gdas,
    nasp,
    p_darts,
    pc_darts,
    random_sampling,
    sgas,
    snas,
)
from jdarts.methods.base import SearchBatches, SearchMethod, SearchState
from jdarts.methods.bilevel import BilevelConfig
from jdarts.methods.stages import Stages
from jdarts.nets.network import Network, supernet
from jdarts.nets.partial import ALL_CHANNELS, PartialChannels
from jdarts.spaces import Genotype, SearchSpace

__all__ = [
    "METHODS",
    "MethodRow",
    "SearchBatches",
    "SearchMethod",
    "SearchState",
    "build_method",
    "check_extension",
    "get_method",
    "learns_architecture",
    "make_supernet",
    "method_table",
    "name_of",
    "partial_channels",
    "random_genotype_of",
    "stages_of",
]


class MethodRow(NamedTuple):
    """A search method.

    Attributes:
      config: its frozen dataclass of settings; the defaults are the published ones.
      build: ``build(config, space, network, epochs=, steps_per_epoch=)``.
      relaxation: for the table of methods: how alpha becomes mixing weights.
      mixer: which ops of an edge are computed.
      projection: what the architecture is projected onto after its step.
      reference: the paper.
      partial: ``partial(config)``: which channels go through the ops.
      derive: ``derive(config, space, mix) -> Genotype``: its rule, from the mixing
        weights of the whole space, ``[edges, primitives]`` of each cell type, however
        its search comes to them. Random ones give a random genotype of its kind.
      competing: whether an edge's primitives share a weight of 1; else each has its own
        in (0, 1).
      every_edge: whether its genotypes have all edges but those of `none`, also in
        spaces whose cells keep some.
      stages: ``stages(config)``: of a search in stages; None: it has one network.
      own_primitives: whether it can search in a space in which edges have primitives of
        their own (`CellSpec.edge_primitives`).
      phases: whether it does different things in parts of the epochs, so that a search
        that has come to its end cannot go on for more.
    """

    config: type
    build: Callable[..., SearchMethod]
    relaxation: str
    mixer: str
    projection: str
    reference: str
    derive: Callable[[Any, SearchSpace, MixingWeights], Genotype]
    competing: bool = True
    partial: Callable[[Any], PartialChannels] = lambda config: ALL_CHANNELS
    every_edge: bool = False
    stages: Callable[[Any], Stages | None] = lambda config: None
    own_primitives: bool = False
    phases: bool = False


def _strongest(config: Any, space: SearchSpace, mix: MixingWeights) -> Genotype:
    """The rule of DARTS."""
    return derive_genotype(space, mix)


def _strongest_op(config: Any, space: SearchSpace, mix: MixingWeights) -> Genotype:
    """The rule of DARTS, and where every edge is kept none is without an op."""
    return derive_genotype(space, without_none(space, mix))


METHODS: dict[str, MethodRow] = {
    "darts": MethodRow(
        config=darts.DartsConfig,
        build=darts.build,
        relaxation="softmax",
        mixer="all ops",
        projection="-",
        reference="Liu, Simonyan, Yang, ICLR 2019",
        derive=_strongest,
        own_primitives=True,
    ),
    "pc_darts": MethodRow(
        config=pc_darts.PcDartsConfig,
        build=pc_darts.build,
        relaxation="softmax x edge softmax",
        mixer="all ops on 1/K of the channels",
        projection="-",
        reference="Xu et al., ICLR 2020",
        derive=_strongest,
        partial=pc_darts.partial_channels,
    ),
    "nasp": MethodRow(
        config=nasp.NaspConfig,
        build=nasp.build,
        relaxation="discrete 0/1",
        mixer="single op for weights, all ops for alpha",
        projection="proximal, box [0, 1]",
        reference="Yao, Xu, Tu, Zhu, AAAI 2020",
        derive=nasp.derive,
    ),
    "gdas": MethodRow(
        config=gdas.GdasConfig,
        build=gdas.build,
        relaxation="Gumbel, straight through",
        mixer="single op",
        projection="-",
        reference="Dong, Yang, CVPR 2019",
        derive=gdas.derive,
    ),
    "snas": MethodRow(
        config=snas.SnasConfig,
        build=snas.build,
        relaxation="concrete (Gumbel softmax)",
        mixer="all ops",
        projection="-",
        reference="Xie, Zheng, Liu, Lin, ICLR 2019",
        derive=snas.derive,
        every_edge=True,
    ),
    "dr_nas": MethodRow(
        config=dr_nas.DrNasConfig,
        build=dr_nas.build,
        relaxation="Dirichlet sample",
        mixer="all ops on 1/K of the channels",
        projection="-",
        reference="Chen et al., ICLR 2021",
        derive=_strongest,
        partial=dr_nas.partial_channels,
    ),
    "fair_darts": MethodRow(
        config=fair_darts.FairDartsConfig,
        build=fair_darts.build,
        relaxation="sigmoid",
        mixer="all ops",
        projection="-",
        reference="Chu, Zhou, Zhang, Li, ECCV 2020",
        derive=fair_darts.derive,
        competing=False,
    ),
    "sgas": MethodRow(
        config=sgas.SgasConfig,
        build=sgas.build,
        relaxation="softmax, edges decided one by one",
        mixer="all ops",
        projection="-",
        reference="Li et al., CVPR 2020",
        derive=_strongest_op,
        phases=True,
    ),
    "asap": MethodRow(
        config=asap.AsapConfig,
        build=asap.build,
        relaxation="annealed softmax of ops not pruned",
        mixer="all ops",
        projection="-",
        reference="Noy et al., AISTATS 2020",
        derive=_strongest,
        phases=True,
    ),
    "p_darts": MethodRow(
        config=p_darts.PDartsConfig,
        build=p_darts.build,
        relaxation="softmax of ops not dropped, in stages",
        mixer="all ops not dropped",
        projection="-",
        reference="Chen, Xie, Wu, Tian, ICCV 2019",
        derive=p_darts.derive,
        stages=p_darts.stages,
        own_primitives=True,
        phases=True,
    ),
    "random": MethodRow(
        config=random_sampling.RandomSamplingConfig,
        build=random_sampling.build,
        relaxation="uniform sample",
        mixer="single op",
        projection="-",
        reference="Li, Talwalkar, UAI 2019",
        derive=_strongest,
        phases=True,
    ),
}


def get_method(name: str) -> MethodRow:
    """The row of that name.

    Raises:
      UserError: if there is none; it names the nearest one.
    """
    if name not in METHODS:
        raise unknown_choice("method", name, METHODS)
    return METHODS[name]


def name_of(config: Any) -> str:
    """The row whose configuration this is.

    Raises:
      UserError: if it is none's.
    """
    for name, row in METHODS.items():
        if row.config is type(config):
            return name
    kinds = ", ".join(row.config.__name__ for row in METHODS.values())
    raise UserError(f"method: found {type(config).__name__}; expected one of {kinds}")


def stages_of(config: Any) -> Stages | None:
    """The stages of a search by the method of that configuration, if it has some.

    Raises:
      UserError: for a setting of theirs that is wrong.
    """
    return METHODS[name_of(config)].stages(config)


def learns_architecture(config: Any) -> bool:
    """Whether the method of that configuration learns by the architecture's gradient:
    it then minimises `Network.price` as well."""
    return isinstance(config, BilevelConfig)


def check_extension(config: Any, done: int, epochs: int) -> None:
    """Raises a UserError unless a search of `done` epochs can go on up to `epochs`, by
    the method of that configuration."""
    name = name_of(config)
    if METHODS[name].phases:
        able = ", ".join(n for n, row in METHODS.items() if not row.phases)
        raise UserError(
            f"--extend: --method {name} does different things in parts of its epochs; "
            f"expected a new search of {epochs} epochs, or a method without ({able})"
        )
    warmup = config.warmup_epochs(epochs)
    if warmup > done:
        raise UserError(
            f"--extend: of {epochs} epochs the first {warmup} train the weights alone, "
            f"and the run's {done} are over; expected at most "
            f"{int(epochs * done / warmup)} epochs, or a new search"
        )


def build_method(
    config: Any, space: SearchSpace, *args: Any, **kwargs: Any
) -> SearchMethod:
    """Builds the method whose configuration this is; see `MethodRow.build`.

    Raises:
      UserError: for a setting that is wrong, or a space that the method cannot search.
    """
    name = name_of(config)
    own = any(spec.edge_primitives is not None for spec in space.cells.values())
    if own and not METHODS[name].own_primitives:
        rows = METHODS.items()  # a method in stages begins where all edges have all
        able = " or ".join(
            n for n, r in rows if r.own_primitives and stages_of(r.config()) is None
        )
        raise UserError(
            f"--method: {name} with --space {space.name}, whose edges have primitives "
            f"of their own; expected {able} there, or another space"
        )
    return METHODS[name].build(config, space, *args, **kwargs)


def random_genotype_of(
    config: Any, space: SearchSpace, rng: np.random.Generator
) -> Genotype:
    """A genotype of the kind that the method derives, of random mixing weights.

    They are softmaxes, or where primitives do not compete sigmoids, of independent
    logits with the logistic distribution: such a sigmoid is uniform in (0, 1). No
    primitive and no edge is preferred but by the method's rule and the space, whose
    cap of skip connections holds, too.

    Args:
      config: the method's configuration.
      space: the search space.
      rng: advanced by the draw.
    """
    row, mix = METHODS[name_of(config)], {}
    for kind, spec in space.cells.items():
        offered = np.array(spec.offered)
        odds = np.exp(rng.logistic(size=offered.shape)) * offered
        sums = odds.sum(axis=1, keepdims=True) if row.competing else 1 + odds
        mix[kind] = odds / sums
    return row.derive(config, space, mix)


def partial_channels(config: Any) -> PartialChannels:
    """Which channels the method of that configuration sends through the ops."""
    return METHODS[name_of(config)].partial(config)


def make_supernet(config: Any, space: SearchSpace, **options: Any) -> Network:
    """The supernet that a method searches in.

    Args:
      config: the method's configuration.
      space: the search space.
      **options: those of `supernet`.
    """
    return supernet(space, partial=partial_channels(config), **options)


def method_table() -> str:
    """The table of methods in Markdown, as in the README."""
    head = "`--method`", "relaxation", "mixer", "hypergradient", "projection"
    rows = [(*head, "reference"), ("---",) * (len(head) + 1)]
    for name, row in METHODS.items():
        hypergradient = _hypergradients(row.config())
        parts = row.relaxation, row.mixer, hypergradient, row.projection
        rows.append((f"`{name}`", *parts, row.reference))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _hypergradients(config: Any) -> str:
    """All that a method can take, its default first; none of one that learns nothing
    about the architecture."""
    if not hasattr(config, "hypergradient"):
        return "none"
    default = config.hypergradient.name
    others = [f"`{other}`" for other in HYPERGRADIENTS if other != default]
    return ", ".join([f"**`{default}`**", *others])
