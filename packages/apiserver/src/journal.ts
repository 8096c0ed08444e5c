/**
 * The store on disk: one file of JSON lines, written before a change is answered. The file begins with a header and
 * the objects of the last compaction ("base"), then the changes follow, so that the history survives a restart too.
 * A write reaches the kernel before the request is answered: killing the process loses nothing; power failure may.
 */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { isObject } from "./json.ts";
import type { KubeObject } from "./object.ts";
import type { ChangeLog, Store, Stored } from "./store.ts";

/** The file cannot be read as a journal; the remedy is in the message. */
export class JournalError extends Error {
  override readonly name = "JournalError";
  readonly code = "APISERVER_JOURNAL_CORRUPT";
}

const FORMAT = "beyondfabric-apiserver-1";
/** Changes appended before the file is rewritten, unless the store is larger than that. */
const COMPACT_AFTER = 20_000;

/** Journal of one store. One process at a time may have a file open. */
export class Journal implements ChangeLog {
  readonly #path: string;
  readonly #store: Store;
  #file = -1;
  #appended = 0;

  private constructor(path: string, store: Store) {
    this.#path = path;
    this.#store = store;
  }

  /**
   * Reads the file, when there is one, into an empty store, and logs the store's changes from then on. A last line that
   * was only half written is dropped: its change was never answered.
   * @throws JournalError when another line cannot be read
   */
  static open(path: string, store: Store): Journal {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const journal = new Journal(path, store);
    let content: Buffer | undefined;
    try {
      content = readFileSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    if (content === undefined || content.length === 0) journal.compact();
    else {
      const good = journal.#replay(content);
      journal.#file = openSync(path, "r+", 0o600);
      ftruncateSync(journal.#file, good);
      closeSync(journal.#file);
      journal.#file = openSync(path, "a", 0o600);
    }
    store.attach(journal);
    return journal;
  }

  /** Reads all lines; returns the length of the part that is whole. */
  #replay(content: Buffer): number {
    let start = 0;
    let lineNumber = 0;
    for (let end = content.indexOf(10, start); end >= 0; end = content.indexOf(10, start)) {
      lineNumber++;
      const line = content.toString("utf8", start, end);
      try {
        this.#replayLine(line, lineNumber === 1);
      } catch (cause) {
        throw new JournalError(
          `${this.#path} line ${lineNumber} cannot be read; move the file away to start with an empty cluster`,
          { cause },
        );
      }
      start = end + 1;
    }
    if (lineNumber === 0) throw new JournalError(`${this.#path} has no header; move the file away to start afresh`);
    return start;
  }

  #replayLine(line: string, header: boolean): void {
    // A line is `operation TAB resource TAB key TAB revision TAB object`; the object's text is stored as it is served.
    const parts = line.split("\t");
    const [operation, resource, key, revisionText] = parts;
    const revision = Number(revisionText);
    if (header) {
      if (operation !== FORMAT) throw new Error(`unknown format ${JSON.stringify(operation)}`);
      this.#store.startAt(revision);
      return;
    }
    const json = parts.slice(4).join("\t");
    const object: unknown = JSON.parse(json);
    if (operation !== "base" && operation !== "put" && operation !== "remove") {
      throw new Error(`unknown operation ${JSON.stringify(operation)}`);
    }
    if (resource === undefined || key === undefined || !Number.isSafeInteger(revision) || !isObject(object)) {
      throw new Error("incomplete line");
    }
    const stored: Stored = { key, revision, object: object as KubeObject, json };
    if (operation !== "base") this.#appended++;
    this.#store.restore(operation, resource, stored);
  }

  put(resource: string, stored: Stored): void {
    this.#append(`put\t${resource}\t${stored.key}\t${stored.revision}\t${stored.json}\n`);
  }

  remove(resource: string, key: string, revision: number, json: string): void {
    this.#append(`remove\t${resource}\t${key}\t${revision}\t${json}\n`);
  }

  #append(line: string): void {
    if (this.#appended >= COMPACT_AFTER && this.#appended >= 2 * this.#objects()) this.compact();
    const bytes = Buffer.from(line);
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(this.#file, bytes, written);
    } catch (error) {
      // A full disk must not leave half a line that the next one would be glued to.
      ftruncateSync(this.#file, fstatSync(this.#file).size - written);
      throw error;
    }
    this.#appended++;
  }

  #objects(): number {
    return this.#store.resources().reduce((sum, resource) => sum + this.#store.count(resource), 0);
  }

  /** Rewrites the file with the present state only; a crash in the middle leaves the old file. */
  compact(): void {
    const temporary = `${this.#path}.new`;
    const file = openSync(temporary, "w", 0o600);
    writeSync(file, `${FORMAT}\t\t\t${this.#store.revision}\n`);
    for (const resource of this.#store.resources()) {
      for (const stored of this.#store.list(resource)) {
        writeSync(file, `base\t${resource}\t${stored.key}\t${stored.revision}\t${stored.json}\n`);
      }
    }
    fsyncSync(file);
    renameSync(temporary, this.#path);
    if (this.#file >= 0) closeSync(this.#file);
    closeSync(file);
    this.#file = openSync(this.#path, "a", 0o600);
    this.#appended = 0;
  }

  close(): void {
    if (this.#file >= 0) closeSync(this.#file);
    this.#file = -1;
  }
}
