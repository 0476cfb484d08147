"""``https://``: archives and data servers, each of them allowed by name."""

import http.client
import time
from urllib.parse import urljoin

from streamfilter.errors import AddressRefused, CallFailed, MessageRejected, Reason
from streamfilter.outgoing import Caller

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3
_MISSING = frozenset({404, 410})
_AGAIN = frozenset({408, 425, 429})
"""Answers after which a retry helps, beside those from 500 on."""
_PART_BYTES = 2**20


class Https:
    """Reads from the hosts that a caller may call, redirects among them included.

    Parameters
    ----------
    total_s
        For one file.
    """

    def __init__(self, caller: Caller, total_s: float) -> None:
        self._caller = caller
        self._total_s = total_s

    def read(self, uri: str, most: int) -> bytes:
        """The content behind a URL, or its first bytes.

        Raises
        ------
        MessageRejected
            The URL, or one that it redirects to, is not allowed; nothing is there; no access.
        CallFailed
            The server cannot be reached now, or breaks off.
        """
        end_s = time.monotonic() + self._total_s
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                left_s = max(end_s - time.monotonic(), 0.01)
                # What is compressed on the way is not what was announced.
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
