"""The directive ``panels``: linked panels, as a page of twinlens, inside a page of these.

The name is one of `PARTS`; `build` of this folder writes its page, with the embedded pair, next
to the page that shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx.application import Sphinx
from twinlens.contract.words import PanelKind
from twinlens.pages.live_page import demo_prompts

FOLDER = "panels"


@dataclass(frozen=True)
class Part:
    """A page of the embedded pair: which of its prepared prompts, which panel, what is selected."""

    title: str
    prompt: str
    kind: PanelKind = "dashboard"
    selection: dict[str, Any] = field(default_factory=dict)


PARTS = {
    "dashboard": Part("All panels of one prompt", "Capital letters"),
    "findings": Part("What tuning changed", "Capital letters", "findings"),
    "saliency": Part("Saliency", "Capital letters", "saliency"),
    "heads": Part("Attention heads", "Capital letters", "heads", {"layer": 3, "head": 6}),
    "concepts": Part("Concepts", "Capital letters", "concepts"),
    "carried": Part("What carries it", "Capital letters", "carried"),
    "update": Part("Update", "Capital letters", "update"),
    "overview": Part("Layer by layer", "Capital letters", "overview"),
}


def write_parts(folder: Path) -> None:
    """Write the pages of all parts."""
    import twinlens as tl
    from twinlens.pages.page import to_html

    pair = tl.demo_pair()
    prompts = {prompt["title"]: prompt for prompt in demo_prompts()}
    explorers: dict[str, tl.Explorer] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in PARTS.items():
        if part.prompt not in explorers:
            prompt = prompts[part.prompt]
            explorers[part.prompt] = tl.explore(
                pair,
                prompt["prompt"],
                instruction=prompt["instruction"],
                context=prompt["context"],
                template=True,
            )
        to_html(
            explorers[part.prompt].trace,
            folder / f"{name}.html",
            kind=part.kind,
            selection=part.selection,
            title=f"twinlens: {part.title}",
        )


class Panels(Directive):
    """``{panels} NAME`` with ``:height:`` in pixels."""

    required_arguments = 1
    option_spec = {"height": directives.positive_int}  # noqa: RUF012 (never changed)

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in PARTS:
            raise self.error(f"there is no part {name!r}: one of {', '.join(PARTS)}")
        env = self.state.document.settings.env
        page = "../" * env.docname.count("/") + f"{FOLDER}/{name}.html"
        title = PARTS[name].title
        height = self.options.get("height", 640)
        frame = (
            f'<figure class="panels"><iframe src="{page}" title="{title}" loading="lazy" '
            f'style="height:{height}px"></iframe><figcaption>{title}, embedded pair. '
            f'<a href="{page}">Open it by itself</a></figcaption></figure>'
        )
        return [nodes.raw("", frame, format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Offer Sphinx the directive."""
    app.add_directive("panels", Panels)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
