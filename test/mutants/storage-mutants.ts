/**
 * Planted bugs in what is kept on disk: the Raft log, its files, the commit log (src/storage).
 */
import type { Mutant } from "./mutant.js";

export const storageMutants: readonly Mutant[] = [
  {
    name: "hard-state-not-synced",
    rule: "R-P1",
    why: "a vote or a term is gone after a power cut",
    file: "src/storage/raft-log.ts",
    find: "      active.file.sync((syncError) => {\n",
    replace:
      "      const isControl = group.every((queued) => queued.index === 0);\n" +
      "      const sync = (done: (error: Error | undefined) => void): void => {\n" +
      "        if (isControl) queueMicrotask(() => done(undefined));\n" +
      "        else active.file.sync(done);\n" +
      "      };\n" +
      "      sync((syncError) => {\n",
  },
  {
    name: "done-when-written",
    rule: "R-P7",
    why: "an append is acknowledged that lies in the page cache only",
    file: "src/storage/raft-log.ts",
    find:
      "        if (syncError === undefined) this.#written(group, start + bytes);\n" +
      "        else this.#fail(syncError);\n",
    replace:
      "        if (syncError !== undefined) this.#fail(syncError);\n" +
      "        else {\n" +
      "          this.#isWriting = false;\n" +
      "          this.#durablePosition = start + bytes;\n" +
      "          this.#pump();\n" +
      "        }\n",
    also: [
      {
        file: "src/storage/raft-log.ts",
        find: "      active.file.sync((syncError) => {\n",
        replace:
          "      for (const queued of group) queued.done?.();\n" +
          "      active.file.sync((syncError) => {\n",
      },
    ],
  },
  {
    name: "failed-sync-ignored",
    rule: "R-P5",
    why: "what a failed sync did not write is acknowledged",
    file: "src/storage/raft-log.ts",
    find: "        else this.#fail(syncError);\n",
    replace: "        else this.#written(group, start + bytes);\n",
  },
  {
    name: "page-cache-trusted",
    rule: "R-P5",
    why: "what a failed sync left in the page cache is read back, and never reaches the disk",
    file: "src/storage/raft-log.ts",
    find: "if (last.length > 0) await writeAll(active.file, found.barrier, last);",
    replace: "void last;",
  },
  {
    name: "renamed-file-not-made-durable",
    rule: "R-P6",
    why: "a power cut takes the name of a file of the log, and all that is in it",
    file: "src/storage/raft-file-pool.ts",
    find: "    await this.#disk.rename(this.#draft, path);\n    await this.#disk.syncDirectory(directory);\n",
    replace: "    await this.#disk.rename(this.#draft, path);\n",
  },
  {
    name: "new-segment-not-made-durable",
    rule: "R-P6",
    why: "a checkpoint names a segment whose name a power cut takes away",
    file: "src/storage/commit-log.ts",
    find: "      if (!isDirectoryNew) return;\n",
    replace: "      if (isDirectoryNew || !isDirectoryNew) return;\n",
  },
  {
    name: "vote-lost-in-the-next-file",
    rule: "R-P2",
    why: "a node that has gone on to its next file votes again after a restart",
    file: "src/storage/raft-log.ts",
    find: "const frame = hardStateFrame(this.#hardState, this.#position);",
    replace: 'const frame = hardStateFrame({ ...this.#hardState, vote: "" }, this.#position);',
  },
  {
    name: "term-lost-in-the-next-file",
    rule: "R-P2",
    why: "the term falls where one file of the log ends and the next begins",
    file: "src/storage/raft-log.ts",
    find: "const frame = hardStateFrame(this.#hardState, this.#position);",
    replace: 'const frame = hardStateFrame({ term: 1, vote: "" }, this.#position);',
  },
  {
    name: "torn-tail-taken-for-data",
    rule: "R-D2",
    why: "half of a write is taken for an entry",
    file: "src/storage/raft-file.ts",
    find: "if (header === undefined || !isBodyValid(bytes, end, header)) break;",
    replace: "if (header === undefined) break;",
  },
  {
    name: "torn-tail-left-in-place",
    rule: "R-D7",
    why: "what a crash left beyond the end is chained to what is written next",
    file: "src/storage/raft-log.ts",
    find: "if (found.tornBytes > 0) await zero(active.file, this.#position, active.bytes);",
    replace: "",
  },
  {
    name: "damage-taken-for-a-torn-tail",
    rule: "R-D4",
    why: "rot in the middle of the log silently cuts all that was promised after it",
    file: "src/storage/raft-file.ts",
    find: "if (isRight && scanned.barrierBeyond <= scanned.end) return;",
    replace: "if (nextKey === undefined || isRight) return;",
  },
  {
    name: "barrier-beyond-what-is-durable",
    rule: "R-D3",
    why: "a torn tail is taken for damage, and the node does not start",
    file: "src/storage/raft-log.ts",
    find: "stampPlace(queued.frame, active.salt, this.#durablePosition);",
    replace: "stampPlace(queued.frame, active.salt, start + bytes);",
  },
  {
    name: "frames-of-an-earlier-life",
    rule: "R-D1",
    why: "what a recycled file held before is taken for new entries",
    file: "src/storage/raft-file.ts",
    find: "if (at + frameHeaderBytes > bytes.length || readFileId(bytes, at) !== salt) return undefined;",
    replace: "if (at + frameHeaderBytes > bytes.length || salt === 0) return undefined;",
  },
  {
    name: "configuration-not-reverted-at-the-start",
    rule: "R-M2",
    why: "a restarted node goes by members that were cut from its log",
    file: "src/storage/raft-log-recovery.ts",
    find: "while ((configurations.at(-1)?.index ?? 0) >= from) configurations.pop();",
    replace: "",
  },
  {
    name: "file-given-up-too-early",
    rule: "R-S3",
    why: "a file of the log is used again while entries in it are still needed",
    file: "src/storage/raft-log.ts",
    find: "if (oldest.lastIndex > this.#coveredIndex || oldest.bytes < bytesMin) return undefined;",
    replace: "if (this.#coveredIndex === 0 || oldest.bytes < bytesMin) return undefined;",
  },
];
