"""The search for recurrent cells in eager PyTorch: the baseline of `rnn.py`.

Written for these benchmarks in the natural eager style: a loop over time steps, and in
it one over nodes, whose product serves all earlier states at once.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["STEPS", "RecurrentSupernet", "Search", "Text", "make_masks"]

NODES = 8
ACTIVATIONS = (torch.tanh, torch.relu, torch.sigmoid, lambda x: x)
RADIUS, LR, CLIP, DECAY = 0.01, 20.0, 0.25, 5e-7


class Text(NamedTuple):
    """Tokens and targets ``[time, batch]``, and the state before them."""

    tokens: Tensor
    targets: Tensor
    hidden: Tensor


class Masks(NamedTuple):
    """Of the embedded words, the cell's input, all states, and the outputs."""

    embedded: Tensor
    input: Tensor
    hidden: Tensor
    output: Tensor


RATES = Masks(0.2, 0.75, 0.25, 0.75)  # type: ignore


def make_masks(batch: int, units: int) -> Masks:
    """Drawn at each call, one value a column and unit."""
    drawn = [
        torch.empty(batch, units).bernoulli_(1 - rate) / (1 - rate)  # type: ignore
        for rate in RATES
    ]
    return Masks(*drawn)


class RecurrentSupernet(nn.Module):
    """All activations on all edges of one recurrent cell."""

    def __init__(self, vocabulary: int, units: int) -> None:
        super().__init__()

        def weights(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-0.04, 0.04))

        self.embedding = weights(vocabulary, units)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.first = weights(2 * units, 2 * units)
        self.nodes = nn.ParameterList(weights(units, 2 * units) for _ in range(NODES))
        self.norm = nn.BatchNorm1d(units, affine=False)
        edges = NODES * (NODES + 1) // 2
        self.alpha = nn.Parameter(1e-3 * torch.randn(edges, len(ACTIVATIONS) + 1))

    def forward(self, text: Text, masks: Masks | None) -> tuple[Tensor, Tensor]:
        """``(logits, states)``, ``[time, batch, ...]``."""
        words = self.embedding[text.tokens]
        if masks is not None:
            words = words * masks.embedded * masks.input
        shares = functional.softmax(self.alpha, dim=-1)
        state, states = text.hidden, []
        for word in words:
            hidden = None if masks is None else masks.hidden
            state = self._cell(word, state, shares, hidden)
            states.append(state)
        outputs = torch.stack(states)
        dropped = outputs if masks is None else outputs * masks.output
        return functional.linear(dropped, self.embedding, self.bias), outputs

    def _cell(
        self, word: Tensor, before: Tensor, shares: Tensor, mask: Tensor | None
    ) -> Tensor:
        read = before if mask is None else before * mask
        gate, value = (torch.cat([word, read], -1) @ self.first).chunk(2, -1)
        state = before + gate.sigmoid() * (value.tanh() - before)
        states, edge = self.norm(state)[None], 0
        for node, matrix in enumerate(self.nodes, 1):
            read = states if mask is None else states * mask
            gate, value = (read @ matrix).chunk(2, -1)
            gate, total = gate.sigmoid(), 0.0
            for column, function in enumerate(ACTIVATIONS, 1):
                share = shares[edge : edge + node, column, None, None]
                new = states + gate * (function(value) - states)
                total = total + (share * new).sum(0)
            states = torch.cat([states, self.norm(total)[None]])
            edge += node
        return states[1:].mean(0)


class Search:
    """One search step at a time: SGD on the weights, Adam on alpha."""

    def __init__(self, model: RecurrentSupernet, dropout: bool = True) -> None:
        self.model, self.dropout = model, dropout
        self.weights = [p for n, p in model.named_parameters() if n != "alpha"]
        self.arch = torch.optim.Adam([model.alpha], lr=3e-3, weight_decay=1e-3)
        self.sgd = torch.optim.SGD(self.weights, lr=LR, weight_decay=DECAY)

    def loss(self, text: Text) -> Tensor:
        """Mean cross-entropy."""
        masks = make_masks(*text.hidden.shape) if self.dropout else None
        logits, _ = self.model(text, masks)
        return functional.cross_entropy(logits.flatten(0, 1), text.targets.flatten())

    def weight_step(self, train: Text) -> None:
        self.sgd.zero_grad()
        self.loss(train).backward()
        nn.utils.clip_grad_norm_(self.weights, CLIP)
        self.sgd.step()

    def arch_step(self, gradient: Tensor) -> None:
        self.model.alpha.grad = gradient
        self.arch.step()

    def finite_difference(self, train: Text, valid: Text) -> Tensor:
        """The quotient of the 2018 code, with one clipped step of SGD."""
        slopes = torch.autograd.grad(self.loss(train), self.weights)
        clip = min(1.0, CLIP / (float(_norm(slopes)) + 1e-6))
        with torch.no_grad():
            saved = [p.clone() for p in self.weights]
            for p, g in zip(self.weights, slopes, strict=True):
                p -= LR * (clip * g + DECAY * p)
        everything = [*self.weights, self.model.alpha]
        *v, direct = torch.autograd.grad(self.loss(valid), everything)
        radius = RADIUS / float(_norm(v))
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                for p, old, along in zip(self.weights, saved, v, strict=True):
                    p.copy_(old + sign * radius * along)
            ends.append(torch.autograd.grad(self.loss(train), self.model.alpha)[0])
        with torch.no_grad():
            for p, old in zip(self.weights, saved, strict=True):
                p.copy_(old)
        return direct - LR * clip * (ends[0] - ends[1]) / (2 * radius)


def _norm(tensors: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    return torch.sqrt(sum((t * t).sum() for t in tensors))  # type: ignore


def _weights_only(search: Search, train: Text, valid: Text) -> None:
    search.weight_step(train)


def _first_order(search: Search, train: Text, valid: Text) -> None:
    (gradient,) = torch.autograd.grad(search.loss(valid), search.model.alpha)
    search.arch_step(gradient)
    search.weight_step(train)


def _second_order(search: Search, train: Text, valid: Text) -> None:
    search.arch_step(search.finite_difference(train, valid))
    search.weight_step(train)


STEPS: dict[str, Callable[[Search, Text, Text], None]] = {
    "weights": _weights_only,
    "first order": _first_order,
    "second order": _second_order,
}
