"""Registers the extension under the name of the manifest."""

from __future__ import annotations

from typing import Any

from ten_runtime import Addon, TenEnv, register_addon_as_extension  # type: ignore[import-not-found]

from .extension import VisageAvatarExtension


@register_addon_as_extension("visage_avatar")
class VisageAvatarAddon(Addon):  # type: ignore[misc]
    """Makes instances."""

    def on_create_instance(self, ten_env: TenEnv, name: str, context: Any) -> None:
        """One for a node of a graph."""
        ten_env.on_create_instance_done(VisageAvatarExtension(name), context)
