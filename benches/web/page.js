// Runs in the page: one measurement of one engine, `window.measure(engine, setup)`; or Tinderbox alone, `window.load(setup)`,
// which is then asked in the words of its REST API, `window.post(path, body)`.

const tinderbox = async ({ files, device, threads, context }) => {
  const { Tinderbox } = await import("/tinderbox/tinderbox.js");
  return Tinderbox.load({ model: files, device, threads, contextLength: context });
};

const download = (models) => Promise.all(models.map(async (model) => {
  const blob = await (await fetch(model)).blob();
  return new File([blob], model.split("/").at(-1));
}));

/** What both engines are asked: `load` the files of a model, then `complete` a prompt and tell when each token came. */
const ENGINES = {
  async tinderbox(setup) {
    const engine = await tinderbox(setup);
    const { description } = await engine.report();
    return {
      description,
      async complete(prompt, tokens, onToken) {
        const chunks = await engine.completions.create({ prompt, max_tokens: tokens, temperature: 0, stream: true });
        let usage;
        for await (const chunk of chunks) {
          if (chunk.choices[0]?.text) onToken(chunk.choices[0].text);
          usage = chunk.usage ?? usage;
        }
        return usage.prompt_tokens;
      },
    };
  },
  async wllama({ files, device, threads, context }) {
    const { Wllama } = await import("/wllama/index.js");
    // It takes the CPU in silence where it does not like the adapter (no shader-f16); only its log says so.
    let log = "";
    const listen = (...words) => (log += `${words.join(" ")}\n`);
    const logger = { debug: listen, log: listen, warn: listen, error: listen };
    const engine = new Wllama({ default: "/wllama/wasm/wllama.wasm" }, { logger });
    await engine.loadModel(files, {
      n_ctx: context, n_threads: threads, n_gpu_layers: device === "webgpu" ? 999 : 0, warmup: false,
    });
    return {
      description: /WebGPU\S* model buffer size/.test(log) ? "WebGPU" : `CPU, ${threads} threads`,
      async complete(prompt, tokens, onToken) {
        const chunks = await engine.createCompletion({ prompt, max_tokens: tokens, temperature: 0, stream: true, cache_prompt: false });
        let usage;
        for await (const chunk of chunks) {
          if (chunk.choices[0]?.text) onToken(chunk.choices[0].text);
          usage = chunk.usage ?? (chunk.timings && { prompt_tokens: chunk.timings.prompt_n }) ?? usage;
        }
        return usage?.prompt_tokens;
      },
    };
  },
};

window.measure = async (name, { models, prompt, decode, ...setup }) => {
  const files = await download(models);
  const start = performance.now();
  const engine = await ENGINES[name]({ files, ...setup });
  const loaded = performance.now();
  const times = [];
  let text = "";
  const promptTokens = await engine.complete(prompt, decode, (piece) => {
    times.push(performance.now());
    text += piece;
  });
  const first = times[0] - loaded;
  // The same engine once more, for what is counted and not timed.
  window.again = (tokens) => engine.complete(" the", tokens, () => {});
  return {
    engine: name,
    device: engine.description,
    load_s: (loaded - start) / 1000,
    ttft_s: first / 1000,
    prompt_tokens: promptTokens,
    prefill_tokens_per_s: (promptTokens / first) * 1000,
    decode_tokens_per_s: ((times.length - 1) / (times.at(-1) - times[0])) * 1000,
    tokens: times.length,
    text,
  };
};

window.load = async ({ models, ...setup }) => {
  const engine = await tinderbox({ files: await download(models), ...setup });
  window.post = async (path, body) => {
    const response = await engine.fetch(path, { method: "POST", body: JSON.stringify(body) });
    return { status: response.status, body: await response.json() };
  };
  return (await engine.report()).description;
};
