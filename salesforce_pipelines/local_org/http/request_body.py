"""The body of a request, read piece by piece up to a limit, and inflated if it is gzip."""

import zlib
from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.whole_numbers import whole_number

LARGEST_BODY = 50 << 20
# A file of many members is what block-wise compressors write; each is begun anew.
_MOST_MEMBERS = 10_000


class BodyTooLargeError(ApiError):
    """A body of more bytes than are taken, before or after it is inflated.

    [?] The code and the words are those of the SOAP API; no REST recording is public.
    """

    def __init__(self) -> None:
        message = "Request exceeded the maximum size of 50 MB"
        super().__init__(413, "EXCEEDED_MAX_SIZE_REQUEST", message)


async def read_body(request: Request, most: int = LARGEST_BODY) -> bytes:
    """The whole body, inflated.

    Args:
        most: Bytes it may have, before and after it is inflated.

    Raises:
        BodyTooLargeError: It has more; what is left of it was not read.
        ApiError: JSON_PARSER_ERROR; it is not valid gzip.
    """
    body = bytearray()
    async for piece in body_pieces(request, most):
        body += piece
    return bytes(body)


async def body_pieces(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body piece by piece, inflated; see `read_body`."""
    announced = request.headers.get("content-length", "0")
    length = whole_number(announced)
    if length is None or length > most:
        raise BodyTooLargeError
    is_gzip = request.headers.get("content-encoding", "").strip().lower() == "gzip"
    inflater = _Inflater() if is_gzip else None
    received, size = 0, 0
    async for piece in request.stream():
        received += len(piece)
        if inflater is not None:
            piece = await run_in_threadpool(inflater.inflate, piece, most - size + 1)
        size += len(piece)
        if max(received, size) > most:
            raise BodyTooLargeError
        if piece:
            yield piece
    if inflater is not None:
        inflater.check_end()


class _Inflater:
    """Inflates gzip, of which there may be several members one after the other."""

    def __init__(self) -> None:
        self._members = 0
        self._member = _member()

    def inflate(self, piece: bytes, most: int) -> bytes:
        """A piece inflated; if that is `most` bytes, the rest of it is lost.

        Raises:
            ApiError: It is not valid gzip.
        """
        inflated = bytearray()
        while piece and len(inflated) < most:
            if self._member.eof:
                piece = piece.lstrip(b"\0")  # files may be padded
                if not piece:
                    break
                self._members += 1
                self._member = _member()
            if self._members > _MOST_MEMBERS:
                raise _not_gzip()
            try:
                inflated += self._member.decompress(piece, most - len(inflated))
            except zlib.error:
                raise _not_gzip() from None
            piece = self._member.unused_data
        return bytes(inflated)

    def check_end(self) -> None:
        """See that nothing is missing.

        Raises:
            ApiError: It is.
        """
        if not self._member.eof:
            raise _not_gzip()


def _member() -> "zlib._Decompress":
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _not_gzip() -> ApiError:
    return ApiError(400, "JSON_PARSER_ERROR", "The body is not valid gzip")
