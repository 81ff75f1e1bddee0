"""Releases change under chatting people: images, values, back again, and other numbers of pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.commands import run
from tests.e2e.conftest import UnderLoad
from tests.e2e.release import Release
from tests.e2e.settings import ROOT, Settings


async def _images(release: Release, component: str) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in await release.kubectl.pods(component)}


async def test_new_image_and_rollback(release: Release, under_load: UnderLoad) -> None:
    """`helm upgrade` to another image, then `helm rollback`; Redis, which has no part in it, runs on."""
    tag = release.settings.next_tag
    redis = (await release.kubectl.pods("redis"))[0]["metadata"]["uid"]

    async def upgrade() -> None:
        await release.install({"image": {"tag": tag}})

    await under_load("helm upgrade to a new image", upgrade)
    assert all(image.endswith(f":{tag}") for image in await _images(release, "gateway"))

    async def rollback() -> None:
        await release.helm("rollback", "parley", "--timeout", "5m")
        await release.ready()

    await under_load("helm rollback", rollback)
    assert all(image.endswith(f":{release.settings.image_tag}") for image in await _images(release, "store"))
    assert (await release.kubectl.pods("redis"))[0]["metadata"]["uid"] == redis


@pytest.fixture
def previous_chart(settings: Settings) -> Path:
    """The chart of the release before."""
    chart = Path(settings.previous_chart)
    if not chart.exists():
        pytest.skip("there is no release before this one")
    return chart


async def test_from_the_release_before(release: Release, under_load: UnderLoad, previous_chart: Path) -> None:
    """The chart and images of the release before are upgraded to this one's, and the other way round."""
    older = {"image": {"tag": release.settings.previous_tag}}
    await under_load("back to the release before", lambda: release.install(older, previous_chart))
    assert all(image.endswith(older["image"]["tag"]) for image in await _images(release, "gateway"))
    await under_load("upgrade from the release before", release.install)
    assert all(image.endswith(release.settings.image_tag) for image in await _images(release, "gateway"))


async def test_new_values(release: Release, under_load: UnderLoad) -> None:
    """`helm upgrade` to other settings; what was generated stays as it is."""
    secrets = await release.kubectl.get("secrets", "parley-auth", "parley-redis")
    before = [item["data"] for item in secrets["items"]]

    async def upgrade() -> None:
        await release.install(
            {
                "logLevel": "warning",
                "gateway": {"settings": {"MESSAGE_RATE": 40}},
                "redis": {"maxmemory": "160mb"},
            }
        )

    await under_load("helm upgrade to new values", upgrade)
    secrets = await release.kubectl.get("secrets", "parley-auth", "parley-redis")
    assert [item["data"] for item in secrets["items"]] == before
    await under_load("helm upgrade back to the old values", release.install)


@pytest.mark.parametrize(("component", "other"), [("store", "gateway"), ("gateway", "store")])
async def test_mixed_versions(release: Release, under_load: UnderLoad, component: str, other: str) -> None:
    """One service of the release before works with the other of this one."""
    settings = release.settings
    image = f"{settings.image_registry}/parley-{component}"

    async def mix() -> None:
        await release.kubectl(
            "set", "image", f"deployment/parley-{component}", f"{component}={image}:{settings.previous_tag}"
        )
        await release.ready()

    await under_load(f"{component} of the release before", mix)
    assert await _images(release, component) == {f"{image}:{settings.previous_tag}"}
    assert await _images(release, other) == {f"{settings.image_registry}/parley-{other}:{settings.image_tag}"}

    async def back() -> None:
        await release.kubectl(
            "set", "image", f"deployment/parley-{component}", f"{component}={image}:{settings.image_tag}"
        )
        await release.ready()

    await under_load(f"{component} of this release again", back)


async def test_scale(release: Release, under_load: UnderLoad) -> None:
    """From three gateways to one, to five, and back, each step drained before it is removed."""
    await release.install({"operator": {"spec": {"minReplicas": 1}}})

    async def scale(count: int) -> None:
        # The operator scales: it pins what the scale subresource says, and drains before it removes.
        await release.kubectl("scale", "parleygateway/parley", f"--replicas={count}")
        await release.gateways_exactly(count)

    try:
        await under_load("from three gateways to one", lambda: scale(1))
        await under_load("from one gateway to five", lambda: scale(5))
        await under_load("from five gateways to three", lambda: scale(3))
    finally:
        unpin = '[{"op": "remove", "path": "/spec/replicas"}]'
        await release.kubectl("patch", "parleygateway/parley", "--type=json", f"--patch={unpin}")
        await release.install()


async def test_service_token_rotated(release: Release, under_load: UnderLoad) -> None:
    """The token between the services changes without a gap, and an upgrade keeps the new one."""

    async def secret() -> str:
        data: dict[str, str] = (await release.kubectl.get("secret", "parley-auth"))["data"]
        return data["service-tokens"]

    before = await secret()

    async def rotate() -> None:
        await _script("rotate-service-token", release.settings.namespace)
        await release.ready()

    await under_load("k8s/rotate-service-token", rotate)
    rotated = await secret()
    assert rotated != before
    await release.install()
    assert await secret() == rotated


async def _script(name: str, *arguments: str) -> None:
    await run(str(ROOT / "k8s" / name), *arguments, timeout_seconds=900)
