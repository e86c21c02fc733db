"""What comes with the embedded pair beside its models."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import cast


def demo_prompts() -> list[dict[str, str]]:
    """Prompts prepared for the embedded pair: ``title``, ``prompt`` and its marked parts."""
    text = (files("twinlens") / "demo" / "prompts.json").read_text(encoding="utf-8")
    return cast("list[dict[str, str]]", json.loads(text))
