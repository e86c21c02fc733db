"""Values of blocks as tidy tables: one row per number, with the names of its axes.

What the axes and the columns are follows from the block's row in `twinlens.contract.blocks`, so
that every block has a table. Tables are pandas frames (``pip install twinlens[frames]``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from twinlens.contract import lookup
from twinlens.contract.block import Block, Values
from twinlens.contract.forms import DeletionCurve, Faithfulness
from twinlens.contract.manifest import Manifest
from twinlens.contract.wire import Array, Value
from twinlens.contract.words import PARTS_OF_LAYER

if TYPE_CHECKING:
    import pandas

#: A table of pandas, which is imported where one is made.
DataFrame: TypeAlias = "pandas.DataFrame"

Rows = list[dict[str, Any]]

_INDICES = {"L": "layer", "L+1": "layer", "H": "head", "K": "component", "I": "neuron"}
_TOKENS = {"N": "prompt_", "M": "answer_", "T": "", "C": ""}
_ATTENTION = ("query_", "key_")
_CIRCUITS = ("qk_difference", "qk_cosine", "ov_difference", "ov_cosine")
#: What the last axis of some blocks lists.
_NAMED = {
    "head_circuits": _CIRCUITS,
    "word_pair_counts": ("gained", "both", "lost"),
    "lens_table": ("logprob", "rank"),
    "handover": ("logprob", "kl"),
    "exchanged": ("nats", "share"),
    "exchanged_heads": ("nats", "share"),
    "exchanged_neuron": ("nats", "share"),
}


class LabelledArray(np.ndarray[Any, Any]):
    """A NumPy array of a trace that knows its axes; what is computed from it is a plain array."""

    _labels: tuple[Manifest, str, Values, tuple[str, ...]] | None = None

    def __array_finalize__(self, source: Any) -> None:
        self._labels = None

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else np.asarray(array)

    def __getitem__(self, item: Any) -> Any:
        return np.asarray(self)[item]

    def __repr__(self) -> str:
        if self._labels is None:
            return repr(np.asarray(self))
        _, title, _, axes = self._labels
        shape = ", ".join(f"{axis}={n}" for axis, n in zip(axes, self.shape, strict=True))
        return f"<{title}: {self.dtype} [{shape}]>"

    def to_frame(self) -> DataFrame:
        """One row per number: index of every axis, text of its tokens, and the value.

        Raises
        ------
        ValueError
            If it was made from such an array: its axes are not known.
        """
        if self._labels is None:
            raise ValueError("this array is a part or a copy of a trace's: its axes are not known")
        manifest, title, values, axes = self._labels
        match = lookup.find(title)
        return frame_of(
            _cells(np.asarray(self), axes, manifest, values, match[0] if match else None)
        )


def labelled(
    array: Array, manifest: Manifest, title: str, axes: tuple[str, ...], values: Values
) -> LabelledArray:
    """An array with the axes that the contract calls so, see `twinlens.contract.blocks`."""
    made = array.view(LabelledArray)
    made._labels = manifest, title, values, axes
    return made


@dataclass(frozen=True, repr=False)
class Records:
    """The JSON value of a block.

    Attributes
    ----------
    value : list or dict
        In the form that the block has, see `twinlens.contract.forms`.
    key : str
        The block's key.
    """

    value: Any
    key: str

    def __repr__(self) -> str:
        return f"<{self.key}: {len(_rows(self.key, self.value))} rows>"

    def to_frame(self) -> DataFrame:
        """One row per layer, component, neuron, token or word, whatever the block lists."""
        return frame_of(_rows(self.key, self.value))


class TracedFaithfulness(Faithfulness):
    """Agreement of a method with occlusion in a trace."""

    def to_frame(self) -> DataFrame:
        """A table of one row."""
        return frame_of([self.to_json()])


class TracedDeletion(DeletionCurve):
    """Loss of the answer as tokens of a trace are hidden."""

    def __repr__(self) -> str:
        return f"<deletion: {len(self.share)} steps>"

    def to_frame(self) -> DataFrame:
        """One row per step."""
        return frame_of(self.to_json())


def frame(key: str, value: Value, manifest: Manifest) -> DataFrame:
    """Table of the value of any block of a trace."""
    if isinstance(value, np.ndarray):
        request = lookup.read(key, manifest)
        axes = axes_of(request.block)
        return frame_of(_cells(value, axes, manifest, request.values, request.block))
    return Records(value, key).to_frame()


def axes_of(block: Block[Any]) -> tuple[str, ...]:
    """Axes of a block that is an array, as the contract calls them."""
    return tuple(re.findall(r"[\w+]+", block.form.split(maxsplit=1)[1]))


def _cells(
    array: Array,
    axes: tuple[str, ...],
    manifest: Manifest,
    values: Values,
    block: Block[Any] | None = None,
) -> dict[str, Any]:
    """Columns of a table with one row per cell; of a causal matrix its lower half."""
    twice = axes[0] in axes[1:]
    places = (
        np.nonzero(np.tri(*array.shape)) if twice else tuple(map(np.ravel, np.indices(array.shape)))
    )
    side = values.get("side", "tuned")
    columns: dict[str, Any] = {}
    for number, (axis, index) in enumerate(zip(axes, places, strict=True)):
        if axis in _TOKENS:
            front = _ATTENTION[number] if twice else _TOKENS[axis]
            answer = [token.text for token in manifest.answers[side].tokens]
            prompt = [token.text for token in manifest.prompt_tokens]
            texts = {"N": prompt, "M": answer}.get(axis, prompt + answer)
            columns[f"{front}position"] = index
            columns[f"{front}token"] = np.array(texts, object)[index]
        elif axis == "L+1":
            columns["layer"] = index - 1  # of the embedding -1
        elif axis == "B":
            columns["part"] = np.array(PARTS_OF_LAYER, object)[index]
        elif axis in _INDICES:
            columns[_INDICES[axis]] = index
        elif axis != "1":
            columns["measure"] = np.array(_NAMED[block.name] if block else (), object)[index]
    columns["value"] = array[places]
    return columns


def _rows(key: str, value: Any) -> Rows:
    match = lookup.find(key)
    special = _SPECIAL.get(match[0].name) if match else None
    if special:
        return special(value)
    return [_flat(row) for row in (value if isinstance(value, list) else [value])]


def _flat(row: Mapping[str, Any], front: str = "") -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, value in row.items():
        columns |= (
            _flat(value, f"{front}{name}_") if isinstance(value, dict) else {front + name: value}
        )
    return columns


def _numbered(name: str, rows: Any, start: int = 0) -> Rows:
    return [{name: number, **_flat(row)} for number, row in enumerate(rows, start)]


def _tuples(*names: str) -> Callable[[Any], Rows]:
    return lambda rows: [dict(zip(names, row, strict=True)) for row in rows]


def _word_places(value: Any) -> Rows:
    places = _tuples("layer", "component", "cosine", "rank")
    return [{"side": side, **row} for side in ("base", "tuned") for row in places(value[side])]


def _template(value: Any) -> Rows:
    names = [name for name in value if name != "left_out"]
    rows = zip(*(value[name] for name in names), strict=True)
    return [
        {"answer_position": position, **dict(zip(names, row, strict=True))}
        for position, row in enumerate(rows)
    ]


def _alternatives(value: Any) -> Rows:
    return [
        {"answer_position": position, "rank": rank, "token": token, "probability": probability}
        for position, rivals in enumerate(value)
        for rank, (token, probability) in enumerate(rivals, 1)
    ]


#: Rows of JSON blocks that are no list of records.
_SPECIAL: dict[str, Callable[[Any], Rows]] = {
    "exchanged_neurons": _tuples("neuron", "nats", "share"),
    "lens": lambda value: [
        {**row, "target": value["target"]} for row in _numbered("layer", value["layers"], -1)
    ],
    "template": _template,
    "alternatives": _alternatives,
    "groups": lambda value: [
        {"group": group, "position": position}
        for group, positions in enumerate(value)
        for position in positions
    ],
    "components": lambda value: _numbered("component", value),
    "component_ends": lambda value: _numbered("component", value),
    "deletion": lambda value: [
        dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)
    ],
    "word_pairs": lambda value: _tuples("word", "partner", "base", "tuned")(value["rows"]),
    "word_pair_find": _tuples("layer", "head", "base", "tuned"),
    "concept_find": _word_places,
}


def frame_of(
    columns: Mapping[str, Any] | Sequence[Mapping[str, Any]], names: Sequence[str] | None = None
) -> DataFrame:
    """A table of columns or of rows; `names` are those of columns where there may be no row."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("tables need pandas: `pip install twinlens[frames]`") from error
    made: Any = pd.DataFrame
    return cast(DataFrame, made(columns, columns=names))
