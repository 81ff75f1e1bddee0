"""What a ParleyGateway object says: its ``spec``, its ``status``, validated where they enter the process.

The defaults and limits are those of the CRD (``helm/parley/crds/parleygateways.yaml``; a test compares
them): the API server has filled and checked an object before the operator sees it, but an object stored
under an older CRD may lack newer fields, so both sides know the defaults.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

GROUP: Final = "parley.dev"
VERSION: Final = "v1"
PLURAL: Final = "parleygateways"
KIND: Final = "ParleyGateway"

Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
DAYS: Final[tuple[Day, ...]] = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

Replicas = Annotated[int, Meta(ge=1, le=1000)]
ClockTime = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class ScaleUp(Struct, kw_only=True, rename="camel", frozen=True):
    """How the number of replicas grows.

    ``step_replicas`` are added at most in one decision; the window (seconds) is how long the need must have
    lasted, 0 to grow at once.
    """

    step_replicas: Annotated[int, Meta(ge=1, le=1000)] = 10
    stabilization_window_seconds: Annotated[int, Meta(ge=0, le=3600)] = 0


class ScaleDown(Struct, kw_only=True, rename="camel", frozen=True):
    """How the number of replicas shrinks.

    ``step_percent`` of the replicas leave at most in one drain (but always one may). The window (seconds)
    is how long less must have been enough. ``tolerance_percent`` of the target stays free on the pods that
    remain, so that a load at the border does not come and go.
    """

    step_percent: Annotated[int, Meta(ge=1, le=25)] = 25
    stabilization_window_seconds: Annotated[int, Meta(ge=0, le=3600)] = 300
    tolerance_percent: Annotated[int, Meta(ge=0, le=50)] = 10


class Rebalance(Struct, kw_only=True, rename="camel", frozen=True):
    """How connections are evened out between pods.

    A pod sheds what it holds above the mean once that is more than ``threshold_percent`` of the mean and
    more than ``min_connections``. All pods together shed at most ``connections_per_second``.
    """

    enabled: bool = True
    threshold_percent: Annotated[int, Meta(ge=5, le=500)] = 20
    min_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    connections_per_second: Annotated[int, Meta(ge=1, le=100_000)] = 50


class ScheduledMinimum(Struct, kw_only=True, rename="camel", frozen=True):
    """A minimum of replicas for part of the day, by the wall clock of a time zone.

    From ``start`` (inclusive) to ``end`` (exclusive); an end that is not after the start is on the next
    day. ``days`` are the days on which it starts.
    """

    min_replicas: Replicas
    start: ClockTime
    end: ClockTime
    days: tuple[Day, ...] = DAYS
    time_zone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"


class Spec(Struct, kw_only=True, rename="camel", frozen=True):
    """What is wanted of a Deployment of gateways.

    ``replicas`` pins the number (the object's scale subresource writes it); without it the operator
    chooses. ``target_connections`` is per pod; ``headroom_replicas`` may be lost without exceeding it.
    ``drain_timeout_seconds`` is how long a pod may take to become empty before it is removed anyway.
    """

    deployment: Annotated[str, Meta(min_length=1, max_length=253)]
    paused: bool = False
    replicas: Replicas | None = None
    min_replicas: Replicas = 2
    max_replicas: Replicas = 10
    target_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 5000
    headroom_replicas: Annotated[int, Meta(ge=0, le=100)] = 1
    scale_up: ScaleUp = ScaleUp()
    scale_down: ScaleDown = ScaleDown()
    drain_timeout_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 300
    rebalance: Rebalance = Rebalance()
    schedule: tuple[ScheduledMinimum, ...] = ()


class DrainingPod(Struct, kw_only=True, rename="camel", frozen=True):
    """A pod that is being emptied; ``uid`` tells it from a later pod of the same name."""

    name: str
    uid: str


class DrainStatus(Struct, kw_only=True, rename="camel", frozen=True):
    """The drain under way, written before its first step, so that it survives the operator.

    ``from_replicas`` and ``to_replicas`` are absolute: a step that is repeated changes nothing. Times are
    RFC 3339 in UTC.
    """

    pods: tuple[DrainingPod, ...]
    from_replicas: int
    to_replicas: int
    start_time: str
    deadline: str


class ShedStatus(Struct, kw_only=True, rename="camel", frozen=True):
    """The last rebalancing step: when (RFC 3339, UTC) and how many connections had to move."""

    time: str
    connections: int


class Condition(Struct, kw_only=True, rename="camel", frozen=True):
    """A condition in the form that all Kubernetes tools read."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: str
    observed_generation: int = 0


class Status(Struct, kw_only=True, rename="camel", frozen=True):
    """What the operator says of an object, and what it must remember of its own doing."""

    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    desired_replicas: int = 0
    connections: int = 0
    selector: str = ""
    last_scale_time: str | None = None
    last_scale_reason: str | None = None
    drain: DrainStatus | None = None
    last_rebalance: ShedStatus | None = None
    conditions: tuple[Condition, ...] = ()


class Metadata(Struct, kw_only=True, rename="camel", frozen=True):
    """The part of an object's metadata that the operator reads."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    managed_fields: tuple[ManagedFields, ...] = ()


class ManagedFields(Struct, kw_only=True, rename="camel", frozen=True):
    """Which fields of an object a manager has set, and how (``Apply`` or ``Update``)."""

    manager: str = ""
    operation: str = ""
    fields_v1: dict[str, object] = msgspec.field(name="fieldsV1", default_factory=dict)


class ParleyGateway(Struct, kw_only=True, rename="camel", frozen=True):
    """The object itself."""

    metadata: Metadata
    spec: Spec
    status: Status = Status()
