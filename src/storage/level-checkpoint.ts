/**
 * The checkpoint in `level`: one synced batch a checkpoint, a key a sealed segment.
 *
 *     meta                    JSON: format, and all of Checkpoint but the segments; `crc`
 *     segment/<base, 20 digits>   JSON: SegmentRef; `crc`
 *     producer/<id>   JSON: ProducerRow; `crc`
 *
 * Only what changed is written: sealed segments do not change, and producers that have appended
 * nothing since neither, so a checkpoint costs the same whatever the log's length. Each value
 * carries a CRC-32 of its JSON text, because LevelDB may lose its newest records after damage;
 * `meta` counts segments and producers, so that a lost one shows.
 * It is never on the path to a vote or an acknowledgement.
 */
import { crc32 } from "node:zlib";

import { Level } from "level";

import type { Checkpoint, CheckpointStore, ProducerRow } from "./checkpoint.js";
import { DamageError } from "./damage.js";
import { levelError } from "./node-disk.js";
import type { SegmentRef } from "./segment.js";

const formatVersion = 1;
const metaKey = "meta";

const segmentPrefix = "segment/";
const producerPrefix = "producer/";

type Meta = Omit<Checkpoint, "segments" | "producers"> & {
  readonly format: number;
  readonly segmentCount: number;
  readonly producerCount: number;
};

export class LevelCheckpointStore implements CheckpointStore {
  readonly #path: string;
  #level: Level;
  /** What lies in the database, by key; without the producers. */
  readonly #saved = new Map<string, string>();
  /** The producers that lie there, by id. A row is never changed in place: it tells by itself. */
  #producers = new Map<string, ProducerRow>();
  /** What was wrong with a producer that was read. */
  #fault: DamageError | undefined;
  /**
   * A save has failed. LevelDB would take the next ones and lose them: its log's reader stops where
   * a write went wrong. Opened anew it writes what it holds to new files.
   */
  #hasFailed = false;
  #isClosed = false;

  /** @throws DiskError if the directory is locked by another process, or can't be opened. */
  static async open(path: string): Promise<LevelCheckpointStore> {
    const store = new LevelCheckpointStore(path, await openLevel(path));
    await store.#read();
    return store;
  }

  private constructor(path: string, level: Level) {
    this.#path = path;
    this.#level = level;
  }

  /** What lies there must be known before anything is saved over it. */
  async #read(): Promise<void> {
    this.#saved.clear();
    this.#producers.clear();
    for await (const [key, text] of this.#level.iterator()) {
      if (key.startsWith(producerPrefix)) this.#addProducer(key, text);
      else this.#saved.set(key, text);
    }
  }

  async load(): Promise<Checkpoint | undefined> {
    if (this.#fault !== undefined) throw this.#fault;
    let meta: Meta | undefined;
    const segments: SegmentRef[] = [];
    for (const [key, text] of this.#saved) {
      const value = this.#decode(key, text);
      if (key === metaKey) meta = value as Meta;
      else segments.push(value as SegmentRef);
    }
    if (meta === undefined && segments.length === 0) return undefined;
    const isWhole =
      meta?.segmentCount === segments.length && meta.producerCount === this.#producers.size;
    if (meta?.format !== formatVersion || !isWhole) {
      throw new DamageError(this.#path, 0, "the checkpoint is incomplete, or of another version");
    }
    const { format: _format, segmentCount: _segments, producerCount: _producers, ...rest } = meta;
    segments.sort((a, b) => a.baseOffset - b.baseOffset);
    const producers = [...this.#producers.values()].sort((a, b) => newestOf(a) - newestOf(b));
    return { ...rest, producers, segments };
  }

  #addProducer(key: string, text: string): void {
    try {
      const row = this.#decode(key, text) as ProducerRow;
      this.#producers.set(row.id, row);
    } catch (error) {
      // Opening is not loading: whoever asks for the checkpoint is told.
      this.#fault ??= error as DamageError;
    }
  }

  #decode(key: string, text: string): unknown {
    const crc = Number.parseInt(text.slice(0, 8), 16);
    const json = text.slice(8);
    if (crc !== crc32(json)) throw new DamageError(this.#path, 0, `the value of ${key} is damaged`);
    return JSON.parse(json);
  }

  async save(checkpoint: Checkpoint): Promise<void> {
    if (this.#hasFailed) await this.#reopen();
    this.#hasFailed = true;
    await this.#write(checkpoint);
    this.#hasFailed = false;
  }

  async #reopen(): Promise<void> {
    await this.#level.close();
    if (this.#isClosed) throw new Error("the checkpoints are closed");
    this.#level = await openLevel(this.#path);
    await this.#read();
  }

  async #write(checkpoint: Checkpoint): Promise<void> {
    const { segments, producers, ...rest } = checkpoint;
    const values = new Map<string, string>();
    const counts = { segmentCount: segments.length, producerCount: producers.length };
    const meta: Meta = { ...rest, format: formatVersion, ...counts };
    values.set(metaKey, encode(meta));
    for (const ref of segments) values.set(segmentKey(ref.baseOffset), encode(ref));
    const batch = this.#level.batch();
    for (const [key, text] of values) {
      if (this.#saved.get(key) !== text) batch.put(key, text);
    }
    for (const key of this.#saved.keys()) if (!values.has(key)) batch.del(key);
    const rows = new Map(producers.map((row) => [row.id, row]));
    for (const [id, row] of rows) {
      if (this.#producers.get(id) !== row) batch.put(`${producerPrefix}${id}`, encode(row));
    }
    for (const id of this.#producers.keys()) {
      if (!rows.has(id)) batch.del(`${producerPrefix}${id}`);
    }
    await batch.write({ sync: true });
    this.#producers = rows;
    this.#saved.clear();
    for (const [key, text] of values) this.#saved.set(key, text);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#level.close();
  }
}

async function openLevel(path: string): Promise<Level> {
  const level = new Level(path, { compression: false });
  try {
    await level.open();
  } catch (error) {
    throw levelError("open", path, error);
  }
  return level;
}

function segmentKey(baseOffset: number): string {
  return `${segmentPrefix}${String(baseOffset).padStart(20, "0")}`;
}

function newestOf({ appends }: ProducerRow): number {
  return appends.at(-1)?.offset ?? 0;
}

function encode(value: object): string {
  const json = JSON.stringify(value);
  return crc32(json).toString(16).padStart(8, "0") + json;
}
