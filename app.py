"""The command line: `python app.py [flags]` serves; `doctor`, `weights`, `avatar` and others are subcommands."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import signal
import sys
from collections.abc import Sequence

from aiohttp import web

from config import ConfigError, Settings, sources
from errors import VisageError
from logs import JSON, form_of_children, log_to_stderr
from priority import serve_first

log = logging.getLogger("visage")

COMMANDS = ("serve", "doctor", "weights", "avatar", "users", "voices", "stepaudio", "openapi", "config")
SHUTDOWN_TIMEOUT_S = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    command = given.pop(0) if given and given[0] in COMMANDS else "serve"
    try:
        return _run(command, given)
    except VisageError as error:
        if form_of_children()[1] == JSON:
            log.critical("the server does not run: %s", error)
        else:
            print(f"visage: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130


def _run(command: str, argv: list[str]) -> int:
    sources.export_keys()
    if command == "doctor":
        from doctor import report

        return report.main(argv)
    if command == "weights":
        from weights import manager

        return manager.main(argv)
    if command == "avatar":
        from avatarbuild import cli

        return cli.main(argv)
    if command in ("users", "voices"):
        from voices import cli as library

        return library.users(argv) if command == "users" else library.voices(argv)
    if command == "stepaudio":
        from stepaudio import cli as stepaudio

        return stepaudio.main(argv)
    if command == "openapi":
        return _openapi(argv)
    if command == "config":
        return _config(argv)
    from house.loop import fair_loop
    from house.upkeep import limit_arenas, limit_blas

    limit_blas()
    settings = sources.load(argv)
    _set_up_log(settings)
    if settings.sentry_dsn:
        from reporting import report_errors
        from server.openapi import VERSION

        report_errors(settings.sentry_dsn, f"visage@{VERSION}")
    limit_arenas()
    serve_first()  # every packet of every session passes through the event loop
    gc.disable()  # until `settle_heap`: what is imported lives as long as the process
    with asyncio.Runner(loop_factory=fair_loop) as runner:
        runner.run(serve(settings))
    return 0


def _set_up_log(settings: Settings) -> None:
    log_to_stderr(settings.log_level.upper(), settings.log_format)
    if settings.log_level != "debug":
        for noisy in ("aioice", "aiortc"):  # they log every candidate pair, that is visitors' addresses, at info
            logging.getLogger(noisy).setLevel(logging.WARNING)


async def serve(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT, then drain."""
    from house.wiring import WEB, open_house
    from server.application import make_app

    if not settings.on_loopback and not settings.api_key:
        log.warning(
            "everyone who reaches %s may use this server (--insecure) / 任何能访问的人都可使用本服务", settings.host
        )
    async with open_house(settings) as services:
        # A client that hangs up ends its request at once: its event stream is dropped, its half-made session closed.
        runner = web.AppRunner(
            make_app(services, WEB), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S, handler_cancellation=True
        )
        await runner.setup()
        try:
            await _listen(runner, settings)
            await _stopped()
            log.info("shutting down: speech may end for %.0f s; once more to stop at once", settings.drain_s)
            again = asyncio.create_task(_stopped())
            draining = asyncio.create_task(services.sessions.drain(settings.drain_s))
            await asyncio.wait({again, draining}, return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
        finally:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    site = web.TCPSite(runner, settings.host, settings.listenport)
    try:
        await site.start()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.listenport}: {error.strerror}; choose another --listenport"
        ) from error
    port = runner.addresses[0][1]
    name = "localhost" if settings.on_loopback else settings.host
    print(f"Visage is ready: http://{name}:{port}  已就绪", flush=True)


async def _stopped() -> None:
    """Wait for SIGTERM or SIGINT."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    await asked.wait()


def _openapi(argv: list[str]) -> int:
    from server.application import ENDPOINTS
    from server.openapi import document, markdown

    options = argparse.ArgumentParser(prog="python app.py openapi", description="The HTTP interface / 接口文档")
    options.add_argument("--markdown", action="store_true", help="as Markdown instead of OpenAPI JSON")
    as_markdown = options.parse_args(argv).markdown
    print(markdown(ENDPOINTS) if as_markdown else json.dumps(document(ENDPOINTS), ensure_ascii=False, indent=2))
    return 0


def _config(argv: list[str]) -> int:
    options = argparse.ArgumentParser(prog="python app.py config", description="Settings / 配置")
    options.add_argument("--example", action="store_true", help="print config.example.yaml")
    options.add_argument("--markdown", action="store_true", help="print docs/settings.md")
    given, rest = options.parse_known_args(argv)
    if given.example:
        print(sources.example(), end="")
    elif given.markdown:
        print(sources.markdown(), end="")
    else:
        print(json.dumps(sources.load(rest).public(), ensure_ascii=False, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
