// Forced decoding by llama.cpp (npm node-llama-cpp, prebuilt).

import {availableParallelism} from "node:os";

/** Its own probabilities are divided by a sum in 32 bits, which is off by up to 6e-4. */
function judge(logits, id) {
    let [argmax, max] = [-1, -Infinity];
    for (const [token, logit] of logits) if (logit > max) [argmax, max] = [token, logit];
    let sum = 0;
    for (const logit of logits.values()) sum += Math.exp(logit - max);
    return {argmax, logprob: logits.get(id) - max - Math.log(sum)};
}

/**
 * A GGUF file in llama.cpp on a device, "cpu" or "vulkan". `force(ids, start)` gives for each token from `start` on the likeliest
 * token in its place and the log-probability of the one that is there.
 */
export async function llamaCpp(file, device = "cpu") {
    // llama.cpp ignores Vulkan adapters of type CPU (lavapipe) and computes on the CPU without a word, unless one is named.
    if (device === "vulkan") process.env.GGML_VK_VISIBLE_DEVICES ??= "0";
    const {getLlama, LlamaLogLevel} = await import("node-llama-cpp");
    const llama = await getLlama({
        gpu: device === "vulkan" ? "vulkan" : false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error
    });
    if (device === "vulkan" && llama.gpu !== "vulkan") throw new Error("the Vulkan backend did not load");
    const model = await llama.loadModel({modelPath: file, gpuLayers: device === "vulkan" ? "max" : 0});
    const context = await model.createContext({
        contextSize: 2048, batchSize: 512, threads: availableParallelism(), ignoreMemorySafetyChecks: true
    });
    const sequence = context.getSequence();
    return {
        version: `node-llama-cpp 3.22.1, ${llama.llamaCppRelease.release}`,
        device: device === "vulkan" ? (await llama.getGpuDeviceNames()).join(", ") : "CPU",
        tokenize: (text) => [...(model.tokens.shouldPrependBosToken ? [model.tokens.bos] : []), ...model.tokenize(text)],
        async force(ids, start = 1) {
            await sequence.clearHistory();
            const places = [];
            const asked = {generateNext: {token: true, logits: true}};
            const input = ids.slice(0, -1).map((id, index) => (index + 1 < start ? id : [id, asked]));
            await sequence.controlledEvaluate(input, {
                onTokenResult(index, {next}) {
                    places[index + 1 - start] = judge(next.logits, ids[index + 1]);
                    // All logits of all tokens would be gigabytes.
                    delete next.logits;
                }
            });
            return places;
        },
        close: () => llama.dispose()
    };
}
