// An answer that is none, as an error.
import { isLoss, TinderboxError } from "./errors.ts";
import type { ErrorCode } from "./types.ts";

interface Refusal {
  message?: string;
  param?: string | null;
  type?: string;
}

/** The error that a server's JSON has, in an answer or as an event of a stream. */
export function refusal(error: Refusal | string | undefined, status: number, place: string): TinderboxError {
  const { message, param } = typeof error === "string" ? { message: error } : error ?? {};
  const code = place === "browser" && isLoss(message ?? "") ? "device_lost" : codeOf(status);
  return new TinderboxError(code, message ?? `the ${place} answered ${status}`, param ?? null);
}

export async function checked(response: Response, place: string): Promise<Response> {
  if (response.ok) return response;
  const body = (await response.json().catch(() => ({}))) as { error?: Refusal | string };
  throw refusal(body.error, response.status, place);
}

function codeOf(status: number): ErrorCode {
  if (status === 429 || status === 503) return "unavailable";
  return status >= 500 ? "internal" : "invalid_request";
}
