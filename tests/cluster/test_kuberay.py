"""The KubeRay files: only fields of the API, one cluster in both, and what Ray's autoscaler makes of it."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from fedra_ray.cli.compose import compose_named
from fedra_ray.config.checks import check
from fedra_ray.config.schema import ExperimentConfig, RuntimeConfig
from fedra_ray.runtime.placement import SERVER_CPUS

ROOT = Path(__file__).resolve().parents[2]
FILES = ["raycluster", "rayjob"]

# Fields of ray.io/v1 (KubeRay 1.5.1) and, of Kubernetes' own types, those in use. "" ends the check: a plain value, or
# names that the user chooses; a type in brackets is a list of it.
FIELDS: dict[str, dict[str, Any]] = {
    "RayCluster": {"apiVersion": "", "kind": "", "metadata": "ObjectMeta", "spec": "RayClusterSpec"},
    "RayJob": {"apiVersion": "", "kind": "", "metadata": "ObjectMeta", "spec": "RayJobSpec"},
    "RayJobSpec": {
        **dict.fromkeys(["activeDeadlineSeconds", "backoffLimit", "entrypoint", "entrypointNumCpus"], ""),
        **dict.fromkeys(["entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata"], ""),
        **dict.fromkeys(["runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode", "suspend"], ""),
        **dict.fromkeys(["clusterSelector", "submitterConfig", "submitterPodTemplate", "deletionStrategy"], ""),
        "ttlSecondsAfterFinished": "",
        "rayClusterSpec": "RayClusterSpec",
    },
    "RayClusterSpec": {
        **dict.fromkeys(["enableInTreeAutoscaling", "headServiceAnnotations", "managedBy", "rayVersion"], ""),
        **dict.fromkeys(["suspend", "gcsFaultToleranceOptions"], ""),
        "authOptions": "AuthOptions",
        "autoscalerOptions": "AutoscalerOptions",
        "headGroupSpec": "HeadGroupSpec",
        "workerGroupSpecs": ["WorkerGroupSpec"],
    },
    "AuthOptions": {"mode": ""},
    "AutoscalerOptions": {
        **dict.fromkeys(["env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy"], ""),
        **dict.fromkeys(["securityContext", "upscalingMode", "version", "volumeMounts"], ""),
        "resources": "ResourceRequirements",
    },
    "HeadGroupSpec": {
        **dict.fromkeys(["enableIngress", "headService", "labels", "rayStartParams", "resources", "serviceType"], ""),
        "template": "PodTemplateSpec",
    },
    "WorkerGroupSpec": {
        **dict.fromkeys(["groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "suspend"], ""),
        **dict.fromkeys(["idleTimeoutSeconds", "labels", "rayStartParams", "resources", "scaleStrategy"], ""),
        "template": "PodTemplateSpec",
    },
    "ObjectMeta": {"name": "", "namespace": "", "labels": "", "annotations": ""},
    "PodTemplateSpec": {"metadata": "ObjectMeta", "spec": "PodSpec"},
    "PodSpec": {
        **dict.fromkeys(["nodeSelector", "restartPolicy", "serviceAccountName", "terminationGracePeriodSeconds"], ""),
        "containers": ["Container"],
        "tolerations": ["Toleration"],
    },
    "Container": {"name": "", "image": "", "env": "", "volumeMounts": "", "resources": "ResourceRequirements"},
    "ResourceRequirements": {"limits": "", "requests": ""},
    "Toleration": dict.fromkeys(["key", "operator", "value", "effect", "tolerationSeconds"], ""),
}


def unknown_fields(value: Any, kind: Any, path: str = "") -> list[str]:
    """Paths of the fields that a type does not have."""
    if kind == "":
        return []
    if isinstance(kind, list):
        return [
            each for number, item in enumerate(value) for each in unknown_fields(item, kind[0], f"{path}[{number}]")
        ]
    known = FIELDS[kind]
    found = []
    for name, inner in value.items():
        where = f"{path}.{name}"
        found += unknown_fields(inner, known[name], where) if name in known else [where]
    return found


def load(name: str) -> dict[str, Any]:
    resource: dict[str, Any] = yaml.safe_load((ROOT / "cluster" / "kuberay" / f"{name}.yaml").read_text())
    return resource


@pytest.fixture
def spec() -> dict[str, Any]:
    found: dict[str, Any] = load("raycluster")["spec"]
    return found


@pytest.fixture
def entrypoint() -> str:
    found: str = load("rayjob")["spec"]["entrypoint"]
    return found


@pytest.mark.parametrize("name", FILES)
def test_file_has_only_fields_of_the_api(name: str) -> None:
    resource = load(name)
    assert resource["apiVersion"] == "ray.io/v1"
    assert resource["kind"].lower() == name
    assert unknown_fields(resource, resource["kind"]) == []


def test_a_misspelt_field_is_found(spec: dict[str, Any]) -> None:
    group = spec["workerGroupSpecs"][1]
    group["maxReplica"] = group.pop("maxReplicas")
    group["template"]["spec"]["containers"][0]["resource"] = {}
    assert unknown_fields(spec, "RayClusterSpec") == [
        ".workerGroupSpecs[1].template.spec.containers[0].resource",
        ".workerGroupSpecs[1].maxReplica",
    ]


def test_job_and_cluster_run_on_the_same_cluster(spec: dict[str, Any]) -> None:
    assert load("rayjob")["spec"]["rayClusterSpec"] == spec


def test_ray_version_is_the_pinned_one(spec: dict[str, Any]) -> None:
    assert f"ray=={spec['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()


def test_cluster_scales_by_the_second_autoscaler_and_asks_for_a_token(spec: dict[str, Any]) -> None:
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["authOptions"] == {"mode": "token"}


def test_autoscaler_sees_a_head_without_room_for_clients_and_labelled_groups(spec: dict[str, Any]) -> None:
    resource = {"metadata": {"name": "fedra-ray", "namespace": "default"}, "spec": spec}
    kinds = _derive_autoscaling_config_from_ray_cr(resource)["available_node_types"]
    head = kinds.pop("headgroup")
    assert SERVER_CPUS <= head["resources"]["CPU"] < SERVER_CPUS + RuntimeConfig().num_cpus
    assert head["resources"]["GPU"] == 0
    assert {name: kind["labels"]["tier"] for name, kind in kinds.items()} == {
        "gpu-small": "gpu.small",
        "gpu-large": "gpu.large",
        "cpu": "cpu",
    }
    assert {name: kind["resources"].get("GPU", 0) for name, kind in kinds.items()} == {
        "gpu-small": 1,
        "gpu-large": 4,
        "cpu": 0,
    }
    assert all(0 <= kind["min_workers"] < kind["max_workers"] for kind in kinds.values())


def test_groups_start_with_their_least_size_on_spot_nodes(spec: dict[str, Any]) -> None:
    for group in spec["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"]
        assert group["template"]["spec"]["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
    assert "nodeSelector" not in spec["headGroupSpec"]["template"]["spec"]


def test_job_takes_its_cluster_away_when_it_ends() -> None:
    job = load("rayjob")["spec"]
    assert job["shutdownAfterJobFinishes"] is True
    assert job["ttlSecondsAfterFinished"] > 0


def test_a_shell_passes_the_entrypoint_on_unchanged(entrypoint: str, tmp_path: Path) -> None:
    (tmp_path / "fleet.depths=1").touch()  # what unquoted brackets would turn into
    command = entrypoint.replace("python -m fedra_ray", "printf '%s\\n'")
    heard = subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert heard.splitlines() == shlex.split(entrypoint)[3:]


def test_entrypoint_is_an_experiment_whose_results_outlive_the_cluster(entrypoint: str) -> None:
    words = shlex.split(entrypoint)
    assert words[:3] == ["python", "-m", "fedra_ray"]
    config = compose_named("config", ExperimentConfig, words[3:])
    check(config)
    assert "://" in config.run_dir
    assert config.runtime.num_gpus > 0
