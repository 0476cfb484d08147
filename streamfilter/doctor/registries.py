"""Checks that schema registries answer, and that they know the schemas in use."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from streamfilter.config import Registry, Settings
from streamfilter.doctor.findings import Finding, State, failed, not_applicable, ok
from streamfilter.doctor.messages import SampledMessage
from streamfilter.errors import ConfigurationInvalid, MessageRejected, SchemaUnavailable
from streamfilter.schemas.sources import RegistrySource
from streamfilter.service.assembly.alerts import registry_settings

_MEND = "see that it is up, and check url, credentials and certificates"


def check(settings: Settings, samples: list[SampledMessage]) -> Iterator[Finding]:
    """Check the survey's registry with the last messages' schemas, then our own registry."""
    used = dict.fromkeys(each.schema_id for each in samples if each.schema_id is not None)
    schemas = settings.schemas
    yield _registry("schemas.registry", schemas.registry, settings, list(used))
    yield _registry("schemas.publish", schemas.publish, settings, [])


def _registry(key: str, registry: Registry, settings: Settings, ids: list[int | UUID]) -> Finding:
    if not registry.url:
        return not_applicable("registry", key, "none is configured")
    subject = f"{key} {registry.url}"
    with TemporaryDirectory(prefix="streamfilter-") as cache:
        try:
            source = RegistrySource(registry_settings(registry), Path(cache), settings.limits)
            # Any id will do: "no such schema" is an answer too.
            known = {each: _has(source, each) for each in ids or [1]}
        except (SchemaUnavailable, ConfigurationInvalid, MessageRejected) as error:
            return failed("registry", subject, error, _MEND)
    if not ids:
        return ok("registry", subject, "answers; no message at hand names one of its schemas")
    if unknown := [each for each, there in known.items() if not there]:
        return Finding(
            "registry", subject, State.WARNING, f"answers, and has no schema {unknown[0]}",
            "the schema that the last message names", "is it the registry of this stream?",
        )  # fmt: skip
    return ok("registry", subject, f"answers, and has schema {', '.join(map(str, known))}")


def _has(source: RegistrySource, named: int | UUID) -> bool:
    """Returns whether a registry has the schema of an id or GUID."""
    found = source.by_guid(named) if isinstance(named, UUID) else source.by_id(named)
    return found is not None
