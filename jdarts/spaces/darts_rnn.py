"""The recurrent space of DARTS: 5 activations, 8 nodes, 36 edges, one cell type."""

from jdarts.spaces.base import CellSpec, SearchSpace

__all__ = ["DARTS_RNN"]

DARTS_RNN = SearchSpace(
    name="darts_rnn",
    cells={
        "recurrent": CellSpec(
            primitives=("none", "tanh", "relu", "sigmoid", "identity"),
            nodes=8,
            inputs=1,
            keep=1,
            output="mean",
        )
    },
    task="text",
    reference="Liu, Simonyan, Yang, 'DARTS', ICLR 2019, section 3.1.2, appendix A.1.2",
)
