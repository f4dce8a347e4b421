"""A derived network and its training step in PyTorch: what jdarts is timed against.

Written as such programs are: one module per connection, images NCHW. It knows nothing
of jdarts or jax; the network comes in as plain data. The parity tests check it against
golden numbers.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_baseline import (
    OPS,
    Batch,
    FactorizedReduce,
    chain,
    conv,
    relu_conv_bn,
    total,
)

__all__ = ["Derived", "Training"]


class Connection(nn.Module):
    """An operation on an edge; drops the path unless it is an identity."""

    def __init__(self, name: str, channels: int, stride: int) -> None:
        super().__init__()
        self.op = OPS[name](channels, stride, derived=True)
        self.droppable = not isinstance(self.op, nn.Identity)

    def forward(self, x: Tensor, drop: float) -> Tensor:
        value = self.op(x)
        if self.training and drop > 0 and self.droppable:
            keep = torch.empty(len(x), 1, 1, 1).bernoulli_(1 - drop)
            value = value.div_(1 - drop).mul_(keep)
        return value


class Cell(nn.Module):
    """Plan of a cell: kind's nodes and concat, channels, stride, halve_first."""

    def __init__(self, plan: dict[str, Any], c_first: int, c_second: int) -> None:
        super().__init__()
        channels = plan["channels"]
        adapter = FactorizedReduce if plan["halve_first"] else relu_conv_bn
        self.pre0 = adapter(c_first, channels, derived=True)
        self.pre1 = relu_conv_bn(c_second, channels, derived=True)
        self.nodes, self.concat = plan["nodes"], plan["concat"]
        self.ops = nn.ModuleList(
            Connection(name, channels, plan["stride"] if source < 2 else 1)
            for node in self.nodes
            for name, source in node
        )

    def forward(self, first: Tensor, second: Tensor, drop: float) -> Tensor:
        values, ops = [self.pre0(first), self.pre1(second)], iter(self.ops)
        for node in self.nodes:
            values.append(total(next(ops)(values[source], drop) for _, source in node))
        return torch.cat([values[i] for i in self.concat], dim=1)


class Auxiliary(nn.Module):
    """The auxiliary head of CIFAR networks."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = chain(
            relu=nn.ReLU(),
            pool=nn.AvgPool2d(5, 3, count_include_pad=False),
            conv1=conv(channels, 128, 1),
            bn1=nn.BatchNorm2d(128),
            relu1=nn.ReLU(),
            conv2=conv(128, 768, 2),
            bn2=nn.BatchNorm2d(768),
            relu2=nn.ReLU(),
        )
        self.head = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))


class Derived(nn.Module):
    """Stem, cells, classifier and auxiliary head of a network for CIFAR.

    Args:
      plan: ``{"stem": width, "classes": n, "aux_cell": i, "cells": [CELL, ...]}``.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__()
        stem, classes = plan["stem"], plan["classes"]
        self.stem = chain(conv=conv(3, stem, 3, padding=1), bn=nn.BatchNorm2d(stem))
        self.cells, widths = nn.ModuleList(), (stem, stem)
        self.aux_cell = plan["aux_cell"]
        for i, cell in enumerate(plan["cells"]):
            self.cells.append(Cell(cell, *widths))
            widths = widths[1], len(cell["concat"]) * cell["channels"]
            if i == self.aux_cell:
                self.aux = Auxiliary(widths[1], classes)
        self.head = nn.Linear(widths[1], classes)

    def forward(self, images: Tensor, drop: float = 0.0) -> tuple[Tensor, Tensor]:
        first = second = self.stem(images)
        auxiliary = images
        for i, cell in enumerate(self.cells):
            first, second = second, cell(first, second, drop)
            if i == self.aux_cell:
                auxiliary = self.aux(second)
        return self.head(second.mean((2, 3))), auxiliary


class Training:
    """A derived network with its optimiser, as published for CIFAR-10.

    Args:
      model: the network.
      drop: probability of dropping a path.
      forward: what computes its logits: the model itself or its compiled form.
    """

    aux_weight, clip = 0.4, 5.0

    def __init__(
        self,
        model: Derived,
        drop: float = 0.0,
        forward: Callable[[Tensor, float], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self.model, self.drop = model, drop
        self.forward = model if forward is None else forward
        self.sgd = torch.optim.SGD(
            model.parameters(), 0.025, momentum=0.9, weight_decay=3e-4, foreach=True
        )

    def loss(self, batch: Batch) -> Tensor:
        logits, auxiliary = self.forward(batch.images, self.drop)
        main = functional.cross_entropy(logits, batch.labels)
        return main + self.aux_weight * functional.cross_entropy(
            auxiliary, batch.labels
        )

    def step(self, batch: Batch) -> Tensor:
        """One step; returns the loss before it."""
        self.sgd.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip, foreach=True)
        self.sgd.step()
        return loss.detach()
