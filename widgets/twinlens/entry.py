"""From a pair and a prompt to linked panels: `twinlens.explore` and `twinlens.open`.

The module has neither name: a submodule of that name would take the function's place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from twinlens import recording
from twinlens.progress import progress
from twinlens.view.explorer import Explorer

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair

#: A part of the prompt: its text, or where it starts and ends in characters, or several of these.
Spans: TypeAlias = str | tuple[int, int] | Sequence[str | tuple[int, int]] | None


def explore(
    pair: Pair,
    prompt: str,
    *,
    instruction: Spans = None,
    context: Spans = None,
    response: str = "shared",
    max_new_tokens: int = 64,
    template: bool = False,
    **traits: Any,
) -> Explorer:
    """Run both models on one prompt and open linked panels over what happened inside.

    Both models write their greedy answer and read prompt and answer once; everything else is
    computed when a panel asks for it.

    Parameters
    ----------
    pair : Pair
        From `load_pair` or `demo_pair`.
    prompt : str
        What both models read.
    instruction, context : str, (start, end), or a sequence of these, optional
        Parts of the prompt, as text or as character positions.
    response : {"shared", "own", "base", "tuned"} or str
        Which answer is traced. ``"shared"``, the default, lets both models read the tuned
        model's answer (the same as ``"tuned"``), ``"base"`` the base model's, any other text
        that text: then position by position the two read the same tokens, and every number of
        one can be compared with the other's. ``"own"`` is the way of Wu et al. (2310.00492):
        each model answers for itself, and answers of different length are compared as wholes.
    max_new_tokens : int
        Longest answer in tokens.
    template : bool
        Put the prompt into the tuned model's chat template, for both models.
    **traits
        Initial selection, ``method``, ``theme`` and ``presentation`` of the explorer.

    Returns
    -------
    Explorer

    Raises
    ------
    PromptError
        If the prompt is empty or too long, or a marked part is not in it.
    AnswerError
        If there is no answer to explain.
    """
    from twinlens.compute.live import trace_pair

    with progress("tracing") as report:
        trace = trace_pair(
            pair,
            prompt,
            instruction=instruction,
            context=context,
            response=response,
            max_new_tokens=max_new_tokens,
            template=template,
            report=report,
        )
    return Explorer(trace, **traits)


def open(path: str | os.PathLike[str], **traits: Any) -> Explorer:
    """Open a recording (``.twl``): the same panels and numbers, without models and without torch.

    Parameters
    ----------
    path : path
    **traits
        Initial selection, ``method``, ``theme`` and ``presentation`` of the explorer.

    Raises
    ------
    RecordingError
        If the file is missing, damaged, or newer than this version of twinlens.
    """
    return Explorer(recording.read(path), **traits)
