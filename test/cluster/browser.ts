/**
 * A real browser for tests: headless Chromium, spoken to in the DevTools protocol over pipes.
 *
 * Invariants: the browser is ended with its page, also when a test fails; it has a profile of its
 * own that is removed; what the page says on its console and what it asks for are kept, because
 * both are to be empty of surprises.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";

import { until } from "./poll.js";

/** Where Chromium is, or undefined. */
export const chromium = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
  .flatMap((name) => (process.env["PATH"] ?? "").split(":").map((path) => join(path, name)))
  .find((path) => existsSync(path));

const answerMsMax = 30_000;

export interface View {
  readonly width: number;
  readonly height: number;
  readonly scheme?: "light" | "dark";
  readonly isReducedMotion?: boolean;
}

interface Waiting {
  readonly resolve: (result: Record<string, unknown>) => void;
  readonly reject: (error: Error) => void;
}

const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** One browser with one page. */
export class BrowserPage {
  /** What the page said on its console, thrown errors and refusals of its policy included. */
  readonly said: string[] = [];
  /** Addresses that the page asked for. */
  readonly asked: string[] = [];
  readonly #directory = mkdtempSync(join(tmpdir(), "browser-"));
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #session: string | undefined;
  #received = "";
  #isAnswerLost = false;

  private constructor(path: string) {
    const options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"];
    const quiet = ["--no-first-run", "--disable-extensions", "--disable-background-networking"];
    const profile = `--user-data-dir=${join(this.#directory, "profile")}`;
    this.#child = spawn(path, [...options, ...quiet, profile, "about:blank"], {
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    });
    running.add(this.#child);
    this.#ended = new Promise((resolve) => {
      this.#child.once("close", () => {
        running.delete(this.#child);
        const gone = new Error("the browser has ended");
        for (const { reject } of this.#waiting.values()) reject(gone);
        resolve();
      });
    });
    const output = this.#child.stdio[4] as Readable;
    output.setEncoding("utf8").on("data", (chunk: string) => {
      this.#take(chunk);
    });
  }

  static async open(path: string): Promise<BrowserPage> {
    const page = new BrowserPage(path);
    const { targetInfos } = await page.send("Target.getTargets");
    const targets = targetInfos as { targetId: string; type: string }[];
    const targetId = targets.find(({ type }) => type === "page")?.targetId;
    const attached = await page.send("Target.attachToTarget", { targetId, flatten: true });
    page.#session = attached["sessionId"] as string;
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await page.send(`${domain}.enable`);
    return page;
  }

  /** Calls a method of the protocol. */
  async send(
    method: string,
    params: Record<string, unknown> = {},
  ): Promise<Record<string, unknown>> {
    this.#lastId += 1;
    const id = this.#lastId;
    const message = JSON.stringify({ id, method, params, sessionId: this.#session });
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`the browser did not answer ${method}`));
      }, answerMsMax);
      const settled = <T>(settle: (value: T) => void): ((value: T) => void) => {
        return (value) => {
          clearTimeout(timer);
          settle(value);
        };
      };
      this.#waiting.set(id, { resolve: settled(resolve), reject: settled(reject) });
      (this.#child.stdio[3] as Writable).write(`${message}\0`);
    });
  }

  /** Sets the size and the reader's preferences. */
  async look(view: View): Promise<void> {
    const { width, height, scheme = "light", isReducedMotion = false } = view;
    const size = { width, height, deviceScaleFactor: 1, mobile: width < 600 };
    await this.send("Emulation.setDeviceMetricsOverride", size);
    const features = [
      { name: "prefers-color-scheme", value: scheme },
      { name: "prefers-reduced-motion", value: isReducedMotion ? "reduce" : "no-preference" },
    ];
    await this.send("Emulation.setEmulatedMedia", { features });
  }

  async goto(url: string): Promise<void> {
    await this.send("Page.navigate", { url });
    await this.until(`document.readyState === "complete" && location.href === "${url}"`);
  }

  /** The value of an expression in the page; a promise is waited for. */
  async evaluate(expression: string): Promise<unknown> {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (exceptionDetails !== undefined) {
      throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    }
    return (result as { value?: unknown }).value;
  }

  /** Waits until an expression is true in the page. */
  async until(expression: string): Promise<void> {
    await until(expression, async () => {
      return (await this.evaluate(`Boolean(${expression})`)) === true ? true : undefined;
    });
  }

  /** The text of the element, as it is rendered. */
  async text(selector: string): Promise<string> {
    const found = await this.evaluate(
      `document.querySelector(${JSON.stringify(selector)}).innerText`,
    );
    return String(found);
  }

  /** Types into the element that has the focus. */
  async type(text: string): Promise<void> {
    await this.send("Input.insertText", { text });
  }

  async press(key: "Tab" | "Enter" | "Space"): Promise<void> {
    const codes = { Tab: 9, Enter: 13, Space: 32 };
    const text = key === "Enter" ? "\r" : key === "Space" ? " " : undefined;
    const event = {
      key: key === "Space" ? " " : key,
      code: key,
      windowsVirtualKeyCode: codes[key],
    };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...event, text });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  /**
   * Loses the node's answer to the next request for a path: the request arrives, and the page
   * hears nothing.
   */
  async loseNextAnswer(path: string): Promise<void> {
    this.#isAnswerLost = false;
    const patterns = [{ urlPattern: `*${path}`, requestStage: "Response" }];
    await this.send("Fetch.enable", { patterns });
  }

  /** Waits until the answer is lost. */
  async answerLost(): Promise<void> {
    await until("an answer to be lost", async () => (this.#isAnswerLost ? true : undefined));
    await this.send("Fetch.disable");
  }

  /** Names and roles as assistive software is told them. */
  async accessible(): Promise<{ role: string; name: string }[]> {
    const { nodes } = await this.send("Accessibility.getFullAXTree");
    interface Node {
      readonly ignored: boolean;
      readonly role?: { readonly value: string };
      readonly name?: { readonly value: string };
    }
    return (nodes as Node[])
      .filter(({ ignored }) => !ignored)
      .map(({ role, name }) => ({ role: role?.value ?? "", name: name?.value ?? "" }));
  }

  /** Keeps what the page looks like, in full length. */
  async screenshot(path: string): Promise<void> {
    const { data } = await this.send("Page.captureScreenshot", { captureBeyondViewport: true });
    writeFileSync(path, Buffer.from(String(data), "base64"));
  }

  async close(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  #take(chunk: string): void {
    const messages = (this.#received + chunk).split("\0");
    this.#received = messages.pop() ?? "";
    for (const text of messages) {
      const { id, result, error, method, params } = JSON.parse(text);
      if (id === undefined) {
        this.#note(method, params);
        continue;
      }
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(JSON.stringify(error)));
    }
  }

  #note(method: string, params: Record<string, unknown>): void {
    if (method === "Fetch.requestPaused") {
      const { requestId } = params;
      const lost = this.send("Fetch.failRequest", { requestId, errorReason: "ConnectionReset" });
      lost.then(
        () => {
          this.#isAnswerLost = true;
        },
        () => undefined,
      );
      return;
    }
    const events = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
    if (events.includes(method)) this.said.push(JSON.stringify(params));
    if (method === "Network.requestWillBeSent") {
      this.asked.push((params["request"] as { url: string }).url);
    }
  }
}
