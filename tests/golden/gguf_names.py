"""How llama.cpp stores a Hugging Face checkpoint of each family: tensor names (from gguf-py), changed tensors, metadata keys."""
import math

import gguf
import numpy as np

ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3,
                 "gemma2": gguf.MODEL_ARCH.GEMMA2, "gemma3_text": gguf.MODEL_ARCH.GEMMA3, "phi3": gguf.MODEL_ARCH.PHI3,
                 "gpt2": gguf.MODEL_ARCH.GPT2}


def names(config):
    """A function from a Hugging Face tensor name to GGUF's."""
    table = gguf.get_tensor_name_map(ARCHITECTURES[config["model_type"]], config.get("num_hidden_layers") or config["n_layer"])
    return lambda name: table.get_name(name, try_suffixes=(".weight", ".bias"))


def describe(config, tensors) -> dict | None:
    """`{"metadata", "tensors": [[GGUF name, HF name, change]], "constants": [[GGUF name, values]]}`; None where GGUF cannot say it."""
    kind = config["model_type"]
    # llama.cpp knows no file key for a query scale other than head_dim, and no GPT-J; its llama has no window.
    if kind not in ARCHITECTURES or config.get("query_pre_attn_scalar", 32) != 32:
        return None
    if "truncate" in config.get("rope_parameters", {}):
        return None  # llama.cpp always rounds the ends of YaRN's ramp
    stored, architecture = names(config), gguf.MODEL_ARCH_NAMES[ARCHITECTURES[kind]]
    rows = [[stored(name), name, change(config, name)] for name, *_ in tensors]
    assert all(row[0] for row in rows), rows
    return {"metadata": metadata(architecture, config), "tensors": rows, "constants": constants(config)}


def change(config, name: str) -> str:
    """What the converter does to a tensor."""
    if config["model_type"] == "llama" and ("q_proj" in name or "k_proj" in name):
        heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
        return f"interleave {heads}"  # rows of each head: i, i + half become neighbours
    if config["model_type"].startswith("gemma") and "norm" in name:
        return "plus one"
    if config["model_type"] == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        return "transpose"
    return "none"


def metadata(name: str, config) -> dict:
    get = lambda *keys: next((config[key] for key in keys if config.get(key) is not None), None)
    heads, width = get("num_attention_heads", "n_head"), get("hidden_size", "n_embd")
    rope = config.get("rope_parameters") or {}
    entries = {
        "context_length": get("max_position_embeddings", "n_positions"),
        "embedding_length": width,
        "block_count": get("num_hidden_layers", "n_layer"),
        "feed_forward_length": get("intermediate_size") or 4 * width,
        "attention.head_count": heads,
        "attention.head_count_kv": get("num_key_value_heads"),
        "attention.layer_norm_rms_epsilon": get("rms_norm_eps"),
        "attention.layer_norm_epsilon": get("layer_norm_epsilon"),
        "rope.freq_base": rope.get("rope_theta", get("rope_theta")),
    }
    head_dim = config.get("head_dim")
    if head_dim:
        entries |= {"attention.key_length": head_dim, "attention.value_length": head_dim}
    if name in ("llama", "phi3"):
        rotary = int((head_dim or width // heads) * config.get("partial_rotary_factor", 1))
        entries["rope.dimension_count"] = rotary
    scaling = config.get("rope_scaling") or rope
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind in ("linear", "yarn"):
        entries |= {"rope.scaling.type": kind, "rope.scaling.factor": scaling["factor"],
                    "rope.scaling.original_context_length": scaling.get("original_max_position_embeddings"),
                    "rope.scaling.yarn_attn_factor": scaling.get("attention_factor"),
                    "rope.scaling.yarn_beta_fast": scaling.get("beta_fast"),
                    "rope.scaling.yarn_beta_slow": scaling.get("beta_slow")}
    if name in ("gemma2", "gemma3", "phi3"):
        entries["attention.sliding_window"] = get("sliding_window")
    if name == "gemma2":
        entries |= {"attn_logit_softcapping": get("attn_logit_softcapping"), "final_logit_softcapping": get("final_logit_softcapping")}
    if name == "phi3":
        original = config["original_max_position_embeddings"]
        entries["rope.scaling.original_context_length"] = original
        if config["rope_scaling"]:
            growth = config["max_position_embeddings"] / original
            entries["rope.scaling.attn_factor"] = math.sqrt(1 + math.log(growth) / math.log(original))
    stated = {f"{name}.{key}": value for key, value in entries.items() if value is not None}
    return {"general.architecture": name} | stated


def constants(config) -> list:
    """Rope factors, which GGUF keeps as tensors: a frequency is divided by its factor."""
    if config["model_type"] == "phi3" and config["rope_scaling"]:
        return [[f"rope_factors_{length}.weight", config["rope_scaling"][f"{length}_factor"]] for length in ("long", "short")]
    scaling = config.get("rope_parameters", {})
    if scaling.get("rope_type") != "llama3":
        return []
    dim, original = config["head_dim"], scaling["original_max_position_embeddings"]
    lengths = 2 * np.pi * scaling["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = np.clip((original / lengths - low) / (high - low), 0, 1)
    return [["rope_freqs.weight", [float(np.float32(f)) for f in 1 / ((1 - smooth) / scaling["factor"] + smooth)]]]
