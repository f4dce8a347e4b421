"""What counting alone achieves on a text: the baselines beside every perplexity."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

__all__ = ["Baselines", "baselines"]

_DISCOUNT = 0.75


class Baselines(NamedTuple):
    """Perplexities: ``exp`` of the mean negative log-probability of a token.

    Attributes:
      unigram: each token by its frequency in the training part, plus one.
      bigram: each token by how often it followed the one before, less an absolute
        discount of 0.75 that is given to the unigram (Ney, Essen, Kneser, 1994).
      majority: share of the tokens that are the training part's most frequent one.
    """

    unigram: float
    bigram: float
    majority: float


def baselines(
    train: Int[np.ndarray, " n"], held: Int[np.ndarray, " m"], vocabulary: int
) -> Baselines:
    """Counts one part, predicts another.

    Args:
      train: tokens that are counted.
      held: tokens that are predicted, all but the first; at least two.
      vocabulary: number of different tokens.
    """
    counts = np.bincount(train, minlength=vocabulary)
    unigram = (counts + 1) / (len(train) + vocabulary)
    targets, before = held[1:], held[:-1]
    return Baselines(
        unigram=_perplexity(unigram[targets]),
        bigram=_perplexity(_bigram(train, before, targets, unigram)),
        majority=float(np.mean(targets == counts.argmax())),
    )


def _perplexity(probabilities: np.ndarray) -> float:
    return float(np.exp(-np.log(probabilities).mean()))


def _bigram(
    train: np.ndarray, before: np.ndarray, targets: np.ndarray, unigram: np.ndarray
) -> np.ndarray:
    """``(max(n(v, w) - D, 0) + D n1(v) p(w)) / n(v)``; ``p(w)`` after an unseen v.

    n(v, w) counts pairs, n(v) those that begin with v, n1(v) the different ones.
    """
    size = len(unigram)
    pairs = train[:-1].astype(np.int64) * size + train[1:]
    seen, often = np.unique(pairs, return_counts=True)
    begins = np.bincount(train[:-1], minlength=size)
    different = np.bincount(seen // size, minlength=size)
    wanted = before.astype(np.int64) * size + targets
    place = np.minimum(np.searchsorted(seen, wanted), len(seen) - 1)
    found = np.where(seen[place] == wanted, often[place], 0)
    total = begins[before]
    mixed = (
        np.maximum(found - _DISCOUNT, 0)
        + _DISCOUNT * different[before] * (unigram[targets])
    )
    return np.where(total > 0, mixed / np.maximum(total, 1), unigram[targets])
