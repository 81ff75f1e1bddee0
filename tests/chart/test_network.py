"""Who may talk to whom: everything that is needed, and nothing else."""

from __future__ import annotations

import pytest

from tests.chart.helm import Manifest, RefusedError, find, of_kind, pod_specs, render

# From -> to -> port, of the chart's own pods.
NEEDED = {
    ("gateway", "gateway", 3000),
    ("gateway", "store", 8081),
    ("gateway", "redis", 6379),
    ("store", "redis", 6379),
    ("operator", "gateway", 9100),
    ("operator", "store", 8081),
    ("test", "gateway", 3000),
}
OPEN = {"gateway": 3000}
"""What everybody may reach: clients come through the ingress."""


def _component(peer: Manifest) -> str | None:
    labels: dict[str, str] = peer.get("podSelector", {}).get("matchLabels", {})
    return labels.get("app.kubernetes.io/component")


@pytest.fixture(scope="module")
def policies() -> dict[str, Manifest]:
    """The policies' specs, by component."""
    return {
        item["metadata"]["labels"]["app.kubernetes.io/component"]: item["spec"]
        for item in of_kind(render(), "NetworkPolicy")
    }


@pytest.fixture(scope="module")
def ports() -> dict[tuple[str, str], int]:
    """The numbers of the named ports, by component."""
    return {
        (name.removeprefix("parley-"), port["name"]): port["containerPort"]
        for name, spec in pod_specs(render()).items()
        for port in spec["containers"][0].get("ports", [])
    }


def test_every_pod_is_closed_both_ways(policies: dict[str, Manifest]) -> None:
    """Each kind of pod has a policy for both directions."""
    assert policies.keys() == {"gateway", "store", "redis", "operator", "test"}
    assert all(spec["policyTypes"] == ["Ingress", "Egress"] for spec in policies.values())


def test_egress(policies: dict[str, Manifest]) -> None:
    """What leaves towards the chart's own pods is exactly what is needed."""
    found = {
        (component, _component(peer), port["port"])
        for component, spec in policies.items()
        for rule in spec.get("egress", [])
        for peer in rule.get("to", [])
        for port in rule["ports"]
    }
    assert found == NEEDED


def test_ingress(policies: dict[str, Manifest], ports: dict[tuple[str, str], int]) -> None:
    """What each pod lets in from the chart's own pods is exactly what the others send, by the right port."""
    found = {
        (_component(peer), component, ports[component, port["port"]])
        for component, spec in policies.items()
        for rule in spec.get("ingress", [])
        for peer in rule.get("from", [])
        for port in rule["ports"]
        if _component(peer) is not None
    }
    everybody = {
        (component, ports[component, port["port"]])
        for component, spec in policies.items()
        for rule in spec.get("ingress", [])
        if "from" not in rule
        for port in rule["ports"]
    }
    assert everybody == set(OPEN.items())
    assert found == {(source, target, port) for source, target, port in NEEDED if OPEN.get(target) != port}


def test_names_and_api_server(policies: dict[str, Manifest]) -> None:
    """All but Redis may ask the name server; only the operator may reach the API server."""
    anywhere = {
        component: {
            port["port"] for rule in spec.get("egress", []) if "to" not in rule for port in rule["ports"]
        }
        for component, spec in policies.items()
    }
    assert anywhere == {
        "gateway": {53},
        "store": {53},
        "redis": set(),
        "operator": {53, 443, 6443},
        "test": {53},
    }


def test_the_api_server_may_have_another_port() -> None:
    """`apiServerPorts` takes the place of the usual two, for the operator alone."""
    spec = find(render({"networkPolicy": {"apiServerPorts": [16443]}}), "NetworkPolicy", "parley-operator")[
        "spec"
    ]
    anywhere = [port["port"] for rule in spec["egress"] if "to" not in rule for port in rule["ports"]]
    assert anywhere == [53, 53, 16443]


@pytest.mark.parametrize("ports", [None, [], [0], [65536], ["https"]])
def test_ports_that_are_none_are_refused(ports: list[object] | None) -> None:
    """What is no port, and no port at all, which in a policy means all of them."""
    with pytest.raises(RefusedError, match=r"/networkPolicy.*apiServerPorts"):
        render({"networkPolicy": {"apiServerPorts": ports}})


def test_clients_can_be_narrowed() -> None:
    """With `clientsFrom` only those reach the public port, and still the other gateways."""
    clients = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}}}]
    spec = find(render({"networkPolicy": {"clientsFrom": clients}}), "NetworkPolicy", "parley-gateway")[
        "spec"
    ]
    public = next(rule for rule in spec["ingress"] if rule["ports"] == [{"port": "http"}])
    assert clients[0] in public["from"]
    assert {_component(peer) for peer in public["from"]} == {None, "gateway", "test"}


def test_monitoring(policies: dict[str, Manifest]) -> None:
    """Metrics are open to the namespace `monitoring` at first, and Redis's port never is."""
    allowed = {
        component
        for component, spec in policies.items()
        for rule in spec.get("ingress", [])
        for peer in rule.get("from", [])
        if "namespaceSelector" in peer
    }
    assert allowed == {"gateway", "store", "operator"}


def test_switched_off() -> None:
    """No policies where they are not wanted."""
    assert of_kind(render({"networkPolicy": {"enabled": False}}), "NetworkPolicy") == []


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://issuer.example.org/jwks.json", 443),
        ("http://issuer.example.org/jwks.json", 80),
        ("https://issuer.example.org:8443/jwks.json", 8443),
    ],
)
def test_keys_of_the_issuer(url: str, port: int) -> None:
    """A gateway that checks tokens by an issuer's keys may fetch them."""
    manifests = render({"gateway": {"settings": {"AUTH_MODE": "jwt", "JWT_JWKS_URL": url}}})
    spec = find(manifests, "NetworkPolicy", "parley-gateway")["spec"]
    assert {"ports": [{"port": port}]} in spec["egress"]
