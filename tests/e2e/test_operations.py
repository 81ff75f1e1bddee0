"""What people do by hand: back up and restore, and remove Parley."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.e2e.commands import run
from tests.e2e.release import Release
from tests.e2e.settings import ROOT
from tests.harness.js_client import JsDriver


async def test_backup_and_restore(release: Release, js: JsDriver, tmp_path: Path) -> None:
    """A restored copy holds what there was when it was made, sessions too, and nothing of later."""
    namespace, copy = release.settings.namespace, str(tmp_path / "copy.rdb")
    alice = await js.sign_in(release.url, {"username": "careful alice"}, remember=True)
    bob = await js.sign_in(release.url, {"username": "careful bob"}, remember=True)
    assert (await alice.send("before the copy", bob.user_id))["ok"]

    await run(str(ROOT / "k8s" / "redis-backup"), namespace, copy)
    assert (await alice.send("after the copy", bob.user_id))["ok"]
    place = len(bob.journal.entries)
    await run(str(ROOT / "k8s" / "redis-restore"), namespace, copy, timeout_seconds=600)
    await release.ready()

    # The client comes back by itself, with its session; what was sent after the copy is gone.
    await bob.signed_in(after=place, timeout_seconds=60)
    contents = [message["content"] for message in bob.users[alice.user_id]["messages"]]
    assert contents == ["before the copy"]
    await alice.close()
    await bob.close()


async def test_uninstall_leaves_the_volume_only(release: Release) -> None:
    """`helm uninstall` removes everything but the volume's claim; installing anew finds the old messages."""
    settings = dataclasses.replace(release.settings, namespace=f"{release.settings.namespace}-gone")
    other = Release(settings, "second")
    kubectl = other.kubectl
    await other.install({"ingress": {"controller": "none"}})
    await other.helm("test", other.name, "--timeout", "3m")
    await other.uninstall()
    kinds = (
        "deployments,statefulsets,replicasets,pods,services,configmaps,secrets,serviceaccounts,ingresses,"
        "networkpolicies,poddisruptionbudgets,roles,rolebindings,parleygateways,persistentvolumeclaims"
    )
    left = (await kubectl("get", kinds, "--output", "name")).split()
    kubernetes_own = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
    assert set(left) - kubernetes_own == {"persistentvolumeclaim/data-second-parley-redis-0"}
    await kubectl("delete", "namespace", settings.namespace, "--wait=true")
