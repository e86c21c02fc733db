"""A chain of checkpoints: a study of each against the first, and against the one before it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlens.contract.manifest import Answer
from twinlens.contract.words import SIDES, Side
from twinlens.errors import StudyError
from twinlens.studies.data.store import Store
from twinlens.support.calls import methods_called_rightly
from twinlens.support.files import replacing
from twinlens.support.progress import Report

if TYPE_CHECKING:
    from twinlens.compute.saliency.batch import Known

CHAIN = "chain.json"


@methods_called_rightly
class Chain:
    """The folder of a study over a chain of checkpoints.

    Attributes
    ----------
    folder : Path
    names : tuple of str
        Of the models, in order.
    pairs : list of (int, int)
        Which models were compared: each with the first, and with the one before it.

    Examples
    --------
    >>> import twinlens as tl
    >>> models = ["path/to/base", "path/to/tuned", "path/to/third"]
    >>> chain = tl.study(models, ["Name the opposite. hot"], "stages", max_new_tokens=4)
    >>> chain.pairs
    [(0, 1), (1, 2), (0, 2)]
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            info = json.loads((self.folder / CHAIN).read_text(encoding="utf-8"))
            self.names = tuple(str(name) for name in info["names"])
        except FileNotFoundError as error:
            raise StudyError(
                f"{self.folder} holds no chain: run `study` with a list of models into it first"
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise StudyError(f"{CHAIN} of {self.folder.name} is damaged ({error})") from error
        self.pairs = pairs_of(len(self.names))

    def __repr__(self) -> str:
        return f"<Chain {self.folder.name} of {' | '.join(self.names)}>"

    def store(self, before: int, after: int) -> Store:
        """The study of one model against another.

        Parameters
        ----------
        before, after : int
            Places in the chain, from 0; a pair of `pairs`.
        """
        return Store(pair_folder(self.folder, before, after))


def pairs_of(count: int) -> list[tuple[int, int]]:
    """Which models of a chain are compared, in the order in which they are worked on."""
    pairs = []
    for after in range(1, count):
        pairs += [(after - 1, after)] if after == 1 else [(after - 1, after), (0, after)]
    return pairs


def pair_folder(folder: Path, before: int, after: int) -> Path:
    """Where the study of two models of a chain lies."""
    return folder / f"{before}-{after}"


def run_chain(
    models: Sequence[Any],
    out: str | os.PathLike[str],
    study: Callable[..., Store],
    *,
    response: str,
    load: Mapping[str, Any] | None = None,
    report: Report | None = None,
) -> Chain:
    """Run the studies of all pairs of a chain; never more than two models are in memory.

    What a model makes of its own answer, or of a given one, is computed once, with the first pair
    it is part of.

    Parameters
    ----------
    models : sequence of path, hub id or model
        From the first checkpoint to the last, three or more.
    study : callable
        Runs one pair: called with the pair, its folder, what is known before, and `report`.
    response : str
        Whose answers are read, see `twinlens.studies.run.study.study`.
    load : mapping, optional
        Arguments of `twinlens.load_pair`.

    Raises
    ------
    StudyError
        If the folder holds a chain of other models.
    """
    from twinlens.compute.pair import load_pair

    root = Path(out)
    root.mkdir(parents=True, exist_ok=True)
    names = [_name(model) for model in models]
    if (root / CHAIN).exists() and list(Chain(root).names) != names:
        raise StudyError(
            f"{root.name} holds a chain of {', '.join(Chain(root).names)}: give another out= folder"
        )
    with replacing(root / CHAIN) as stream:
        stream.write(json.dumps({"names": names}).encode())
    done: dict[tuple[int, int], Store] = {}
    for before, after in pairs_of(len(models)):

        def said(count: int, total: int, what: str, model: str = names[after]) -> None:
            if report:
                report(count, total, f"{model}, {what}")

        pair = load_pair(models[before], models[after], **dict(load or {}))
        known = _known(done, (before, after), response)
        done[before, after] = study(pair, pair_folder(root, before, after), known, said)
        pair.release()
    return Chain(root)


def _name(model: Any) -> str:
    path = getattr(model, "name_or_path", None) or model
    return Path(str(path)).name


def _known(
    done: Mapping[tuple[int, int], Store], pair: tuple[int, int], response: str
) -> Callable[[str], Mapping[Side, Known]]:
    """What earlier pairs found out about the models of this one, by prompt."""
    sources: dict[Side, tuple[Store, Side]] = {}
    for side, place in zip(SIDES, pair, strict=True):
        if response in SIDES and side != response:
            continue  # it reads the other's answer, which differs from pair to pair
        for places, store in done.items():
            for read_as, folder in zip(SIDES, places, strict=True):
                if folder == place and (response not in SIDES or read_as == response):
                    sources[side] = store, read_as

    def known(case_id: str) -> Mapping[Side, Known]:
        answers = {
            side: _as_known(store, read_as, side, case_id)
            for side, (store, read_as) in sources.items()
        }
        return {side: answer for side, answer in answers.items() if answer is not None}

    return known


def _as_known(store: Store, read_as: Side, side: Side, case_id: str) -> Known | None:
    from twinlens.compute.saliency.batch import Known

    cases = [case for case in store.cases(case_id) if case.side == read_as]
    if not cases:
        return None
    first = cases[0]
    names = {read_as: str(side), "given": "given"}
    return Known(
        ids=[token.id for token in first.prompt_tokens],
        answer=Answer(
            first.answer_tokens, first.answer, first.answer, len(first.answer_tokens) > 1
        ),
        values={case.method: case.values for case in cases},
        hidden={
            (segment, names[answer]): costs
            for (segment, answer), costs in first.hidden.items()
            if answer in names
        },
    )
