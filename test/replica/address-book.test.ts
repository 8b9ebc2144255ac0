/** Where nodes are, by what they say themselves and what the configuration says. */
import { expect, test } from "vitest";

import type { Member } from "../../src/raft/index.js";
import { AddressBook } from "../../src/replica/address-book.js";

function at(id: string, host: string): Member {
  return { id, name: id, rpcAddr: `${host}:8400`, httpAddr: `${host}:5000` };
}

const silent = (): boolean => false;

const hostOf = (members: readonly Member[], id: string): string | undefined =>
  members.find((member) => member.id === id)?.rpcAddr;

test("what a member says of itself corrects the configuration", () => {
  const book = new AddressBook(silent);
  expect(hostOf(book.peers([at("a", "one")]), "a")).toBe("one:8400");
  expect(book.hear(at("a", "two"))).toBe(true);
  expect(book.hear(at("a", "two"))).toBe(false);
  expect(hostOf(book.peers([at("a", "one")]), "a")).toBe("two:8400");
});

test("a change of the configuration corrects what a member said before", () => {
  const book = new AddressBook(silent);
  book.peers([at("a", "one"), at("b", "other")]);
  book.hear(at("a", "two"));
  const changed = [at("a", "three"), at("b", "other")];
  expect(hostOf(book.peers(changed), "a")).toBe("three:8400");
  expect(hostOf(book.peers(changed), "a")).toBe("three:8400");
  book.hear(at("a", "four"));
  expect(hostOf(book.peers(changed), "a")).toBe("four:8400");
});

test("a member in contact is where it said, whatever an older configuration says", () => {
  const contacts = new Set(["a"]);
  const book = new AddressBook((id) => contacts.has(id));
  book.peers([at("a", "one")]);
  book.hear(at("a", "three"));
  const late = [at("a", "two")];
  expect(hostOf(book.peers(late), "a")).toBe("three:8400");
  expect(book.isOutdated).toBe(false);
  contacts.clear();
  expect(book.isOutdated).toBe(true);
  expect(hostOf(book.peers(late), "a")).toBe("two:8400");
  expect(book.isOutdated).toBe(false);
  // It had only paused, and goes on over its old connection, without a new handshake.
  contacts.add("a");
  expect(book.isOutdated).toBe(true);
  expect(hostOf(book.peers(late), "a")).toBe("three:8400");
  expect(book.isOutdated).toBe(false);
});

test("strangers are kept, the latest few", () => {
  const book = new AddressBook(silent);
  for (let nth = 0; nth < 12; nth += 1) book.hear(at(`s${nth}`, `host${nth}`));
  const peers = book.peers([at("a", "one")]);
  expect(peers).toHaveLength(9);
  expect(book.heard("s3")).toBeUndefined();
  expect(book.heard("s4")).toBeDefined();
});
