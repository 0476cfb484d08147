"""A field map of a survey that there is not, for tests to change."""

from pathlib import Path

from streamfilter.alerts.surveys import SurveyMap, read_survey

MAP = """
survey = "mine"
no_value = [-999.0, -99.99]
record = 'mine\\.alert(_v\\d+)?'
alert_id = ["id", "old.id"]
object_id = ["object", "solar"]
[light]
time = "mjd"
scale = "mjd-tai"
refers_to = "middle"
exposure_s = "seconds"
default_exposure_s = 30.0
[stamps]
science = "sci"
template = ["ref", "old_ref"]
difference = "diff"
[stamps.sign]
field = "positive"
science_minus_template = ["t", "1"]
template_minus_science = ["f", "0"]
[fields]
score = ["score", "old.score"]
version = "version"
[[flags]]
classes = ["CR"]
fields = ["cr", "cr_centre"]
[[flags]]
classes = ["HP", "DP"]
fields = ["bad"]
"""


def field_map(folder: Path, text: str = MAP) -> SurveyMap:
    """The map, read from a file."""
    path = folder / "mine.toml"
    path.write_text(text)
    return read_survey(path)
