"""The Helm chart: variants rendered, held against schemas, a policy linter and our own words."""

import functools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import go_tools
import pytest
import yaml
from go_tools import KUBERNETES, ROOT, ToolsUnavailable
from kafka_node import KafkaUnavailable, jars

from streamfilter import config

DEPLOY = ROOT / "deploy"
STRIMZI_MODEL = Path(__file__).parent / "strimzi"
CHART = DEPLOY / "helm" / "streamfilter"
GPU = ("--values", str(CHART / "gpu.yaml"))
EXPOSURES = ("--set", "settings.exposures.topics={exposures}")
ALL = (*EXPOSURES, "--set", "settings.exposures.contaminants.topics={exposures}")
STRIMZI = ("--set", "strimzi.enabled=true", *EXPOSURES)
CLOSED = (
    *("--set", "settings.metrics.certificate_file=/run/secrets/tls/tls.crt"),
    *("--set", "settings.metrics.key_file=/run/secrets/tls/tls.key", "--set", "secrets={tls}"),
    *("--set", "serviceMonitor.endpoint.scheme=https"),
    *("--set", "keda.metadata.sasl=scram_sha512", "--set", "keda.authentication=brokers"),
)
RULES = ("--set-file", f"rules={DEPLOY / 'prometheus' / 'streamfilter.rules.yml'}")
VARIANTS = {
    "cpu": (),
    "gpu": GPU,
    "closed": CLOSED,
    "exposures": EXPOSURES,
    "contaminants": ALL,
    "strimzi": (*STRIMZI, *RULES),
    "gpu, strimzi": (*GPU, *STRIMZI),
    "folders": (
        *("--set", "volumes[0].name=frames", "--set", "volumes[0].nfs.server=nfs.my.site"),
        *("--set", "volumes[0].nfs.path=/frames", "--set", "volumeMounts[0].name=frames"),
        *("--set", "volumeMounts[0].mountPath=/frames"),
    ),
    "no operators": ("--set", "keda.enabled=false", "--set", "serviceMonitor.enabled=false"),
}
variants = pytest.mark.parametrize("variant", VARIANTS)


@pytest.fixture(autouse=True, scope="module")
def go_programs() -> None:
    try:
        for each in ("helm", "kubeconform", "kube-score"):
            go_tools.tool(each)
    except ToolsUnavailable as why:
        pytest.skip(f"the chart cannot be read: {why}")


