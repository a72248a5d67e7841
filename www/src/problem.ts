// What went wrong, and what the reader can do about it.
import type { Problem } from "./state.ts";

export function problemOf(thrown: unknown): Problem {
  const { code, message } = thrown as { code?: unknown; message?: unknown };
  return { code: typeof code === "string" ? code : "internal", message: String(message ?? thrown) };
}

const ADVICE: Record<string, string> = {
  not_found: "Check the address. A model of the catalog must lie in the folder that this server gives as /models/; a file from your disk works too.",
  network: "Check the connection and load again: what has been downloaded is kept, and loading goes on from there. Another site must allow this page to read its file (CORS), over https.",
  checksum: "The file is not the one that was asked for. Delete it below and load it again, or take it from another source.",
  invalid_model: "Choose a whole GGUF or safetensors file of an architecture that Tinderbox knows, or download it again.",
  quota: "Delete models you no longer need below, free space on the disk, or choose a smaller model.",
  unsupported: "Choose the CPU as device, update the graphics driver, or open the page in a current version of Chrome, Edge, Firefox or Safari.",
  memory: "Choose a smaller model, a shorter context or the CPU as device, or close what else uses the graphics card.",
  device_lost: "The graphics device failed. Load the model again, on the CPU if it happens again.",
  invalid_request: "Change what the message names: a sampling value, the system prompt, or a conversation grown too long (begin a new chat).",
  unavailable: "The engine is gone or has too much to do. Wait a moment, or load the model again.",
  internal: "This is a fault of Tinderbox. Load the model again; if it comes back, report it with the facts of the device panel.",
};

export const adviceFor = ({ code }: Problem) => ADVICE[code] ?? ADVICE.internal!;
