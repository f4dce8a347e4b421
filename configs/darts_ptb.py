"""DARTS on the Penn Treebank: the published search for a recurrent cell, exact second
order.

Reproduces: Liu, Simonyan, Yang, 'DARTS', ICLR 2019, section 3.1.2 (1 GPU day there,
with a finite difference whose dropout masks were drawn again in each pass; first order
0.5). Their code also clips the validation gradient that the quotient is taken along to
a norm of 0.25, which the exact derivative does not: the second-order term is larger
here wherever that norm is. The architecture's segment is as long as the weights': 17
words in 5 % of the steps, where theirs has 35.
Command: python -m jdarts.search darts_ptb --data.dir DIR
First order: add --method.hypergradient.name first_order --method.no-clip-virtual
"""

from jdarts.data import TextConfig
from jdarts.text_config import TextSearchConfig


def get_config() -> TextSearchConfig:
    return TextSearchConfig(name="darts_ptb", data=TextConfig(name="ptb"))
