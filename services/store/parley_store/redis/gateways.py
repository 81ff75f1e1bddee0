"""The gateways' leases, and what is relayed to gateways without being kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from parley_shared import api
from parley_shared.errors import LAPSED, ParleyError
from parley_store.answers import gateway_info
from parley_store.redis import keys, scripts
from parley_store.redis.base import GATEWAY_LIFE_MS, Base, encode
from parley_store.redis.deliveries import Deliveries
from parley_store.redis.roster import Roster

_decode_info: Final = msgspec.json.Decoder(api.GatewayInfo).decode


class Gateways:
    """Keeps leases and lists who holds one."""

    def __init__(self, base: Base, roster: Roster) -> None:
        self._base = base
        self._roster = roster

    async def lease(self, request: api.LeaseRequest) -> api.LeaseResponse:
        """Take or renew a lease."""
        gateway, stream = request.gateway, api.gateway_stream(request.gateway)
        work: list[tuple[str, tuple[Any, ...]]] = []
        if request.first:
            # An entry without items makes the stream; from now on deliveries and registrations find it.
            empty = (api.STREAM_VERSION_FIELD, "1", api.STREAM_FIELD, "[]")
            work.append((gateway, ("XADD", stream, "0-*", *empty)))
        names = (stream, keys.sockets(gateway), keys.pids(gateway))
        work += [(gateway, ("PEXPIRE", name, GATEWAY_LIFE_MS)) for name in names]
        answers = await self._base.topology.run(work, "lease")
        # The stream may have been lost with Redis's last writes: then the lease is of no use.
        has_stream = bool(answers[-3])
        info = gateway_info(request, beat=0)
        held, now, beats, infos = await self._base.topology.call_once(
            scripts.LEASE,
            keys.GATEWAYS,
            (keys.LEASES, keys.INFO),
            (gateway, encode(info), "1" if request.first and has_stream else "0"),
        )
        head = await self._roster.head()
        config = self._base.config
        return api.LeaseResponse(
            held=bool(held) and has_stream,
            now=now,
            lease_ms=int(config.lease_seconds * 1000),
            incarnation=self._base.topology.incarnation,
            roster_epoch=head.epoch,
            roster_version=head.version,
            gateways=_infos(beats, infos),
            session_ttl_ms=self._base.session_ttl_ms,
        )

    async def list(self) -> api.GatewaysResponse:
        """List the gateways that hold a lease."""
        work = [
            (keys.GATEWAYS, ("ZRANGE", keys.LEASES, 0, -1, "WITHSCORES")),
            (keys.GATEWAYS, ("HGETALL", keys.INFO)),
        ]
        scored, infos = await self._base.topology.run(work, "gateways")
        beats = [part for gateway, beat in scored for part in (gateway, int(beat))]
        return api.GatewaysResponse(gateways=_infos(beats, [part for pair in infos.items() for part in pair]))

    async def probe(self, request: api.ProbeRequest) -> api.Done:
        """Put a nonce into a gateway's stream."""
        (has_stream,) = await self._base.publish({request.gateway: [api.Probe(request.nonce)]})
        if not has_stream:
            raise ParleyError(LAPSED)
        return api.Done()

    async def typing(self, request: api.TypingRequest) -> api.Done:
        """Relay who is typing to the gateways that hold the other, as far as that is possible now."""
        recipients = list({event.to for event in request.events})
        work = [(user, ("HGET", keys.user(user), "gateways")) for user in recipients]
        answers = await self._base.topology.run_partly(work, "presence")
        gateways = {
            user: found.decode().split()
            for user, found in zip(recipients, answers, strict=True)
            if isinstance(found, bytes)
        }
        deliveries = Deliveries()
        for event in request.events:
            for gateway in gateways.get(event.to, ()):
                deliveries.add(gateway, api.TypingDelivery(event.from_, event.to))
        await deliveries.publish(self._base)
        return api.Done()


def _infos(beats: Sequence[Any], infos: Sequence[bytes]) -> list[api.GatewayInfo]:
    """Put together what gateways said and when; both as flat lists of pairs."""
    said = dict(zip(infos[::2], infos[1::2], strict=True))
    found = []
    for gateway, beat in zip(beats[::2], beats[1::2], strict=True):
        if gateway in said:
            info = _decode_info(said[gateway])
            info.beat = int(beat)
            found.append(info)
    return found
