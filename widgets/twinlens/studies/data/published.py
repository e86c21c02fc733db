"""The published attributions of LLaMA-7B and Vicuna-7B, as cases.

Two forms are read, found by what lies in the folder (or up to three folders below it):

- the authors' result files: ``ifa_llama_7b/*.pkl`` and ``ifa_vicuna_7b/*.pkl`` with the tables
  ``FinalDataset.tsv`` (prompts and marked instructions) and ``AnnotatedDataset.tsv`` (ratings);
- the converted form: ``llama-7b.npz`` / ``.jsonl`` and ``vicuna-7b.npz`` / ``.jsonl``.

Both hold importance levels 0 .. 10, not raw effects, without a begin-of-text token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twinlens.contract.manifest import Method, ModelInfo, PairInfo, Token
from twinlens.contract.words import Side
from twinlens.errors import RecordingError, UnknownBlockError
from twinlens.studies.data.cases import Case, CaseTrace
from twinlens.studies.data.change_tables import Changes
from twinlens.studies.data.row_forms import (
    find_span,
    parse_annotation,
    widen,
)
from twinlens.support.calls import called_rightly
from twinlens.support.files import checked_path
from twinlens.traces.marks import CharacterSpan, span_tokens

METHOD = Method(
    name="published_levels",
    title="Importance levels as published",
    measures="Level 0 to 10 of the gradient of the token's probability times the embedding, "
    "against the largest of its answer token; no unit.",
    source="Wu et al. 2023 (arXiv 2310.00492), section 3, result files of the authors",
    exact=False,
    cost="read from files",
)
PAIR = PairInfo(
    base=ModelInfo("LLaMA-7B", "published", "float32", 6_738_415_616),
    tuned=ModelInfo("Vicuna-7B-v1.1", "published", "float32", 6_738_415_616),
    architecture="llama",
    layers=32,
    heads=32,
    kv_heads=32,
    hidden=4096,
    intermediate=11008,
    vocabulary=32000,
    note="Published results: only importance levels exist for this pair, no heads or concepts.",
)
_SIDES: dict[Side, str] = {"base": "llama", "tuned": "vicuna"}
_GROUPS = {"user": "self-instruct", "lima": "lima", "mtbench": "mt-bench"}
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class Printed:
    """Means and one-sided p of one line of the paper's tables 1 and 2, as printed."""

    first: str
    second: str
    p: str


#: By question and data: unfollowed and followed answers (table 1), base and tuned (table 2).
PRINTED: dict[tuple[Any, str], Printed] = {
    ("followed against unfollowed", "self-instruct"): Printed("0.8917", "1.2283", "< 0.001"),
    ("followed against unfollowed", "lima"): Printed("1.2799", "1.6173", "< 0.001"),
    ("followed against unfollowed", "mt-bench"): Printed("0.9290", "1.4584", "< 0.001"),
    ("tuned against base", "self-instruct"): Printed("0.9394", "1.1302", "1.9e-05"),
    ("tuned against base", "lima"): Printed("1.2683", "1.5579", "2.5e-14"),
    ("tuned against base", "mt-bench"): Printed("1.1777", "1.3440", "0.0382"),
}


@called_rightly
def import_published(folder: str | Path) -> PublishedCases:
    """Open a folder of published results.

    Parameters
    ----------
    folder : path
        What the authors published (``ifa_llama_7b``, ``ifa_vicuna_7b`` and two tables, at most
        three folders down), or the same converted to ``llama-7b.npz`` and ``vicuna-7b.npz``.

    Returns
    -------
    PublishedCases
        Iterating over it yields the base and the tuned case of each prompt; files are read when
        asked for and nothing in them is executed.

    Raises
    ------
    RecordingError
        If neither form is there.
    ArgumentError
        If `folder` is no path.

    Examples
    --------
    >>> import twinlens as tl
    >>> cases = tl.import_published("path/to/their/results")
    >>> cases.pair.base.name, cases.pair.tuned.name
    ('LLaMA-7B', 'Vicuna-7B-v1.1')
    """
    root = checked_path(folder, "a folder of published results")
    places = [root, *(path for depth in ("*", "*/*", "*/*/*") for path in root.glob(depth))]
    for place in filter(Path.is_dir, places):
        if (place / "llama-7b.npz").is_file() and (place / "vicuna-7b.npz").is_file():
            return PublishedCases(_Converted(place))
    pickles = {
        side: next((p for p in places if p.is_dir() and p.name == f"ifa_{name}_7b"), None)
        for side, name in _SIDES.items()
    }
    tables = [
        next((p for place in places if (p := place / name).is_file()), None)
        for name in ("FinalDataset.tsv", "AnnotatedDataset.tsv")
    ]
    base, tuned = pickles["base"], pickles["tuned"]
    if base is None or tuned is None or tables[0] is None or tables[1] is None:
        raise RecordingError(
            f"{root.name} holds no published results: give the folder with ifa_llama_7b, "
            "ifa_vicuna_7b, FinalDataset.tsv and AnnotatedDataset.tsv, or the converted files"
        )
    return PublishedCases(_Pickled({"base": base, "tuned": tuned}, tables[0], tables[1]))


