export default {
  // Prebundling would move the package away from its worker.
  optimizeDeps: { exclude: ["tinderbox-web"] },
  // The worker finds its wasm module by an address of its own, which only modules have.
  worker: { format: "es" },
  // Only here, where the package is a link to its source.
  server: { fs: { allow: ["../.."] } },
};
