"""Which model a folder holds, told from its files alone: no torch, so that pages can tell too."""

import hashlib
from pathlib import Path


def digest(folder: Path) -> str:
    """A hash of the model's config and weights; the tokenizer, and heads beside it, don't count."""
    total = hashlib.sha256()
    for file in [folder / "config.json", *sorted(folder.glob("model*.safetensors"))]:
        with file.open("rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()
