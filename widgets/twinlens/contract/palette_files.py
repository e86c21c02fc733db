"""The palette for the front end: as CSS variables, and as values for what is drawn by script."""

from __future__ import annotations

from dataclasses import fields

from twinlens.contract.palette import PALETTES, Palette

_NOTE = "Generated from widgets/twinlens/contract/palette.py by `make contract`: do not edit."


def palette_css() -> str:
    """Text of ``js/src/styles/palette.css``: variables of panels and of reports."""
    light, dark = (
        [f"--tl-{name.replace('_', '-')}: {colour};" for name, colour in _colours(palette)]
        for palette in (PALETTES["light"], PALETTES["dark"])
    )
    return "\n".join(
        (
            f"/* {_NOTE} */",
            *_rule([".twinlens", ".tl-report"], light),
            *_rule(['.twinlens[data-theme="dark"]', '.tl-report[data-theme="dark"]'], dark),
            "@media (prefers-color-scheme: dark) {",
            *(f"  {line}" for line in _rule(['.tl-report[data-theme="auto"]'], dark)),
            "}",
            "",
        )
    )


def palette_ts() -> str:
    """Text of ``js/src/contract/palette.ts``: what is drawn by script."""
    names = [camel(name) for name, _ in _colours(PALETTES["light"])]
    lines = [
        f"// {_NOTE}",
        "",
        'import type { THEMES } from "./contract.ts";',
        "",
        "export type ThemeName = (typeof THEMES)[number];",
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
            *(f'    {camel(name)}: "{colour}",' for name, colour in _colours(palette)),
            "  },",
        ]
    return "\n".join([*lines, "};", ""])


def _colours(palette: Palette) -> list[tuple[str, str]]:
    """Single colours by name; groups are told apart in charts alone."""
    pairs = [(field.name, getattr(palette, field.name)) for field in fields(palette)]
    return [(name, colour) for name, colour in pairs if isinstance(colour, str)]


def camel(name: str) -> str:
    """A name as TypeScript writes it."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _rule(selectors: list[str], declarations: list[str]) -> list[str]:
    *more, last = selectors
    head = [*(f"{selector}," for selector in more), f"{last} {{"]
    return [*head, *(f"  {line}" for line in declarations), "}"]
