// The Worker's entry: starts the module with the first request, and again after a trap.

import module from "./dist/tinderbox_edge_bg.wasm";
import * as edge from "./dist/tinderbox_edge.js";

export {Tokens} from "./tokens.mjs";

let state = "new";

// A trap leaves the module's memory in any state. It may come from a timer of the request, where nothing of the
// request would hear of it but this.
addEventListener("error", ({error}) => {
    if (error instanceof WebAssembly.RuntimeError) {
        state = "broken";
    }
});

export default {
    async fetch(request, env, context) {
        if (state === "new") {
            edge.initSync({module});
        } else if (state === "broken") {
            edge.__wbg_reset_state();
        }
        state = "ready";
        try {
            return await edge.fetch(request, env, context);
        } catch (error) {
            if (error instanceof WebAssembly.RuntimeError) {
                state = "broken";
            }
            throw error;
        }
    }
};