@functools.cache
def rendered(*options: str) -> str:
    """What Helm makes of the chart."""
    command = (go_tools.tool("helm"), "template", "sf", str(CHART), "--kube-version", KUBERNETES)
    done = subprocess.run((*command, *options), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def resources(*options: str, kind: str) -> list[dict[str, Any]]:
    """The resources of one kind."""
    every = yaml.safe_load_all(rendered(*options))
    found = [each for each in every if each and each["kind"] == kind]
    assert found
    return found


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    """The pod that a deployment makes."""
    made: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return made


@pytest.mark.parametrize("values", [(), GPU])
def test_helm_has_nothing_to_say(values: tuple[str, ...]) -> None:
    """No warning, with either set of values."""
    done = subprocess.run(
        (go_tools.tool("helm"), "lint", "--strict", str(CHART), *values),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (0, False) == (done.returncode, "WARNING" in done.stdout), done.stdout


def test_folders_of_a_site_are_mounted() -> None:
    """Frames by reference, schemas and field maps, in each worker."""
    every = resources(*VARIANTS["folders"], *ALL, kind="Deployment")
    assert 3 == len(every)
    for spec in map(pod, every):
        (container,) = spec["containers"]
        assert {"name": "frames", "mountPath": "/frames"} in container["volumeMounts"]
        assert "nfs.my.site" == spec["volumes"][-1]["nfs"]["server"]


@variants
def test_every_key_is_one_that_kubernetes_knows(variant: str) -> None:
    """Strict schemas, KEDA's and the Prometheus operator's too; for Strimzi's see below."""
    try:
        place = go_tools.schemas() / "{{ .ResourceKind }}{{ .KindSuffix }}.json"
    except ToolsUnavailable as why:
        pytest.skip(f"no schemas: {why}")
    done = subprocess.run(
        (
            go_tools.tool("kubeconform"), "-strict", "-output", "json", "-verbose",
            "-schema-location", str(place), "-skip", "KafkaTopic,KafkaUser",
        ),
        input=rendered(*VARIANTS[variant]), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = json.loads(done.stdout)["resources"]
    assert len(found) >= 6
    assert [] == [each for each in found if each["status"] in ("statusInvalid", "statusError")]
    skipped = {each["kind"] for each in found if each["status"] == "statusSkipped"}
    assert skipped <= {"KafkaTopic", "KafkaUser"}


@variants
def test_the_policy_linter_finds_nothing(variant: str) -> None:
    """Rights, limits, probes, network, disruption; but one worker is enough for a small survey.

    A tag that is pinned need not be pulled anew each time.
    """
    done = subprocess.run(
        (
            go_tools.tool("kube-score"), "score", "--kubernetes-version", "v1.35",
            "--ignore-test", "container-image-pull-policy", "--output-format", "ci", "-",
        ),
        input=rendered(*VARIANTS[variant]), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("[OK]")]) > 10
    bad = [line for line in lines if line.startswith(("[CRITICAL]", "[WARNING]"))]
    assert [] == [line for line in bad if not line.endswith("Deployment few replicas")]


@variants
def test_a_worker_takes_the_settings_as_they_are_written(variant: str, tmp_path: Path) -> None:
    """The file in the ConfigMap is read by the code that the pods run."""
    (made,) = resources(*VARIANTS[variant], kind="ConfigMap")
    written = re.sub(r"\$\{file:[^}]*\}", "x", made["data"]["streamfilter.toml"])
    (path := tmp_path / "streamfilter.toml").write_text(written)
    settings = config.load(path, environment={})
    assert (9464, False) == (settings.metrics.port, settings.metrics.loopback)
    assert ("gpu" in variant) == (settings.engine.runtime == "tensorrt")
    # Orchestrators kill when the grace is over: draining, and 15 s where a broker hangs.
    grace = {pod(each)["terminationGracePeriodSeconds"] for each in deployments(variant)}
    assert settings.flow.drain_s + 15 <= min(grace)


def deployments(variant: str) -> list[dict[str, Any]]:
    """The workers of a variant."""
    return resources(*VARIANTS[variant], kind="Deployment")


@variants
def test_pods_run_as_the_image_wants_it(variant: str) -> None:
    """Its user, a root that is read only, its volume, its command, both checks."""
    for deployment in deployments(variant):
        spec = pod(deployment)
        (container,) = spec["containers"]
        assert (10001, True) == tuple(
            spec["securityContext"][key] for key in ("runAsUser", "runAsNonRoot")
        )
        context = container["securityContext"]
        assert (True, ["ALL"]) == (
            context["readOnlyRootFilesystem"],
            context["capabilities"]["drop"],
        )
        places = {each["mountPath"] for each in container["volumeMounts"]}
        assert {"/var/lib/streamfilter", "/etc/streamfilter", "/tmp"} <= places
        probes = [container[f"{each}Probe"] for each in ("startup", "liveness", "readiness")]
        assert ["/healthz", "/healthz", "/readyz"] == [each["httpGet"]["path"] for each in probes]


def test_only_alerts_take_the_gpu() -> None:
    """One each, freed before the next worker starts, with time to build a plan."""
    alerts, exposures = resources(*GPU, *EXPOSURES, kind="Deployment")
    taken = [pod(e)["containers"][0]["resources"]["limits"] for e in (alerts, exposures)]
    assert [1, None] == [each.get("nvidia.com/gpu") for each in taken]
    assert {"maxSurge": 0, "maxUnavailable": 1} == alerts["spec"]["strategy"]["rollingUpdate"]
    startup = pod(alerts)["containers"][0]["startupProbe"]
    assert 1800 == startup["periodSeconds"] * startup["failureThreshold"]
    assert resources(*GPU, kind="PersistentVolumeClaim")


def test_workers_grow_with_their_own_groups_lag() -> None:
    """Alerts and exposures apart; with Strimzi by the workers' own user."""
    alerts, exposures = resources(*STRIMZI, kind="ScaledObject")
    for scaled, group, topic in (
        (alerts, "streamfilter", "alerts"),
        (exposures, "streamfilter-exposures", "exposures"),
    ):
        (trigger,) = scaled["spec"]["triggers"]
        said = trigger["metadata"]
        assert (group, topic) == (said["consumerGroup"], said["topic"])
        assert ("scram_sha512", "sf-kafka") == (said["sasl"], trigger["authenticationRef"]["name"])
        assert scaled["spec"]["scaleTargetRef"]["name"] == scaled["metadata"]["name"]
    (login,) = resources(*STRIMZI, kind="TriggerAuthentication")
    given = [*login["spec"]["env"], *login["spec"]["secretTargetRef"]]
    assert {"username", "password", "ca"} == {each["parameter"] for each in given}


def read_by_strimzi(folder: Path, found: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """What comes of reading resources with the model of Strimzi's operators."""
    try:
        classes = jars(STRIMZI_MODEL / "pom.xml", "strimzi")
    except KafkaUnavailable as why:
        pytest.skip(f"no model of Strimzi's: {why}")
    arguments = []
    for number, each in enumerate(found):
        (path := folder / f"{number}.json").write_text(json.dumps(each))
        place = each["kind"].removeprefix("Kafka").lower()
        arguments += [f"io.strimzi.api.kafka.model.{place}.{each['kind']}", str(path)]
    java = ("java", "-XX:TieredStopAtLevel=1", "-cp", f"{classes}/*")
    return subprocess.run(
        (*java, str(STRIMZI_MODEL / "StrimziModel.java"), *arguments),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_strimzis_own_model_knows_every_key(tmp_path: Path) -> None:
    """Also those of transactions; and it refuses one that it does not know."""
    exact = ("--set", "settings.delivery.guarantee=exactly-once")
    found = [
        e for kind in ("KafkaTopic", "KafkaUser") for e in resources(*STRIMZI, *exact, kind=kind)
    ]
    done = read_by_strimzi(tmp_path, found)
    assert (0, [e["metadata"]["name"] for e in found]) == (done.returncode, done.stdout.split())
    spoilt = read_by_strimzi(tmp_path, [{**found[0], "spec": {"partition": 1}}])
    assert 'Unrecognized field "partition"' in spoilt.stderr


def test_strimzis_user_has_the_rights_of_the_script() -> None:
    """No more and no less than deploy/kafka-acls.sh gives."""
    (user,) = resources(*STRIMZI, kind="KafkaUser")
    rules = user["spec"]["authorization"]["acls"]
    lines = re.findall(
        r"^allow --operation (\w+) --(\w+) (\S+)$", (DEPLOY / "kafka-acls.sh").read_text(), re.M
    )
    assert set(lines) == {
        (operation, rule["resource"]["type"], rule["resource"]["name"])
        for rule in rules
        for operation in rule["operations"]
    }


def test_transactions_have_their_right_where_they_are_wanted() -> None:
    """By the prefix that deploy/kafka-acls.sh names."""
    exact = ("--set", "settings.delivery.guarantee=exactly-once")
    (user,) = resources(*STRIMZI, *exact, kind="KafkaUser")
    found = [
        (each["resource"]["name"], each["resource"]["patternType"], each["operations"])
        for each in user["spec"]["authorization"]["acls"]
        if each["resource"]["type"] == "transactionalId"
    ]
    text = (DEPLOY / "kafka-acls.sh").read_text()
    lines = re.findall(
        r"^# allow --operation (\w+) --transactional-id (\S+) .*prefixed$", text, re.M
    )
    assert lines
    assert found == [(name, "prefix", [operation]) for operation, name in lines]


def test_a_closed_site_is_asked_the_way_it_answers() -> None:
    """Probes by https where the page has a certificate; KEDA with the site's own login."""
    (deployment,) = resources(*CLOSED, kind="Deployment")
    container = pod(deployment)["containers"][0]
    probes = [container[f"{each}Probe"]["httpGet"] for each in ("startup", "liveness", "readiness")]
    assert {"HTTPS"} == {each["scheme"] for each in probes}
    (scaled,) = resources(*CLOSED, kind="ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    login = trigger["metadata"]["sasl"], trigger["authenticationRef"]["name"]
    assert ("scram_sha512", "brokers") == login


def test_every_kind_of_worker_is_a_deployment_with_its_group() -> None:
    """None without topics; each scaled by the lag of what it reads."""
    made = resources(*ALL, kind="Deployment")
    kinds = [pod(each)["containers"][0]["args"][-1] for each in made]
    assert ["alerts", "contaminants", "exposures"] == kinds
    groups = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["triggers"][0]["metadata"][
            "consumerGroup"
        ]
        for each in resources(*ALL, kind="ScaledObject")
    }
    assert groups == {
        "sf-alerts": "streamfilter",
        "sf-contaminants": "streamfilter-contaminants",
        "sf-exposures": "streamfilter-exposures",
    }
    (user,) = resources(*ALL, *STRIMZI, kind="KafkaUser")
    rules = user["spec"]["authorization"]["acls"]
    written = {each["resource"]["name"] for each in rules if "Write" in each["operations"]}
    assert "streamfilter.contaminants" in written


def test_strimzis_topics_are_those_that_are_published_to() -> None:
    """Rejected frames arrive with their bytes: 40 MiB."""
    topics = {e["metadata"]["name"]: e["spec"] for e in resources(*STRIMZI, kind="KafkaTopic")}
    names = {"annotations", "rejected", "tracking", "contaminants"}
    assert {f"streamfilter.{each}" for each in names} == set(topics)
    assert 41943040 == topics["streamfilter.rejected"]["config"]["max.message.bytes"]


def test_each_survey_s_own_topic_has_its_right() -> None:
    """Which surveys are read only the operator knows."""
    named = ("--set", "settings.outputs.enriched=site-{survey}-enriched")
    with pytest.raises(AssertionError, match=r"in strimzi\.surveys"):
        rendered(*STRIMZI, *named)
    surveys = ("--set", "strimzi.surveys={ztf,lsst}")
    (user,) = resources(*STRIMZI, *named, *surveys, kind="KafkaUser")
    rules = user["spec"]["authorization"]["acls"]
    written = {each["resource"]["name"] for each in rules if "Write" in each["operations"]}
    assert {"site-ztf-enriched", "site-lsst-enriched"} == {
        name for name in written if "enriched" in name
    }


def test_a_pattern_has_no_rights_at_a_broker() -> None:
    """The chart says so, rather than a worker that may not read."""
    with pytest.raises(AssertionError, match="name the topics"):
        rendered(*STRIMZI, "--set", "settings.alerts.topics={^ztf_.*}")


def test_prometheus_gets_the_rules_of_this_folder() -> None:
    """As they are, for the job that the service monitor names."""
    (made,) = resources(*STRIMZI, *RULES, kind="PrometheusRule")
    assert (
        yaml.safe_load((DEPLOY / "prometheus" / "streamfilter.rules.yml").read_text())
        == made["spec"]
    )
    (monitor,) = resources(kind="ServiceMonitor")
    (service,) = resources(kind="Service")
    assert "streamfilter" == service["metadata"]["labels"][monitor["spec"]["jobLabel"]]
