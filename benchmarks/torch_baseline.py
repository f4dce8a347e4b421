"""The DARTS supernet and its search steps in PyTorch: what jdarts is timed against.

Written as PyTorch programs of this kind are: images NCHW, one module per operation and
edge, an edge's value the weighted sum of its operations' results. It knows nothing of
jdarts or jax, so that it can run in a process without them; the shape of the network
comes in as plain data (`Plan`). The parity tests check it against golden numbers.

Where PyTorch allows several ways, the fastest was taken: `none` is left out of the sum,
a step differentiates only what it needs, optimisers work on lists of tensors.
"""

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_plan import CellPlan, Plan

__all__ = [
    "OPS",
    "STEPS",
    "Batch",
    "Cell",
    "FactorizedReduce",
    "Search",
    "Supernet",
    "chain",
    "conv",
    "relu_conv_bn",
    "total",
]


Build = Callable[..., nn.Module]


class Batch(NamedTuple):
    """Images ``[batch, channels, height, width]`` and int64 labels ``[batch]``."""

    images: Tensor
    labels: Tensor


# --- operations ----------------------------------------------------------------------


def conv(c_in: int, c_out: int, kernel: Any, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, bias=False, **options)


def _bn(channels: int, derived: bool) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=derived)


def chain(**parts: nn.Module) -> nn.Sequential:
    chain = nn.Sequential()
    for name, part in parts.items():
        chain.add_module(name, part)
    return chain


def relu_conv_bn(c_in: int, c_out: int, derived: bool = False) -> nn.Module:
    parts = {"conv": conv(c_in, c_out, 1), "bn": _bn(c_out, derived)}
    return chain(relu=nn.ReLU(), **parts)


def _depthwise(channels: int, kernel: int, stride: int, dilation: int) -> nn.Conv2d:
    return conv(
        channels,
        channels,
        kernel,
        stride=stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=channels,
    )


def _separable(kernel: int) -> Build:
    def build(channels: int, stride: int, derived: bool = False) -> nn.Module:
        return chain(
            relu1=nn.ReLU(),
            dw1=_depthwise(channels, kernel, stride, 1),
            pw1=conv(channels, channels, 1),
            bn1=_bn(channels, derived),
            relu2=nn.ReLU(),
            dw2=_depthwise(channels, kernel, 1, 1),
            pw2=conv(channels, channels, 1),
            bn2=_bn(channels, derived),
        )

    return build


def _dilated(kernel: int) -> Build:
    def build(channels: int, stride: int, derived: bool = False) -> nn.Module:
        return chain(
            relu=nn.ReLU(),
            dw=_depthwise(channels, kernel, stride, 2),
            pw=conv(channels, channels, 1),
            bn=_bn(channels, derived),
        )

    return build


def _lines(kernel: int) -> Build:
    """1 x k and then k x 1."""

    def build(channels: int, stride: int, derived: bool = False) -> nn.Module:
        half = kernel // 2
        row = conv(
            channels, channels, (1, kernel), stride=(1, stride), padding=(0, half)
        )
        column = conv(
            channels, channels, (kernel, 1), stride=(stride, 1), padding=(half, 0)
        )
        bn = _bn(channels, derived)
        return chain(relu=nn.ReLU(), conv_row=row, conv_col=column, bn=bn)

    return build


