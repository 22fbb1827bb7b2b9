"""Which architectures a stock loader does not read back from a format, by model type, for the plan to tell. Imports no torch.

The formats ask the model itself (`refuse` in quantizers.formats); a test holds these tables against what they say.
"""

from __future__ import annotations

from collections.abc import Collection

from catalog.formats import FORMATS
from quantizers.errors import some

TRANSPOSED = frozenset({"gpt2", "gpt-sw3", "openai-gpt"})
"""Model types whose linears are Conv1D modules: stored `[in, out]`."""
OF_ITS_OWN = {"falcon": "FalconLinear"}
"""Model types whose linears are of a class that transformers replaces by no quantized linears, and that class."""
UNSTACKED = ("llama4", "llama4_text")
"""Model types whose stacks of experts, `[experts, in, out]`, transformers loads as linears when weights are quantized."""
_ALL = ("",)
UNREADABLE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("albert", "blt", "clip_text_model", "falcon_mamba", "flaubert", "fsmt", "git", "longt5", "luke"), _ALL
    ),
    **dict.fromkeys(("mamba", "mamba2", "mllama", "modernbert", "modernbert-decoder", "mt5", "perceiver"), _ALL),
    **dict.fromkeys(("recurrent_gemma", "rwkv", "t5", "umt5", "xlm", "xlstm"), _ALL),
    **dict.fromkeys(("clip", "cvt", "deit", "dinov2", "dinov2_with_registers", "hiera", "ijepa"), _ALL),
    **dict.fromkeys(("metaclip_2", "mobilevit", "pvt", "pvt_v2", "siglip", "siglip2", "swiftformer"), _ALL),
    **dict.fromkeys(("swinv2", "vit", "vit_msn"), _ALL),
    "gpt_bigcode": ("attn.c_proj", "mlp.c_proj"),
    "nanochat": ("self_attn.o_proj",),
}
"""Ends of the names of linears, the head aside, without whose weights transformers cannot initialize them or the module that
holds them: those it loads from no compressed-tensors."""


def refusal(model_type: str, quantized: Collection[str], format_: str) -> str | None:
    """Return why a format cannot hold linears of a model type, or None.

    Args:
        quantized: names of the linears, or of tensors of them.
    """
    own = OF_ITS_OWN.get(model_type)
    if own and FORMATS[format_].client.module == "transformers":
        return (
            f"the linears of a {model_type} are {own}, a class of its own that transformers replaces by no quantized linears; "
            "use format openvino"
        )
    if format_ != "compressed-tensors":
        return None
    ends = UNREADABLE.get(model_type, ())
    lost = tuple(name for name in quantized if name.endswith(ends)) if ends else ()
    if lost:
        return (
            f"transformers cannot load {some(lost)} of a {model_type} from format compressed-tensors: it initializes the "
            f"modules that hold them by weights that are not there; use format {_others(format_, model_type)}, or add these "
            "layers to skip"
        )
    if model_type in TRANSPOSED:
        return (
            f"the linears of a {model_type} are Conv1D modules, which format compressed-tensors cannot hold; use format "
            f"{_others(format_, model_type)}"
        )
    return None


def _others(format_: str, model_type: str) -> str:
    able = (name for name, row in FORMATS.items() if not row.architectures or model_type in row.architectures)
    return " or ".join(name for name in able if name != format_)
