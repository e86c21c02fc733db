"""The first page of the site: both models to try, every notebook with its picture, recordings."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twinlens.pages.html import document, policy

from gallery.building.page import site_style
from gallery.building.pictures import Pictures

ABOUT = (
    "twinlens runs a pre-trained language model and its tuned counterpart side by side and shows "
    "what tuning changed. Every page here works without a kernel and without a network: click a "
    "token, a head or a unit, and the panels follow."
)


@dataclass(frozen=True)
class Entry:
    """A page as the index shows it; pictures are empty where no browser could take them."""

    address: str
    title: str
    summary: str
    pictures: Pictures


def links(here: str, former: Entry | None = None, following: Entry | None = None) -> str:
    """What leads from a page to the index and to its neighbours; `here` leads to the index."""
    first = f'<a href="{here}index.html">Gallery</a>'
    before = f'<a href="{here}{former.address}" rel="prev">← {_text(former)}</a>' if former else ""
    after = (
        f'<a class="next" href="{here}{following.address}" rel="next">{_text(following)} →</a>'
        if following
        else ""
    )
    return f'<nav class="site" aria-label="Gallery">{first}{before}{after}</nav>\n'


def write_index(
    path: Path, live: Entry, entries: Sequence[Entry], recordings: Sequence[Path]
) -> None:
    """Write the index; recordings lie below its folder."""
    cards = "".join(f"<li>{_card(entry)}</li>\n" for entry in entries)
    rows = "".join(
        f'<li><a href="{file.relative_to(path.parent).as_posix()}" download>{file.name}</a> '
        f"({file.stat().st_size / 1e6:.1f} MB)</li>\n"
        for file in recordings
    )
    docs = '<a href="docs/index.html">Documentation</a>'
    body = f"""<main class="index">
<section class="text"><h1>What did tuning change?</h1><p>{html.escape(ABOUT)}</p>
{f"<p>{docs}</p>" if (path.parent / "docs" / "index.html").is_file() else ""}</section>
<section class="front"><iframe src="{live.address}" title="{_text(live)}"></iframe>
<p>{html.escape(live.summary)} <a href="{live.address}">Over the whole window</a></p></section>
<h2>Notebooks, each with one question</h2>
<ul class="cards">
{cards}</ul>
<h2>Recordings</h2>
<section class="text"><p>Every number of a view in one file. Open one in Python with
<code>twinlens.open</code>,
which needs no models, or drop it onto the <a href="viewer.html">viewer</a>.</p></section>
<ul>
{rows}</ul>
</main>
"""
    # The live page brings rules for its own scripts. `self` is nothing opened as a file.
    rules = policy().replace("script-src ;", "script-src 'none'; frame-src 'self' file:;")
    path.write_text(document("twinlens gallery", site_style(), rules, body), encoding="utf-8")


def _card(entry: Entry) -> str:
    title, summary = _text(entry), html.escape(entry.summary.replace("`", ""))
    picture = ""
    if entry.pictures:
        picture = (
            f'<picture><source srcset="{entry.pictures["dark"]}" '
            f'media="(prefers-color-scheme: dark)">'
            f'<img src="{entry.pictures["light"]}" alt="" width="576" height="360"></picture>'
        )
    return (
        f'<a class="card" href="{entry.address}">{picture}<strong>{title}</strong></a>'
        f"<p>{summary}</p>"
    )


def _text(entry: Entry) -> str:
    return html.escape(entry.title)
