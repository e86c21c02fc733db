"""Files that come from the contract: ``python -m twinlens.contract.generate`` in a checkout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twinlens.contract.lookup import documentation
from twinlens.contract.palette_files import palette_css, palette_ts
from twinlens.contract.typescript import contract_ts

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
