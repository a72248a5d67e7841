// A blob as the wasm module reads it: slice by slice, without waiting, never as a whole.
import type { ModelFile } from "./wasm.ts";

export class WorkerFile implements ModelFile {
  readonly name: string;
  readonly size: number;
  #blob: Blob;
  #reader = new FileReaderSync();

  constructor(name: string, blob: Blob) {
    this.name = name;
    this.size = blob.size;
    this.#blob = blob;
  }

  read(offset: number, length: number): Uint8Array {
    return new Uint8Array(this.#reader.readAsArrayBuffer(this.#blob.slice(offset, offset + length)));
  }
}
