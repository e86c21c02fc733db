"""A study of a few prompts at chosen steps of a training, to watch what changes while it trains."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from twinlens.compute.models.training_callback import TrainerCallback
from twinlens.compute.pair import load_pair
from twinlens.errors import ArgumentError
from twinlens.studies.data.store import Store
from twinlens.studies.run.study import study
from twinlens.support.calls import methods_called_rightly
from twinlens.traces.frames import DataFrame


@methods_called_rightly
class StudyCallback(TrainerCallback):
    """Records a study of a few prompts while a model is trained.

    For a `transformers.Trainer`, and those of ``trl`` and others that are made of it. The model is
    compared with the one it started from, and is put back as it was after each study.

    Parameters
    ----------
    prompts : path, list, `datasets` object or pandas frame
        As `study` reads them.
    out : path
        Folder of all studies, one in ``step-N`` for each step.
    base : path or hub id, optional
        What tuned is compared with; a PEFT adapter is by default compared with its own base.
    every : int, optional
        Steps between two studies.
    steps : collection of int, optional
        Steps at which a study is recorded, instead of `every`; 0 is before the first one.
    tokenizer : path, hub id or tokenizer, optional
        By default the trainer's ``processing_class``, or that of `base`.
    **settings
        Of `study`, such as ``methods`` and ``max_new_tokens``.

    Attributes
    ----------
    stores : dict of int to Store
        Studies by step.

    Raises
    ------
    ArgumentError
        If neither or both of `every` and `steps` are given.

    Examples
    --------
    >>> import twinlens as tl
    >>> prompts = ["Name the opposite. hot"]
    >>> watch = tl.StudyCallback(prompts, "watched", base="path/to/base", every=50)

    Then ``Trainer(..., callbacks=[watch]).train()`` and ``watch.to_frame()``.
    """

    def __init__(
        self,
        prompts: Any,
        out: str | os.PathLike[str],
        *,
        base: str | os.PathLike[str] | None = None,
        every: int | None = None,
        steps: Collection[int] | None = None,
        tokenizer: Any = None,
        **settings: Any,
    ) -> None:
        if (every is None) == (steps is None):
            raise ArgumentError("give either every=, a number of steps, or steps=, a list of them")
        if every is not None and not (isinstance(every, int) and every >= 1):
            raise ArgumentError(f"every= is a number of steps, at least 1, not {every!r}")
        self._prompts, self._out, self._base = prompts, Path(out), base
        self._every, self._steps = every, frozenset(steps or ())
        self._tokenizer, self._settings = tokenizer, settings
        self.stores: dict[int, Store] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Record the study before the first step, where it is wanted."""
        self._record(state, **given)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Record the study of this step, where it is wanted."""
        self._record(state, **given)

    def _record(self, state: Any, **given: Any) -> None:
        step = int(state.global_step)
        wanted = step % self._every == 0 if self._every else step in self._steps
        if not wanted or step in self.stores or not state.is_world_process_zero:
            return
        model = given["model"]
        tokenizer = self._tokenizer or given.get("processing_class")
        if self._base is None and not hasattr(model, "get_base_model"):
            raise ArgumentError(
                "the model that is trained is no PEFT adapter: give base=, the model that it is "
                "compared with"
            )
        first, second = (model, None) if self._base is None else (self._base, model)
        pair = load_pair(first, second, tokenizer=tokenizer)
        pair.names["tuned"] = f"step {step}"
        out = self._out / f"step-{step:06d}"
        self.stores[step] = study(pair, self._prompts, out, **self._settings)

    def to_frame(self) -> DataFrame:
        """What was answered at each step: `Store.to_frame` of all studies, with their ``step``."""
        import pandas as pd

        frames = [store.to_frame().assign(step=step) for step, store in self.stores.items()]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
