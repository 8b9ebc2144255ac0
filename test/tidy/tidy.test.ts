/**
 * Reads the project's files and holds them to what no compiler or linter checks.
 *
 * Patterns that must not occur anywhere are put together from parts here, so that this file does
 * not find itself.
 */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

import { describe, expect, test } from "vitest";

import { filesUnder, read, root, sourceFiles } from "./tree.js";

const columnsMax = 100;
const textFile = /(\.(ts|js|mjs|cjs|json|md|ya?ml|proto|sh|txt|tpl|html|css)|Dockerfile|\/run)$/;
const lineCommentOrString = /\.(ts|js|mjs)$/;

/** `path:line` of every line of the files that the check refuses. */
function linesThat(files: readonly string[], refuses: (line: string) => boolean): string[] {
  return files.flatMap((path) =>
    read(path)
      .split("\n")
      .flatMap((line, at) => (refuses(line) ? [`${path}:${at + 1}: ${line.trim()}`] : [])),
  );
}

const allText = filesUnder(".").filter((path) => textFile.test(path));
const ours = allText.filter((path) => !path.startsWith("src/gen/") && path !== "package-lock.json");
const code = ours.filter((path) => lineCommentOrString.test(path));

describe("source files", () => {
  test("open with a doc comment of at least two lines", () => {
    const opening = /^(?:#!.*\n)?\/\*\*([\s\S]*?)\*\//;
    const bare = sourceFiles().filter((path) => {
      const text = opening.exec(read(path))?.[1] ?? "";
      return text.split("\n").filter((line) => /[^\s*]/.test(line)).length < 2;
    });
    expect(bare).toEqual([]);
  });

  test("have lines of at most 100 columns", () => {
    expect(linesThat(sourceFiles(), (line) => line.length > columnsMax)).toEqual([]);
  });

  test("end with one line break and have no trailing spaces", () => {
    const ragged = ours.filter((path) => !/[^\n]\n$/.test(read(path)) && read(path) !== "");
    expect(ragged).toEqual([]);
    expect(linesThat(code, (line) => /[ \t]$/.test(line))).toEqual([]);
  });

  test("are named in kebab case", () => {
    const files = code.filter((path) => /^(src|test|scripts)\//.test(path));
    const named = /^([a-z0-9.-]+\/)*[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9-]+)*$/;
    expect(files.filter((path) => !named.test(path))).toEqual([]);
  });
});

describe("code", () => {
  test("leaves nothing to be done later", () => {
    const later = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "X" + "XX"].join("|")})\\b`);
    expect(linesThat(ours, (line) => later.test(line))).toEqual([]);
  });

  test("says why where it disables a rule", () => {
    const directive = new RegExp(["eslint", "disable"].join("-"));
    const escape = new RegExp("@ts-" + "(ignore|expect-error|nocheck)");
    const bare = (line: string): boolean =>
      (directive.test(line) && !/ -- \S/.test(line)) ||
      (escape.test(line) && !new RegExp(`${escape.source}:? +\\S`).test(line));
    expect(linesThat(code, bare)).toEqual([]);
  });

  test("runs no test alone", () => {
    const alone = /\b(test|it|describe)\.only\b/;
    const tests = code.filter((path) => path.endsWith(".test.ts"));
    expect(linesThat(tests, (line) => alone.test(line) && !line.includes("alone ="))).toEqual([]);
  });
});

describe("every file", () => {
  test("names no package registry and no place on a build machine", () => {
    const hosts = [
      ["registry", "npmjs", "org"],
      ["registry", "yarnpkg", "com"],
      ["npm", "pkg", "github", "com"],
    ].map((parts) => parts.join("\\."));
    const places = ["work/(main|shared)", "root/", "tmp/bash"].map(
      (place) => `(?<![\\w.])/${place}`,
    );
    const banned = new RegExp([...hosts, ...places].join("|"));
    const files = [...allText, ".npmrc"].filter((path) => existsSync(join(root, path)));
    expect(linesThat(files, (line) => banned.test(line))).toEqual([]);
  });
});

describe("documents", () => {
  const documents = ours.filter((path) => path.endsWith(".md"));

  /** The anchor that GitHub gives a heading. */
  function anchor(heading: string): string {
    return heading
      .toLowerCase()
      .replace(/[`*]/g, "")
      .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .trim()
      .replace(/\s/g, "-");
  }

  function withoutCode(text: string): string {
    return text.replace(/^( *)(```|~~~)[\s\S]*?^\1\2/gm, "").replace(/`[^`\n]*`/g, "");
  }

  function anchorsOf(path: string): string[] {
    const text = read(path).replace(/^( *)(```|~~~)[\s\S]*?^\1\2/gm, "");
    return [...text.matchAll(/^#{1,6} +(.+)$/gm)].map((found) => anchor(found[1] ?? ""));
  }

  test("link only to what exists", () => {
    const broken = documents.flatMap((path) =>
      [...withoutCode(read(path)).matchAll(/\]\(<?([^)\s>]+)>?(?: "[^"]*")?\)/g)].flatMap(
        (found) => {
          const link = found[1] ?? "";
          if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return [];
          const [file = "", heading] = link.split("#");
          const target = file === "" ? path : join(dirname(path), file);
          if (!existsSync(join(root, target))) return [`${path}: ${link}`];
          const isMissing =
            heading !== undefined && target.endsWith(".md") && !anchorsOf(target).includes(heading);
          return isMissing ? [`${path}: ${link}`] : [];
        },
      ),
    );
    expect(broken).toEqual([]);
  });

  test("cite only decision records that exist", () => {
    const records = new Set(
      filesUnder("docs/adr").map((path) => /(\d{4})-[a-z0-9-]+\.md$/.exec(path)?.[1]),
    );
    const cited = ours.flatMap((path) =>
      [...read(path).matchAll(/\bADR-(\d{4})\b|docs\/adr\/(\d{4})/g)].map((found) => ({
        path,
        record: found[1] ?? found[2],
      })),
    );
    expect(cited.filter(({ record }) => !records.has(record))).toEqual([]);
  });

  test("give decision records one form", () => {
    const badlyFormed = filesUnder("docs/adr").filter((path) => {
      const headings = [...read(path).matchAll(/^## (.+)$/gm)].map((found) => found[1]);
      const [title = ""] = read(path).split("\n");
      const number = /(\d{4})-/.exec(path)?.[1] ?? "no number";
      const sections = ["Context", "Decision", "What we gave up"];
      return !title.startsWith(`# ${number}. `) || headings.join() !== sections.join();
    });
    expect(badlyFormed).toEqual([]);
  });
});

