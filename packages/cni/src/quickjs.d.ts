/** The part of QuickJS's standard module that the executable uses, and its native module (native/uds.c). */
declare module "std" {
  interface Output {
    puts(text: string): void;
    flush(): void;
  }
  export const out: Output;
  export const err: Output;
  export function getenv(name: string): string | undefined;
  export function exit(status: number): never;
}

declare module "uds.so" {
  /** Reads standard input to its end. Throws Error: `LIMIT: ...`, `TIMEOUT: ...` or `<errno's name>: ...`. */
  export function readInput(maxBytes: number, milliseconds: number): string;
  /** Sends a request to a unix stream socket and reads the answer to its end. Throws like readInput. */
  export function exchange(
    path: string,
    request: string,
    silenceMilliseconds: number,
    totalMilliseconds: number,
    maxBytes: number,
  ): string;
}
