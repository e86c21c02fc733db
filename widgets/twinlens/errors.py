"""Exceptions of twinlens: each message is one sentence saying what was wrong and what to do."""

import re

#: Longest piece without a blank that a message quotes whole, and how much of longer ones it shows.
_PIECE = re.compile(r"\S{400,}")
_SHOWN = 100


class TwinlensError(Exception):
    """Base class of every error twinlens raises on purpose."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(_one_line(a) if isinstance(a, str) else a for a in args))


def _one_line(message: str) -> str:
    """What a message quotes, such as an array or a file, may have several lines, and be long."""
    return _PIECE.sub(
        lambda piece: f"{piece[0][:_SHOWN]}…{piece[0][-_SHOWN:]}", " ".join(message.splitlines())
    )


class ModelLoadError(TwinlensError):
    """A folder, file or hub id that cannot be loaded as a causal language model."""


class PairMismatchError(TwinlensError):
    """Two models that cannot be compared because their shapes or tokenizers differ."""


class UnsupportedArchitectureError(TwinlensError):
    """A model whose weights are not described in the architecture table."""


class NotDifferentiableError(TwinlensError):
    """A model whose gradients cannot be had; the message says what works without them."""


class ArgumentError(TwinlensError, TypeError, ValueError):
    """An argument that is unknown, of the wrong kind or out of range."""


class PromptError(TwinlensError, ValueError):
    """A prompt that is empty, too long, or whose marked spans are not in it."""


class AnswerError(TwinlensError, ValueError):
    """An answer that cannot be explained because it is empty or too long."""


class MemoryNeededError(TwinlensError, MemoryError):
    """Not enough memory for the pair; the message says which setting would fit."""


class MissingLibraryError(TwinlensError, ImportError):
    """A library that is not installed; recordings and pages may do without it."""


class OutputError(TwinlensError, OSError):
    """A file that cannot be written where it shall go; an older one there is as it was."""


class BrowserError(TwinlensError, RuntimeError):
    """No browser to draw with, or one that could not."""


class RecordingError(TwinlensError):
    """A recording that is damaged, truncated, newer than this version, or no recording at all."""


class UnknownBlockError(TwinlensError, KeyError):
    """A block key that is malformed, out of range, or not contained in this trace."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class Interrupted(TwinlensError):  # noqa: N818 - not a mistake of the caller
    """A computation stopped because its result is no longer wanted; what was finished is kept."""


class NotFiniteError(TwinlensError, ArithmeticError):
    """A model that computes NaN or infinity; the message names the model and the place."""


class VocabularyError(TwinlensError, ValueError):
    """Words, or vectors of words, that cannot be read, or too few of them."""


class HeadIndexError(TwinlensError, IndexError):
    """A layer, head or neuron that the model does not have."""


class AnnotationError(TwinlensError):
    """An annotator that does not answer, or a file of annotations that cannot be read."""


class DataError(TwinlensError, ValueError):
    """A data set that cannot be read at all (single bad rows are set aside instead)."""


class LevelsError(TwinlensError, ValueError):
    """A number of levels that cannot be had because only finished levels were stored."""


class StudyError(TwinlensError):
    """A study folder that is none, is damaged, or was made with other settings."""
