"""NAS-Bench-201: 5 primitives on 6 edges, 15,625 cells of known accuracy."""

from jdarts.spaces.base import CellSpec, SearchSpace

__all__ = ["NAS_BENCH_201"]

NAS_BENCH_201 = SearchSpace(
    name="nas_bench_201",
    cells={
        "normal": CellSpec(
            # nor_conv_1x1 and nor_conv_3x3 there.
            primitives=(
                "none",
                "skip_connect",
                "conv_1x1",
                "conv_3x3",
                "avg_pool_3x3",
            ),
            nodes=3,
            inputs=1,
            keep=None,
            output="last",
            normalise_pools=False,
            bias=True,
        )
    },
    stem_multiplier=1,
    skeleton="residual",
    reference="Dong, Yang, 'NAS-Bench-201', ICLR 2020, section 2",
)
