export default {
  // Prebundling would move the package away from its worker.
  optimizeDeps: { exclude: ["tinderbox-web"] },
  // The worker loads its wasm module by an address of its own, which only modules have.
  worker: { format: "es" },
};
