"""A process with PyTorch that builds what it is asked for and times it.

`harness.TorchProcess` starts it, so that PyTorch has its own threads and memory. One
JSON object a line comes in, one goes out:

    {"make": KIND, "options": {...}}  ->  {"number": N}
    {"time": N, "repeat": R}          ->  {"seconds": per call}
"""

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch_baseline
import torch_plan
from torch import Tensor, nn

Call = Callable[[], Any]
SIDE = 32  # of the images, in pixels


def _images(batch: int, channels: int, side: int, channels_last: bool) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.randn(batch, channels, side, side).to(memory_format=layout)


def _settle(module: nn.Module, channels_last: bool) -> nn.Module:
    if channels_last:
        module = module.to(memory_format=torch.channels_last)
    return module


def make_step(
    *, step: str, plan: dict, batch: int, compiled: bool, channels_last: bool
) -> Call:
    """One search step."""
    model = torch_baseline.Supernet(torch_plan.from_json(plan))
    _settle(model, channels_last)
    forward = torch.compile(model) if compiled else model
    search = torch_baseline.Search(model, forward)
    labels = torch.arange(batch) % 10
    train, valid = (
        torch_baseline.Batch(_images(batch, 3, SIDE, channels_last), labels)
        for _ in range(2)
    )
    return functools.partial(torch_baseline.STEPS[step], search, train, valid)


MAKERS: dict[str, Callable[..., Call]] = {"step": make_step}


def _seconds(call: Call, repeat: int) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - start) / repeat


def serve(requests: Any, replies: Any) -> None:
    made: list[Call] = []
    for line in requests:
        request = json.loads(line)
        if "make" in request:
            made.append(MAKERS[request["make"]](**request["options"]))
            reply = {"number": len(made) - 1}
        else:
            reply = {"seconds": _seconds(made[request["time"]], request["repeat"])}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    # What libraries print must not get between the replies.
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, pipe)
