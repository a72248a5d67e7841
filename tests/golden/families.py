"""The tiny checkpoints: config.json as published models of each family have it, with small numbers.

Every switch that could be forgotten bites: windows are shorter than the prompt, soft caps are small, head_dim is not width / heads
where the family allows it, rope bases differ from the defaults, and norms and biases are random.
"""

VOCAB, CONTEXT = 288, 128

COMMON = {"vocab_size": VOCAB, "max_position_embeddings": CONTEXT, "hidden_size": 64, "intermediate_size": 96,
          "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
          "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}

LLAMA = COMMON | {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
                  "rope_theta": 100000.0, "rope_scaling": None, "attention_bias": False, "mlp_bias": False,
                  "tie_word_embeddings": True}

# As transformers 5 writes it: rope_parameters in place of rope_theta and rope_scaling, dtype in place of torch_dtype.
LLAMA3 = {key: value for key, value in LLAMA.items() if key not in ("rope_theta", "rope_scaling", "torch_dtype")} | {
    "head_dim": 32, "tie_word_embeddings": False, "dtype": "float32",
    "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                        "high_freq_factor": 4.0, "original_max_position_embeddings": 32}}

# Scalings that hold at every position: a prompt of 24 tokens shows them.
LLAMA_LINEAR = LLAMA | {"head_dim": 32, "rope_scaling": {"type": "linear", "factor": 4.0}}

# The ramp of frequencies begins at the first and ends in the middle; its ends are rounded.
LLAMA_YARN = LLAMA | {"head_dim": 32, "rope_theta": 500.0,
                      "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}}

# In the newer form, with the options that a GGUF file can say, and with those it cannot.
YARN_OPTIONS = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 8.0, "original_max_position_embeddings": 16,
                "beta_fast": 1.0, "beta_slow": 0.25}
LLAMA_YARN_OPTIONS = LLAMA3 | {"rope_parameters": YARN_OPTIONS | {"attention_factor": 1.1}}
LLAMA_YARN_EXACT = LLAMA3 | {"rope_parameters": YARN_OPTIONS | {"truncate": False, "mscale": 1.0, "mscale_all_dim": 0.5}}

# Begins past max_position_embeddings: up to there it is no scaling.
LLAMA_DYNAMIC = LLAMA | {"head_dim": 32, "rope_scaling": {"type": "dynamic", "factor": 2.0}}

MISTRAL = COMMON | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu", "rms_norm_eps": 1e-5,
                    "rope_theta": 10000.0, "sliding_window": 8, "tie_word_embeddings": False}

QWEN2 = COMMON | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "rms_norm_eps": 1e-6,
                  "rope_theta": 1000000.0, "sliding_window": 8, "use_sliding_window": False, "max_window_layers": 3,
                  "tie_word_embeddings": True}

QWEN3 = COMMON | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "rms_norm_eps": 1e-6,
                  "head_dim": 32, "rope_theta": 1000000.0, "rope_scaling": None, "sliding_window": None,
                  "use_sliding_window": False, "max_window_layers": 3, "attention_bias": False, "tie_word_embeddings": False}

GEMMA = COMMON | {"hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "head_dim": 32, "sliding_window": 8,
                  "attention_bias": False}

GEMMA2 = GEMMA | {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "hidden_act": "gelu_pytorch_tanh",
                  "rope_theta": 10000.0, "query_pre_attn_scalar": 32, "attn_logit_softcapping": 3.0,
                  "final_logit_softcapping": 6.0}

GEMMA3 = GEMMA | {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "num_hidden_layers": 7,
                  "num_key_value_heads": 1, "query_pre_attn_scalar": 32, "rope_theta": 1000000.0,
                  "rope_local_base_freq": 10000.0, "rope_scaling": None, "sliding_window_pattern": 6,
                  "attn_logit_softcapping": None, "final_logit_softcapping": None}

PHI3 = COMMON | {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_act": "silu", "rms_norm_eps": 1e-5,
                 "rope_theta": 10000.0, "rope_scaling": None, "original_max_position_embeddings": CONTEXT,
                 "sliding_window": 8, "attention_bias": False, "tie_word_embeddings": False, "pad_token_id": 0}

# Contexts beyond 16 take the long factors; the prompt alone is longer than that.
PHI3_LONGROPE = PHI3 | {"original_max_position_embeddings": 16, "sliding_window": None,
                        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.0, 1.0, 1.0, 1.0, 1.25, 1.5, 2.0],
                                         "long_factor": [1.0, 1.0625, 1.25, 1.5, 2.0, 3.0, 5.0, 8.0]}}

# As Phi-4-mini: three quarters of each head rotate.
PHI3_PARTIAL = PHI3 | {"partial_rotary_factor": 0.75, "hidden_size": 128, "num_hidden_layers": 2, "sliding_window": None,
                       "tie_word_embeddings": True}

GPT2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": VOCAB, "n_positions": 64, "n_ctx": 64, "n_embd": 64,
        "n_head": 4, "n_layer": 3, "n_inner": None, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
        "bos_token_id": 1, "eos_token_id": 2}

GPTJ = {"architectures": ["GPTJForCausalLM"], "model_type": "gptj", "vocab_size": VOCAB, "n_positions": 64, "n_embd": 64,
        "n_head": 4, "n_layer": 3, "n_inner": None, "rotary_dim": 8, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}

FAMILIES = {
    "llama": LLAMA,
    "llama3-rope": LLAMA3,
    "llama-linear": LLAMA_LINEAR,
    "llama-yarn": LLAMA_YARN,
    "llama-yarn-options": LLAMA_YARN_OPTIONS,
    "llama-yarn-exact": LLAMA_YARN_EXACT,
    "llama-dynamic": LLAMA_DYNAMIC,
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "gemma2": GEMMA2,
    "gemma2-query-scale": GEMMA2 | {"query_pre_attn_scalar": 24, "attn_logit_softcapping": None},
    "gemma3": GEMMA3,
    "phi3": PHI3,
    "phi3-longrope": PHI3_LONGROPE,
    "phi3-partial-rotary": PHI3_PARTIAL,
    "gpt2": GPT2,
    "gptj": GPTJ,
}
