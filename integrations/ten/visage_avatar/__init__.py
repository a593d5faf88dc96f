"""Visage as an avatar of the TEN framework."""

from . import addon as addon
