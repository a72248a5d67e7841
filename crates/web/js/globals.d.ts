// What dedicated workers have and TypeScript's DOM library leaves out, and what the build puts in.

declare const CATALOG: readonly import("./types.ts").CatalogModel[];

interface FileSystemSyncAccessHandle {
  write(bytes: AllowSharedBufferSource, options?: { at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}

interface FileSystemFileHandle {
  createSyncAccessHandle(): Promise<FileSystemSyncAccessHandle>;
}

declare class FileReaderSync {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}
