"""Reads ``s3://``: object stores, through fsspec; s3fs comes with the extra ``s3``."""

from collections.abc import Mapping, Sequence
from typing import Any

from streamfilter.errors import (
    CallFailed,
    ConfigurationInvalid,
    MessageRejected,
    Reason,
    how_to_install,
    plain_words,
)
from streamfilter.redaction import clean

_CONNECT_S, _READ_S = 5, 20


class S3:
    """Reads objects of some buckets, or below some prefixes of them, and no others.

    Parameters
    ----------
    buckets
        ``bucket`` or ``bucket/prefix``.
    settings
        Settings of s3fs: ``endpoint_url``, ``key``, ``secret``, ``anon`` and so on. Only the
        operator chooses the store's address: no message can name one.
    total_s
        Time limit for one object.

    Raises
    ------
    ConfigurationInvalid
        s3fs is not installed, or refuses the settings.
    """

    def __init__(self, buckets: Sequence[str], settings: Mapping[str, Any], total_s: float) -> None:
        try:
            from s3fs import S3FileSystem
        except ImportError as error:
            raise ConfigurationInvalid(
                f"exposures.reference_buckets needs s3fs: {how_to_install('s3')}"
            ) from error
        self._buckets = tuple(each.strip("/") for each in buckets)
        self._total_s = total_s
        # The worker itself retries later, and judges other frames meanwhile.
        patience = {
            "connect_timeout": _CONNECT_S,
            "read_timeout": _READ_S,
            "retries": {"total_max_attempts": 1},
        }
        try:
            self._store = S3FileSystem(
                **settings,
                config_kwargs=patience,
                skip_instance_cache=True,
                use_listings_cache=False,
            )
            self._store.retries = 1
        except (TypeError, ValueError) as error:
            raise ConfigurationInvalid(f"exposures.s3: {plain_words(error)}") from error

    def read(self, uri: str, most: int) -> bytes:
        """Returns the content of an object, or its first ``most`` bytes.

        Raises
        ------
        MessageRejected
            Its bucket or prefix is not allowed, it is missing, or there is no access.
        CallFailed
            The store cannot be reached now.
        """
        from fsspec.asyn import sync

        place = uri.partition("://")[2]
        bucket, _, key = place.partition("/")
        allowed = any(f"{place}/".startswith(f"{each}/") for each in self._buckets)
        if not (allowed and bucket and key) or ".." in key.split("/"):
            raise MessageRejected(
                Reason.REFERENCE_REFUSED,
                "expected s3://bucket/key in one of exposures.reference_buckets",
            )
        try:
            # One request, for no more bytes than needed.
            read = self._store._cat_file
            content = sync(self._store.loop, read, place, start=0, end=most, timeout=self._total_s)
        except FileNotFoundError as error:
            raise MessageRejected(Reason.REFERENCE_MISSING, f"no object {place}") from error
        except PermissionError as error:
            raise MessageRejected(Reason.REFERENCE_UNREACHABLE, "no access") from error
        except Exception as error:  # botocore's have no common root with s3fs's
            raise CallFailed(
                f"the store does not give {place}: {clean(plain_words(error))}"[:300]
            ) from error
        return bytes(content)
