"""The Kubernetes manifests: valid by the API's own schemas, in step with the code, and two servers are two."""

from __future__ import annotations

import re
import textwrap
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication

from blobforge.environment import load, unknown_variables
from tests.deploy.compose import DEPLOY, ROOT
from tests.deploy.test_compose import parse
from tests.fixtures.local import LocalServer
from tests.web.calls import token
from web.app import routes

FOLDER = DEPLOY / "kubernetes"
FILES = ["server.yaml", "worker.yaml"]
SCALERS = ["hpa.yaml", "keda.yaml"]
VERSIONS = ["1.29", "1.33", "1.37"]  # of Kubernetes: old, usual, newest


@cache
def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def one(kind: str, name: str = "server.yaml") -> dict[str, Any]:
    [found] = [each for each in manifests(name) if each["kind"] == kind]
    return found


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = one("Deployment", name)["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    [found] = pod(name)["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", [*FILES, "hpa.yaml"])
@pytest.mark.parametrize("version", VERSIONS)
def test_they_are_valid(name: str, version: str) -> None:
    found = list(manifests(name))
    assert found
    for manifest in found:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    wrong = one("PodDisruptionBudget") | {"spec": {"minAvailible": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_two_servers_never_end_together() -> None:
    spec = one("Deployment")["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = one("PodDisruptionBudget")["spec"]
    assert 1 <= budget["minAvailable"] < spec["replicas"], "a node must be able to be drained"
    chosen = spec["template"]["metadata"]["labels"]
    for selector in (spec["selector"], budget["selector"]):
        assert selector["matchLabels"] == chosen
    assert one("Service")["spec"]["selector"] == chosen
    for spread in pod("server.yaml")["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == chosen


def test_probes_ask_what_is_there() -> None:
    server = container("server.yaml")
    public = {route.path for route in routes() if route.access == "public"}
    asked = {name: server[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    [port] = server["ports"]
    for probe in asked.values():
        assert probe["path"] in public
        assert probe["port"] == port["name"]
    # A restart mends no database: only a process that does not answer at all is killed.
    assert (asked["readinessProbe"]["path"], asked["livenessProbe"]["path"]) == ("/readyz", "/livez")
    assert one("Service")["spec"]["ports"][0]["targetPort"] == port["name"]


def test_its_settings_are_settings_and_no_secret_stands_here() -> None:
    given = one("ConfigMap")["data"]
    environment = {each["name"]: "a-pod" for each in container("server.yaml")["env"]}
    secret = {
        "BLOBFORGE_DATABASE_URL": "postgresql://x",
        "BLOBFORGE_S3_ACCESS_KEY": "a",
        "BLOBFORGE_S3_SECRET_KEY": "s",
    }
    assert unknown_variables(given | environment | secret) == []
    settings = load(given | environment | secret)
    assert settings.uses_s3
    assert not settings.backs_up
    assert not set(given) & set(secret)
    told = (ROOT / "docs" / "high-availability.md").read_text()
    for name in secret:
        assert f"--from-literal={name}=" in told, "the page says how the Secret is made"
    assert "kind: Secret" not in (FOLDER / "server.yaml").read_text()


@pytest.mark.parametrize("name", FILES)
def test_they_may_do_no_more_than_they_need(name: str) -> None:
    whole, inside = pod(name)["securityContext"], container(name)["securityContext"]
    assert whole["runAsNonRoot"]
    # The user of the image, whom its folders belong to.
    user = f"USER {whole['runAsUser']}:{whole['runAsGroup']}"
    assert user in (ROOT / "Containerfile").read_text().splitlines()
    assert whole["seccompProfile"]["type"] == "RuntimeDefault"
    assert inside == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(name)["automountServiceAccountToken"] is False
    assert pod(name)["enableServiceLinks"] is False
    assert pod(name)["terminationGracePeriodSeconds"] > load({}).shutdown_grace
    assert "memory" in container(name)["resources"]["limits"]


def test_it_promises_no_scrape_that_is_refused() -> None:
    """An annotation carries no token, and metrics take one."""
    [metrics] = [route for route in routes() if route.path == "/metrics"]
    assert metrics.access != "public"
    assert "annotations" not in one("Deployment")["spec"]["template"]["metadata"]


def test_what_a_converter_leaves_behind_is_buried() -> None:
    assert pod("worker.yaml")["shareProcessNamespace"]


def test_the_authority_of_the_database_is_where_the_page_says() -> None:
    told = (ROOT / "docs" / "high-availability.md").read_text()
    [folder] = set(re.findall(r"sslrootcert=(/etc/ssl/db)/ca\.crt", told))
    [mount] = [each for each in container("server.yaml")["volumeMounts"] if each["mountPath"] == folder]
    [volume] = [each for each in pod("server.yaml")["volumes"] if each["name"] == mount["name"]]
    assert f"generic {volume['secret']['secretName']} --from-file=ca.crt" in told
    assert volume["secret"]["optional"], "where the URL names none, none is needed"


def test_the_worker_s_command_parses() -> None:
    parse(container("worker.yaml")["args"])


# ------------------------------------------------------------------ what scales the workers


@pytest.mark.parametrize("name", SCALERS)
def test_what_is_scaled_is_there(name: str) -> None:
    [scaler] = [each for each in manifests(name) if "scaleTargetRef" in each["spec"]]
    deployment = one("Deployment", "worker.yaml")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", **scaler["spec"]["scaleTargetRef"]}
    assert target == {key: deployment[key] for key in ("apiVersion", "kind")} | {
        "name": deployment["metadata"]["name"]
    }
    named = f"deploy/kubernetes/{name}"
    assert f"](../{named})" in (ROOT / "docs" / "scaling.md").read_text()


async def test_the_adapter_s_rule_sums_what_there_is(local: LocalServer, autojump_clock: Any) -> None:
    comment = "\n".join(line[1:] for line in (FOLDER / "hpa.yaml").read_text().splitlines() if line.startswith("#"))
    [rule] = yaml.safe_load(textwrap.dedent(comment[comment.index("    externalRules:") :]))["externalRules"]
    # Without this it asks for a label of the namespace, which the series have not, and gives no number.
    assert rule["resources"] == {"namespaced": False}
    [metric] = one("HorizontalPodAutoscaler", "hpa.yaml")["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    await local.submit(b"one")
    exposed = (await local.call("GET", "/metrics"))[1].decode()
    for series, by in re.findall(r"max by \(([^)]*)\) \((\w+)", rule["metricsQuery"]):
        [labels, *_] = re.findall(rf"^{by}\{{(.*)\}}", exposed, re.MULTILINE)
        assert set(series.split(", ")) == set(re.findall(r'(\w+)="', labels)) - {"server"}


def as_keda_takes_it(manifest: dict[str, Any]) -> dict[str, Any]:
    """Without what KEDA does not know. Raises ValueError for values that cannot be."""
    model = {"ScaledObject": ScaledObject, "TriggerAuthentication": TriggerAuthentication}[manifest["kind"]]
    return model.model_validate(manifest).model_dump(by_alias=True, exclude_unset=True)  # type: ignore[no-any-return]


def test_keda_takes_its_manifests_and_would_not_take_others() -> None:
    for manifest in manifests("keda.yaml"):
        assert as_keda_takes_it(manifest) == manifest
    scaled = one("ScaledObject", "keda.yaml")
    wrong = scaled | {"spec": scaled["spec"] | {"minReplicas": 1}}
    assert as_keda_takes_it(wrong) != wrong
    with pytest.raises(ValueError, match="pollingInterval"):
        as_keda_takes_it(scaled | {"spec": scaled["spec"] | {"pollingInterval": "often"}})


async def test_keda_reads_a_number_where_it_looks_for_one(local: LocalServer, autojump_clock: Any) -> None:
    [trigger] = one("ScaledObject", "keda.yaml")["spec"]["triggers"]
    asked = trigger["metadata"]
    url = urlsplit(asked["url"])
    # It asks from a namespace of its own: the short name would not be found.
    [namespace] = set(re.findall(r"--namespace (\S+)", (FOLDER / "server.yaml").read_text()))
    assert (url.scheme, url.netloc) == ("http", f"{one('Service')['metadata']['name']}.{namespace}.svc")
    # As its authentication says: a token that may read, as a bearer.
    made = await token(local, "read")
    assert asked["authMode"] == "bearer"
    assert trigger["authenticationRef"]["name"] == one("TriggerAuthentication", "keda.yaml")["metadata"]["name"]
    await local.submit(b"one")
    status, answer = await local.call("GET", f"{url.path}?{url.query}", token=made)
    assert status == 200
    found = answer[asked["valueLocation"]]
    assert isinstance(found, int)
    assert found > int(asked["activationTargetValue"])
