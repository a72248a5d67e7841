// A llama of two layers with made-up weights, as GGUF and as safetensors, so that tests need no model.
const VOCAB = 64;
const WIDTH = 32;
const FFN = 64;
const LAYERS = 2;
const HEADS = 4;
const KV_HEADS = 2;
const CONTEXT = 512;
const TEMPLATE = "{% for m in messages %}{{ m.role[0] }} {{ m.content }} {% endfor %}";
const LETTERS = [..."abcdefghijklmnopqrstuvwxyz"];
const SPECIAL = ["<unk>", "<s>", "</s>"];

/** Tensors under their names in GGUF: [name, shape, values]. */
function* tensors(layers = LAYERS) {
  let state = 1n;
  const next = () => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffff_ffff_ffff_ffffn;
    return Number(state >> 40n) / 2 ** 23 - 1;
  };
  function tensor(name, ...shape) {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => (shape.length === 1 ? 1 : 0.5 * next()));
    // The specials' rows are empty: an answer never ends before it is long enough.
    if (name === "output") values.fill(0, 0, SPECIAL.length * WIDTH);
    return [`${name}.weight`, shape, values];
  }
  yield tensor("token_embd", VOCAB, WIDTH);
  yield tensor("output_norm", WIDTH);
  yield tensor("output", VOCAB, WIDTH);
  const kv = (WIDTH / HEADS) * KV_HEADS;
  for (let layer = 0; layer < layers; layer++) {
    const at = (name, ...shape) => tensor(`blk.${layer}.${name}`, ...shape);
    yield at("attn_norm", WIDTH);
    yield at("attn_q", WIDTH, WIDTH);
    yield at("attn_k", kv, WIDTH);
    yield at("attn_v", kv, WIDTH);
    yield at("attn_output", WIDTH, WIDTH);
    yield at("ffn_norm", WIDTH);
    yield at("ffn_gate", FFN, WIDTH);
    yield at("ffn_up", FFN, WIDTH);
    yield at("ffn_down", WIDTH, FFN);
  }
}

// GGUF: value types and little-endian fields.
const le = (bytes, write) => {
  const buffer = Buffer.alloc(bytes);
  write(buffer);
  return buffer;
};
const u32 = (n) => le(4, (b) => b.writeUInt32LE(n));
const i32 = (n) => le(4, (b) => b.writeInt32LE(n));
const u64 = (n) => le(8, (b) => b.writeBigUInt64LE(BigInt(n)));
const f32 = (n) => le(4, (b) => b.writeFloatLE(n));
const string = (text) => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);
const typed = {
  u32: (n) => [u32(4), u32(n)],
  f32: (n) => [u32(6), f32(n)],
  bool: (b) => [u32(7), Buffer.from([Number(b)])],
  string: (text) => [u32(8), string(text)],
  array: (kind, write, items) => [u32(9), u32(kind), u64(items.length), ...items.map(write)],
};
const ALIGNMENT = 32;
const padded = (bytes) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & (ALIGNMENT - 1))]);

const stored = (layers) => [...tensors(layers)].map(([name, shape, values]) => [name, shape, padded(Buffer.from(values.buffer))]);

function entriesOf(metadata) {
  const pieces = [...SPECIAL, "▁", ...LETTERS, ...LETTERS.map((letter) => `▁${letter}`),
    "ab", "abc", "▁ab", "hello", "é", "🦀", "\n", "x y"];
  return Object.entries({
    "general.architecture": typed.string("llama"),
    "llama.block_count": typed.u32(LAYERS),
    "llama.embedding_length": typed.u32(WIDTH),
    "llama.attention.head_count": typed.u32(HEADS),
    "llama.attention.head_count_kv": typed.u32(KV_HEADS),
    "llama.feed_forward_length": typed.u32(FFN),
    "llama.context_length": typed.u32(CONTEXT),
    "llama.attention.layer_norm_rms_epsilon": typed.f32(1e-5),
    "tokenizer.ggml.model": typed.string("llama"),
    "tokenizer.ggml.tokens": typed.array(8, string, pieces),
    "tokenizer.ggml.scores": typed.array(6, f32, pieces.map((piece) => [...piece].length)),
    "tokenizer.ggml.token_type": typed.array(5, i32, pieces.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : 1))),
    "tokenizer.ggml.add_space_prefix": typed.bool(false),
    "tokenizer.ggml.add_bos_token": typed.bool(true),
    "tokenizer.chat_template": typed.string(TEMPLATE),
    ...metadata,
  }).filter(([, value]) => value !== null);
}

function write(entries, all) {
  const header = [Buffer.from("GGUF"), u32(3), u64(all.length), u64(entries.length)];
  for (const [key, value] of entries) header.push(string(key), ...value);
  let offset = 0;
  for (const [name, shape, bytes] of all) {
    header.push(string(name), u32(shape.length), ...shape.toReversed().map(u64), u32(0), u64(offset));
    offset += bytes.length;
  }
  return Buffer.concat([padded(Buffer.concat(header)), ...all.map(([, , bytes]) => bytes)]);
}

