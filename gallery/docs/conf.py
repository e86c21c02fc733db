"""How Sphinx makes the documentation: MyST Markdown in, pages that need no network out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from twinlens import __version__

project = "twinlens"
author = "the twinlens contributors"
project_copyright = "the twinlens contributors, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "formulas",
    "panels",
]
if os.environ.get("TWINLENS_DOCS_MARKDOWN"):
    extensions.append("sphinx_markdown_builder")

html_theme = "furo"
html_title = "twinlens"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_js_files = ["docs.js"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5fa8", "color-brand-content": "#1f5fa8"},
    "dark_css_variables": {"color-brand-primary": "#8ab8f0", "color-brand-content": "#8ab8f0"},
}

myst_enable_extensions = ["amsmath", "deflist", "dollarmath", "attrs_block"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

# What is in single backticks in a docstring is a name as it is written, no cross-reference.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False
# Words of types in docstrings, such as "folder", are also names of attributes.
suppress_warnings = ["ref.python"]
copybutton_exclude = ".linenos, .gp, .go"
