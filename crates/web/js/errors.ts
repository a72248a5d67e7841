// The one error of the package, and how it crosses from worker to page.
import type { ErrorCode } from "./types.ts";

/** `code` is for programs; `param` names the wrong field of an `invalid_request`. */
export class TinderboxError extends Error {
  readonly code: ErrorCode;
  readonly param: string | null;

  constructor(code: ErrorCode, message: string, param: string | null = null) {
    super(message);
    // Code written for `fetch` asks an abort for this name.
    this.name = code === "aborted" ? "AbortError" : "TinderboxError";
    this.code = code;
    this.param = param;
  }
}

/** What the engine says when its GPU was lost once too often; the wire has no code for it. */
export const isLoss = (message: string) => message.includes("the device is lost");

/** A `TinderboxError` as a message: structured clones of errors lose `code`. */
export interface Failure {
  code: ErrorCode;
  message: string;
  param: string | null;
}

/** Whatever was thrown, as an error of the package. */
export function asError(thrown: unknown, code: ErrorCode = "internal"): TinderboxError {
  if (thrown instanceof TinderboxError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const aborted = (thrown as { name?: unknown } | null)?.name === "AbortError";
  return new TinderboxError(aborted ? "aborted" : code, message);
}

export function failure(thrown: unknown): Failure {
  const { code, message, param } = asError(thrown);
  return { code, message, param };
}

export const revived = ({ code, message, param }: Failure) => new TinderboxError(code, message, param);

export const aborted = () => new TinderboxError("aborted", "the caller aborted");
