"""FFmpeg's decoder of a stream, with its errors sorted."""

import av

from amflow_mm.datasets.decoding.droppable import IsDroppable, find_droppable
from amflow_mm.datasets.decoding.errors import unreadable

_UNSUPPORTED = (av.error.PatchWelcomeError, av.error.DecoderNotFoundError)
"""Errors that say nothing about the file but that FFmpeg cannot do it."""


class Decoder:
    """The decoder of the first video stream.

    Args:
        container: Of the stream; keep it open.
        name: Of the video.
        num_threads: Of the decoder.

    """

    def __init__(
        self, container: av.container.InputContainer, name: str, *, num_threads: int
    ) -> None:
        """Set the decoder up; it opens with the first packet."""
        self._context = container.streams.video[0].codec_context
        if self._context is not None:
            self._context.thread_count = num_threads
            self._context.thread_type = "FRAME"
        self._name = name
        self.num_threads = num_threads

    @property
    def is_droppable(self) -> IsDroppable | None:
        """Test for packets that need not be decoded; None where none may be left out."""
        if self._context is None:
            return None
        return find_droppable(self._context.codec.canonical_name, self._context.extradata)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that frames are brought to, before rotation; a stream may vary."""
        if self._context is None:
            return 0, 0
        return self._context.height, self._context.width

    def restart(self) -> None:
        """Forget all packets, before a key frame that does not follow.

        Raises:
            UnreadableVideoError: There is no decoder for the stream.
        """
        if self._context is None:
            raise unreadable(self._name, "no_decoder", "there is no decoder for its video stream")
        self._context.flush_buffers()

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame] | None:
        """Decode a packet, or with None what is still inside; None where it is damaged."""
        try:
            return self._context.decode(packet)
        except EOFError:
            return []
        except _UNSUPPORTED as error:
            detail = f"FFmpeg cannot decode it ({error.strerror})"
            raise unreadable(self._name, "no_decoder", detail) from error
        except av.error.FFmpegError:
            return None
