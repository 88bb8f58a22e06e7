"""Collation that hands a whole batch to the main process as one block of shared memory.

PyTorch moves each tensor of a batch in a memory of its own: for every clip and for every label a
file descriptor is asked for over a socket, which takes the main process longer than reading the
clip. Here all tensors of a batch are written once, into one block, and arrive as views of it.
"""

import io
import pickle
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import get_worker_info

from amflow_mm.registry import FUNCTIONS

ALIGNMENT = 64
"""Bytes; a cache line, and a multiple of every dtype's size."""

_Place = tuple[int, torch.dtype, tuple[int, ...], tuple[int, ...]]
"""Of a tensor in the block: first byte, dtype, shape, strides."""


@FUNCTIONS.register_module()
def packed_collate(samples: Sequence[Any]) -> Any:
    """Collate like MMEngine's ``pseudo_collate``, to the same values in the main process.

    The tensors of a batch share their memory, so that keeping one of them keeps all. What is made
    without workers, hence crosses no border, is left as it is.

    Args:
        samples: Of a batch.
    """
    batch = pseudo_collate(samples)
    return batch if get_worker_info() is None else _PackedBatch(batch)


class _PackedBatch:
    """A batch that turns into itself, its tensors in one block, by being sent."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __reduce__(self) -> tuple[Any, ...]:
        file = io.BytesIO()
        pickler = _Pickler(file)
        pickler.dump(self._batch)
        return _unpack, (file.getvalue(), pickler.write_block())


class _Pickler(pickle.Pickler):
    """Pickles all but the tensors, of which it notes the places that they will have."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._tensors: list[tuple[Tensor, _Place]] = []
        self._size = 0

    def persistent_id(self, obj: Any) -> _Place | None:
        """Return the place of a plain tensor on the CPU, None for anything else."""
        if type(obj) is not Tensor or obj.layout != torch.strided or obj.device.type != "cpu":
            return None
        # The order of the axes in memory is kept: frames are not transposed on the way.
        strides = torch.empty_like(obj, device="meta").stride()
        place = (self._size, obj.dtype, tuple(obj.shape), strides)
        self._tensors.append((obj.detach(), place))
        self._size += -(-obj.nbytes // ALIGNMENT) * ALIGNMENT
        return place

    def write_block(self) -> Tensor:
        """Copy the tensors into shared memory."""
        # As PyTorch's own collation does; `share_memory_` would copy once more.
        storage = torch.UntypedStorage._new_shared(max(self._size, 1), device="cpu")
        block = torch.empty(0, dtype=torch.uint8).set_(storage)
        for tensor, place in self._tensors:
            _view(block, place).copy_(tensor)
        return block


class _Unpickler(pickle.Unpickler):
    """Puts the tensors back."""

    def __init__(self, file: io.BytesIO, block: Tensor) -> None:
        super().__init__(file)
        self._block = block

    def persistent_load(self, pid: _Place) -> Tensor:
        """Return the tensor at a place."""
        return _view(self._block, pid)


def _unpack(content: bytes, block: Tensor) -> Any:
    return _Unpickler(io.BytesIO(content), block).load()


def _view(block: Tensor, place: _Place) -> Tensor:
    start, dtype, shape, strides = place
    num_bytes = torch.Size(shape).numel() * dtype.itemsize
    return block[start : start + num_bytes].view(dtype).as_strided(shape, strides)
