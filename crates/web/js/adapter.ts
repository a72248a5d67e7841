// The WebGPU adapter of this browser, for the report.
import type { Adapter } from "./types.ts";

/** Null where there is none. */
export async function adapter(): Promise<Adapter | null> {
  const found = await gpu()?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!found) return null;
  const { vendor, architecture, description, isFallbackAdapter } = found.info;
  const limits: Record<string, number> = {};
  for (const name in found.limits) {
    const limit = found.limits[name];
    if (typeof limit === "number") limits[name] = limit;
  }
  return { vendor, architecture, description, fallback: isFallbackAdapter ?? false, features: [...found.features], limits };
}

interface Found {
  info: { vendor: string; architecture: string; description: string; isFallbackAdapter?: boolean };
  features: Iterable<string>;
  limits: Record<string, unknown>;
}

function gpu() {
  return (navigator as { gpu?: { requestAdapter(options: object): Promise<Found | null> } }).gpu;
}
