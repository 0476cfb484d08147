"""Field maps: read from files, and refused where a key is wrong."""

import re
from pathlib import Path

import pytest
from field_maps import MAP, field_map

from streamfilter.alerts.surveys import RuleField, Surveys
from streamfilter.errors import ConfigurationInvalid
from streamfilter.files import bundled_folder
from streamfilter.records import FieldKind


def test_a_bundled_map_is_named_as_its_survey() -> None:
    """Each bundled file is valid, and can be found by the name that annotations have."""
    files = sorted(path.stem for path in (bundled_folder("schemas") / "surveys").glob("*.toml"))
    assert files == list(Surveys.load().names)
    assert {"decam", "lsst", "pgir", "winter", "ztf"} <= set(files)


@pytest.mark.parametrize(
    ("record", "survey"),
    [
        ("ztf.alert", "ztf"),
        ("lsst.v7_4.alert", "lsst"),
        ("lsst.v11_12.alert", "lsst"),
        ("lsst.alert", "lsst"),
        ("winter.alert", "winter"),
        ("desirt.alert", "decam"),
        ("pgir.alert", "pgir"),
    ],
)
def test_a_survey_is_known_by_its_record(record: str, survey: str) -> None:
    """The full name of the top record tells the survey."""
    assert survey == Surveys.load().of_record(record)[0].survey


@pytest.mark.parametrize("record", ["ztf.alerts", "my.ztf.alert", "ztfxalert", ""])
def test_another_name_is_that_of_no_survey(record: str) -> None:
    """The whole name must match; then the fields alone are left to tell."""
    assert () == Surveys.load().of_record(record)


def test_a_new_survey_is_a_file(tmp_path: Path) -> None:
    """A folder adds to the bundled maps."""
    field_map(tmp_path)
    surveys = Surveys.load([tmp_path])
    assert "mine" == surveys.of_record("mine.alert_v2")[0].survey
    assert {*Surveys.load().names, "mine"} == set(surveys.names)


def test_a_folder_wins_over_the_bundled_map(tmp_path: Path) -> None:
    """A site may correct a map without a release."""
    field_map(tmp_path, MAP.replace('"mine"', '"ztf"').replace("mine", "ztf"))
    assert ("id", "old.id") == Surveys.load([tmp_path]).of_record("ztf.alert")[0].alert_id


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('survey = "mine"', "", "survey"),
        ("record", "reckord", "reckord"),
        ("alert(_v", "alert((_v", "record"),
        ('"mjd-tai"', '"hjd"', "light.scale"),
        ('classes = ["CR"]', 'classes = ["XY"]', "flags.0.classes"),
        ('fields = ["bad"]', "fields = []", "flags.1.fields"),
        ('science = "sci"', "science = 5", "stamps.science"),
        ('science = "sci"', 'science = "a..b"', "stamps.science"),
        ("[stamps]", '[stamps]\nnominal_px = 63\nplace = "middle"', "nominal_px"),
        ("[stamps]", "[stamps]\nnominal_px = 0", "stamps.nominal_px"),
        ('["t", "1"]', '["t", "0"]', "stamps.sign: '0' stands for both signs"),
        ('science_minus_template = ["t", "1"]', "", "stamps.sign.science_minus_template"),
        ('["f", "0"]', "[]", "stamps.sign.template_minus_science"),
        ('difference = "diff"', "", "stamps: sign tells how `difference` is sent"),
        ("[light]", "[light", "not TOML"),
        ("score = [", '"sc-ore" = [', "fields.sc-ore"),
        ('["score", "old.score"]', "[]", "fields.score"),
        ('["score", "old.score"]', "3", "fields.score"),
        ("-999.0", '"none"', "no_value.0"),
        ("alert_id", 'required = ["everything"]\nalert_id', "required"),
        ('object_id = ["object", "solar"]', 'required = ["object_id"]', "named for object_id"),
        ('science = "sci"', "", "named for science"),
    ],
)
def test_a_wrong_map_names_the_file_and_the_key(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    """The service does not start with it."""
    assert old in MAP
    with pytest.raises(ConfigurationInvalid) as caught:
        field_map(tmp_path, MAP.replace(old, new, 1))
    assert ("mine.toml" in str(caught.value), words in str(caught.value)) == (True, True)


def test_a_map_s_fields_are_read_where_rules_look_at_them(tmp_path: Path) -> None:
    """All others cost nothing."""
    survey = field_map(tmp_path)
    assert [] == [each for each in survey.wanted() if each.role.startswith("fields")]
    score = RuleField("mine", "score", FieldKind.NUMBER)
    read = survey.reading([score, RuleField("other", "version", FieldKind.TEXT)])
    (first, second) = read.wanted()[len(survey.wanted()) :]
    assert ("fields.score", "score", "old.score") == (first.role, first.path, second.path)
    assert ("float" in first.types, "string" in first.types) == (True, False)
    assert survey.wanted() == read.reading([]).wanted()


def test_a_field_that_a_map_does_not_name_is_refused_with_those_that_there_are(
    tmp_path: Path,
) -> None:
    """A rule with a typing error never starts."""
    field_map(tmp_path)
    surveys = Surveys.load([tmp_path])
    surveys.refuse_unnamed([RuleField("mine", "score", FieldKind.NUMBER)])
    words = r"surveys.mine.rules: .* of mine names no field 'scor'; there are score, version \("
    with pytest.raises(ConfigurationInvalid, match=words):
        surveys.refuse_unnamed([RuleField("mine", "scor", FieldKind.NUMBER)])


def test_a_missing_folder_is_a_wrong_configuration(tmp_path: Path) -> None:
    """The message names the folder."""
    with pytest.raises(ConfigurationInvalid, match="nowhere"):
        Surveys.load([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ('scores = ["none"]', "page shows 'none', which is no name of [fields]"),
        ('object_url = "http://plain.example"', "expected an address that begins with https://"),
        ('object_url = "https://a.example/{other}"', "{other} stands for nothing"),
    ],
)
def test_what_a_page_cannot_show_is_refused(tmp_path: Path, page: str, said: str) -> None:
    """At the start, with the file and the key."""
    text = 'survey = "x"\nrecord = "x"\nalert_id = "id"\n[stamps]\nscience = "s"\n[page]\n'
    (tmp_path / "x.toml").write_text(text + page)
    with pytest.raises(ConfigurationInvalid, match=re.escape(said)):
        Surveys.load([tmp_path])
