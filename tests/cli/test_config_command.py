"""``streamfilter config``."""

import tomllib
from pathlib import Path

from click.testing import CliRunner, Result

from streamfilter.cli import root
from streamfilter.errors import ConfigurationInvalid


def config(*arguments: str) -> Result:
    return CliRunner().invoke(root, ["config", *arguments])


def test_check_says_what_is_read_and_published(tmp_path: Path) -> None:
    """An operator sees at a glance where the stream goes."""
    site = tmp_path / "site.toml"
    site.write_text('[alerts]\ntopics = ["^ztf_.*"]\n[outputs]\nrejected = ""\n')
    found = config("check", "--config", str(site))
    expected = "well-formed: reads ^ztf_.*; publishes streamfilter.annotations\n"
    assert (0, expected) == (found.exit_code, found.output)


def test_rules_in_force_can_be_copied_into_a_file(tmp_path: Path) -> None:
    """What is printed is a configuration that judges as before."""
    printed = config("rules", "lsst")
    assert printed.exit_code == 0
    site = tmp_path / "site.toml"
    site.write_text(printed.output)
    again = config("rules", "lsst", "--config", str(site)).output
    assert tomllib.loads(printed.output) == tomllib.loads(again)
    assert "CR" in tomllib.loads(printed.output)["surveys"]["lsst"]["priors"]


def test_a_prior_of_the_file_is_in_force(tmp_path: Path) -> None:
    """One value is changed, the others keep their defaults."""
    site = tmp_path / "site.toml"
    site.write_text("[surveys.lsst]\npriors = {CR = 0.002}\n")
    before, after = (
        tomllib.loads(config("rules", "lsst", *extra).output)["surveys"]["lsst"]["priors"]
        for extra in ((), ("--config", str(site)))
    )
    assert before | {"CR": 0.002} == after


def test_rules_of_an_unknown_survey_name_the_known() -> None:
    """A typing error is helped."""
    found = config("rules", "ltsst")
    assert isinstance(found.exception, ConfigurationInvalid)
    assert "lsst" in str(found.exception)


def test_check_finds_what_would_stop_the_worker() -> None:
    """Not only the form: a stream that feeds itself is refused without starting."""
    found = config("check", "--set", "outputs.clean=alerts")
    assert isinstance(found.exception, ConfigurationInvalid)
    assert "outputs.clean" in str(found.exception)
