"""The scripts in k8s/, against a kubectl that is none: it keeps objects in a file and notes its commands."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chart.helm import ROOT, find, render

KUBECTL: Final = """#!PYTHON
import json, os, re, sys
path = os.environ["FAKE"]
state = json.load(open(path))
words = sys.argv[3:]
line = " ".join(words)
state["calls"].append(line)
objects, status = state["objects"], 0
plain = [word for word in words if not word.startswith("-")]
def value(flag):
    return words[words.index(flag) + 1] if flag in words else ""
if any(re.search(pattern, line) for pattern in state["fail"]):
    status = 1
    print("error: made to fail", file=sys.stderr)
elif words[0] == "get" and words[1] == "deployments":
    print("\\n".join("deployment.apps/" + name[11:] for name in objects if name.startswith("deployment/")))
elif words[0] == "get":
    name = words[1] if "/" in words[1] else words[1] + "/" + words[2]
    if name not in objects:
        status = 0 if "--ignore-not-found" in words else 1
    elif value("--output") == "name":
        print(name)
    else:
        print(objects[name].get(value("--output"), ""), end="")
elif words[0] == "scale":
    for name in plain[1:]:
        if name in objects:
            objects[name]["jsonpath={.spec.replicas}"] = value("--replicas")
elif words[0] == "annotate":
    key = "jsonpath={.metadata.annotations.parley\\\\.dev/before-restore}"
    objects[plain[1]][key] = "" if words[-1].endswith("-") else words[-1].partition("=")[2]
elif words[0] == "patch":
    objects["secret/" + words[2]]["jsonpath={.data.service-tokens}"] = json.loads(value("--patch"))["data"][
        "service-tokens"]
elif words[0] == "exec" and "cat" in words:
    print("REDIS", end="")
elif words[0] == "exec" and "stat" in words:
    print(5)
json.dump(state, open(path, "w"))
sys.exit(status)
"""
REPLICAS: Final = "jsonpath={.spec.replicas}"
NOTE: Final = r"jsonpath={.metadata.annotations.parley\.dev/before-restore}"
CONTAINER: Final = "jsonpath={.spec.template.spec.containers[0]"
POD: Final = "jsonpath={.spec.containers[?(@.name=='redis')]"
ORIGIN: Final = r"jsonpath={.metadata.annotations.parley\.dev/token-from}"
TOKENS: Final = "jsonpath={.data.service-tokens}"


class Cluster:
    """The objects of a release, by what the scripts ask for, and what was done to them."""

    def __init__(self, folder: Path, name: str = "parley") -> None:
        self.folder = folder
        self.name = name
        self.state: dict[str, Any] = {
            "calls": [],
            "fail": [],
            "objects": {
                f"deployment/{name}-gateway": {REPLICAS: "3"},
                f"deployment/{name}-store": {REPLICAS: "2"},
                f"deployment/{name}-operator": {REPLICAS: "1"},
                f"statefulset/{name}-redis": {
                    REPLICAS: "1",
                    f"{CONTAINER}.command[0]}}": "valkey-server",
                    f"{CONTAINER}.image}}": "valkey",
                },
                f"pod/{name}-redis-0": {
                    f"{POD}.command[0]}}": "valkey-server",
                    f"{POD}.volumeMounts[*].mountPath}}": "/data /etc/redis",
                },
                f"pvc/data-{name}-redis-0": {},
                f"secret/{name}-auth": {TOKENS: base64.b64encode(b"the-old-token").decode()},
            },
        }
        program = folder / "kubectl"
        program.write_text(KUBECTL.replace("PYTHON", sys.executable))
        program.chmod(0o755)
        (folder / "copy.rdb").write_bytes(b"REDIS0011")

    def run(self, script: str, *arguments: str, fail: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a script; `fail` is the pattern of the kubectl commands that fail."""
        self.state["fail"] = [fail] if fail else []
        self.state["calls"] = []
        path = self.folder / "state.json"
        path.write_text(json.dumps(self.state))
        done = subprocess.run(
            [str(ROOT / "k8s" / script), "chat", *arguments],
            env={**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "FAKE": str(path)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        self.state = json.loads(path.read_text())
        return done

    def restore(self, *, fail: str | None = None, name: str = "parley") -> subprocess.CompletedProcess[str]:
        """Run redis-restore."""
        return self.run("redis-restore", "copy.rdb", name, fail=fail)

    def replicas(self) -> dict[str, str]:
        """How many of each there are, by component."""
        return {
            name.rpartition("-")[2]: item[REPLICAS]
            for name, item in self.state["objects"].items()
            if REPLICAS in item
        }

    def called(self, part: str) -> bool:
        """Whether a kubectl command of the last run contains that."""
        return any(part in call for call in self.state["calls"])


RUNNING: Final = {"gateway": "3", "store": "2", "operator": "1", "redis": "1"}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """A release called parley, with a volume."""
    return Cluster(tmp_path)


def test_backup(cluster: Cluster) -> None:
    """The copy is made by the client in the pod, without TLS when Redis has none."""
    done = cluster.run("redis-backup", "out.rdb")
    assert done.returncode == 0, done.stderr
    assert cluster.called("-- valkey-cli --rdb /data/backup.rdb")
    assert (cluster.folder / "out.rdb").read_text() == "REDIS"


def test_backup_with_tls(cluster: Cluster) -> None:
    """With redis.tls.enabled there is no plain port: the client speaks TLS, to the certificate's name."""
    pod = cluster.state["objects"]["pod/parley-redis-0"]
    pod[f"{POD}.volumeMounts[*].mountPath}}"] = "/data /etc/redis /etc/redis-tls"
    assert cluster.run("redis-backup", "out.rdb").returncode == 0
    tls = "--tls --cacert /etc/redis-tls/ca.crt -h parley-redis"
    assert cluster.called(f"-- valkey-cli {tls} --rdb /data/backup.rdb")


def test_restore(cluster: Cluster) -> None:
    """All services run again in their numbers, and nothing is left of the note about them."""
    done = cluster.restore()
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("redis-restore: done\n")
    assert cluster.replicas() == RUNNING
    assert cluster.state["objects"]["statefulset/parley-redis"][NOTE] == ""


def test_restore_without_a_volume(cluster: Cluster) -> None:
    """Without a claim Redis is not stopped: what it holds would be gone, and the copy would reach nobody."""
    del cluster.state["objects"]["pvc/data-parley-redis-0"]
    done = cluster.restore()
    assert done.returncode == 1
    assert "no volume" in done.stderr
    assert not cluster.called("scale ")


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        ("^wait --for condition", "nothing was replaced"),
        ("^exec --stdin", "nothing was replaced"),
        ("^exec parley-redis-restore", "before-restore"),
        ("^rollout status statefulset", "before-restore"),
        ("^scale deployment/parley-store --replicas 2", "not all services run"),
    ],
    ids=["helper", "damaged copy", "put in place", "Redis not ready", "a store"],
)
def test_restore_that_fails(cluster: Cluster, fail: str, said: str) -> None:
    """Whatever fails, all else is started again, the status tells, and only what is true is said."""
    done = cluster.restore(fail=fail)
    assert done.returncode != 0
    assert said in done.stderr
    assert ("nothing was replaced" in done.stderr) == (said == "nothing was replaced")
    assert "done" not in done.stdout
    expected = {**RUNNING, "store": "0"} if fail.startswith("^scale") else RUNNING
    assert cluster.replicas() == expected


