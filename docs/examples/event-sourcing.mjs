/**
 * An account whose state is what its events say, and which is never overdrawn, however many
 * programs decide at once: an event is appended only where its decision was made.
 *
 *     node docs/examples/event-sourcing.mjs 127.0.0.1:8400
 */
import { Client, json } from "proglog";

/** The state of one account, and how far the log has been read for it. */
class Account {
  #client;
  balance = 0;
  next = 0;

  constructor(client) {
    this.#client = client;
  }

  /** Reads what has been appended since. */
  async catchUp() {
    for await (const record of this.#client.consume({ from: this.next })) {
      if (record.key === "account") this.balance += record.json().amount;
      this.next = record.offset + 1;
    }
  }

  /** Decides, and appends the decision only if nothing came between. */
  async change(amount) {
    for (;;) {
      await this.catchUp();
      if (this.balance + amount < 0) return false;
      try {
        const event = json({ amount });
        await this.#client.produce(event, { key: "account", expectedOffset: this.next });
        return true;
      } catch (error) {
        // Somebody else was faster: read what they did, and decide anew.
        if (error.code !== "expected-offset-mismatch") throw error;
      }
    }
  }
}

const servers = process.argv.slice(2);
const client = await Client.connect({ servers: servers.length > 0 ? servers : ["127.0.0.1:8400"] });

try {
  const account = new Account(client);
  await account.change(100);
  // Ten withdrawals of 30 at once, each by an account object of its own: three can be paid.
  const tries = Array.from({ length: 10 }, async () => new Account(client).change(-30));
  const paid = (await Promise.all(tries)).filter(Boolean).length;
  await account.catchUp();
  console.log(`${paid} withdrawals of 30 were paid; ${account.balance} is left`);
} finally {
  await client.close();
}
