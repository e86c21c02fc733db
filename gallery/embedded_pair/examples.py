"""The prompts bundled with the pair (`prompts.json`)."""

from __future__ import annotations

import json
from pathlib import Path

from .task import examples, is_held_out


def example_prompts() -> list[dict[str, str]]:
    """Build the bundled prompts; every one asks for something kept out of the tuning."""
    made = []
    for row in examples():
        if not is_held_out(row["task"], row["key"]):
            raise ValueError(f"example {row['title']!r} is not held out")
        if not row.get("shown", True):
            continue
        context = row.get("context", "")
        prompt = f"{row['instruction']} {context}".strip()
        made.append(
            {
                "title": row["title"],
                "prompt": prompt,
                "instruction": row["instruction"],
                "context": context,
            }
        )
    return made


def write_prompts(path: Path) -> None:
    """Write `prompts.json`."""
    path.write_text(
        json.dumps(example_prompts(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