class PublishedCases:
    """Cases of the published results; see `import_published`."""

    pair: PairInfo = PAIR

    def __init__(self, form: _Converted | _Pickled) -> None:
        self._form = form
        self.ids: tuple[str, ...] = form.ids

    @property
    def others(self) -> tuple[PublishedCases, ...]:
        """None: one method was published."""
        return ()

    @property
    def changes(self) -> Changes:
        """None: weights are not part of the published results."""
        return {}

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Case]:
        for case_id in self.ids:
            yield self.case(case_id, "base")
            yield self.case(case_id, "tuned")

    def case(self, case_id: str, side: Side) -> Case:
        """One case.

        Raises
        ------
        UnknownBlockError
            If there is no such case.
        """
        if case_id not in self.ids:
            raise UnknownBlockError(f"there is no published case {case_id}: see `ids`")
        return self._form.case(case_id, side)

    def trace(self, case_id: str) -> CaseTrace:
        """Both cases of a prompt as a trace, for the saliency panel."""
        return CaseTrace(self.case(case_id, "base"), self.case(case_id, "tuned"), PAIR, METHOD)


class _Converted:
    """NumPy archives and lines of JSON."""

    def __init__(self, folder: Path) -> None:
        self._records: dict[Side, dict[str, dict[str, Any]]] = {}
        self._levels: dict[Side, Any] = {}
        for side, name in _SIDES.items():
            with (folder / f"{name}-7b.jsonl").open(encoding="utf-8") as lines:
                records = (json.loads(line) for line in lines)
                self._records[side] = {record["id"]: record for record in records}
            self._levels[side] = np.load(folder / f"{name}-7b.npz", allow_pickle=False)
        self.ids = tuple(self._records["tuned"])

    def case(self, case_id: str, side: Side) -> Case:
        record = self._records[side][case_id]
        tokens = _tokens(record["input_tokens"], record["input_offsets"])
        judged = self._records["tuned"][case_id]
        fragments = [(start, end) for start, end in record["instruction_fragments"]]
        return _case(
            case_id,
            side,
            record["prompt"],
            record["output"],
            tokens,
            _tokens(record["output_tokens"], record["output_offsets"]),
            self._levels[side][case_id],
            [(start, end) for start, end in record["instruction_spans"]],
            fragments,
            judged["rating"],
        )


class _Pickled:
    """The authors' files."""

    def __init__(self, folders: dict[Side, Path], prompts: Path, ratings: Path) -> None:
        self._folders = folders
        self._prompts = {
            row["ID"]: (_unescape(row["Prompt"]), _unescape(row["Instruct&Context"]))
            for row in _table(prompts)
        }
        self._ratings = {
            row["File"].removesuffix(".pkl"): int(row["Rating"])
            for row in _table(ratings)
            if row["Model"] == "vicuna_7B"
        }
        self.ids = tuple(
            case_id
            for case_id in self._prompts
            if all((folder / f"{case_id}.pkl").is_file() for folder in folders.values())
        )

    def case(self, case_id: str, side: Side) -> Case:
        from twinlens.studies.data.pickles import read_pickle

        record = read_pickle(self._folders[side] / f"{case_id}.pkl")
        prompt, annotation = self._prompts[case_id]
        prompt_tokens, text = pieces_to_tokens(record["Input"])
        answer_tokens, answer = pieces_to_tokens(record["Output"])
        if text.strip() != prompt.strip():
            raise RecordingError(
                f"the tokens of {case_id} spell another prompt than its table: "
                "take both from the same release"
            )
        marked, _ = parse_annotation(annotation)
        shift = len(text) - len(text.lstrip()) - (len(prompt) - len(prompt.lstrip()))
        fragments = [find_span(prompt, fragment) for fragment in marked]
        return _case(
            case_id,
            side,
            text,
            answer,
            prompt_tokens,
            answer_tokens,
            np.asarray(record["Explain"]).reshape(len(prompt_tokens), len(answer_tokens)),
            _shifted(widen(prompt, marked), shift),
            _shifted(fragments, shift),
            self._ratings.get(case_id, -1),
        )


