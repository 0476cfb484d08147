from collections import Counter
from pathlib import Path

import pytest

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.pipeline import Pipeline
from streamfilter.alerts.rules import policy
from streamfilter.alerts.surveys import Surveys
from streamfilter.files import bundled_folder
from streamfilter.inference.runtimes import open_engine
from streamfilter.limits import Limits
from streamfilter.records import EngineIdentity, Label, Message, Origin, Plane, Rejected
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import FolderSource
from streamfilter.simulate.visits import alerts

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def verdicts(engine_home: Path) -> Counter[tuple[str | None, Label]]:
    """Verdicts of 160 simulated alerts by what was injected, from the whole path."""
    surveys, limits = Surveys.load(), Limits()
    finder = SchemaFinder([FolderSource(bundled_folder("schemas") / "simulated")], limits)
    engine = open_engine("maximask", "onnxruntime", engine_home, 2)
    pipeline = Pipeline(
        decoder=Decoder(finder, surveys, limits),
        planes=(Plane.SCIENCE,),
        policies={name: policy(name, engine.manifest) for name in surveys.names},
        engine=EngineIdentity("maximask", "", ""),
        network=engine.manifest,
    )
    night = list(alerts(3, 160, mix={"CR": 0.2, "DCL": 0.1}))
    messages = [Message(Origin("sim", 0, n), alert.value) for n, alert in enumerate(night)]
    found: Counter[tuple[str | None, Label]] = Counter()
    for alert, judged in zip(night, pipeline.judge(engine, messages), strict=True):
        assert not isinstance(judged, Rejected)
        assert alert.alert_id == judged[0].alert.alert_id
        found[alert.truth.code if alert.truth else None, judged[1].verdict.label] += 1
    engine.close()
    return found


def test_real_looking_events_are_not_dropped(verdicts: Counter[tuple[str | None, Label]]) -> None:
    """Of about 110 alerts without contaminant, none is called contaminated."""
    assert verdicts[None, Label.CLEAN] > 90
    assert 0 == verdicts[None, Label.CONTAMINATED]


@pytest.mark.parametrize("code", ["CR", "DCL"])
def test_injected_contaminants_are_found(
    verdicts: Counter[tuple[str | None, Label]], code: str
) -> None:
    """The network finds nine in ten of the classes that it knows best."""
    of_code = {label: verdicts[code, label] for label in Label}
    assert sum(of_code.values()) >= 10
    assert of_code[Label.CLEAN] <= 0.1 * sum(of_code.values())
    assert of_code[Label.CONTAMINATED] > 0.6 * sum(of_code.values())
