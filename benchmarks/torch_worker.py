"""A process with PyTorch that builds what it is asked for and times it.

`harness.TorchProcess` starts it, so that PyTorch has its own threads and memory. One
JSON object a line comes in, one goes out:

    {"make": KIND, "options": {...}}  ->  {"number": N, "compile_seconds": null or S}
    {"time": N, "calls": C}           ->  {"seconds": per call}
    {"peak": true}                    ->  {"bytes": the most memory so far}
"""

import functools
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch_baseline
import torch_fixed
import torch_plan
import torch_rnn
from torch import Tensor, nn

Call = Callable[[], Any]
SIDE = 32  # of the images, in pixels


def _random(shape: tuple[int, ...], channels_last: bool) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.randn(shape).to(memory_format=layout)


def make_step(
    *, step: str, plan: dict, batch: int, compiled: bool, channels_last: bool
) -> Call:
    """One search step."""
    model = torch_baseline.Supernet(torch_plan.from_json(plan))
    if channels_last:
        _channels_last(model)
    forward = torch.compile(model) if compiled else model
    search = torch_baseline.Search(model, forward)
    labels = torch.arange(batch) % plan["classes"]
    train, valid = (
        torch_baseline.Batch(_random((batch, 3, SIDE, SIDE), channels_last), labels)
        for _ in range(2)
    )
    return functools.partial(torch_baseline.STEPS[step], search, train, valid)


def _channels_last(module: nn.Module) -> None:
    module.to(memory_format=torch.channels_last)  # type: ignore[no-matching-overload]


def make_training(
    *,
    plan: dict,
    batch: int,
    drop_path: float,
    channels_last: bool,
    compiled: bool = False,
) -> Call:
    """One training step of a derived network."""
    model = torch_fixed.Derived(plan)
    if channels_last:
        _channels_last(model)
    forward = torch.compile(model) if compiled else model
    training = torch_fixed.Training(model, drop_path, forward)
    images = _random((batch, 3, SIDE, SIDE), channels_last)
    labels = torch.arange(batch) % plan["classes"]
    return functools.partial(training.step, torch_baseline.Batch(images, labels))


def make_op(
    *, name: str, edges: int, channels: int, stride: int, batch: int, order: str
) -> Call:
    """One operation on each of several edges that leave one source."""
    build = torch_baseline.OPS[name]
    ops = nn.ModuleList(build(channels, stride) for _ in range(edges))
    _channels_last(ops)
    x = _random((batch, channels, SIDE, SIDE), True).requires_grad_()
    forward = lambda: [op(x) for op in ops]  # noqa: E731
    return _derivative(forward, [x, *ops.parameters()], order)


def make_cell(*, plan: dict, widths: list[int], batch: int, order: str) -> Call:
    """One mixed cell; differentiated in its inputs, weights and mixing weights."""
    cell_plan = torch_plan.cell_from_json(plan)
    cell = torch_baseline.Cell(cell_plan, *widths)
    _channels_last(cell)
    inputs = [
        _random((batch, width, SIDE, SIDE), True).requires_grad_() for width in widths
    ]
    columns = len(cell_plan.primitives)
    mix = torch.full((len(cell_plan.edges), columns), 1 / columns, requires_grad=True)
    forward = lambda: [cell(*inputs, mix)]  # noqa: E731
    return _derivative(forward, [*inputs, mix, *cell.parameters()], order)


def _derivative(
    forward: Callable[[], list[Tensor]], inputs: list[Tensor], order: str
) -> Call:
    """The outputs, their vector-Jacobian product, or the derivative of that one."""
    if order == "forward":
        return torch.no_grad()(forward)
    outputs = [torch.randn_like(out) for out in forward()]
    along = [torch.randn_like(x) for x in inputs]

    def gradient(create_graph: bool = False) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            forward(), inputs, outputs, create_graph=create_graph
        )

    def second_order() -> Any:
        pairs = zip(gradient(create_graph=True), along, strict=True)
        found, vectors = zip(*(p for p in pairs if p[0].requires_grad), strict=True)
        return torch.autograd.grad(found, inputs, vectors, allow_unused=True)

    return {"gradient": gradient, "second order": second_order}[order]


def make_recurrent(
    *, step: str, vocabulary: int, units: int, batch: int, length: int
) -> Call:
    """One search step for recurrent cells."""
    search = torch_rnn.Search(torch_rnn.RecurrentSupernet(vocabulary, units))

    def text() -> torch_rnn.Text:
        tokens = torch.randint(vocabulary, (length + 1, batch))
        return torch_rnn.Text(tokens[:-1], tokens[1:], torch.zeros(batch, units))

    return functools.partial(torch_rnn.STEPS[step], search, text(), text())


MAKERS: dict[str, Callable[..., Call]] = {
    "recurrent": make_recurrent,
    "step": make_step,
    "training": make_training,
    "op": make_op,
    "cell": make_cell,
}


def _seconds(call: Call, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def _peak_bytes() -> int:
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes if sys.platform == "darwin" else 1024 * kibibytes


def serve(requests: Any, replies: Any) -> None:
    made: list[Call] = []
    for line in requests:
        request = json.loads(line)
        if "make" in request:
            options = request["options"]
            made.append(MAKERS[request["make"]](**options))
            # The first call compiles whatever the step needs.
            spent = _seconds(made[-1], 1) if options.get("compiled") else None
            reply = {"number": len(made) - 1, "compile_seconds": spent}
        elif "time" in request:
            reply = {"seconds": _seconds(made[request["time"]], request["calls"])}
        else:
            reply = {"bytes": _peak_bytes()}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    if "OMP_NUM_THREADS" not in os.environ:  # else PyTorch has done as it says
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    # What libraries print must not get between the replies.
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, pipe)
