"""Tells other servers what became of a build, at addresses that the configuration allows."""

from __future__ import annotations

import logging

import aiohttp

from avatarbuild.tasks import AvatarTask
from server.avatars import state

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0


class Notifier:
    """POSTs a task's state to its `notify_url`; a failure is logged and not repeated. Made on the event loop."""

    def __init__(self) -> None:
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))

    async def __call__(self, task: AvatarTask) -> None:
        """Send what `GET /api/avatar/task/{task_id}` would answer now."""
        body = state(task).model_dump(mode="json")
        try:
            async with self._client.post(task.notify_url, json=body, allow_redirects=False) as answer:
                if answer.status >= 400:
                    log.warning("avatar %s: %s answered %d", task.avatar_id, task.notify_url, answer.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("avatar %s: %s was not told: %s", task.avatar_id, task.notify_url, error or "no answer")

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.close()
