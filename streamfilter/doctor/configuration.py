"""Checks that the settings fit each other."""

from collections.abc import Iterator

from streamfilter.config import Settings
from streamfilter.doctor.findings import Finding, failed, ok
from streamfilter.doctor.messages import SampledMessage
from streamfilter.errors import ConfigurationInvalid
from streamfilter.service.assembly.checking import checked_all


def check(settings: Settings, _: list[SampledMessage]) -> Iterator[Finding]:
    """Run the checks of ``streamfilter config check``, which contact no other system."""
    try:
        surveys = checked_all(settings)
    except ConfigurationInvalid as error:
        yield failed("configuration", "settings", error)
    else:
        yield ok("configuration", "settings", f"well-formed; surveys {', '.join(surveys.names)}")
