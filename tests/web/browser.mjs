// A Chromium for tests and benches: the machine's own, headless, with a software WebGPU adapter.
import { chromium } from "playwright-core";

/** Path of the browser; `TINDERBOX_CHROMIUM` names another. */
export const executablePath = process.env.TINDERBOX_CHROMIUM ?? "/usr/bin/chromium";

/** Starts a browser of its own, with a profile of its own. `webgpu: false` takes WebGPU away, `path` is that of another one. */
export async function launch({ webgpu = true, path = executablePath } = {}) {
  const gpu = webgpu ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] : ["--disable-features=WebGPU,WebGPUService"];
  const options = {
    executablePath: path,
    args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", ...gpu],
    timeout: 30_000,
  };
  // Once in hundreds of starts Chromium ends itself before it has a page (seen: a segmentation fault), or says nothing.
  return chromium.launch(options).catch(() => chromium.launch(options));
}
