"""What the suite is told by the environment; `make e2e` sets what it must."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


def _variable(name: str, default: str) -> str:
    return field(default_factory=lambda: os.environ.get(name) or default)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the cluster's ingress is, and what to install.

    Attributes:
        namespace: Made and removed by the suite.
        ingress_url: Where the ingress controller answers, for a host name that nobody else serves.
        image_registry: Where the images are, from the nodes' point of view.
        image_tag: The release under test.
        next_tag: Another build of it, to upgrade to.
        previous_tag: The release before it, for mixed versions; this one again while there is none.
        previous_chart: The chart of the release before; a folder that is not there while there is none.
        values: A file of further values (which Redis image, how much memory), or empty.
        helm: The Helm program.
        prometheus_image: For the test of what Prometheus sees.
    """

    namespace: str = _variable("E2E_NAMESPACE", "parley-e2e")
    ingress_url: str = _variable("INGRESS_URL", "http://localhost:8080")
    image_registry: str = _variable("IMAGE_REGISTRY", "localhost")
    image_tag: str = _variable("IMAGE_TAG", "e2e")
    next_tag: str = _variable("NEXT_TAG", "e2e-next")
    previous_tag: str = _variable("PREVIOUS_TAG", "e2e-previous")
    previous_chart: str = _variable("PREVIOUS_CHART", str(ROOT / ".run" / "e2e-previous" / "helm" / "parley"))
    values: str = _variable("E2E_VALUES", "")
    helm: str = _variable("HELM", "helm")
    prometheus_image: str = _variable("PROMETHEUS_IMAGE", "docker.io/prom/prometheus:v3.5.0")
