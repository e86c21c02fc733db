"""Panels of cases as small as a page can carry them.

What all cases share is kept once, tokens by column and without the text that the whole has, levels
as halves of bytes, and other numbers with their bytes by place, so that alike stands beside alike.
All of it is compressed once; `case_packs.ts` undoes it.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinlens.contract import lookup, wire
from twinlens.contract.wire import Value
from twinlens.contract.words import SIDES, PanelKind
from twinlens.pages.page import page_state
from twinlens.studies.data.cases import Cases
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

#: What the page of a case shows.
CASE_KIND: PanelKind = "saliency"
#: How it shows it: scores and profiles of a study are made of densities.
CASE_VIEW = {"saliency": {"answerMeasure": "density"}}
_WAYS = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED)
#: Cases that are compressed together.
TOGETHER = 8
#: The part of a state that is shared as far as its own entries are.
_INSIDE = "manifest"
_LACKS = object()


@dataclass(frozen=True)
class Packs:
    """Panels of cases.

    Attributes
    ----------
    shared : dict
        See `shared_state`.
    packs : list of str
        See `packed_group`.
    panels : list of lists
        Of every study, by case, the number of its pack and its place there; None where it was
        left out, or a study lacks the case.
    """

    shared: dict[str, Any]
    packs: list[str]
    panels: list[list[tuple[int, int] | None]]


def packed_text(text: str) -> str:
    """Base64 of gzip of a text."""
    return _packed(text.encode(errors="replace"))


def shared_state(cases: Cases, case_id: str) -> dict[str, Any]:
    """What the pages of all cases may have in common: the state of one, without its tokens."""
    state = _state(cases.trace(case_id), case_id)
    own = ("prompt", "prompt_tokens", "answers", "parameters")
    manifest = {key: value for key, value in state[_INSIDE].items() if key not in own}
    return {**state, _INSIDE: manifest}


def packed_group(cases: Cases, ids: Sequence[str], shared: Mapping[str, Any]) -> str:
    """Base64 of gzip of the panels of some cases.

    Length (uint32, little-endian) of a JSON text, that text, and the bytes of all blocks, see
    `_halves` and `_by_place`. The text holds for each case what of its state is not as in
    `shared`, and the index of its blocks as a page has them.
    """
    heads, small = [], []
    for case_id in ids:
        trace = cases.trace(case_id)
        state = _state(trace, case_id)
        index: dict[str, Any] = {}
        offset = 0
        for key in list(trace.keys()):
            value = trace.block(key)
            halves = isinstance(value, np.ndarray) and bool(np.isin(value, np.arange(16)).all())
            # Levels stay as they are; other numbers are as exact as in every page.
            exact = halves or lookup.is_exact(key)
            header, data = wire.encode(value, compact=not exact)
            index[key] = {**header, "offset": offset, "length": len(data), "halves": halves}
            small.append(_halves(value) if halves else _by_place(data, header))
            offset += len(data)
        own = _beside(state, shared)
        own[_INSIDE] = _beside(state[_INSIDE], shared[_INSIDE])
        heads.append([own, index])
    text = json.dumps(heads, separators=(",", ":")).encode()
    return _packed(b"".join([struct.pack("<I", len(text)), text, *small]))


def _beside(state: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if shared.get(key, _LACKS) != value}


def packed_cases(
    studies: Sequence[Cases], ids: Sequence[str], room: int, report: Report | None = None
) -> Packs:
    """Panels of cases in every study, until there is no more room.

    Parameters
    ----------
    studies : sequence of Cases
        Of a pair, or of all steps of a chain.
    room : int
        Bytes.
    report : callable, optional
        Called with (done, total, what) for each case.

    Returns
    -------
    Packs
    """
    shared = shared_state(studies[-1], ids[0])
    room -= len(json.dumps(shared))
    known = [set(ids) if len(studies) == 1 else {case.id for case in cases} for cases in studies]
    packs: list[str] = []
    panels: list[list[tuple[int, int] | None]] = [[] for _ in studies]
    for first in range(0, len(ids), TOGETHER):
        group = ids[first : first + TOGETHER]
        for mine, cases, known_ids in zip(panels, studies, known, strict=True):
            carried = [case_id for case_id in group if case_id in known_ids] if room > 0 else []
            pack, wanted = "", len(carried)
            while carried and len(pack := packed_group(cases, carried, shared)) > room:
                carried = carried[: len(carried) // 2]
            places = {case_id: (len(packs), place) for place, case_id in enumerate(carried)}
            if carried:
                packs.append(pack)
                room -= len(pack)
            if len(carried) < wanted:
                room = 0
            mine += [places.get(case_id) for case_id in group]
        if report:
            report(min(first + TOGETHER, len(ids)), len(ids), "cases")
    return Packs(shared, packs, panels)


def _state(trace: Trace, case_id: str) -> dict[str, Any]:
    """State of the page of a case, with tokens by column."""
    state = page_state(trace, kind=CASE_KIND, title=case_id, view=CASE_VIEW)
    manifest = dict(state[_INSIDE])
    manifest["prompt_tokens"] = _columns(manifest["prompt_tokens"], manifest["prompt"])
    answers = ((side, manifest["answers"][side]) for side in SIDES)
    manifest["answers"] = {
        side: {**answer, "tokens": _columns(answer["tokens"], answer["text"])}
        for side, answer in answers
    }
    return {**state, _INSIDE: manifest}


def _columns(tokens: Sequence[Mapping[str, Any]], whole: str) -> dict[str, Any]:
    """Tokens by column: one value where all are alike, else all of them, spans as lengths.

    Of texts only those, by token, that are not what the whole text has there.
    """
    columns: dict[str, Any] = {"count": len(tokens)}
    for key in tokens[0] if tokens else ():
        column = [token[key] for token in tokens]
        if key == "end":
            column = [token["end"] - token["start"] for token in tokens]
        elif key == "start":
            ends = [0, *(token["end"] for token in tokens[:-1])]
            column = [start - end for start, end in zip(column, ends, strict=True)]
        elif key == "text":
            spelled = [whole[token["start"] : token["end"]] for token in tokens]
            both = enumerate(zip(column, spelled, strict=True))
            columns["own"] = {place: text for place, (text, part) in both if text != part}
            continue
        columns[key] = column[0] if all(value == column[0] for value in column) else column
    return columns


def _halves(value: Value) -> bytes:
    """Numbers 0 .. 15, two in a byte, the first in its lower half."""
    levels = np.ravel(np.asarray(value)).astype(np.uint8)
    levels = np.append(levels, np.zeros(levels.size % 2, dtype=np.uint8))
    return bytes((levels[::2] | levels[1::2] << 4).tobytes())


def _by_place(data: bytes, header: Mapping[str, Any]) -> bytes:
    """First the first bytes of all numbers, then the second ones."""
    size = np.dtype(header["dtype"]).itemsize if "packing" in header else 1
    return bytes(np.frombuffer(data, dtype=np.uint8).reshape(-1, size).T.tobytes())


def _packed(data: bytes) -> str:
    """By whichever of two ways is shorter: matches are rare among levels."""
    ways = (zlib.compressobj(9, zlib.DEFLATED, 31, 9, way) for way in _WAYS)
    best = min((compressor.compress(data) + compressor.flush() for compressor in ways), key=len)
    return base64.b64encode(best).decode()