def _grouped_lines(kernel: int) -> Build:
    """1 x k and then k x 1 in 8 groups, and a pointwise convolution."""

    def build(channels: int, stride: int, derived: bool = False) -> nn.Module:
        def line(size: tuple[int, int], step: tuple[int, int]) -> nn.Conv2d:
            padding = tuple(k // 2 for k in size)
            options = {"stride": step, "padding": padding, "groups": 8}
            return conv(channels, channels, size, **options)

        return chain(
            relu1=nn.ReLU(),
            conv_row=line((1, kernel), (1, stride)),
            conv_col=line((kernel, 1), (stride, 1)),
            bn1=_bn(channels, derived),
            relu2=nn.ReLU(),
            pw=conv(channels, channels, 1),
            bn2=_bn(channels, derived),
        )

    return build


def _normalised_pool(channels: int, stride: int, derived: bool = False) -> nn.Module:
    pool = nn.MaxPool2d(3, stride, padding=1)
    return chain(pool=pool, bn=_bn(channels, derived))


def _dense(kernel: int) -> Build:
    def build(channels: int, stride: int, derived: bool = False) -> nn.Module:
        options = {"stride": stride, "padding": kernel // 2}
        dense = conv(channels, channels, kernel, **options)
        return chain(relu=nn.ReLU(), conv=dense, bn=_bn(channels, derived))

    return build


def _pool(module: Callable[..., nn.Module], kernel: int, **options: Any) -> Build:
    """Normalised in supernets only."""

    def build(channels: int, stride: int, derived: bool = False) -> nn.Module:
        pool = module(kernel, stride, padding=kernel // 2, **options)
        return pool if derived else chain(pool=pool, bn=_bn(channels, derived))

    return build


class FactorizedReduce(nn.Module):
    """Halves a map by two 1 x 1 convolutions with stride 2, one shifted by a pixel.

    The pixels are picked first: PyTorch 2.14 writes outside its arrays when it
    differentiates such a convolution with few channels in channels_last.
    """

    def __init__(self, c_in: int, c_out: int, derived: bool = False) -> None:
        super().__init__()
        self.conv_a = conv(c_in, c_out // 2, 1)
        self.conv_b = conv(c_in, c_out - c_out // 2, 1)
        self.bn = _bn(c_out, derived)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(x)
        halves = self.conv_a(x[:, :, ::2, ::2]), self.conv_b(x[:, :, 1::2, 1::2])
        return self.bn(torch.cat(halves, dim=1))


def _skip(channels: int, stride: int, derived: bool = False) -> nn.Module:
    return (
        nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, derived)
    )


OPS: dict[str, Build] = {
    "max_pool_3x3": _pool(nn.MaxPool2d, 3),
    "max_pool_5x5": _pool(nn.MaxPool2d, 5),
    "max_pool_7x7": _pool(nn.MaxPool2d, 7),
    "avg_pool_3x3": _pool(nn.AvgPool2d, 3, count_include_pad=False),
    "skip_connect": _skip,
    "sep_conv_3x3": _separable(3),
    "sep_conv_5x5": _separable(5),
    "sep_conv_7x7": _separable(7),
    "dil_conv_3x3": _dilated(3),
    "dil_conv_5x5": _dilated(5),
    "conv_1x1": _dense(1),
    "conv_3x3": _dense(3),
    "conv_3x1_1x3": _lines(3),
    "conv_7x1_1x7": _lines(7),
    "group_conv_3x1_1x3": _grouped_lines(3),
    "max_pool_3x3_bn": _normalised_pool,
}
"""Name to ``build(channels, stride, derived=False)``; `none` is no operation. Those of
derived networks have normalisers with a scale and a shift, and none after pools."""


# --- the supernet --------------------------------------------------------------------


def total(terms: Iterable[Tensor]) -> Tensor:
    """Without the addition to 0 that Python's own begins with."""
    return functools.reduce(operator.add, terms)


class MixedEdge(nn.ModuleDict):
    """The weighted sum of an edge's operations."""

    def __init__(self, plan: CellPlan, stride: int) -> None:
        names = [name for name in plan.primitives if name != "none"]
        super().__init__({name: OPS[name](plan.channels, stride) for name in names})
        self.columns = [plan.primitives.index(name) for name in names]

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        shares = weights.unbind()
        pairs = zip(self.columns, self.values(), strict=True)
        return total(shares[column] * op(x) for column, op in pairs)


class Cell(nn.Module):
    """Every edge a mixture; the output is the concatenation of all nodes.

    Args:
      plan: the cell.
      c_first: channels of input 0.
      c_second: channels of input 1.
    """

    def __init__(self, plan: CellPlan, c_first: int, c_second: int) -> None:
        super().__init__()
        adapter = FactorizedReduce if plan.halve_first else relu_conv_bn
        self.pre0 = adapter(c_first, plan.channels)
        self.pre1 = relu_conv_bn(c_second, plan.channels)
        self.ends = plan.edges
        self.edges = nn.ModuleList(
            MixedEdge(plan, plan.stride if source < 2 else 1) for source, _ in self.ends
        )

    def forward(self, first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
        nodes = [self.pre0(first), self.pre1(second)]
        rows = weights.unbind()
        for target in range(2, self.ends[-1][1] + 1):
            entering = [i for i, (_, node) in enumerate(self.ends) if node == target]
            values = [self.edges[i](nodes[self.ends[i][0]], rows[i]) for i in entering]
            nodes.append(total(values))
        return torch.cat(nodes[2:], dim=1)


class Supernet(nn.Module):
    """Stem, cells, classifier; `alpha` holds the logits by cell type."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        bn = nn.BatchNorm2d(plan.stem)
        self.stem = chain(conv=conv(3, plan.stem, 3, padding=1), bn=bn)
        self.kinds = [cell.kind for cell in plan.cells]
        self.cells = nn.ModuleList()
        widths = plan.stem, plan.stem
        for cell in plan.cells:
            self.cells.append(Cell(cell, *widths))
            widths = widths[1], cell.nodes * cell.channels
        self.head = nn.Linear(widths[1], plan.classes)
        shapes = {c.kind: (len(c.edges), len(c.primitives)) for c in plan.cells}
        logits = {kind: 1e-3 * torch.randn(shape) for kind, shape in shapes.items()}
        self.alpha = nn.ParameterDict(logits)

    def forward(self, images: Tensor) -> Tensor:
        mix = {kind: self.alpha[kind].softmax(dim=-1) for kind in self.alpha}
        first = second = self.stem(images)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            first, second = second, cell(first, second, mix[kind])
        return self.head(second.mean((2, 3)))


# --- search steps --------------------------------------------------------------------


class Search:
    """A supernet with its two optimisers, as published for CIFAR-10.

    Args:
      model: the supernet.
      forward: what computes its logits: the model itself or its compiled form.
      clip: largest gradient norm of the real weight step.
    """

    lr, momentum, weight_decay = 0.025, 0.9, 3e-4
    radius = 0.01  # of the finite difference

    def __init__(
        self,
        model: Supernet,
        forward: Callable[[Tensor], Tensor] | None = None,
        clip: float = 5.0,
    ) -> None:
        self.model = model
        # Not `or`: a compiled module has no truth value.
        self.forward = model if forward is None else forward
        self.clip = clip
        self.alphas = list(model.alpha.values())
        named = model.named_parameters()
        self.weights: list[Tensor] = [
            p for name, p in named if not name.startswith("alpha.")
        ]
        self.sgd = torch.optim.SGD(
            self.weights,
            self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            foreach=True,
        )
        self.adam = torch.optim.Adam(
            self.alphas, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3
        )

    def gradients(
        self, batch: Batch, *, weights: bool, alphas: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """The loss and its gradient in the weights, the logits, or both (in a row).

        Args:
          batch: what the loss is taken of.
          weights: whether the weights are differentiated.
          alphas: whether the logits are.
        """
        # What is not wanted must not ask for a gradient: a compiled backward pass
        # would compute it all the same.
        for group, wanted in ((self.weights, weights), (self.alphas, alphas)):
            for parameter in group:
                parameter.requires_grad_(wanted)
        loss = functional.cross_entropy(self.forward(batch.images), batch.labels)
        wanted = [*(self.weights if weights else []), *(self.alphas if alphas else [])]
        return loss.detach(), list(torch.autograd.grad(loss, wanted))

    def first_order(self, train: Batch, valid: Batch) -> tuple[Tensor, list[Tensor]]:
        """Validation loss and its gradient in the logits."""
        return self.gradients(valid, weights=False, alphas=True)

    def finite_difference(
        self, train: Batch, valid: Batch
    ) -> tuple[Tensor, list[Tensor]]:
        """Validation loss after a virtual weight step, and the hypergradient there.

        Liu et al., 'DARTS', ICLR 2019, equations (7) and (8).
        """
        weights, lr = self.weights, self.lr
        saved = [p.detach().clone() for p in weights]
        _, step = self.gradients(train, weights=True, alphas=False)
        with torch.no_grad():
            torch._foreach_add_(step, weights, alpha=self.weight_decay)
            if buffers := [self.sgd.state[p]["momentum_buffer"] for p in self._moving]:
                torch._foreach_add_(step, buffers, alpha=self.momentum)
            torch._foreach_add_(weights, step, alpha=-lr)
        loss, both = self.gradients(valid, weights=True, alphas=True)
        v, direct = both[: len(weights)], both[len(weights) :]
        scale = self.radius / float(torch.stack(torch._foreach_norm(v)).norm())
        with torch.no_grad():
            torch._foreach_copy_(weights, saved)
            torch._foreach_add_(weights, v, alpha=scale)
        _, ahead = self.gradients(train, weights=False, alphas=True)
        with torch.no_grad():
            torch._foreach_add_(weights, v, alpha=-2 * scale)
        _, behind = self.gradients(train, weights=False, alphas=True)
        with torch.no_grad():
            torch._foreach_copy_(weights, saved)
        slopes = zip(direct, ahead, behind, strict=True)
        return loss, [d - lr * (a - b) / (2 * scale) for d, a, b in slopes]

    @property
    def _moving(self) -> list[Tensor]:
        """The weights, once they have momentum: none before the first step."""
        return [p for p in self.weights if "momentum_buffer" in self.sgd.state[p]]

    def arch_step(self, gradient: list[Tensor]) -> None:
        for alpha, g in zip(self.alphas, gradient, strict=True):
            alpha.grad = g
        self.adam.step()

    def weight_step(self, train: Batch) -> tuple[Tensor, Tensor]:
        """The real step; returns the loss before it and the gradient's norm."""
        loss, gradient = self.gradients(train, weights=True, alphas=False)
        for parameter, g in zip(self.weights, gradient, strict=True):
            parameter.grad = g
        norm = nn.utils.clip_grad_norm_(self.weights, self.clip, foreach=True)
        self.sgd.step()
        return loss, norm


def _weights_only(search: Search, train: Batch, valid: Batch) -> None:
    search.weight_step(train)


def _first_order(search: Search, train: Batch, valid: Batch) -> None:
    search.arch_step(search.first_order(train, valid)[1])
    search.weight_step(train)


def _finite_difference(search: Search, train: Batch, valid: Batch) -> None:
    search.arch_step(search.finite_difference(train, valid)[1])
    search.weight_step(train)


STEPS: dict[str, Callable[[Search, Batch, Batch], None]] = {
    "weights only": _weights_only,
    "first order": _first_order,
    "finite difference": _finite_difference,
}
"""Name to ``step(search, train, valid)``."""
