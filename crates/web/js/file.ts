// A blob as the wasm module reads it: slice by slice, without waiting, never as a whole.
import type { ModelFile } from "./wasm.ts";

/** A read is a round trip to another process, a millisecond or two, and a layer has small tensors: they come by the window. */
const WINDOW = 8 << 20;

export class WorkerFile implements ModelFile {
  readonly name: string;
  readonly size: number;
  #blob: Blob;
  #reader = new FileReaderSync();
  /** The bytes from `#from` on that were read last. */
  #window = new Uint8Array();
  #from = 0;

  constructor(name: string, blob: Blob) {
    this.name = name;
    this.size = blob.size;
    this.#blob = blob;
  }

  read(offset: number, length: number): Uint8Array {
    const end = offset + length;
    if (length > WINDOW / 2) return this.#slice(offset, end);
    if (offset < this.#from || end > this.#from + this.#window.length) {
      this.#from = offset - (offset % WINDOW);
      this.#window = this.#slice(this.#from, Math.ceil(end / WINDOW) * WINDOW);
    }
    return this.#window.subarray(offset - this.#from, end - this.#from);
  }

  #slice(from: number, to: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#reader.readAsArrayBuffer(this.#blob.slice(from, to)));
  }
}
