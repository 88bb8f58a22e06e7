"""What all processes must know at once, so that none goes on where another stops."""

from collections.abc import Callable

import torch
from mmengine.dist import is_distributed
from torch import Tensor


def start_vote(is_raised: Tensor) -> Callable[[], bool]:
    """Begin to find out whether any process has raised its flag; call the result to learn it.

    Every process must take part, each time. On a GPU the flag is reduced and copied behind the
    work that is queued already, and the result waits for that copy alone: what is queued in
    between, such as a backward pass, keeps the GPU busy meanwhile.

    Args:
        is_raised: One boolean, on the device of the process group.
    """
    flag = is_raised.to(torch.int32)
    if is_distributed():
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    if not flag.is_cuda:
        return lambda: bool(flag)
    copy = torch.empty(flag.shape, dtype=flag.dtype, pin_memory=True)
    copy.copy_(flag, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def count() -> bool:
        copied.synchronize()
        return bool(copy)

    return count
