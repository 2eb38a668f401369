"""Cluster files: ours have no error, each flaw is named, and nothing that a YAML file may hold ends in a traceback."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.clusters import Finding, schema, validate_cluster_file

ROOT = Path(__file__).resolve().parents[2]
AWS = ROOT / "cluster.yaml"
EXAMPLES = ROOT / "examples" / "clusters"
GCP, LOCAL, RAYJOB = EXAMPLES / "gcp.yaml", EXAMPLES / "on-premises.yaml", EXAMPLES / "kuberay-rayjob.yaml"
OURS = [AWS, GCP, LOCAL, RAYJOB]
MOUNTS = ["pyproject.toml", "constraints.txt", "README.md", "LICENSE", "analysis", "orchestrator", "trainer"]

Config = dict[str, Any]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that our files mount, as the current one; a home with a token and a key."""
    home, folder = tmp_path / "home", tmp_path / "checkout"
    for name in MOUNTS:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("ray==2.60.0\n") if "." in name or name == "LICENSE" else target.mkdir()
    for name in (".ray/auth_token", ".ssh/key"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("secret")
        (home / name).chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(schema, "installed_ray", lambda: "2.60.0")
    return folder


def load(path: Path) -> Config:
    config = yaml.safe_load(path.read_text())
    assert isinstance(config, dict)
    return config


def validate(config: object, folder: Path) -> list[Finding]:
    file = folder / "some-cluster.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return validate_cluster_file(file)


def errors(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings if finding.severity == "error"]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_our_files_have_no_error(path: Path, checkout: Path) -> None:
    findings = validate_cluster_file(path)
    assert errors(findings) == []
    assert {finding.code for finding in findings} <= {"placeholder"}


@pytest.mark.parametrize("path", [AWS, GCP, LOCAL], ids=lambda path: path.name)
def test_ray_accepts_our_files(path: Path) -> None:
    """Ray's own preparation and check, which also fill in its defaults: nothing of a nightly Ray may be left."""
    util = pytest.importorskip("ray.autoscaler._private.util")
    prepared = util.prepare_config(load(path))
    util.validate_config(prepared)
    assert "nightly" not in str(prepared)
    assert "3.0.0.dev0" not in str(prepared)


def test_cluster_yaml_mounts_what_its_installation_needs() -> None:
    mounted = set(load(AWS)["file_mounts"].values())
    assert {"pyproject.toml", "constraints.txt", "analysis", "orchestrator", "trainer"} <= mounted
    assert not any(name in mounted for name in (".", "runs", ".git", ".env"))


def test_rays_aws_provider_starts_what_cluster_yaml_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own AWS code against a simulated EC2: the group stays shut, the head on demand, the worker on spot."""
    moto = pytest.importorskip("moto")
    util = pytest.importorskip("ray.autoscaler._private.util")
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)
    with moto.mock_aws():
        import boto3
        from ray.autoscaler._private.aws.config import bootstrap_aws
        from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

        ec2, iam = boto3.client("ec2", "us-west-2"), boto3.client("iam", "us-west-2")
        network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="isoflop-cluster", Description="ours", VpcId=network)["GroupId"]
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh])
        for name in ("isoflop-head", "isoflop-worker"):
            iam.create_instance_profile(InstanceProfileName=name)

        config = bootstrap_aws(util.prepare_config(load(AWS)))
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        for name in ("head", "gpu"):
            node = config["available_node_types"][name]["node_config"]
            provider.create_node(node, {"ray-node-type": "head" if name == "head" else "worker"}, 1)

        admitted = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
        assert [rule["IpRanges"] for rule in admitted] == [ssh["IpRanges"]]
        started = [node for batch in ec2.describe_instances()["Reservations"] for node in batch["Instances"]]
        assert {(node["InstanceType"], node.get("InstanceLifecycle")) for node in started} == {
            ("m7i.xlarge", None),
            ("g6.xlarge", "spot"),
        }
        assert all(node["SecurityGroups"][0]["GroupId"] == group for node in started)
        assert all("isoflop-" in node["IamInstanceProfile"]["Arn"] for node in started)


def workers(config: Config) -> Config:
    group: Config = config["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    return group


def head(config: Config) -> Config:
    node: Config = config["available_node_types"]["head"]
    return node


def gpu(config: Config) -> Config:
    node: Config = config["available_node_types"]["gpu"]
    return node


def ray_head(config: Config) -> Config:
    group: Config = config["spec"]["rayClusterSpec"]["headGroupSpec"]
    return group


def replaced(config: Config, old: str, new: str) -> None:
    """Replace a piece of text in every command."""
    for name in [name for name in config if name.endswith("_commands")]:
        config[name] = [command.replace(old, new) for command in config[name]]


OPEN_RULE = [{"FromPort": 8265, "ToPort": 8265, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]

AWS_FLAWS: list[tuple[str, str, Callable[[Config], object]]] = [
    ("missing_key", "'cluster_name' is missing", lambda c: c.pop("cluster_name")),
    ("missing_key", "'provider' is missing", lambda c: c.pop("provider")),
    ("missing_key", "'resources' is missing", lambda c: gpu(c).pop("resources")),
    ("missing_key", "'node_config' is missing", lambda c: gpu(c).pop("node_config")),
    ("missing_key", "'available_node_types' is missing", lambda c: c.pop("available_node_types")),
    ("missing_key", "'head_node_type' is missing", lambda c: c.pop("head_node_type")),
    ("missing_key", "'type' is missing", lambda c: c["provider"].pop("type")),
    ("unknown_key", "Did you mean 'idle_timeout_minutes'?", lambda c: c.update(idle_timeout_minute=3)),
    ("unknown_key", "Did you mean 'max_workers'?", lambda c: gpu(c).update(max_worker=3)),
    (
        "wrong_value",
        "setup_commands is 'pip install x'; expected a list",
        lambda c: c.update(setup_commands="pip install x"),
    ),
    ("wrong_value", "expected a whole number", lambda c: gpu(c)["resources"].update(GPU=0.5)),
    ("wrong_value", "expected at least 0", lambda c: c.update(max_workers=-1)),
    ("negative", "min_workers is -1", lambda c: gpu(c).update(min_workers=-1)),
    ("min_above_max", "min_workers 5 is above max_workers 2", lambda c: gpu(c).update(min_workers=5, max_workers=2)),
    ("sum_above_max", "add up to 20, above max_workers 16", lambda c: gpu(c).update(min_workers=20, max_workers=20)),
    ("max_above_total", "at most 16", lambda c: gpu(c).update(max_workers=99)),
    ("default_max_workers", "Ray takes 2", lambda c: c.pop("max_workers")),
    ("no_workers", "no worker can ever start", lambda c: c.update(available_node_types={"head": head(c)})),
    ("unknown_head_type", "Did you mean 'head'?", lambda c: c.update(head_node_type="haed")),
    ("ignored_key", "which Ray ignores", lambda c: c.update(min_workers=1)),
    ("unknown_provider", "Did you mean 'aws'?", lambda c: c["provider"].update(type="awss")),
    (
        "unknown_provider_key",
        "Did you mean 'availability_zone'?",
        lambda c: c["provider"].update(availability_zones="x"),
    ),
    ("missing_provider_key", "provider.region is missing", lambda c: c["provider"].pop("region")),
    ("zone_outside_region", "not in region", lambda c: c["provider"].update(availability_zone="eu-west-1a")),
    ("provider_not_covered", "azure", lambda c: c["provider"].update(type="azure")),
    ("list_needed", "'rsync_filter' is missing", lambda c: c["provider"].update(type="fake_multinode")),
    ("head_takes_work", "CPU: 4", lambda c: head(c)["resources"].update(CPU=4)),
    ("head_takes_work", "no GPU", lambda c: head(c)["resources"].pop("GPU")),
    ("head_takes_work", "max_workers is 2", lambda c: head(c).update(max_workers=2)),
    ("spot_head", "on-demand", lambda c: head(c)["node_config"].update(InstanceMarketOptions={"MarketType": "spot"})),
    ("odd_machine_type", "g6.enormous", lambda c: gpu(c)["node_config"].update(InstanceType="g6.enormous")),
    ("odd_machine_type", "42", lambda c: gpu(c)["node_config"].update(InstanceType=42)),
    ("no_machine_type", "InstanceType is missing", lambda c: gpu(c)["node_config"].pop("InstanceType")),
    ("default_image", "Ubuntu 18.04", lambda c: gpu(c)["node_config"].pop("ImageId")),
    ("worker_without_role", "IamInstanceProfile", lambda c: gpu(c)["node_config"].pop("IamInstanceProfile")),
    ("default_security_group", "port 22", lambda c: c["provider"].pop("security_group")),
    ("missing_key_file", "~/.ssh/nowhere.pem", lambda c: c["auth"].update(ssh_private_key="~/.ssh/nowhere.pem")),
    ("missing_key_name", "no KeyName", lambda c: c["auth"].update(ssh_private_key="~/.ssh/key")),
    ("missing_ssh_user", "KeyError", lambda c: c["auth"].pop("ssh_user")),
    ("missing_mount", "nowhere does not exist", lambda c: c["file_mounts"].update({"~/x": "nowhere"})),
    ("missing_token", "get-auth-token", lambda c: Path("~/.ray/auth_token").expanduser().unlink()),
    (
        "ships_private_files",
        "would ship .git, .env, runs",
        lambda c: c.update(file_mounts={"~/x": "."}, rsync_exclude=[]),
    ),
    ("default_setup_is_nightly", "nightly", lambda c: c.pop("setup_commands")),
    (
        "nightly_ray",
        "nightly Ray",
        lambda c: replaced(c, "==2.60.0", " @ https://host/ray-wheels/latest/ray-3.0.0.dev0.whl"),
    ),
    ("nightly_ray", "nightly Ray", lambda c: c.update(docker={"image": "rayproject/ray:nightly-gpu"})),
    ("ray_version_differs", "Ray 2.48.0 on the nodes, 2.60.0", lambda c: replaced(c, "2.60.0", "2.48.0")),
    ("ray_version_differs", "Ray 2.9.3 on", lambda c: c.update(docker={"image": "rayproject/ray:2.9.3-py312"})),
    ("unpinned_ray", "newest", lambda c: replaced(c, "==2.60.0", "")),
    ("unpinned_ray", "newest", lambda c: c.update(docker={"image": "rayproject/ray:latest"})),
    ("ray_not_pinned", "pins Ray", lambda c: c.update(setup_commands=["pip install ."])),
    ("open_to_the_world", "IpPermissions", lambda c: c["provider"]["security_group"].update(IpPermissions=OPEN_RULE)),
    ("open_to_the_world", "internet", lambda c: replaced(c, "ray stop", "ufw allow from ::/0")),
    (
        "open_dashboard",
        "runs code",
        lambda c: replaced(c, "export RAY_AUTH_MODE=token;", "RAY_X=$(true --dashboard-host=0.0.0.0)"),
    ),
    ("open_dashboard", "no head_start_ray_commands", lambda c: c.pop("head_start_ray_commands")),
    ("no_token", "RAY_AUTH_MODE=token", lambda c: replaced(c, "export RAY_AUTH_MODE=token;", "")),
    ("token_on_one_side", "no worker can join", lambda c: c.update(worker_start_ray_commands=["ray start"])),
    ("token_on_one_side", "no worker can join", lambda c: c.pop("worker_start_ray_commands")),
    (
        "no_autoscaling",
        "autoscaling-config",
        lambda c: replaced(c, "--autoscaling-config=~/ray_bootstrap_config.yaml", ""),
    ),
    ("placeholder", "your-bucket", lambda c: c.update(metadata={"store": "s3://your-bucket"})),
]

OTHER_FLAWS: list[tuple[Path, str, str, Callable[[Config], object]]] = [
    (GCP, "missing_provider_key", "project_id", lambda c: c["provider"].pop("project_id")),
    (GCP, "missing_provider_key", "availability_zone", lambda c: c["provider"].pop("availability_zone")),
    (GCP, "spot_head", "on-demand", lambda c: head(c)["node_config"].update(scheduling=[{"preemptible": True}])),
    (GCP, "spot_head", "on-demand", lambda c: head(c)["node_config"].update(scheduling={"provisioningModel": "SPOT"})),
    (
        GCP,
        "gpu_host_maintenance",
        "TERMINATE",
        lambda c: gpu(c)["node_config"].update(scheduling=[{"preemptible": True}]),
    ),
    (GCP, "gpu_not_declared", "never start", lambda c: gpu(c)["resources"].pop("GPU")),
    (GCP, "odd_machine_type", "large", lambda c: gpu(c)["node_config"].update(machineType="large")),
    (LOCAL, "missing_provider_key", "head_ip", lambda c: c["provider"].pop("head_ip")),
    (LOCAL, "missing_provider_key", "worker_ips", lambda c: c["provider"].pop("worker_ips")),
    (LOCAL, "missing_ssh_user", "KeyError", lambda c: c.pop("auth")),
    (LOCAL, "workers_left_out", "with 3 worker_ips", lambda c: c.update(max_workers=2)),
    (LOCAL, "address_twice", "the head's", lambda c: c["provider"].update(head_ip="10.0.0.11")),
    (LOCAL, "node_types_on_premises", "Ray aborts", lambda c: c.update(load(AWS), provider=c["provider"])),
    (LOCAL, "head_takes_work", "no --num-cpus=0", lambda c: replaced(c, "--num-cpus=0", "")),
    (LOCAL, "head_takes_work", "no --num-gpus=0", lambda c: replaced(c, "--num-gpus=0", "--num-gpus 1")),
    (RAYJOB, "not_a_ray_object", "Deployment", lambda c: c.update(kind="Deployment")),
    (RAYJOB, "api_version", "v1alpha1", lambda c: c.update(apiVersion="ray.io/v1alpha1")),
    (RAYJOB, "missing_key", "spec is missing", lambda c: c.pop("spec")),
    (RAYJOB, "missing_key", "metadata.name", lambda c: c.pop("metadata")),
    (RAYJOB, "missing_key", "entrypoint", lambda c: c["spec"].pop("entrypoint")),
    (RAYJOB, "missing_key", "rayClusterSpec", lambda c: c["spec"].pop("rayClusterSpec")),
    (RAYJOB, "missing_key", "headGroupSpec", lambda c: c["spec"]["rayClusterSpec"].pop("headGroupSpec")),
    (RAYJOB, "cluster_stays", "what they cost", lambda c: c["spec"].pop("shutdownAfterJobFinishes")),
    (RAYJOB, "no_backoff", "backoffLimit", lambda c: c["spec"].update(backoffLimit=0)),
    (RAYJOB, "unknown_key", "Did you mean 'backoffLimit'?", lambda c: c["spec"].update(backofLimit=3)),
    (RAYJOB, "ray_version_differs", "2.48.0", lambda c: c["spec"]["rayClusterSpec"].update(rayVersion="2.48.0")),
    (RAYJOB, "wrong_value", "no text", lambda c: c["spec"]["rayClusterSpec"].update(rayVersion=2.6)),
    (RAYJOB, "token_needs_newer_ray", "2.52.0", lambda c: c["spec"]["rayClusterSpec"].update(rayVersion="2.9.0")),
    (RAYJOB, "no_token", "authOptions", lambda c: c["spec"]["rayClusterSpec"].pop("authOptions")),
    (RAYJOB, "head_takes_work", "num-cpus", lambda c: ray_head(c)["rayStartParams"].pop("num-cpus")),
    (RAYJOB, "wrong_value", 'Quote it: "0"', lambda c: ray_head(c)["rayStartParams"].update({"num-cpus": 0})),
    (RAYJOB, "spot_head", "on-demand", lambda c: ray_head(c).update(template=workers(c)["template"])),
    (RAYJOB, "open_to_the_world", "LoadBalancer", lambda c: ray_head(c).update(serviceType="LoadBalancer")),
    (RAYJOB, "min_above_max", "minReplicas 9", lambda c: workers(c).update(minReplicas=9)),
    (RAYJOB, "group_name", "of its own", lambda c: workers(c).pop("groupName")),
    (RAYJOB, "no_container", "image", lambda c: workers(c)["template"]["spec"].pop("containers")),
    (RAYJOB, "no_workers", "worker group", lambda c: c["spec"]["rayClusterSpec"].pop("workerGroupSpecs")),
    (RAYJOB, "no_autoscaling", "enableInTree", lambda c: c["spec"]["rayClusterSpec"].pop("enableInTreeAutoscaling")),
]


@pytest.mark.parametrize(
    ("path", "code", "words", "spoil"),
    [(AWS, *flaw) for flaw in AWS_FLAWS] + OTHER_FLAWS,
    ids=[f"{flaw[0]}-{i}" for i, flaw in enumerate(AWS_FLAWS)]
    + [f"{f[0].stem}-{f[1]}-{i}" for i, f in enumerate(OTHER_FLAWS)],
)
def test_each_flaw_is_named(
    path: Path, code: str, words: str, spoil: Callable[[Config], object], checkout: Path
) -> None:
    for name in (".git", ".env", "runs"):
        (checkout / name).mkdir()
    config = load(path)
    spoil(config)
    found = [finding for finding in validate(config, checkout) if finding.code == code]
    assert found, code
    assert any(words in str(finding) for finding in found), [str(finding) for finding in found]
    for finding in found:
        assert finding.wrong
        assert finding.expected
        assert finding.remedy


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a: [1, 2\nb: 3\n", "not_yaml", 2),
        ("just words\n", "not_a_mapping", 1),
        ("- a\n- b\n", "not_a_mapping", 1),
        ("", "empty", None),
        ("# only a comment\n", "empty", None),
        ("a: !!python/object/apply:os.system ['true']\n", "not_yaml", 1),
        ("a: &x [*x]\n", "not_yaml", None),
        ("a: 2024-13-45\n", "not_yaml", None),
        ("? [a, b]\n: 1\n", "not_yaml", 1),
        ("[" * 2000, "not_yaml", None),
        ("cluster_name: a\ncluster_name: b\n", "duplicate_key", 2),
        ("cluster_name: a\nprovider: {type: local}\n1: x\n", "key_not_text", 3),
        ("cluster_name: a\n---\ncluster_name: b\n", "several_documents", None),
    ],
)
def test_files_that_are_no_cluster_files(text: str, code: str, line: int | None, tmp_path: Path) -> None:
    file = tmp_path / "torn.yaml"
    file.write_text(text)
    found = [finding for finding in validate_cluster_file(file) if finding.code == code]
    assert found
    assert found[0].severity == "error"
    assert line is None or found[0].line == line


def test_aliases_that_explode_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.yaml"
    levels = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    file.write_text("\n".join(levels))
    assert errors(validate_cluster_file(file)) == ["not_yaml"]


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_file_that_cannot_be_read_is_one_error(name: str, tmp_path: Path) -> None:
    assert len(validate_cluster_file(tmp_path / name)) == 1


def test_bytes_that_are_no_text_are_one_error(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00cluster")
    assert len(validate_cluster_file(tmp_path / "x.yaml")) == 1


def test_findings_carry_the_line(checkout: Path) -> None:
    text = AWS.read_text().replace(
        "    min_workers: 0\n    max_workers: 16", "    min_workers: 17\n    max_workers: 16"
    )
    (checkout / "c.yaml").write_text(text)
    found = next(finding for finding in validate_cluster_file(checkout / "c.yaml") if finding.code == "min_above_max")
    assert text.splitlines()[(found.line or 0) - 1] == "    min_workers: 17"
    assert found.where == "available_node_types.gpu.min_workers"
    assert str(found).startswith(f"error: line {found.line}: available_node_types.gpu.min_workers: ")


def test_errors_come_before_warnings(checkout: Path) -> None:
    severities = [
        finding.severity for finding in validate({"cluster_name": "x", "provider": {"type": "aws"}}, checkout)
    ]
    assert severities == sorted(severities, key=lambda severity: severity != "error")
    assert "error" in severities


def test_a_secret_beside_the_cluster_file_in_a_kubernetes_file_is_fine(checkout: Path) -> None:
    (checkout / "two.yaml").write_text("apiVersion: v1\nkind: Secret\n---\n" + RAYJOB.read_text())
    assert errors(validate_cluster_file(checkout / "two.yaml")) == []


def test_without_rays_schema_the_other_checks_still_run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "ray_schema", lambda: None)
    config = load(AWS)
    gpu(config).update(min_workers=5, max_workers=2)
    codes = [finding.code for finding in validate(config, checkout)]
    assert "no_schema" in codes
    assert "min_above_max" in codes


def test_neither_ray_nor_torch_is_imported() -> None:
    code = (
        "import sys; from orchestrator.clusters import validate_cluster_file as v; v(sys.argv[1]); "
        "sys.exit(any(name in sys.modules for name in ('ray', 'torch', 'optuna', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(AWS)], cwd=ROOT, check=False).returncode == 0


def paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [deeper for key, child in children for deeper in paths(child, (*path, key))]


def spoiled(config: Config, path: tuple[str | int, ...], value: object) -> Config:
    config = copy.deepcopy(config)
    parent: Any = config
    for key in path[:-1]:
        parent = parent[key]
    if value is ...:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return config


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_removing_or_emptying_any_key_gives_findings_and_never_a_traceback(path: Path, checkout: Path) -> None:
    config = load(path)
    required = {"cluster_name", "provider", "available_node_types", "head_node_type", "spec"}
    for key in paths(config):
        for value in (..., None):
            findings = validate(spoiled(config, key, value), checkout)
            if len(key) == 1 and key[0] in required:
                assert errors(findings), key


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "x", "ray start --head"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "type", "CPU"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_value_anywhere_never_gives_a_traceback(data: st.DataObject, checkout: Path) -> None:
    config = load(data.draw(st.sampled_from(OURS)))
    for _ in range(data.draw(st.integers(1, 3))):
        config = spoiled(config, data.draw(st.sampled_from(paths(config))), data.draw(JUNK))
        if not config:
            break
    for finding in validate(config, checkout):
        assert str(finding)
