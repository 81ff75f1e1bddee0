"""A view of the page, judged by axe-core and kept as a picture."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

from parley_local.paths import ROOT
from tests.browser.chromium import schemes, screenshot

_AXE = ROOT / "services" / "web" / "node_modules" / "axe-core" / "axe.min.js"


async def check(page: Page, name: str) -> None:
    """Take the view's picture, light and dark, and let axe-core judge both.

    Raises:
        AssertionError: It found a violation, or the view is wider than the window.
    """
    await page.evaluate(_AXE.read_text())
    async for scheme in schemes(page):
        await screenshot(page, f"{name}-{scheme}")
        found: dict[str, Any] = await page.evaluate("axe.run()")
        violations = [
            f"{rule['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]
        assert violations == [], f"{name}, {scheme}"
    root = "document.documentElement"
    assert not await page.evaluate(f"{root}.scrollWidth > {root}.clientWidth"), f"{name} is too wide"
