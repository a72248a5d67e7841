import type { Report } from "tinderbox-web";

const DEVICES = { webgpu: "WebGPU", cpu: "CPU" };

/** Where an answer is computed. */
export const Badge = ({ place, device = null }: { place: "browser" | "edge"; device?: Report["device"] }) => (
  <span class={`badge ${place}`}>{place === "browser" ? "in this tab" : "on the edge"}{device && ` · ${DEVICES[device]}`}</span>
);
