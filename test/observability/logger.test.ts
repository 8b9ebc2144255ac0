/**
 * What a log line holds, and what it must never hold.
 */
import { expect, test } from "vitest";

import type { Clock } from "../../src/common/clock.js";
import { createLogger } from "../../src/observability/logger.js";
import type { LogLevel, ProcessLogger } from "../../src/observability/logger.js";

const clock: Clock = {
  now: () => 0,
  wallNow: () => 0,
  setTimer: () => ({ cancel: () => undefined }),
  defer: () => undefined,
};

function capture(level: LogLevel, pretty = false): { logger: ProcessLogger; lines: string[] } {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  const logger = createLogger({ level, clock, pretty, fields: { node: "a" }, destination });
  return { logger, lines };
}

test("a line is JSON with level, time, the process's fields and the event", () => {
  const { logger, lines } = capture("info");
  logger.info({ term: 3 }, "leader elected");
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { level: "info", time: "1970-01-01T00:00:00.000Z", node: "a", term: 3, msg: "leader elected" },
  ]);
});

test("a child adds its fields", () => {
  const { logger, lines } = capture("info");
  logger.child({ peer: "b" }).warn({}, "slow");
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ node: "a", peer: "b", msg: "slow" });
});

test("levels below the chosen one say nothing", () => {
  const quiet = capture("warn");
  quiet.logger.info({}, "x");
  quiet.logger.error({}, "y");
  expect(quiet.lines).toHaveLength(1);
  const silent = capture("silent");
  silent.logger.fatal({}, "z");
  expect(silent.lines).toEqual([]);
});

test("buffers become their lengths", () => {
  const { logger, lines } = capture("info");
  logger.info({ value: Buffer.from("secret") }, "x");
  logger.child({ key: new Uint8Array(4) }).info({}, "y");
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { value: { bytes: 6 } },
    { key: { bytes: 4 } },
  ]);
});

test("an error keeps its code, message and cause", () => {
  const { logger, lines } = capture("info");
  const cause = Object.assign(new Error("inner"), { code: "EIO" });
  logger.error({ error: new Error("outer", { cause }) }, "x");
  expect(JSON.parse(lines[0] ?? "").error).toMatchObject({
    type: "Error",
    message: "outer",
    cause: { message: "inner", code: "EIO" },
  });
});

test("on a terminal a line is for people", async () => {
  const { logger, lines } = capture("info", true);
  logger.info({ term: 3 }, "leader elected");
  await expect.poll(() => lines.join("")).toMatch(/INFO.*leader elected[\s\S]*term.*3/);
});
