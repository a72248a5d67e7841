declare module "tinderbox-wasm" {
  export const load: import("./wasm.ts").Wasm["load"];
  export default function start(): Promise<unknown>;
}
