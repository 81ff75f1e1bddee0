"""The Lease that one of several operators holds, as an option.

It is the way of Kubernetes' own controllers. (kopf's peering stops kopf's handlers only; the loops here
would go on.) The guarded writes keep two operators from harm even without it; the Lease keeps a second
one quiet.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from parley_operator.kube import ConflictError, KubeClient, KubeError, NotFoundError
from parley_operator.objects import Deployment
from parley_operator.spec import Metadata

logger = logging.getLogger(__name__)

_RENEWALS: Final = 3
"""Renewals within the Lease's duration."""


class LeaseSpec(Struct, kw_only=True, rename="camel", frozen=True):
    """Who holds a Lease, and when that was last confirmed."""

    holder_identity: str | None = None
    renew_time: str | None = None
    lease_transitions: int = 0


class Lease(Struct, kw_only=True, rename="camel", frozen=True):
    """A Lease of coordination.k8s.io."""

    metadata: Metadata
    spec: LeaseSpec = LeaseSpec()


class Leader:
    """Takes and renews a Lease.

    Whether another holder is still alive is judged by this process's own clock: a Lease that has not
    changed for its duration is free. So clocks that differ between nodes do no harm.

    Args:
        client: The Kubernetes API.
        namespace: Where the Lease is.
        name: Its name; it is made when it does not exist.
        identity: Who this process is.
        duration_seconds: How long the Lease lasts without being renewed.
        changed: Told whenever this process begins or stops to lead.
        owner: Name of a Deployment beside the Lease, with which the Lease goes; empty: it stays.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        name: str,
        *,
        identity: str,
        duration_seconds: float,
        changed: Callable[[bool], None],
        owner: str = "",
    ) -> None:
        self._client = client
        self._owner = owner
        self._deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self._folder = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self._identity = identity
        self._duration = duration_seconds
        self._changed = changed
        self._held_until = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        self._told: bool | None = None

    def leads(self) -> bool:
        """Whether the Lease is held, with a third of its time to spare."""
        return time.monotonic() < self._held_until

    async def run(self) -> None:
        """Take the Lease when it is free and renew it while it is held, for ever."""
        while True:
            try:
                await self.attempt()
            except KubeError as error:
                logger.warning("leader lease not renewed", extra={"problem": str(error)})
            self._tell()
            await asyncio.sleep(self._duration / _RENEWALS)

    async def attempt(self) -> None:
        """Take or renew the Lease once, if it is ours or free.

        Raises:
            KubeError: The API did not answer.
        """
        started = time.monotonic()
        try:
            lease = await self._client.get(f"{self._folder}/{self._name}", Lease)
        except NotFoundError:
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, **await self._owned()},
                "spec": self._spec(0, acquired=True),
            }
            write = self._client.create(self._folder, body)
        else:
            mine = lease.spec.holder_identity == self._identity
            if not mine and not self._free(lease):
                return
            spec = self._spec(lease.spec.lease_transitions + (not mine), acquired=not mine)
            version = {"resourceVersion": lease.metadata.resource_version}
            write = self._client.patch(f"{self._folder}/{self._name}", {"metadata": version, "spec": spec})
        try:
            await write
        except ConflictError:
            return  # somebody else was faster
        # A third of the time is kept in hand: what is under way when the Lease is lost has that long.
        self._held_until = started + self._duration * (_RENEWALS - 1) / _RENEWALS

    async def release(self) -> None:
        """Give the Lease back, so that another operator need not wait until it runs out."""
        if not self.leads():
            return
        self._held_until = 0.0
        try:
            await self._client.patch(f"{self._folder}/{self._name}", {"spec": {"holderIdentity": None}})
        except KubeError as error:
            logger.warning("leader lease not released", extra={"problem": str(error)})

    async def _owned(self) -> dict[str, Any]:
        """Name the owner of a Lease that is made; without an owner that exists none is made.

        Whoever ends last in an uninstallation would else make a Lease that nobody removes.
        """
        if not self._owner:
            return {}
        owner = (await self._client.get(f"{self._deployments}/{self._owner}", Deployment)).metadata
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": owner.name, "uid": owner.uid}
        return {"ownerReferences": [reference]}

    def _free(self, lease: Lease) -> bool:
        if not lease.spec.holder_identity:
            return True
        version, since = self._seen
        if lease.metadata.resource_version != version:
            self._seen = (lease.metadata.resource_version, time.monotonic())
            return False
        return time.monotonic() - since > self._duration

    def _spec(self, transitions: int, *, acquired: bool) -> dict[str, Any]:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        times = {"renewTime": now, "acquireTime": now} if acquired else {"renewTime": now}
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "leaseTransitions": transitions,
            **times,
        }

    def _tell(self) -> None:
        if (leads := self.leads()) != self._told:
            self._told = leads
            logger.info("leading" if leads else "not leading")
            self._changed(leads)
