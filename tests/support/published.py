"""Files in the form of the authors' release, with one made-up case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

PROMPT = "Say it. A d\u00f6g.\nOutput:"
PIECES = "_Say _it . _A _d <0xC3> <0xB6> g . <0x0A> Output :".replace("_", "\u2581").split()


def made_up_case() -> dict[str, Any]:
    """What the authors' result files hold of one prompt."""
    levels = np.random.default_rng(0).integers(0, 11, (len(PIECES), 3)).astype(np.float32)
    return {
        "ID": "lima_author_1",
        "Input": PIECES,
        "Reference": "r",
        "Output": ["\u2581A", "\u2581b", "<0xF0>"],
        "Explain": levels,
    }


def release_like(folder: Path, payload: bytes) -> None:
    """The form of the authors' files with one made-up case."""
    for name in ("ifa_llama_7b", "ifa_vicuna_7b"):
        (folder / "results" / name).mkdir(parents=True)
        (folder / "results" / name / "lima_author_1.pkl").write_bytes(payload)
    (folder / "datasets").mkdir()
    prompt = PROMPT.replace("\n", "/n")
    (folder / "datasets" / "FinalDataset.tsv").write_text(
        "ID\tPrompt\tResponse\tInstruct&Context\n"
        f"lima_author_1\t{prompt}\tx\tit|||Say&&&A d\u00f6g\n"
    )
    (folder / "datasets" / "AnnotatedDataset.tsv").write_text(
        "File\tModel\tPrompt\tReference\tInstruct\tResponse\tRating\n"
        "lima_author_1.pkl\tvicuna_7B\tp\tr\ti\tx\t3\nlima_author_1.pkl\talpaca_7B\tp\tr\ti\tx\t-1\n"
    )