describe("the changelog", () => {
  const lines = read("CHANGELOG.md").split("\n");

  test("opens with what is unreleased and lists releases by number and day", () => {
    const releases = lines.filter((line) => /^## /.test(line));
    expect(lines[0]).toBe("# Changelog");
    expect(releases[0]).toBe("## Unreleased");
    const form = /^## \d+\.\d+\.\d+ \(\d{4}-\d{2}-\d{2}\)$/;
    expect(releases.slice(1).filter((line) => !form.test(line))).toEqual([]);
  });

  test("sorts each release under Safety, Added, Changed and Fixed, in this order", () => {
    const order = ["### Safety", "### Added", "### Changed", "### Fixed"];
    let last = -1;
    for (const line of lines) {
      if (/^## /.test(line)) last = -1;
      if (!/^### /.test(line)) continue;
      expect(order.slice(last + 1)).toContain(line);
      last = order.indexOf(line);
    }
  });

  test("gives each entry one line", () => {
    const stray = lines.filter((line) => !/^(#{1,3} .+|- .+\.|)$/.test(line));
    expect(stray).toEqual([]);
  });
});

describe("the workflow", () => {
  test("tests with the command that the README names", () => {
    const command = "npm ci && npm test";
    expect(read(".ci/run")).toContain(command);
    if (existsSync(join(root, "README.md"))) expect(read("README.md")).toContain(command);
  });
});
