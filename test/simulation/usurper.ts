/**
 * Whether what is committed could still be lost: looks for a node that could come to lead without
 * it, were all power cut now (Raft §5.4).
 *
 * Figure 8, two configurations without a common quorum, and a quorum that never was take a long
 * row of events until something is lost; what makes it possible shows in the durable bytes at the
 * moment of the commit.
 */
import type { SimulatedNode } from "../../src/testing/simulated-node.js";
import type { DurableImage } from "./durable-image.js";
import { durableImage } from "./durable-image.js";

/** The name of a node that lacks a committed entry and could be elected; undefined if none. */
export function usurperOf(
  nodes: readonly SimulatedNode[],
  index: number,
  term: number,
): string | undefined {
  const images = new Map<string, DurableImage>();
  for (const node of nodes) images.set(node.id, durableImage(node.disk));
  const isHeld = ({ checkpointIndex, terms }: DurableImage): boolean =>
    checkpointIndex >= index || terms.get(index) === term;
  return nodes.find(({ id }) => {
    const image = images.get(id);
    return image !== undefined && !isHeld(image) && isElectable(id, image, images);
  })?.name;
}

/** True if the voters that the node goes by would elect it, going by what is on their disks. */
function isElectable(
  id: string,
  { voters, lastIndex, lastTerm }: DurableImage,
  images: ReadonlyMap<string, DurableImage>,
): boolean {
  if (!voters.includes(id)) return false;
  const granting = voters.filter((voter) => {
    const image = images.get(voter);
    // One whose disk is gone never votes again.
    if (image === undefined) return false;
    const isNewer = image.lastTerm > lastTerm;
    return !isNewer && (image.lastTerm < lastTerm || image.lastIndex <= lastIndex);
  });
  return 2 * granting.length > voters.length;
}
