"""Files for browsers: the built page, its plain sister, the documentation, and help where they are missing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from server.endpoint import Endpoint
from server.openapi import document

HERE = Path(__file__).parent
PAGE_PATH = "/{name:.*}"
LIBRARY_NAME = re.compile(r"voices(/[^/.]*)?")
"""The library's pages are one file, which tells by its address what to show."""
BASE = '<base href="./" />'
HELP = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>Visage</title><body style="font:16px/1.6 system-ui;max-width:40rem;margin:15vh auto;padding:0 1rem">
<h1>Visage</h1><p>The server runs, but its page is not built. Run <code>make web</code> and reload.</p>
<p lang="zh">服务已启动，但网页尚未构建。请运行 <code>make web</code> 后刷新。</p>
<p><a href="/docs">HTTP interface 接口文档</a></p></body></html>"""


def add(app: web.Application, endpoints: Sequence[Endpoint[Any]], web_root: Path) -> None:
    """Serve the documentation and what is under `web_root`."""
    openapi = json.dumps(document(endpoints), ensure_ascii=False).encode()
    docs = (HERE / "docs.html").read_text("utf-8")

    async def openapi_json(request: web.Request) -> web.StreamResponse:
        return web.Response(body=openapi, content_type="application/json")

    async def docs_page(request: web.Request) -> web.StreamResponse:
        return web.Response(text=docs, content_type="text/html")

    async def page(request: web.Request) -> web.StreamResponse:
        """Everything that no other route takes."""
        allowed = await _methods(app, request)
        if allowed:
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPNotFound()
        name = request.match_info["name"] or "index.html"
        if LIBRARY_NAME.fullmatch(name):
            return _library(web_root, name)
        return _file(web_root, name)

    app.router.add_get("/openapi.json", openapi_json)
    app.router.add_get("/docs", docs_page)
    app.router.add_route("*", PAGE_PATH, page)


async def _methods(app: web.Application, request: web.Request) -> set[str]:
    """The methods that other routes take at this path."""
    allowed: set[str] = set()
    for resource in app.router.resources():
        if resource.canonical != "/{name}":
            allowed |= (await resource.resolve(request))[1]
    return allowed


def _library(web_root: Path, name: str) -> web.StreamResponse:
    """The library's page, told where the server's root is from its address: also behind a prefix."""
    try:
        page = (web_root / "voices.html").read_text("utf-8")
    except OSError:
        return web.Response(text=HELP, content_type="text/html")
    page = page.replace(BASE, f'<base href="{"../" * name.count("/") or "./"}" />')
    return web.Response(text=page, content_type="text/html", headers={"Cache-Control": "no-cache"})


def _file(web_root: Path, name: str) -> web.StreamResponse:
    """The file of that name inside `web_root`; pages fall back to help when nothing is built."""
    try:
        path = (web_root / name).resolve()
        inside = path.is_relative_to(web_root.resolve()) and path.is_file()
    except (OSError, ValueError):
        inside = False
    if inside:
        # Vite names what is under assets/ by its content, so it never changes.
        cache = "public, max-age=31536000, immutable" if name.startswith("assets/") else "no-cache"
        return web.FileResponse(path, headers={"Cache-Control": cache})
    if name.endswith("index.html") and not (web_root / "index.html").is_file():
        return web.Response(text=HELP, content_type="text/html")
    raise web.HTTPNotFound()
