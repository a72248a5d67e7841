// Faults that do not come by themselves.

/** A request that brings one. */
export const fault = (name) => ({headers: {"x-fault": name}});

/**
 * Stands before the Worker and does to it what a header asks for. `trap`: at the module's next look at the clock it comes
 * to an end as after a failed allocation, wherever it is just then. `cpu` and `rest`: what the runtime writes into its
 * memory when the CPU time is nearly over, and before the next request. `minute`: the clock goes on by one. `gone`: the
 * client goes soon. `kv`: keys cannot be looked up any more.
 */
export const FAULTS = `
    import worker from "./index.js";
    export * from "./index.js";
    const {Instance} = WebAssembly;
    let module, armed = false, made = 0, ahead = 0, down = false;
    WebAssembly.Instance = function (...args) {
        const instance = new Instance(...args);
        module = instance.exports;
        made += 1;
        return instance;
    };
    const now = Date.now;
    Date.now = () => {
        if (armed) {
            armed = false;
            module.__wbindgen_malloc(-1, 1);
        }
        return now() + ahead;
    };
    const signal = (value) => new Uint32Array(module.memory.buffer)[module.__instance_signal.value >> 2] = value;
    const faults = {
        trap: () => armed = true,
        cpu: () => signal(24),
        rest: () => signal(0),
        minute: () => ahead += 60_000,
        kv: () => down = true
    };
    const failing = (store) => ({
        get: (...args) => down ? Promise.reject(new Error("down")) : store.get(...args),
        getWithMetadata: (...args) => down ? Promise.reject(new Error("down")) : store.getWithMetadata(...args),
        put() {}, list() {}, delete() {}
    });
    let kept;
    export default {
        async fetch(request, env, context) {
            const name = request.headers.get("x-fault");
            faults[name]?.();
            if (env.API_KEYS) {
                kept ??= failing(env.API_KEYS);
                env = {...env, API_KEYS: kept};
            }
            if (name === "gone") {
                request = new Request(request, {signal: AbortSignal.timeout(200)});
            }
            const response = await worker.fetch(request, env, context);
            const headers = new Headers(response.headers);
            headers.set("x-instances", made);
            return new Response(response.body, {status: response.status, headers});
        }
    };`;
