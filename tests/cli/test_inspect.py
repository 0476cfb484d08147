"""``streamfilter inspect`` on real packets."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from click.testing import CliRunner, Result

from streamfilter.cli import root
from streamfilter.files import bundled_folder
from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder

HIT = "170587117053804617"


def inspect(*arguments: str | Path) -> Result:
    return CliRunner().invoke(root, ["inspect", *map(str, arguments)])


@pytest.fixture(autouse=True)
def cached(engine_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))


def lines(found: Result) -> list[dict[str, object]]:
    assert found.exit_code == 0, found.output
    return [json.loads(line) for line in found.stdout.splitlines()]


def test_one_cosmic_ray_stands_in_the_lsst_packets(samples: Path) -> None:
    """Rubin's own reliability of it is 1.0; no other packet is dropped by CR."""
    found = lines(inspect(samples / "lsst", "--json"))
    assert len(found) == 25
    verdicts = {line["alert_id"]: line["verdict"] for line in found}
    hits = [i for i, v in verdicts.items() if v["contaminant"] == "CR"]  # type: ignore[index]
    assert [HIT] == hits
    assert verdicts[HIT]["label"] == "contaminated"  # type: ignore[index]


@pytest.mark.parametrize("folder", ["ztf", "winter", "decam", "pgir"])
def test_every_survey_is_judged(samples: Path, folder: str) -> None:
    """Each packet comes out with evidence of its science stamp."""
    found = lines(inspect(samples / folder, "--json"))
    assert len(list((samples / folder).iterdir())) == len(found)
    assert [] == [line["file"] for line in found if not line["science"]["bg"]]  # type: ignore[index]


def test_damaged_packets_are_rejected_with_a_reason(samples: Path) -> None:
    """A rejected packet is a finding, not a failure."""
    found = lines(inspect(samples / "broken", "--json"))
    assert [5, {"avro_malformed"}] == [len(found), {line["rejected"] for line in found}]


def test_where_every_packet_is_rejected_there_is_no_figure(samples: Path, tmp_path: Path) -> None:
    """It is still a finding, not a failure."""
    found = inspect(samples / "broken", "--figure", tmp_path / "none.png")
    assert (0, True, False) == (
        found.exit_code, "no figure" in found.stderr, (tmp_path / "none.png").exists(),
    )  # fmt: skip


def test_a_reason_is_shown_to_the_letter(tmp_path: Path) -> None:
    """Text in brackets is printed, and not taken for a style."""
    (tmp_path / "unknown.bin").write_bytes(b"\0\0\0\x12\x34 no schema has this id")
    found = inspect(tmp_path)
    assert "streamfilter[lsst]" in found.stdout.replace("\n", " ")


def test_a_name_is_shown_to_the_letter(samples: Path, tmp_path: Path) -> None:
    """An alert's name can neither set a style nor move the cursor."""
    packet = (samples / "ztf/2695378462115010012.avro").read_bytes()
    schema: Any = copy.deepcopy(SchemaFinder([], Limits()).open(packet).schema.definition)
    record: Any = next(iter(fastavro.reader(io.BytesIO(packet))))
    for field in schema["fields"]:
        if field["name"] == "candid":
            field["type"] = "string"
    record["candid"] = "[/]\x1b[2J[bold]$\\q$"
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), [record])
    (tmp_path / "odd.avro").write_bytes(out.getvalue())
    found = inspect(tmp_path, "--figure", tmp_path / "odd.png")
    assert found.exit_code == 0, found.output
    assert r"[/]\x1b[2J[bold]$\q$" in found.stdout


def test_the_table_and_the_figure_show_the_verdict(samples: Path, tmp_path: Path) -> None:
    """They are a row and a picture, for a person."""
    figure = tmp_path / "hit.png"
    found = inspect(samples / "lsst" / f"{HIT}.bin", "--figure", figure)
    assert found.exit_code == 0
    assert "contaminated" in found.stdout
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_template_and_difference_can_be_judged(samples: Path) -> None:
    """Switched on by configuration."""
    planes = 'alerts.planes=["science", "template", "difference"]'
    (line,) = lines(inspect(samples / "lsst" / f"{HIT}.bin", "--json", "--set", planes))
    assert line["template"]["cr"]["core"] < 0.5 < line["difference"]["cr"]["core"]  # type: ignore[index]


def test_an_unreadable_template_costs_its_own_evidence_alone(samples: Path, tmp_path: Path) -> None:
    """The verdict is that of the science stamp; the template says what was found."""
    packet = (samples / "winter/3608694.avro").read_bytes()
    schema: Any = copy.deepcopy(SchemaFinder([], Limits()).open(packet).schema.definition)
    record: Any = next(iter(fastavro.reader(io.BytesIO(packet))))
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), [record | {"cutout_template": b"junk"}])
    (tmp_path / "broken.avro").write_bytes(out.getvalue())
    planes = 'alerts.planes=["science", "template"]'
    (line,) = lines(inspect(tmp_path, "--json", "--set", planes))
    (alone,) = lines(inspect(tmp_path, "--json", "--figure", tmp_path / "page.png"))
    (whole,) = lines(inspect(samples / "winter/3608694.avro", "--json"))
    assert (whole["verdict"], whole["science"]) == (line["verdict"], line["science"])
    assert (whole["verdict"], None) == (alone["verdict"], alone["template"])
    template: Any = line["template"]
    assert "no_data" == template["not_evaluated"]
    assert "FITS" in template["detail"]


def test_fields_that_a_map_names_in_vain_are_told(samples: Path, tmp_path: Path) -> None:
    """Users try their own field map with this command."""
    text = (bundled_folder("schemas") / "surveys/decam.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("candidate.mjd", "candidate.mjdd"))
    maps = f"alerts.survey_folders=['{tmp_path}']"
    found = inspect(samples / "decam/alert.avro", "--set", maps)
    assert (0, True) == (found.exit_code, "time: no candidate.mjdd" in found.stderr)


def test_no_packet_at_all_is_a_failure(tmp_path: Path) -> None:
    """A wrong folder does not look like a clean one."""
    (tmp_path / "notes.txt").write_text("nothing")
    assert inspect(tmp_path).exit_code == 1


def test_a_registry_to_publish_to_is_left_alone(samples: Path) -> None:
    """With the worker's own settings, the command registers nothing and needs no registry."""
    registry = 'schemas.publish.url="http://127.0.0.1:9"'
    (line,) = lines(inspect(samples / "lsst" / f"{HIT}.bin", "--json", "--set", registry))
    assert HIT == line["alert_id"]
