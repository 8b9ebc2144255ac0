#!/usr/bin/env node
/**
 * The health check of a container: exits 0 if the node or gateway in it is ready, else 1.
 *
 * It asks on the container's own address, at the port that PROGLOG_HTTP_ADDR names.
 */
import { get } from "node:http";

const port = /:(\d+)$/.exec(process.env["PROGLOG_HTTP_ADDR"] ?? "")?.[1] ?? "5000";
process.exitCode = 1;
const request = get({ host: "127.0.0.1", port, path: "/readyz", timeout: 2_500 }, (answer) => {
  if (answer.statusCode === 200) process.exitCode = 0;
  request.destroy();
});
request.on("timeout", () => {
  request.destroy();
});
// Nobody listens, or the answer has been read as far as it matters.
request.on("error", () => undefined);
