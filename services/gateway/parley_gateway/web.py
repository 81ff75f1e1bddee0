"""The page: static files of the built web client, with caching and a strict Content-Security-Policy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "media-src 'self' data:; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; "
    # Safari before 15.4 does not count ws: as 'self'.
    "connect-src 'self' ws: wss:"
)

HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_YEAR: Final = "public, max-age=31536000, immutable"


def add_page(app: web.Application, root: Path, *, pages: dict[str, str]) -> None:
    """Serve a built page.

    Args:
        app: Gets the routes.
        root: The build's folder: the pages, and ``assets/`` whose names carry a hash of their content.
        pages: Path -> file in ``root``, such as ``{"/": "index.html"}``.

    Raises:
        FileNotFoundError: A page is missing.
    """

    def serve(file: Path, cache: str) -> web.FileResponse:
        return web.FileResponse(file, headers={**HEADERS, "Cache-Control": cache})

    for path, name in pages.items():
        file = root / name
        if not file.is_file():
            raise FileNotFoundError(f"{name} is not in {root}: build the page first")

        async def page(_request: web.Request, file: Path = file) -> web.FileResponse:
            # The page names its assets by hash, so it alone must be asked for again (ETag makes that cheap).
            return serve(file, "no-cache")

        app.router.add_get(path, page)

    # Only what was built can be asked for: no path from a request ever reaches the file system.
    files = {
        file.relative_to(root).as_posix(): file
        for file in root.rglob("*")
        # Other pages belong to another port, or to none.
        if file.is_file() and file.suffix != ".html"
    }

    async def asset(request: web.Request) -> web.FileResponse:
        name = request.match_info["name"]
        file = files.get(name)
        if file is None:
            raise web.HTTPNotFound
        return serve(file, _YEAR if name.startswith("assets/") else "public, max-age=3600")

    app.router.add_get("/{name:.+}", asset)