/** `metadata` replaces entries, to make files that are wrong; null leaves one out. With more layers answers take longer. */
export const gguf = (metadata = {}, layers = LAYERS) => write(entriesOf({ "llama.block_count": typed.u32(layers), ...metadata }), stored(layers));

/** The same in two parts. */
export function ggufParts() {
  const all = stored();
  const part = (number) => [["split.no", typed.u32(number)], ["split.count", typed.u32(2)]];
  return [write([...entriesOf({}), ...part(0)], all.slice(0, 9)), write(part(1), all.slice(9))];
}

export const wrongArchitecture = () => gguf({ "general.architecture": typed.string("abacus") });

const HF_NAMES = {
  token_embd: "model.embed_tokens", output_norm: "model.norm", output: "lm_head",
  attn_norm: "input_layernorm", attn_q: "self_attn.q_proj", attn_k: "self_attn.k_proj", attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj", ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj", ffn_up: "mlp.up_proj", ffn_down: "mlp.down_proj",
};

function safetensors(list) {
  const header = {};
  let end = 0;
  for (const [name, shape, values] of list) header[name] = { dtype: "F32", shape, data_offsets: [end, (end += values.byteLength)] };
  const json = Buffer.from(JSON.stringify(header));
  return Buffer.concat([u64(json.length), json, ...list.map(([, , values]) => Buffer.from(values.buffer))]);
}

/** The files of an adapter of its queries and values; another seed makes another one, more rank makes it larger. */
export function adapter(seed, rank = 4) {
  let state = BigInt(seed);
  const next = () => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffff_ffff_ffff_ffffn;
    return Number(state >> 40n) / 2 ** 23 - 1;
  };
  const kv = (WIDTH / HEADS) * KV_HEADS;
  const list = [];
  for (let layer = 0; layer < LAYERS; layer++) for (const [part, outputs] of [["q_proj", WIDTH], ["v_proj", kv]]) {
    for (const [half, shape] of [["lora_A", [rank, WIDTH]], ["lora_B", [outputs, rank]]]) {
      const values = Float32Array.from({ length: shape[0] * shape[1] }, () => 0.7 * next());
      list.push([`base_model.model.model.layers.${layer}.self_attn.${part}.${half}.weight`, shape, values]);
    }
  }
  const config = { peft_type: "LORA", r: rank, lora_alpha: 2 * rank, target_modules: ["q_proj", "v_proj"] };
  return { "adapter_config.json": JSON.stringify(config), "adapter_model.safetensors": safetensors(list) };
}

/** The files of a Hugging Face folder, its tensors in two shards. */
export function huggingFace() {
  const named = [...tensors()].map(([name, shape, values]) => {
    const [, layer, part] = name.match(/^(?:blk\.(\d+)\.)?(\w+)\.weight$/);
    return [`${layer === undefined ? "" : `model.layers.${layer}.`}${HF_NAMES[part]}.weight`, shape, values];
  });
  const shards = [["a.safetensors", named.slice(0, 8)], ["b.safetensors", named.slice(8)]];
  const weight_map = Object.fromEntries(shards.flatMap(([file, list]) => list.map(([name]) => [name, file])));
  const pieces = [...SPECIAL, "Ġ", ...LETTERS, ...LETTERS.map((letter) => `Ġ${letter}`), ..."01234567"];
  const special = (content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true });
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const json = {
    "config.json": {
      model_type: "llama", hidden_size: WIDTH, intermediate_size: FFN, num_hidden_layers: LAYERS,
      num_attention_heads: HEADS, num_key_value_heads: KV_HEADS, vocab_size: VOCAB, max_position_embeddings: CONTEXT,
      rms_norm_eps: 1e-5, hidden_act: "silu", tie_word_embeddings: false, bos_token_id: 1, eos_token_id: 2,
    },
    "tokenizer.json": {
      version: "1.0", truncation: null, padding: null, added_tokens: SPECIAL.map(special), normalizer: null,
      pre_tokenizer: bytes, post_processor: null, decoder: bytes,
      model: {
        type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null,
        fuse_unk: false, byte_fallback: false, vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
        merges: LETTERS.map((letter) => ["Ġ", letter]),
      },
    },
    "tokenizer_config.json": { chat_template: TEMPLATE },
    "model.safetensors.index.json": { metadata: {}, weight_map },
  };
  return {
    ...Object.fromEntries(Object.entries(json).map(([name, value]) => [name, Buffer.from(JSON.stringify(value))])),
    ...Object.fromEntries(shards.map(([name, list]) => [name, safetensors(list)])),
  };
}
