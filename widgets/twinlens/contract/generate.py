"""Files of the front end that Python writes: `python -m twinlens.contract.generate`.

They are committed, so that the front end builds without Python; a test fails when one is stale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from twinlens.contract.palette import PALETTES, Palette

#: Sources of the front end, in a checkout.
SOURCES = Path(__file__).parents[3] / "js" / "src"
_NOTE = "Written by `python -m twinlens.contract.generate` from {module}: do not edit."


def palette_css() -> str:
    """Colours as CSS variables of panels and of reports."""
    light, dark = (
        [f"--tl-{name.replace('_', '-')}: {colour};" for name, colour in _colours(palette)]
        for palette in (PALETTES["light"], PALETTES["dark"])
    )
    return "\n".join(
        (
            f"/* {_NOTE.format(module='palette.py')} */",
            *_rule([".twinlens", ".tl-report"], light),
            *_rule(['.twinlens[data-theme="dark"]', '.tl-report[data-theme="dark"]'], dark),
            "@media (prefers-color-scheme: dark) {",
            *(f"  {line}" for line in _rule(['.tl-report[data-theme="auto"]'], dark)),
            "}",
            "",
        )
    )


def palette_ts() -> str:
    """Colours for what is drawn by script."""
    themes = " | ".join(f'"{theme}"' for theme in PALETTES)
    names = [_camel(name) for name, _ in _colours(PALETTES["light"])]
    lines = [
        f"// {_NOTE.format(module='palette.py')}",
        "",
        f"export type ThemeName = {themes};",
        "",
        "export interface Palette {",
        "  name: ThemeName;",
        *(f"  {name}: string;" for name in names),
        "}",
        "",
        "export const PALETTES: Record<ThemeName, Palette> = {",
    ]
    for theme, palette in PALETTES.items():
        lines += [
            f"  {theme}: {{",
            f'    name: "{theme}",',
            *(f'    {_camel(name)}: "{colour}",' for name, colour in _colours(palette)),
            "  },",
        ]
    return "\n".join([*lines, "};", ""])


def _colours(palette: Palette) -> list[tuple[str, str]]:
    """Single colours by name; groups are told apart in charts alone."""
    pairs = [(field.name, getattr(palette, field.name)) for field in fields(palette)]
    return [(name, colour) for name, colour in pairs if isinstance(colour, str)]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _rule(selectors: list[str], declarations: list[str]) -> list[str]:
    *more, last = selectors
    head = [*(f"{selector}," for selector in more), f"{last} {{"]
    return [*head, *(f"  {line}" for line in declarations), "}"]


#: What writes each file, by its path under `SOURCES`.
OUTPUTS: dict[str, Callable[[], str]] = {
    "styles/palette.css": palette_css,
    "contract/palette.ts": palette_ts,
}


def main() -> None:
    """Write every file."""
    for path, text in OUTPUTS.items():
        (SOURCES / path).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