def test_restore_twice(cluster: Cluster) -> None:
    """A run that could not start the services leaves a note, from which the next one brings them all back."""
    assert cluster.restore(fail="^scale .*--replicas [123]").returncode != 0
    assert set(cluster.replicas().values()) == {"0"}
    done = cluster.restore()
    assert done.returncode == 0, done.stderr
    assert cluster.replicas() == RUNNING


def test_rotate(cluster: Cluster) -> None:
    """The old token is gone in the end; whoever rolls back is told that it would return."""
    done = cluster.run("rotate-service-token")
    assert done.returncode == 0, done.stderr
    tokens = base64.b64decode(cluster.state["objects"]["secret/parley-auth"][TOKENS]).decode()
    assert "the-old-token" not in tokens
    assert "," not in tokens
    assert "helm rollback" in done.stdout.splitlines()[-1]
    assert sum("rollout restart" in call for call in cluster.state["calls"]) == 3


def test_a_token_of_the_values_is_marked() -> None:
    """The chart tells the script that the token is in the values, and only then."""
    given = find(render({"auth": {"serviceTokens": "x" * 20}}), "Secret", "parley-auth")["metadata"]
    assert given["annotations"] == {"parley.dev/token-from": "values"}
    assert "annotations" not in find(render(), "Secret", "parley-auth")["metadata"]


def test_rotate_refuses_a_token_of_the_values(cluster: Cluster) -> None:
    """A token that the values give is changed there: the next upgrade would put the old one back."""
    cluster.state["objects"]["secret/parley-auth"][ORIGIN] = "values"
    done = cluster.run("rotate-service-token")
    assert done.returncode == 1
    assert "auth.serviceTokens" in done.stderr
    assert not cluster.called("patch")


@pytest.mark.parametrize("script", ["redis-backup", "redis-restore", "rotate-service-token"])
@pytest.mark.parametrize("given", ["chat", "chat-parley"])
def test_either_name(tmp_path: Path, script: str, given: str) -> None:
    """The release's name will do as well as the full name that is made of it."""
    cluster = Cluster(tmp_path, "chat-parley")
    arguments = {"redis-backup": ["out.rdb"], "redis-restore": ["copy.rdb"], "rotate-service-token": []}
    done = cluster.run(script, *arguments[script], given)
    assert done.returncode == 0, done.stderr
