/**
 * Who the node is: its UUID, and the cluster it belongs to, in one small file of its directory.
 *
 * The identity is the directory's: a node that lost it is a new node (thesis §3.8; KIP-853). The
 * file is replaced as a whole and carries a checksum; one that can't be read stops the start.
 */
import { crc32 } from "node:zlib";

import { DamageError } from "./damage.js";
import type { Disk } from "./disk.js";
import { DiskError, readWholeFile, replaceFile } from "./disk.js";

const fileName = "identity.json";
const formatVersion = 1;

export interface Identity {
  /** UUID, made at the first start. */
  readonly nodeId: string;
  /** null until the node has formed or joined a cluster. */
  readonly clusterId: string | null;
  /** True until the first entries of the cluster that this node forms are durable. */
  readonly isFounding: boolean;
  /** True once there is a Raft log: from then on an empty one is damage, not a first start. */
  readonly hasLog: boolean;
  /** True once a checkpoint was saved: from then on the lack of one is damage. */
  readonly hasCheckpoint: boolean;
}

/** @returns undefined in a directory without an identity. @throws DamageError */
export async function readIdentity(disk: Disk): Promise<Identity | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readWholeFile(disk, fileName);
  } catch (error) {
    if (error instanceof DiskError && error.fault === "not-found") return undefined;
    throw error;
  }
  const identity = decode(bytes.toString());
  if (identity === undefined) throw new DamageError(fileName, 0, "the identity is damaged");
  return identity;
}

/** Durable when it resolves. */
export async function writeIdentity(disk: Disk, identity: Identity): Promise<void> {
  const body = { format: formatVersion, ...identity };
  const crc = crc32(JSON.stringify(body));
  await replaceFile(disk, fileName, Buffer.from(`${JSON.stringify({ ...body, crc }, null, 2)}\n`));
}

function decode(text: string): Identity | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { crc, ...body } = value as Record<string, unknown>;
  const { format, nodeId, clusterId, isFounding, hasLog, hasCheckpoint } = body;
  if (format !== formatVersion || crc !== crc32(JSON.stringify(body))) return undefined;
  if (typeof nodeId !== "string" || typeof isFounding !== "boolean") return undefined;
  if (typeof hasLog !== "boolean" || typeof hasCheckpoint !== "boolean") return undefined;
  if (clusterId !== null && typeof clusterId !== "string") return undefined;
  return { nodeId, clusterId, isFounding, hasLog, hasCheckpoint };
}
