/**
 * Lint rules: what TypeScript's compiler cannot say about our style (docs/adr/0005).
 *
 * Formatting is Prettier's; the floors of the house are checked by test/tidy/floors.test.ts.
 * A rule that a line must break is disabled for that line, with the reason after `--`.
 */
import { builtinModules } from "node:module";

import tseslint from "typescript-eslint";

const clock = "Time comes from a Clock (common/clock.ts), handed in.";
const random = "Chance comes from a Random (common/random.ts), handed in.";

const bannedSyntax = [
  { selector: "ExportDefaultDeclaration", message: "Exports have names." },
  { selector: "TSEnumDeclaration", message: "Use a union of string literals." },
  { selector: "TSModuleDeclaration[kind!='global']", message: "A module is a file." },
  { selector: "TSParameterProperty", message: "Write the field out." },
  {
    selector:
      ":matches(PropertyDefinition, MethodDefinition[kind!='constructor'])[accessibility=/./]",
    message: "Use #private; all else is public.",
  },
];

const bannedTimeSyntax = [
  { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: clock },
  { selector: "CallExpression[callee.name='Date']", message: clock },
  { selector: "MemberExpression[object.name='globalThis']", message: "Name the thing itself." },
];

const unprefixedBuiltins = builtinModules
  .filter((name) => !name.startsWith("_") && !name.startsWith("node:"))
  .map((name) => ({ name, message: `Write node:${name}.` }));

const bannedTimers = ["setTimeout", "setInterval", "setImmediate", "performance"].map((name) => ({
  name,
  message: clock,
}));

const bannedTimeImports = ["node:timers", "node:timers/promises", "node:perf_hooks"].map(
  (name) => ({ name, message: clock }),
);

/** Rules for every file of ours; the type-checked ones are dropped again for plain JavaScript. */
const house = {
  eqeqeq: ["error", "always", { null: "ignore" }],
  "no-var": "error",
  "prefer-const": "error",
  "object-shorthand": "error",
  "no-restricted-syntax": ["error", ...bannedSyntax],
  "no-restricted-imports": ["error", { paths: unprefixedBuiltins }],
  "@typescript-eslint/no-floating-promises": "error",
  "@typescript-eslint/no-misused-promises": "error",
  "@typescript-eslint/no-explicit-any": "error",
  "@typescript-eslint/no-non-null-assertion": "error",
  "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "separate-type-imports" }],
  "@typescript-eslint/switch-exhaustiveness-check": [
    "error",
    { considerDefaultExhaustiveForUnions: true },
  ],
  "@typescript-eslint/restrict-template-expressions": [
    "error",
    { allowNumber: true, allowBoolean: true },
  ],
  "@typescript-eslint/no-confusing-void-expression": [
    "error",
    { ignoreArrowShorthand: true, ignoreVoidOperator: true },
  ],
  "@typescript-eslint/no-unused-vars": [
    "error",
    { argsIgnorePattern: "^_", varsIgnorePattern: "^_", ignoreRestSiblings: true },
  ],
  // Passing a caught error on must be possible: what was caught is unknown.
  "@typescript-eslint/prefer-promise-reject-errors": ["error", { allowThrowingUnknown: true }],
  // It takes a field checked before an await or a call for still true after it; our style asks
  // to check again.
  "@typescript-eslint/no-unnecessary-condition": "off",
  // `async` without `await` is how a method of an async port turns its throws into rejections.
  "@typescript-eslint/require-await": "off",
};

/** Rules that the product's code keeps and tests need not. */
const strictHouse = {
  "max-lines-per-function": ["error", { max: 70, skipBlankLines: false, skipComments: false }],
  "no-console": "error",
  "no-restricted-globals": ["error", ...bannedTimers],
  "no-restricted-properties": [
    "error",
    { object: "Date", property: "now", message: clock },
    { object: "Math", property: "random", message: random },
    { object: "process", property: "hrtime", message: clock },
    { object: "AbortSignal", property: "timeout", message: clock },
    { object: "crypto", property: "randomUUID", message: random },
    { object: "crypto", property: "getRandomValues", message: random },
  ],
  "no-restricted-imports": [
    "error",
    {
      paths: [
        ...unprefixedBuiltins,
        ...bannedTimeImports,
        {
          name: "node:crypto",
          importNames: ["randomUUID", "randomBytes", "randomInt", "randomFillSync"],
          message: random,
        },
      ],
    },
  ],
  "no-restricted-syntax": ["error", ...bannedSyntax, ...bannedTimeSyntax],
};

export default tseslint.config(
  { ignores: ["dist/", "coverage/", "src/gen/", "**/proglog-data/"] },
  {
    files: ["**/*.{ts,js,mjs}"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: house,
  },
  { files: ["src/**/*.ts"], rules: strictHouse },
  {
    // The one file that touches the real clock and the real random source.
    files: ["src/common/system.ts"],
    rules: {
      "no-restricted-globals": "off",
      "no-restricted-properties": "off",
      "no-restricted-imports": "off",
      "no-restricted-syntax": ["error", ...bannedSyntax],
    },
  },
  { files: ["src/cli/**/*.ts"], rules: { "no-console": "off" } },
  {
    // Tests read loose data (JSON bodies, process output) and build it by hand.
    files: ["test/**/*.ts", "scripts/**/*.ts"],
    rules: {
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-call": "off",
      "@typescript-eslint/no-unsafe-member-access": "off",
      "@typescript-eslint/no-unsafe-return": "off",
      "@typescript-eslint/no-empty-function": "off",
      "@typescript-eslint/no-misused-spread": "off",
      "@typescript-eslint/unbound-method": "off",
    },
  },
  {
    // The programs that load these files ask for a default export.
    files: ["vitest.config.ts", "eslint.config.js", "scripts/ci-reporter.ts"],
    rules: { "no-restricted-syntax": "off" },
  },
  {
    files: ["**/*.{js,mjs}"],
    extends: [tseslint.configs.disableTypeChecked],
    rules: { "@typescript-eslint/switch-exhaustiveness-check": "off" },
  },
);
