"""Do the settings fit each other?"""

from collections.abc import Iterator

from streamfilter.config import Settings
from streamfilter.doctor.findings import Finding, State, failed, ok
from streamfilter.doctor.messages import Seen
from streamfilter.errors import ConfigurationInvalid
from streamfilter.service.build import checked
from streamfilter.service.build_exposures import checked_exposures


def check(settings: Settings, _: list[Seen]) -> Iterator[Finding]:
    """What ``streamfilter config check`` holds, before anything is asked of others."""
    try:
        surveys = checked(settings)
        checked_exposures(settings)
    except ConfigurationInvalid as error:
        yield failed("configuration", "settings", error)
    else:
        yield ok("configuration", "settings", f"well-formed; surveys {', '.join(surveys.names)}")
    for key, folders in (
        ("schemas.folders", settings.schemas.folders),
        ("alerts.survey_folders", settings.alerts.survey_folders),
    ):
        for folder in folders:
            if not folder.is_dir():
                yield Finding(
                    "configuration", key, State.FAILED, f"no folder {folder}", "a folder",
                    "make it, or take it out",
                )  # fmt: skip
