"""Cookie affinity, time-outs and balancing reach each controller on the object that it reads."""

from __future__ import annotations

import pytest

from tests.chart.cases import CONTROLLERS, ingress
from tests.chart.helm import Manifest, environment, find, of_kind, pod_specs, render

TLS = {"hosts": ["chat.example.org"], "tls": {"enabled": True}}


def service_annotations(manifests: list[Manifest]) -> dict[str, str]:
    """Annotations of the Service behind the ingress."""
    annotations: dict[str, str] = find(manifests, "Service", "parley-gateway")["metadata"].get(
        "annotations", {}
    )
    return annotations


def ingress_annotations(manifests: list[Manifest]) -> dict[str, str]:
    """Annotations of the Ingress."""
    annotations: dict[str, str] = find(manifests, "Ingress", "parley")["metadata"].get("annotations", {})
    return annotations


def test_traefik() -> None:
    """Traefik reads the cookie from the Service, with its flags, which it does not set by itself."""
    manifests = render(ingress("traefik", **TLS))
    prefix = "traefik.ingress.kubernetes.io/service.sticky.cookie"
    assert service_annotations(manifests) == {
        prefix: "true",
        f"{prefix}.name": "parley",
        f"{prefix}.path": "/",
        f"{prefix}.httponly": "true",
        f"{prefix}.secure": "true",
        f"{prefix}.samesite": "lax",
    }
    assert ingress_annotations(manifests) == {}


def test_haproxy() -> None:
    """HAProxy Technologies' controller reads cookie and balancing from the Service, not the Ingress."""
    manifests = render(ingress("haproxy", balance="leastconn"))
    annotations = service_annotations(manifests)
    assert annotations["haproxy.org/cookie-persistence"] == "parley"
    assert annotations["haproxy.org/load-balance"] == "leastconn"
    assert ingress_annotations(manifests) == {}


def test_haproxy_ingress() -> None:
    """haproxy-ingress reads all of it from the Ingress, also the tunnel's time-out."""
    annotations = ingress_annotations(render(ingress("haproxy-ingress", balance="random", **TLS)))
    prefix = "haproxy-ingress.github.io/"
    assert annotations[f"{prefix}affinity"] == "cookie"
    assert annotations[f"{prefix}session-cookie-name"] == "parley"
    assert annotations[f"{prefix}session-cookie-keywords"].endswith("httponly secure")
    assert annotations[f"{prefix}timeout-tunnel"] == "1h"
    assert annotations[f"{prefix}balance-algorithm"] == "random"


def test_ingress_nginx() -> None:
    """ingress-nginx pins clients persistently, and lets a silent WebSocket live for an hour."""
    annotations = ingress_annotations(render(ingress("ingress-nginx", **TLS)))
    prefix = "nginx.ingress.kubernetes.io/"
    assert annotations[f"{prefix}affinity"] == "cookie"
    assert annotations[f"{prefix}affinity-mode"] == "persistent"
    assert annotations[f"{prefix}session-cookie-path"] == "/"
    assert annotations[f"{prefix}session-cookie-secure"] == "true"
    assert int(annotations[f"{prefix}proxy-read-timeout"]) >= 3600
    assert int(annotations[f"{prefix}proxy-send-timeout"]) >= 3600


def test_nginx_inc() -> None:
    """NGINX's own controller is told which Service is sticky and which carries WebSockets."""
    annotations = ingress_annotations(render(ingress("nginx-inc", balance="leastconn", **TLS)))
    sticky = annotations["nginx.org/sticky-cookie-services"]
    assert sticky == "serviceName=parley-gateway parley path=/ httponly samesite=lax secure"
    assert annotations["nginx.org/websocket-services"] == "parley-gateway"
    assert annotations["nginx.org/lb-method"] == "least_conn"


@pytest.mark.parametrize(
    ("controller", "said"),
    [
        ("traefik", ("service.sticky.cookie.samesite", "strict")),
        ("ingress-nginx", ("session-cookie-samesite", "Strict")),
        ("nginx-inc", ("sticky-cookie-services", "samesite=strict")),
    ],
)
def test_same_site(controller: str, said: tuple[str, str]) -> None:
    """The cookie's SameSite reaches each controller that can set it."""
    manifests = render(ingress(controller, cookie={"sameSite": "strict"}))
    annotations = service_annotations(manifests) | ingress_annotations(manifests)
    found = [value for key, value in annotations.items() if key.endswith(said[0])]
    assert len(found) == 1
    assert said[1] in found[0]


def test_alb() -> None:
    """A target group of pods, sticky, with an idle time-out that outlasts a ping."""
    annotations = ingress_annotations(render(ingress("alb", balance="leastconn")))
    prefix = "alb.ingress.kubernetes.io/"
    assert annotations[f"{prefix}target-type"] == "ip"
    group = dict(item.split("=") for item in annotations[f"{prefix}target-group-attributes"].split(","))
    assert group["stickiness.enabled"] == "true"
    assert group["load_balancing.algorithm.type"] == "least_outstanding_requests"
    assert "idle_timeout.timeout_seconds=3600" in annotations[f"{prefix}load-balancer-attributes"]


def test_gateway_api() -> None:
    """An HTTPRoute without a request time-out, attached to the named Gateway, and no Ingress."""
    manifests = render(ingress("gateway-api", hosts=["chat.example.org"]))
    assert of_kind(manifests, "Ingress") == []
    spec = find(manifests, "HTTPRoute", "parley")["spec"]
    assert spec["parentRefs"] == [{"name": "public", "namespace": "ingress", "sectionName": "https"}]
    rule = spec["rules"][0]
    assert rule["timeouts"] == {"request": "0s"}
    assert rule["sessionPersistence"]["sessionName"] == "parley"
    assert rule["backendRefs"] == [{"name": "parley-gateway", "port": 80}]


def test_none() -> None:
    """Without an ingress nothing is published, and forwarded headers are not believed."""
    manifests = render(ingress("none"))
    assert of_kind(manifests, "Ingress") + of_kind(manifests, "HTTPRoute") == []
    assert environment(pod_specs(manifests)["parley-gateway"]["containers"][0])["TRUST_FORWARDED"] == "false"
    assert {service["spec"].get("type", "ClusterIP") for service in of_kind(manifests, "Service")} == {
        "ClusterIP"
    }


@pytest.mark.parametrize("controller", [name for name in CONTROLLERS if name not in {"gateway-api", "none"}])
def test_rules(controller: str) -> None:
    """One rule per host, all paths to the gateways' Service; TLS with the Secret's name."""
    manifests = render(ingress(controller, **TLS))
    spec = find(manifests, "Ingress", "parley")["spec"]
    assert spec["tls"] == [{"secretName": "parley-tls", "hosts": ["chat.example.org"]}]
    assert [rule["host"] for rule in spec["rules"]] == ["chat.example.org"]
    path = spec["rules"][0]["http"]["paths"][0]
    assert (path["path"], path["pathType"]) == ("/", "Prefix")
    service = find(manifests, "Service", path["backend"]["service"]["name"])
    assert path["backend"]["service"]["port"]["name"] in [port["name"] for port in service["spec"]["ports"]]
    assert environment(pod_specs(manifests)["parley-gateway"]["containers"][0])["TRUST_FORWARDED"] == "true"
