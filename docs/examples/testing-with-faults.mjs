/**
 * An order book whose only state is the log, and tests that break the cluster under it: leaders
 * crash and lose what was not synced, networks split, and every order that was acknowledged is
 * still matched once, in the same way for every reader.
 *
 *     node --test docs/examples/testing-with-faults.mjs
 */
import assert from "node:assert/strict";
import test from "node:test";

import { json } from "proglog";
import { TestCluster } from "proglog/testing";

/** The program under test. It knows a Client, and nothing of tests. */
class OrderBook {
  #client;
  #next = 0;
  bids = [];
  asks = [];
  trades = [];

  constructor(client) {
    this.#client = client;
  }

  /** Resolves when the order can't be lost any more. */
  async place(side, price) {
    const { offset } = await this.#client.produce(json({ side, price }), { key: "order" });
    return offset;
  }

  /** Matches what has been placed since; orders by price, and then by their place in the log. */
  async catchUp() {
    for await (const record of this.#client.consume({ from: this.#next })) {
      const { side, price } = record.json();
      this.#match({ order: record.offset, side, price });
      this.#next = record.offset + 1;
    }
  }

  #match({ order, side, price }) {
    const [own, others] = side === "bid" ? [this.bids, this.asks] : [this.asks, this.bids];
    const isBetter = (one, other) => (side === "bid" ? one < other : one > other);
    const [best] = [...others].sort((a, b) =>
      a.price === b.price ? a.order - b.order : isBetter(a.price, b.price) ? -1 : 1,
    );
    if (best === undefined || isBetter(price, best.price)) {
      own.push({ order, price });
      return;
    }
    others.splice(others.indexOf(best), 1);
    this.trades.push({ orders: [best.order, order], price: best.price });
  }

  /** Every order that the book has seen, in trades or waiting. */
  get orders() {
    const waiting = [...this.bids, ...this.asks].map(({ order }) => order);
    return [...waiting, ...this.trades.flatMap(({ orders }) => orders)].sort((a, b) => a - b);
  }
}

/** Breaks one thing after the other, and mends it, until it is told to stop. */
async function disturb(cluster, isOver) {
  for (let turn = 0; !isOver(); turn += 1) {
    const leader = cluster.leader();
    if (leader === undefined) {
      await cluster.advance(100);
    } else if (turn % 3 === 0) {
      cluster.partition([leader]);
      await cluster.advance(2000);
      cluster.heal();
    } else if (turn % 3 === 1) {
      leader.crash({ loseUnsynced: true });
      await cluster.advance(500);
      await leader.restart();
    } else {
      leader.slowDisk({ ms: 50 });
      await cluster.advance(1000);
      leader.healDisk();
    }
  }
}

for (const seed of [1, 2, 3]) {
  test(`every order is matched once, whatever breaks (seed ${seed})`, async () => {
    await TestCluster.run({ nodes: 3, seed }, async (cluster) => {
      let isOver = false;
      const disturbing = disturb(cluster, () => isOver);
      const traders = [1, 2, 3].map(async (trader) => {
        const book = new OrderBook(cluster.client());
        const placed = [];
        for (let nth = 0; nth < 10; nth += 1) {
          placed.push(await book.place(nth % 2 === 0 ? "bid" : "ask", 100 + ((trader * nth) % 7)));
          await cluster.advance(300);
        }
        return placed;
      });
      const placed = (await Promise.all(traders)).flat().sort((a, b) => a - b);
      isOver = true;
      await disturbing;
      cluster.heal();
      await cluster.settle();

      const books = [new OrderBook(cluster.client()), new OrderBook(cluster.client())];
      for (const book of books) await book.catchUp();
      assert.deepEqual(books[0].orders, placed);
      assert.deepEqual(books[0].trades, books[1].trades);
    });
  });
}

test("a trader on the small side of a partition is refused, and knows that nothing was placed", async () => {
  await TestCluster.run({ nodes: 3 }, async (cluster) => {
    const leader = cluster.leader();
    const client = cluster.client({ servers: [leader.rpcAddr], discovery: false });
    const book = new OrderBook(client);
    await book.place("bid", 100);
    cluster.partition([leader, client]);
    await cluster.advance(3000);
    await assert.rejects(client.produce("too late", { timeoutMs: 2000 }), {
      code: "no-quorum",
      outcome: "not_applied",
    });
    cluster.heal();
    await book.place("ask", 100);
    await book.catchUp();
    assert.deepEqual(book.trades, [{ orders: [0, 1], price: 100 }]);
  });
});
