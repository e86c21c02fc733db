"""What a training loop of transformers calls, for rooms that do not know transformers."""

from __future__ import annotations

from transformers import TrainerCallback

__all__ = ["TrainerCallback"]
