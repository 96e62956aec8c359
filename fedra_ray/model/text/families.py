"""The families of language models whose blocks can be chosen freely. Nothing here imports transformers."""

from typing import NamedTuple


class Family(NamedTuple):
    """Where the parts of a family's model lie, as transformers names them.

    Attributes:
        blocks: Path of the list of blocks in the model without a head.
        norm: Path of the norm behind the blocks; None if every block ends with its own (post-LN).
        targets: Where LoRA goes by default: queries and values, as in LoRA (Hu et al., arXiv 2106.09685, section 4.2),
            or the layer that computes them.
        causal: Whether a token sees only those before it.
    """

    blocks: str
    norm: str | None
    targets: tuple[str, ...]
    causal: bool


_BERT = Family("encoder.layer", None, ("attention.self.query", "attention.self.value"), causal=False)
_LLAMA = Family("layers", "norm", ("self_attn.q_proj", "self_attn.v_proj"), causal=True)

#: By the `model_type` of a model's config.json. SmolLM and TinyLlama are of type llama, multilingual E5 of type bert.
FAMILIES = {
    "bert": _BERT,
    "roberta": _BERT,
    "distilbert": Family("transformer.layer", None, ("attention.q_lin", "attention.v_lin"), causal=False),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gpt2": Family("h", "ln_f", ("attn.c_attn",), causal=True),
}
