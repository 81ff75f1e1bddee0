"""The network policies hold, where the cluster's network enforces policies at all."""

from __future__ import annotations

import json

import pytest

from tests.e2e.commands import CommandError
from tests.e2e.release import Release

# Exit status 0 when the connection was made.
_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()"


def _stranger(release: Release) -> str:
    """A pod that belongs to nobody, made of an image that is there already."""
    settings = release.settings
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "stranger"},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "stranger",
                        "image": f"{settings.image_registry}/parley-store:{settings.image_tag}",
                        "command": ["python", "-c", "import time; time.sleep(600)"],
                    }
                ],
            },
        }
    )


async def _reaches(release: Release, pod: str, host: str, port: int) -> bool:
    try:
        await release.kubectl("exec", pod, "--", "python", "-c", _CONNECT, host, str(port))
    except CommandError as error:
        if "Error" not in str(error):  # it was not Python that failed to connect
            raise
        return False
    return True


async def test_strangers_are_kept_out(release: Release) -> None:
    """A stranger reaches the public port and nothing else; the services reach each other."""
    kubectl = release.kubectl
    addresses = {
        kind: (await kubectl.pods(kind))[0]["status"]["podIP"] for kind in ("gateway", "store", "redis")
    }
    await kubectl("apply", "--filename", "-", stdin=_stranger(release))
    try:
        await kubectl("wait", "--for=condition=Ready", "pod/stranger", "--timeout=60s")
        gateway = (await kubectl.names("gateway"))[0]
        assert await _reaches(release, "stranger", addresses["gateway"], 3000)
        assert await _reaches(release, gateway, addresses["store"], 8081)
        assert await _reaches(release, gateway, addresses["redis"], 6379)
        closed = [("gateway", 9100), ("store", 8081), ("store", 9101), ("redis", 6379)]
        reached = [
            f"{kind}:{port}"
            for kind, port in closed
            if await _reaches(release, "stranger", addresses[kind], port)
        ]
    finally:
        await kubectl("delete", "pod", "stranger")
    if len(reached) == len(closed):
        pytest.skip("this cluster's network enforces no policy: everything is open to everybody")
    assert reached == []