def _shifted(spans: list[CharacterSpan], shift: int) -> list[CharacterSpan]:
    return [(start + shift, end + shift) for start, end in spans]


def _case(
    case_id: str,
    side: Side,
    prompt: str,
    answer: str,
    prompt_tokens: tuple[Token, ...],
    answer_tokens: tuple[Token, ...],
    levels: Any,
    instruction: list[CharacterSpan],
    fragments: list[CharacterSpan],
    rating: int | None,
) -> Case:
    source, *rest = case_id.split("_")
    group = _GROUPS.get(source, source)
    judged = rating if side == "tuned" and rating is not None and rating > 0 else None
    return Case(
        id=case_id,
        group=group,
        category=rest[0] if group == "mt-bench" else "",
        side=side,
        prompt=prompt,
        answer=answer,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        values=levels,
        kind="levels",
        scored=tuple(range(len(prompt_tokens))),
        instruction=tuple(span_tokens(prompt, prompt_tokens, instruction)),
        fragments=tuple(span_tokens(prompt, prompt_tokens, fragments)),
        rating=judged,
        followed=None if judged is None else judged >= 2,
        method=METHOD.name,
    )


def _tokens(pieces: list[str], offsets: list[list[int]]) -> tuple[Token, ...]:
    return tuple(
        Token(-1, _display(piece), start, end)
        for piece, (start, end) in zip(pieces, offsets, strict=True)
    )


def pieces_to_tokens(pieces: list[str]) -> tuple[tuple[Token, ...], str]:
    """Tokens with offsets, and the text, of sentencepiece pieces.

    Parameters
    ----------
    pieces : list of str
        U+2581 is a blank, ``<0xNN>`` one byte of UTF-8; the blank before the first piece is not
        part of the text. Token ids are not known and stand as -1.

    Returns
    -------
    tokens : tuple of Token
        The bytes of one character share its offsets.
    text : str
    """
    parts = [_bytes(piece) for piece in pieces]
    if parts and parts[0].startswith(b" "):
        parts[0] = parts[0][1:]
    # a byte that belongs to no whole character becomes one character of its own
    text = b"".join(parts).decode("utf-8", errors="surrogateescape")
    sizes = [len(character.encode("utf-8", errors="surrogateescape")) for character in text]
    text = re.sub("[\ud800-\udfff]", "\ufffd", text)
    character_of_byte = np.repeat(np.arange(len(text)), sizes)
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    spans = [
        (int(character_of_byte[end - len(part)]), int(character_of_byte[end - 1]) + 1)
        if part
        else (0, 0)
        for end, part in zip(ends.tolist(), parts, strict=True)
    ]
    return (
        tuple(Token(-1, _display(piece), *span) for piece, span in zip(pieces, spans, strict=True)),
        text,
    )


def _bytes(piece: str) -> bytes:
    byte = _BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("\u2581", " ").encode()


def _display(piece: str) -> str:
    """The piece as text; a byte that is no whole character is written ``\\xNN``."""
    byte = _BYTE.fullmatch(piece)
    if byte is None:
        return piece.replace("\u2581", " ")
    value = int(byte[1], 16)
    return chr(value) if value < 128 else f"\\x{value:02x}"


def _table(path: Path) -> Iterator[dict[str, str]]:
    header, *lines = path.read_text(encoding="utf-8").split("\n")
    names = header.split("\t")
    for line in filter(None, lines):
        yield dict(zip(names, line.split("\t"), strict=True))


def _unescape(text: str) -> str:
    """Undo the tables' writing of line breaks, tabs and quotes."""
    text = text.replace("/t", "\t").replace("/n", "\n")
    if text.startswith('"') and text.endswith('"'):
        text = text[1:-1]
    return text.replace('""', '"')
