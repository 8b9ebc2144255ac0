/**
 * The form of paths that the disk port takes; both implementations check it alike.
 *
 * Our own code makes all these paths, so a wrong one is a bug and not an input error. The check
 * is what keeps a bug from reaching a file outside the data directory.
 */
import { assert } from "../common/assert.js";

const namePattern = /^[A-Za-z0-9._-]{1,255}$/;

/** Asserts the path of a file: relative names joined by `/`, none of them `.` or `..`. */
export function assertFilePath(path: string): void {
  for (const name of path.split("/")) {
    assert(
      namePattern.test(name) && name !== "." && name !== "..",
      "a path on the disk is relative and made of plain names",
    );
  }
}

/** Asserts the path of a directory: as that of a file, or `""` for the root. */
export function assertDirectoryPath(path: string): void {
  if (path !== "") assertFilePath(path);
}

/** The directory that holds the path; `""` is the root. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}
