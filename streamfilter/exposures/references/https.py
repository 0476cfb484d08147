"""Reads ``https://``: archives and data servers, each allowed by name."""

import http.client
import time
from urllib.parse import urljoin

from streamfilter.errors import AddressRefused, CallFailed, MessageRejected, Reason
from streamfilter.outgoing import Caller

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3
_MISSING = frozenset({404, 410})
_AGAIN = frozenset({408, 425, 429})
"""Status codes after which a retry may help, besides those from 500."""
_PART_BYTES = 2**20


class Https:
    """Reads from the hosts that a caller may call, and follows redirects among them.

    Parameters
    ----------
    total_s
        Time limit for one file.
    """

    def __init__(self, caller: Caller, total_s: float) -> None:
        self._caller = caller
        self._total_s = total_s

    def read(self, uri: str, most: int) -> bytes:
        """Returns the content of a URL, or its first ``most`` bytes.

        Raises
        ------
        MessageRejected
            The URL, or one that it redirects to, is not allowed, missing, or gives no access.
        CallFailed
            The server cannot be reached now, or closes the connection too early.
        """
        end_s = time.monotonic() + self._total_s
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                left_s = max(end_s - time.monotonic(), 0.01)
                # The announced size and sha256 are those of the file, not of a compressed answer.
                headers = {"Accept-Encoding": "identity"}
                with self._caller.call("GET", uri, total_s=left_s, headers=headers) as answer:
                    if answer.status not in _REDIRECTS:
                        return _content(answer, most)
                    uri = urljoin(uri, answer.headers.get("Location", ""))
        except AddressRefused as error:
            raise MessageRejected(Reason.REFERENCE_REFUSED, str(error)) from error
        detail = f"over {_MOST_REDIRECTS} redirects"
        raise MessageRejected(Reason.REFERENCE_UNREACHABLE, detail)


def _content(answer: http.client.HTTPResponse, most: int) -> bytes:
    status = answer.status
    if status in _MISSING:
        raise MessageRejected(Reason.REFERENCE_MISSING, f"status {status}")
    if status >= 500 or status in _AGAIN:
        raise CallFailed(f"status {status}")
    if status != 200:
        raise MessageRejected(Reason.REFERENCE_UNREACHABLE, f"status {status}")
    content = bytearray()
    while len(content) < most and (part := answer.read(min(_PART_BYTES, most - len(content)))):
        content += part
    if len(content) < most and answer.length:
        raise CallFailed(f"the server broke off after {len(content)} bytes")
    return bytes(content)
