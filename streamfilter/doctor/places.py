"""Checks ports, called addresses, and the places of frames and masks."""

import errno
import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from tempfile import TemporaryFile
from urllib.parse import urlsplit

from streamfilter.config import Settings
from streamfilter.doctor.findings import Finding, State, failed, not_applicable, ok
from streamfilter.doctor.messages import SampledMessage
from streamfilter.errors import AddressRefused, CallFailed, ConfigurationInvalid, how_to_install
from streamfilter.service.assembly.exposures import caller
from streamfilter.service.http import certificate

_WORKER_S = 2.0


def check_metrics(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Check that the port is free, or that a worker already listens there."""
    listening = settings.metrics
    subject = f"metrics.host/port {listening.address}"
    if not listening.enabled:
        yield not_applicable("metrics", subject, "metrics.enabled is false")
        return
    try:
        certificate(listening)
    except ConfigurationInvalid as error:
        yield failed("metrics", subject, error)
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listening.host, listening.port))
        except OSError as error:
            yield _port_in_use(subject, error, listening.host, listening.port)
            return
    yield ok("metrics", subject, "free")


def _port_in_use(subject: str, error: OSError, host: str, port: int) -> Finding:
    """Returns a finding about a port in use, perhaps by the worker beside this command."""
    mend = "choose another metrics.port (0: any free one)"
    if error.errno == errno.EADDRINUSE and _answers_as_worker(host, port):
        return Finding(
            "metrics", subject, State.OK, "a worker answers there; a second one would not start",
            "", mend,
        )  # fmt: skip
    expected = "an address of this machine, a port that nobody has"
    return Finding("metrics", subject, State.FAILED, str(error.strerror), expected, mend)


def _answers_as_worker(host: str, port: int) -> bool:
    """Whether the answer to an unknown page is that of a worker; TLS counts as one."""
    try:
        with socket.create_connection((host, port), _WORKER_S) as wire:
            wire.sendall(b"GET /who HTTP/1.0\r\n\r\n")
            wire.settimeout(_WORKER_S)
            answer = wire.recv(4096)
            while part := wire.recv(4096):
                answer += part
    except OSError:
        return False
    return b"/healthz" in answer or b"metrics.user" in answer


def check_webhook(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Check that the receiver's name and address may be called."""
    url = settings.webhook.url
    if not url:
        yield not_applicable("webhook", "webhook.url", "none is configured")
    elif not settings.exposures.topics:
        yield not_applicable("webhook", "webhook.url", "no exposures are watched")
    else:
        # Not the url: receivers put secrets into its path.
        yield _reachable(settings, "webhook", f"webhook.url {urlsplit(url).hostname}", url)


def check_references(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Check that folders are readable, hosts may be called, and buckets have their client."""
    chosen = settings.exposures
    allowed = chosen.reference_folders or chosen.reference_hosts or chosen.reference_buckets
    if not (allowed and (chosen.topics or chosen.contaminants.topics)):
        why = "no folder, host or bucket is allowed, or read"
        yield not_applicable("references", "exposures", why)
        return
    for folder in chosen.reference_folders:
        subject = f"exposures.reference_folders {folder}"
        if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
            yield ok("references", subject, "can be read")
        else:
            found = "cannot be read" if folder.exists() else "is not there"
            yield Finding(
                "references", subject, State.FAILED, f"{found} by user {os.geteuid()}",
                "a folder that can be read", "mount it, or give the user the right",
            )  # fmt: skip
    for host in chosen.reference_hosts:
        subject = f"exposures.reference_hosts {host}"
        if host.startswith("*"):
            yield not_applicable("references", subject, "a pattern has no address")
        else:
            yield _reachable(settings, "references", subject, f"https://{host}/", host)
    for bucket in chosen.reference_buckets:
        subject = f"exposures.reference_buckets {bucket}"
        if _installed("s3fs"):
            # Rights may be to single objects, and only messages name them.
            yield ok("references", subject, "s3fs is installed; the store is not asked")
        else:
            yield _missing("references", subject, "s3fs", "s3")


def check_masks(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Check that masks can be written, by a temporary file without a name in their folder."""
    chosen = settings.exposures.contaminants
    if not (chosen.topics and chosen.folder):
        yield not_applicable("masks", "exposures.contaminants.folder", "no masks are written")
        return
    subject = f"exposures.contaminants.folder {chosen.folder}"
    try:
        place = next(each for each in (chosen.folder, *chosen.folder.parents) if each.exists())
        with TemporaryFile(dir=place):
            yield ok("masks", subject, "can be written")
    except OSError as error:
        yield Finding(
            "masks", subject, State.FAILED, f"{error.strerror} for user {os.geteuid()}",
            "a folder that can be written", "mount it, or give the user the right",
        )  # fmt: skip


def check_traces(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Check that spans can be exported, and that a collector listens."""
    endpoint = settings.traces.endpoint
    if not endpoint:
        yield not_applicable("traces", "traces.endpoint", "none is configured")
        return
    if not _installed("opentelemetry.exporter.otlp.proto.http"):
        yield _missing("traces", "traces.endpoint", "OpenTelemetry", "traces")
        return
    parts = urlsplit(endpoint)
    subject = f"traces.endpoint {parts.hostname}"
    try:
        port = parts.port or {"http": 80}.get(parts.scheme, 443)
        with socket.create_connection((parts.hostname or "", port), _WORKER_S):
            yield ok("traces", subject, "somebody listens there")
    except (OSError, ValueError) as error:
        yield Finding(
            "traces", subject, State.WARNING, f"nobody listens: {error}", "a collector",
            "start it: until then spans are dropped, and nothing else",
        )  # fmt: skip


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parents
        return False


def _missing(check: str, subject: str, library: str, extra: str) -> Finding:
    return Finding(
        check, subject, State.FAILED, f"{library} is not installed", "installed",
        how_to_install(extra),
    )  # fmt: skip


def _reachable(settings: Settings, check: str, subject: str, url: str, host: str = "") -> Finding:
    """Resolve a URL's name and check that its addresses may be called; sends nothing to them."""
    try:
        allowed = (host or urlsplit(url).netloc,)
        addresses = caller(settings, allowed).resolve(url)
    except AddressRefused as error:
        mend = "outgoing.internal_networks lets internal addresses be called"
        return failed(check, subject, error, mend)
    except (CallFailed, ConfigurationInvalid, ValueError) as error:
        return failed(check, subject, error, "see the name, and that this machine resolves names")
    return ok(check, subject, f"allowed, at {', '.join(addresses[:3])}")
