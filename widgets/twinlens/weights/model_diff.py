"""What differs between the files of two models: tensor by tensor, and in what lies beside them.

`twinlens.compute.update.stored_diff` works it out.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from twinlens.traces.frames import DataFrame, frame_of

#: Rows and columns of a tensor whose rank is worked out, at most.
SAMPLE = 256
#: What is said of one tensor.
TensorVerdict = Literal[
    "same", "precision", "quantised", "trained", "packed", "shape", "only base", "only tuned"
]
#: What is said of two models.
Verdict = Literal["same", "precision", "quantised", "trained", "unlike"]

#: Exit code of ``twinlens diff`` for each verdict; 1 and 2 are errors.
EXIT_CODES: dict[Verdict, int] = {
    "same": 0,
    "precision": 3,
    "quantised": 4,
    "trained": 5,
    "unlike": 6,
}
_SENTENCES: dict[Verdict, str] = {
    "same": "the same weights",
    "precision": "the same weights in another precision: not trained",
    "quantised": "the same weights but for quantisation: not trained, as far as its steps show",
    "trained": "trained",
    "unlike": "not two states of one model",
}
#: Where a tensor belongs, by its name; the first that fits.
_PLACES = {
    "norm": r"norm|\bln_|layernorm",
    "unembedding": r"lm_head|embed_out|^output\.",
    "embedding": r"embed|wte|wpe",
    "attention": r"attn|attention",
    "feed-forward": r"mlp|feed_forward|ffn|\bfc\d|expert|moe",
}
_COLUMNS = ("attention", "feed-forward", "norm")
_LAYER = re.compile(r"(?:^|\.)(\d+)\.")
_ROWS, _LISTED, _LONGEST = 12, 6, 60


@dataclass(frozen=True)
class TensorDiff:
    """One tensor of both models, or one that only one of them has.

    Attributes
    ----------
    name : str
        Its name in tuned, or in base where tuned has none.
    verdict : TensorVerdict
        ``same``: equal number by number. ``precision``: one is the other, rounded. ``quantised``:
        one is the other, each number rounded to the nearest of a grid, also where the other was
        quantised before; copies that make up for one rounding with the next (GPTQ), or whose
        columns are scaled first (AWQ), count as ``trained`` where they are not packed. ``packed``:
        stored in a form that is not read here. ``shape``: not comparable.
    renamed : str
        Its name in base, where that is another one.
    shape : tuple of int
    dtypes : tuple of str
        Number types in base and tuned.
    size, relative, largest : float
        Frobenius norm of the difference; the same over the norm of base's tensor; its largest
        number.
    changed : float
        Share of its numbers that differ.
    rank : int or None
        Directions of the difference that stand out of rounding, 0 for another precision; None for
        vectors. A lower bound where `sampled`.
    effective_rank : float or None
        Exponential of the entropy of the energy over singular directions; None for vectors and
        for another precision.
    sampled : bool
        Whether ranks are those of a part of its rows and columns.
    top_share : float or None
        Share of the energy in the leading direction.
    """

    name: str
    verdict: TensorVerdict
    renamed: str = ""
    shape: tuple[int, ...] = ()
    dtypes: tuple[str, str] = ("", "")
    size: float = 0.0
    relative: float = 0.0
    largest: float = 0.0
    changed: float = 0.0
    rank: int | None = None
    effective_rank: float | None = None
    sampled: bool = False
    top_share: float | None = None

    @property
    def layer(self) -> int | None:
        """Its layer, None outside of layers."""
        match = _LAYER.search(self.name)
        return int(match[1]) if match else None

    @property
    def place(self) -> str:
        """Attention, feed-forward, norm, embedding, unembedding, or other."""
        return next((p for p, names in _PLACES.items() if re.search(names, self.name)), "other")

    def row(self) -> dict[str, Any]:
        """As plain values."""
        return {"layer": self.layer, "place": self.place, **asdict(self)}


@dataclass(frozen=True)
class FileDiff:
    """One setting beside the weights that differs.

    Attributes
    ----------
    file : str
        Where it stands: ``config``, ``tokenizer``, ``chat template``, ``special tokens`` or
        ``generation config``.
    what : str
    base, tuned : str
        What each says; "" where it says nothing.
    """

    file: str
    what: str
    base: str
    tuned: str


@dataclass(frozen=True)
class ModelDiff:
    """What differs between the files of two models.

    Attributes
    ----------
    base, tuned : str
        Names of the models.
    tensors : tuple of TensorDiff
    files : tuple of FileDiff
    notes : tuple of str
        What could not be compared.
    """

    base: str
    tuned: str
    tensors: tuple[TensorDiff, ...] = field(repr=False)
    files: tuple[FileDiff, ...] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Tensors by verdict."""
        return dict(Counter(tensor.verdict for tensor in self.tensors))

    @property
    def verdict(self) -> Verdict:
        """What both are to each other."""
        verdicts = {"quantised" if t.verdict == "packed" else t.verdict for t in self.tensors}
        # Outside of layers a tensor may be left out: one that is tied to another, or a head.
        misfits = [t for t in self.tensors if t.verdict in ("shape", "only base", "only tuned")]
        common = verdicts & {"same", "precision", "quantised", "trained"}
        if not common or any(t.layer is not None for t in misfits):
            return "unlike"
        order: tuple[Verdict, ...] = ("trained", "quantised", "precision", "same")
        return next(verdict for verdict in order if verdict in common)

    @property
    def exit_code(self) -> int:
        """Of ``twinlens diff``, see `EXIT_CODES`."""
        return EXIT_CODES[self.verdict]

    @property
    def relative(self) -> float:
        """Norm of the whole difference over that of the tensors of base that differ."""
        norms = [(t.size, t.size / t.relative) for t in self.tensors if t.relative]
        whole = math.hypot(*(norm for _, norm in norms))
        return math.hypot(*(size for size, _ in norms)) / whole if whole else 0.0

    def rows(self) -> list[dict[str, Any]]:
        """One row per tensor."""
        return [tensor.row() for tensor in self.tensors]

    def to_frame(self) -> DataFrame:
        """`rows` as a table."""
        return frame_of(self.rows())

    def files_frame(self) -> DataFrame:
        """What differs beside the weights, as a table."""
        return frame_of([asdict(f) for f in self.files], list(FileDiff.__annotations__))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "base": self.base,
            "tuned": self.tuned,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "counts": self.counts,
            "relative": self.relative,
            "tensors": self.rows(),
            "files": [asdict(file) for file in self.files],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return f"<ModelDiff {self.base!r} and {self.tuned!r}: {self._verdict_line()}>"

    def __str__(self) -> str:
        """One screen."""
        lines = [f"base     {self.base}", f"tuned    {self.tuned}"]
        lines += [f"verdict  {self._verdict_line()}"]
        renamed = sum(bool(tensor.renamed) for tensor in self.tensors)
        if renamed:
            lines.append(f"         {renamed} tensors have other names")
        lines += [f"         {note}" for note in self.notes]
        table = self._table()
        lines += ["", *table] if table else []
        lines += ["", *self._file_lines()]
        return "\n".join(lines)

    def _verdict_line(self) -> str:
        counted = ", ".join(
            f"{count:,} {verdict}" for verdict, count in sorted(self.counts.items())
        )
        size = f"; the difference is {self.relative:.2g} of the weights" if self.relative else ""
        said = _SENTENCES[self.verdict]
        if self.verdict == "quantised" and "packed" in self.counts:
            said = "quantised, and its packed weights are not compared"
        return f"{said} ({counted}{size})"

    def _table(self) -> list[str]:
        """Size and rank by layer, or by some layers together, so that it fits on a screen."""
        apart = [tensor for tensor in self.tensors if tensor.relative]
        numbers = sorted({t.layer for t in apart if t.layer is not None})
        lines = []
        if numbers:
            head = "".join(f"{name:<26}" for name in _COLUMNS)
            lines.append(f"{'layers':<10}{head}".rstrip())
            lines.append((" " * 10 + f"{'size':<8}{'rank (effective)':<18}" * 2 + "size").rstrip())
        end = numbers[-1] + 1 if numbers else 0
        step = -(-end // _ROWS) or 1
        for first in range(0, end, step):
            inside = range(first, min(first + step, end))
            name = f"{first}" if len(inside) == 1 else f"{first}-{inside[-1]}"
            cells = [
                _cell([t for t in apart if t.layer in inside and t.place == place])
                for place in _COLUMNS
            ]
            lines.append((f"{name:<10}" + "".join(f"{cell:<26}" for cell in cells)).rstrip())
        outside = [tensor for tensor in apart if tensor.layer is None]
        lines += [f"{_short(t.name, 32):<34}{_cell([t])}" for t in outside[:_LISTED]]
        if apart:
            lines.append(
                "size: norm of the difference over that of base's weights; rank: directions above "
                "rounding, median"
            )
            if any(tensor.sampled for tensor in apart):
                lines.append(f"of at most {SAMPLE} of its rows and columns each, > at least that")
        return lines

    def _file_lines(self) -> list[str]:
        if not self.files:
            return ["Beside the weights nothing differs."]
        lines = ["Beside the weights"]
        for file in dict.fromkeys(diff.file for diff in self.files):
            inside = [diff for diff in self.files if diff.file == file]
            for diff in inside[:_LISTED]:
                was, now = (
                    _short(text, _LONGEST) if text else "-" for text in (diff.base, diff.tuned)
                )
                lines.append(f"  {file:<18}{diff.what}: {was} | {now}")
            if len(inside) > _LISTED:
                lines.append(f"  {'':<18}and {len(inside) - _LISTED} more")
        return lines


def _cell(tensors: Sequence[TensorDiff]) -> str:
    if not tensors:
        return "-"
    whole = math.hypot(*(t.size / t.relative for t in tensors))
    cell = f"{math.hypot(*(t.size for t in tensors)) / whole:<8.2g}"
    ranks = [(t.rank, t.effective_rank) for t in tensors if t.rank is not None]
    if ranks:
        more = ">" if any(t.rank == SAMPLE < min(t.shape[-2:]) for t in tensors) else ""
        rank = statistics.median(rank for rank, _ in ranks)
        effective = statistics.median(rank or 0.0 for _, rank in ranks)
        cell += f"{more}{rank:.0f} ({effective:.0f})"
    return cell


def _short(text: str, length: int) -> str:
    """Text of a file on one line; control characters must not reach the terminal."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return plain if len(plain) <= length else f"{plain[: length - 1]}…"
