"""The values under which the whole chart is rendered and checked: every branch of every template."""

from __future__ import annotations

from typing import Any, Final

from tests.chart.helm import ROOT, Values

CONTROLLERS: Final = (
    "traefik",
    "haproxy",
    "haproxy-ingress",
    "ingress-nginx",
    "nginx-inc",
    "alb",
    "gateway-api",
    "none",
)

_EXTRAS: Final[dict[str, Any]] = {
    "priorityClassName": "high",
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "chat", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"team": "chat"},
    "podLabels": {"team": "chat"},
}

EVERYTHING: Final[Values] = {
    "fullnameOverride": "chat",
    "commonLabels": {"owner": "chat"},
    "logLevel": "debug",
    "image": {"registry": "registry.example.org/chat", "tag": "1.2.3", "pullSecrets": [{"name": "pull"}]},
    "auth": {"serviceTokens": "a" * 20 + "," + "b" * 20},
    "gateway": {
        "corsOrigins": ["https://a.example.org", "https://b.example.org"],
        "trustForwarded": True,
        "settings": {
            "MESSAGE_RATE": 1000000,
            "CONNECT_RATE": 0.5,
            "PING_INTERVAL": "10s",
            "AUTH_MODE": "jwt",
            "JWT_JWKS_URL": "https://issuer.example.org:8443/jwks.json",
        },
        "settingsFromSecrets": {"JWT_KEY": {"name": "login", "key": "public"}},
        **_EXTRAS,
    },
    "store": {
        "autoscaling": {"enabled": True},
        "settings": {"CONVERSATION_TTL": "30d"},
        "settingsFromSecrets": {"ADMIN_TOKENS": {"name": "administration", "key": "token"}},
        **_EXTRAS,
    },
    "redis": {
        "tls": {"enabled": True, "existingSecret": "redis-tls"},
        "auth": {"password": "correct-horse"},
        "appendfsync": "always",
        "config": "slowlog-log-slower-than 5000\nio-threads 2",
        "persistence": {"storageClassName": "fast"},
        **_EXTRAS,
    },
    "operator": {"replicas": 2, "spec": {"maxReplicas": 30}, **_EXTRAS},
    "ingress": {
        "hosts": ["chat.example.org", "www.example.org"],
        "className": "public",
        "tls": {"enabled": True, "clusterIssuer": "letsencrypt"},
        "annotations": {"note": "hello"},
        "cookie": {"name": "affinity", "sameSite": "none"},
    },
    "networkPolicy": {"clientsFrom": [{"namespaceSelector": {"matchLabels": {"ingress": "yes"}}}]},
    "monitoring": {
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
    },
}

NOTHING: Final[Values] = {
    "gateway": {"replicas": None, "webPage": False},
    "auth": {"existingSecret": "mine"},
    "redis": {"auth": {"existingSecret": "mine"}, "persistence": {"enabled": False}},
    "operator": {"enabled": False},
    "ingress": {"controller": "none"},
    "networkPolicy": {"enabled": False},
    "monitoring": {"scrapeAnnotations": False},
}

REDIS: Final[dict[str, Values]] = {
    "redis external": {
        "redis": {"mode": "external", "external": {"url": "redis://:secret@redis.example.org:6379/0"}}
    },
    "redis external tls": {
        "redis": {
            "mode": "external",
            "external": {"url": "rediss://redis.example.org:6380/0", "ports": [6380]},
            "tls": {"existingSecret": "authority"},
        }
    },
    "redis sentinel": {
        "redis": {
            "mode": "external",
            "external": {"url": "redis+sentinel://:secret@a:26379,b:26379/mymaster"},
        }
    },
    "redis cluster": {"redis": {"mode": "external", "external": {"url": "redis+cluster://a:6379,b:6379"}}},
    "redis secret": {"redis": {"mode": "external", "external": {"existingSecret": "mine"}}},
    "redis tls": {"redis": {"tls": {"enabled": True, "existingSecret": "redis-tls"}}},
    "redis original": {"redis": {"image": {"repository": "redis", "tag": "7.4.2", "program": "redis"}}},
}


def ingress(controller: str, **more: Any) -> Values:
    """Values for one ingress controller."""
    values: Values = {"controller": controller, **more}
    if controller == "gateway-api":
        values["gateway"] = {
            "name": "public",
            "namespace": "ingress",
            "sectionName": "https",
            "sessionPersistence": True,
        }
    return {"ingress": values}


def _cases() -> dict[str, Values]:
    cases: dict[str, Values] = {"defaults": {}, "everything": EVERYTHING, "nothing": NOTHING, **REDIS}
    for controller in CONTROLLERS:
        cases[f"ingress {controller}"] = ingress(controller)
        cases[f"ingress {controller} with TLS"] = ingress(
            controller, hosts=["chat.example.org"], tls={"enabled": True, "secretName": "certificate"}
        )
    cases["no operator"] = {"operator": {"enabled": False}, "gateway": {"replicas": 5}}
    cases["ipv6"] = {"ipv6": True}
    return cases


CASES: Final = _cases()

SAMPLES: Final = sorted((ROOT / "k8s" / "values").glob("*.yaml"))
"""The sample values that people start from."""
