/**
 * The planted bugs that the simulator must find, each by what the cluster does.
 *
 * Each stands for a bug that somebody once shipped. One that only an assertion at the very line
 * could tell from the right code is not worth having. Nothing here is ever applied to the tree
 * itself, only to a copy of it (workshop.ts).
 */
import { coreMutants } from "./core-mutants.js";
import { hostMutants } from "./host-mutants.js";
import { foundMutants } from "./found-mutants.js";
import type { Mutant } from "./mutant.js";
import { storageMutants } from "./storage-mutants.js";

export const mutants: readonly Mutant[] = [
  ...coreMutants,
  ...hostMutants,
  ...storageMutants,
  ...foundMutants,
];
