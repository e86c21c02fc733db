"""Files that come from the contract: ``python -m twinlens.contract.generate`` in a checkout."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from twinlens.contract import forms, manifest, update_forms, words
from twinlens.contract.block import Block
from twinlens.contract.blocks import BLOCKS, HEAD_MEASURES, SHIFTS
from twinlens.contract.lookup import documentation
from twinlens.contract.palette import PALETTES, Palette

_NOTE = "Generated from widgets/twinlens/contract/palette.py by `make contract`: do not edit."
_HEAD = """// Generated from widgets/twinlens/contract by `make contract`: do not edit.

import type { Tensor } from "./decode.ts";
"""
_WORDS = ("SIDES", "SEGMENTS", "PANELS", "UNITS", "ABLATIONS", "TASKS", "LEVELS", "THEMES")
#: Names of methods that stand for something.
_METHODS = ("EXACT", "PUBLISHED")
#: Types of one of the words, by the list they come from.
_ONE_OF = {"Side": "SIDES", "Segment": "SEGMENTS", "PanelKind": "PANELS", "Ablation": "ABLATIONS"}
_PLAIN: dict[Any, str] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    NoneType: "null",
    Any: "unknown",
}
_PARAMETERS = {
    "side": "Side",
    "unembedding": "Side",
    "ablation": "Ablation",
    "theme": "(typeof THEMES)[number]",
}
_ALIASES = [name for name, kind in forms.__annotations__.items() if kind == "TypeAlias"]
_TEXTS = ("method", "grouping", "unit", "part", "word", "chart")


def contract_ts() -> str:
    """Text of ``js/src/contract/contract.ts``."""
    parts = [_HEAD, f"export const SCHEMA_VERSION = {manifest.SCHEMA_VERSION};"]
    parts += [
        f"export const {name} = [{_quoted(getattr(words, name))}] as const;" for name in _WORDS
    ]
    parts += [f'export const {name} = "{getattr(words, name)}";' for name in _METHODS]
    parts.append("")
    parts += [
        f"export type {name} = (typeof {listed})[number];" for name, listed in _ONE_OF.items()
    ]
    parts.append("export type BySide<T> = Record<Side, T>;")
    marked = " | ".join(f'"{name}"' for name in words.MARKED)
    parts.append(f"export type Mark = [start: number, end: number, segment: {marked}];\n")
    structures = [*_structures(vars(manifest)), *_structures(vars(forms))]
    structures += _structures(vars(update_forms))
    parts += [_interface(structure) for structure in structures]
    parts += [f"export type {name} = {_type(form, name)};" for name, form in _aliases()]
    parts.append(_KEYS)
    parts += ["export const keys = {", *map(_builder, BLOCKS.values()), "};\n"]
    parts += [
        _builders("headMeasures", "Measures of the rows of attention", HEAD_MEASURES),
        _builders("shifts", "How far the parts of a layer moved", SHIFTS),
    ]
    growing = ",\n".join(f"  /^{_regex(b)}$/" for b in BLOCKS.values() if b.grows)
    parts.append(f"const GROWING = [\n{growing},\n];\n")
    parts.append(_GROWS)
    return "\n".join(parts)


_KEYS = """
/** A block's key, which knows the form of its value. */
export type Key<T> = string & { readonly form?: T };
"""
_GROWS = """/** Whether a block says how far a computation has come: it is no answer for good. */
export function grows(key: string): boolean {
  return GROWING.some((pattern) => pattern.test(key));
}
"""


def _structures(names: dict[str, Any]) -> Iterable[type]:
    for value in names.values():
        if isinstance(value, type) and (is_typeddict(value) or dataclasses.is_dataclass(value)):
            yield value


def _aliases() -> Iterable[tuple[str, Any]]:
    """Names given to plain forms; where two have one form, the first is used for it."""
    for name in _ALIASES:
        yield name, getattr(forms, name)


def _interface(structure: type) -> str:
    hints = get_type_hints(structure, include_extras=True)
    lines = [
        f"  {name}{'?' if get_origin(hint) is NotRequired else ''}: {_type(hint)};"
        for name, hint in hints.items()
    ]
    doc = (structure.__doc__ or "").strip().splitlines()[0]
    return f"/** {doc} */\nexport interface {structure.__name__} {{\n" + "\n".join(lines) + "\n}\n"


def _type(hint: Any, except_for: str = "") -> str:
    for name, alias in _aliases():
        if name != except_for and hint == alias:
            return name
    for name, listed in _ONE_OF.items():
        if get_origin(hint) is Literal and get_args(hint) == getattr(words, listed):
            return name
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return _type(inner[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_type, inner))
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"[{', '.join(map(_type, inner))}]"
    if origin in (list, tuple):
        item = _type(inner[0])
        return f"({item})[]" if " " in item else f"{item}[]"
    if origin is dict:
        return f"Record<{_type(inner[0])}, {_type(inner[1])}>"
    if isinstance(hint, type):
        return hint.__name__
    raise TypeError(f"no TypeScript for {hint}")


def _builder(block: Block[Any]) -> str:
    parameters, parts = [], []
    for part in block.parts:
        parameter = re.fullmatch(r"\{(\w+)(?:\|(\w+))?\}", part)
        if parameter is None:
            parts.append(part)
            continue
        name, all_word = camel(parameter[1]), parameter[2]
        kind = _PARAMETERS.get(parameter[1], "string" if parameter[1] in _TEXTS else "number")
        parameters.append(f"{name}: {kind}" + (f' | "{all_word}"' if all_word else ""))
        parts.append(f"${{{name}}}")
    value = "Tensor" if block.dtype else _type(block.form)
    doc = " ".join(block.meaning.split("\n\n")[0].split())
    quote = "`" if parameters else '"'
    text = f"{quote}{'/'.join(parts)}{quote}"
    head = f"{camel(block.name)}: ({', '.join(parameters)}): Key<{value}>"
    return f"  /** {doc} */\n  {head} => {text},"


def _builders(name: str, doc: str, listed: Mapping[str, Block[Any]]) -> str:
    lines = "".join(f"  {key}: keys.{camel(block.name)},\n" for key, block in listed.items())
    return f"/** {doc}. */\nexport const {name} = {{\n{lines}}} as const;\n"


def _regex(block: Block[Any]) -> str:
    return r"\/".join("[^/]+" if part.startswith("{") else part for part in block.parts)


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(f'"{text}"' for text in texts)


def palette_css() -> str:
    """Text of ``js/src/styles/palette.css``: variables of panels and of reports."""
    both = zip(_colours(PALETTES["light"]), _colours(PALETTES["dark"]), strict=True)
    return "\n".join(
        (
            f"/* {_NOTE} */",
            ".twinlens,",
            ".tl-report {",
            "  color-scheme: light;",
            *(
                f"  --tl-{name.replace('_', '-')}: light-dark({light}, {dark});"
                for (name, light), (_, dark) in both
            ),
            "}",
            ':is(.twinlens, .tl-report)[data-theme="dark"] {',
            "  color-scheme: dark;",
            "}",
            '.tl-report[data-theme="auto"] {',
            "  color-scheme: light dark;",
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


#: What is written where, from the top of the checkout.
FILES: dict[str, Callable[[], str]] = {
    "js/src/contract/contract.ts": contract_ts,
    "js/src/contract/palette.ts": palette_ts,
    "js/src/styles/palette.css": palette_css,
    "widgets/twinlens/contract/BLOCKS.md": documentation,
}


def generate(checkout: Path) -> None:
    """Write all files."""
    for name, text in FILES.items():
        (checkout / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    generate(Path.cwd())
