"""Findings as text, JSON and a table."""

from __future__ import annotations

from twinlens.contract.forms import Finding
from twinlens.traces.frames import DataFrame, frame_of


class Findings(list[Finding]):
    """Findings as a list of plain JSON values; as text, a sentence each."""

    def __str__(self) -> str:
        return "\n".join(map(_sentence, self))

    __repr__ = __str__

    def to_json(self) -> list[Finding]:
        """Plain JSON values: kind, title, text, how it was checked, what shows it."""
        return [Finding(**finding) for finding in self]

    def to_frame(self) -> DataFrame:
        """One row per finding: what kind it is, its sentence, and how it was checked."""
        return frame_of(
            [
                {
                    "kind": finding["kind"],
                    "finding": _sentence(Finding(**{**finding, "checked": ""})),
                    "checked": finding["checked"],
                    "panel": finding["panel"],
                }
                for finding in self
            ]
        )


def _sentence(finding: Finding) -> str:
    text = "".join(piece for _, piece in finding["text"])
    checked = f" [{finding['checked']}]" if finding["checked"] else ""
    return f"{finding['title']} {text}{checked}"
