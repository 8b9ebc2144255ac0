/**
 * Settings of V8's collector that suit a node: few objects, much memory in buffers.
 *
 * V8 starts a full collection when what lies in buffers has grown by about the size of the heap.
 * A node's heap is small (16 MB) and records pass through it by the tens of megabytes a second, so
 * it would collect nine times a second and spend a third of its time in it (docs/performance.md).
 * Letting the heap grow elevenfold between collections costs up to some 200 MB of memory. It is a
 * setting of the whole process, so only the command line makes it, not an embedded node.
 */
import { setFlagsFromString } from "node:v8";

const growthPercent = 1000;

/** Call it once, before the node starts. */
export function settleCollector(): void {
  setFlagsFromString(`--heap-growing-percent=${String(growthPercent)}`);
}
