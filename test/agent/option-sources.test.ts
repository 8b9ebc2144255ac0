/**
 * Where values come from: the order of sources, and what each refuses or passes over.
 */
import { describe, expect, test } from "vitest";

import { describeSource, resolveOptions } from "../../src/agent/option-sources.js";
import type { OptionInputs, ResolvedOptions } from "../../src/agent/option-sources.js";
import { UsageError, mebibyte } from "../../src/agent/option-table.js";

function resolve(
  inputs: Partial<Omit<OptionInputs, "readFile">> & { readonly file?: string },
): ResolvedOptions {
  const { argv = {}, env = {}, file } = inputs;
  return resolveOptions({
    argv: file === undefined ? argv : { config: "node.yaml", ...argv },
    env,
    hostname: "h",
    readFile: (path) => {
      if (path !== "node.yaml") throw Object.assign(new Error("no"), { code: "ENOENT" });
      return file ?? "";
    },
  });
}

describe("order", () => {
  const file = "httpAddr: 127.0.0.1:3";
  const env = { PROGLOG_HTTP_ADDR: "127.0.0.1:2" };
  const argv = { "http-addr": "127.0.0.1:1" };

  test("is flags, environment, file, defaults", () => {
    expect(resolve({ argv, env, file }).values.httpAddr).toBe("127.0.0.1:1");
    expect(resolve({ env, file }).values.httpAddr).toBe("127.0.0.1:2");
    expect(resolve({ file }).values.httpAddr).toBe("127.0.0.1:3");
    expect(resolve({}).values.httpAddr).toBe("127.0.0.1:5000");
  });

  test("is told for each value", () => {
    const source = (inputs: Parameters<typeof resolve>[0]): string =>
      describeSource(resolve(inputs).sources.httpAddr);
    expect(source({ argv, env, file })).toBe("flag --http-addr");
    expect(source({ env, file })).toBe("environment PROGLOG_HTTP_ADDR");
    expect(source({ file })).toBe("file node.yaml");
    expect(source({})).toBe("default");
  });

  test("lets the environment name the file", () => {
    const { values, sources } = resolve({
      argv: {},
      env: { PROGLOG_CONFIG: "node.yaml" },
    });
    expect(values.config).toBe("node.yaml");
    expect(sources.config.kind).toBe("environment");
  });

  test("counts an empty flag, not an empty variable", () => {
    expect(resolve({ argv: { join: "" }, env: { PROGLOG_JOIN: "a:1" } }).values.join).toEqual([]);
    expect(resolve({ env: { PROGLOG_JOIN: "" }, file: "join: a:1" }).values.join).toEqual(["a:1"]);
  });
});

describe("flags", () => {
  test("that are unknown or given twice are refused", () => {
    expect(() => resolve({ argv: { "http-port": "1" } })).toThrow(
      "There is no option --http-port.",
    );
    expect(() => resolve({ argv: { voters: ["3", "5"] } })).toThrow("--voters is given 2 times");
  });

  test("to join add up", () => {
    expect(resolve({ argv: { join: ["a:1", "b:1,c:1"] } }).values.join).toHaveLength(3);
  });
});

describe("the environment", () => {
  test("warns of an unknown name and goes on", () => {
    const { warnings } = resolve({ env: { PROGLOG_HTTP_PORT_NUMBER: "1", OTHER: "x" } });
    expect(warnings).toEqual(["There is no option PROGLOG_HTTP_PORT_NUMBER; it is passed over."]);
  });

  test("passes over what Kubernetes adds for a Service called proglog", () => {
    const env = {
      PROGLOG_PORT: "tcp://10.0.0.1:8400",
      PROGLOG_SERVICE_HOST: "10.0.0.1",
      PROGLOG_SERVICE_PORT: "8400",
      PROGLOG_SERVICE_PORT_RPC: "8400",
      PROGLOG_PORT_8400_TCP: "tcp://10.0.0.1:8400",
      PROGLOG_PORT_8400_TCP_PROTO: "tcp",
      PROGLOG_PORT_8400_TCP_PORT: "8400",
      PROGLOG_PORT_8400_TCP_ADDR: "10.0.0.1",
      PROGLOG_GATEWAY_SERVICE_HOST: "10.0.0.2",
      PROGLOG_GATEWAY_PORT_5000_TCP_ADDR: "10.0.0.2",
    };
    expect(resolve({ env }).warnings).toEqual([]);
  });

  test("with a wrong value of an option is refused", () => {
    const env = { PROGLOG_VOTERS: "two" };
    expect(() => resolve({ env })).toThrow(`PROGLOG_VOTERS can't be "two"`);
  });
});

describe("the file", () => {
  test("may be JSON or YAML, and may be empty", () => {
    const json = `{"maxRecordBytes": "2MiB", "join": ["a:1", "b:1"], "bootstrap": false}`;
    const yaml = "maxRecordBytes: 2097152\njoin: a:1,b:1\nbootstrap: false\n";
    for (const file of [json, yaml]) {
      const { values } = resolve({ file });
      expect(values.maxRecordBytes).toBe(2 * mebibyte);
      expect(values.join).toEqual(["a:1", "b:1"]);
      expect(values.bootstrap).toBe(false);
    }
    expect(resolve({ file: "# nothing\n" }).values.voters).toBe(5);
  });

  test.each([
    ["httpPort: 1", "node.yaml has a key that is no option: httpPort"],
    ["config: other.yaml", "no option: config"],
    ["__proto__: 1", "no option: __proto__"],
    ["voters: 4", "voters in node.yaml can't be 4"],
    ["httpAddr:", "httpAddr in node.yaml can't be null"],
    ["- a", "must hold keys and values"],
    ["voters: 3\nvoters: 5", "neither JSON nor YAML"],
    [" ".repeat(1024 * 1024 + 1), "over 1 MiB"],
  ])("is refused for %j", (file, message) => {
    expect(() => resolve({ file })).toThrow(UsageError);
    expect(() => resolve({ file })).toThrow(message);
  });

  test("that can't be read is refused", () => {
    expect(() => resolve({ argv: { config: "no.yaml" } })).toThrow("no.yaml can't be read: ENOENT");
  });
});
