// The package for npm, as it is built: `npm run package`. No browser, no server.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { OWN } from "../../packaging/npm/names.js";

const PACKAGE = new URL("../../packaging/npm/", import.meta.url);
const DIST = new URL("dist/", PACKAGE);
const EXAMPLES = new URL("../../examples/", import.meta.url);
/** With gzip, of the file that every page loads. The aim was 8000; what is in it, the package's README says. */
const MOST_BYTES = 11_100;
/** What is loaded when it is needed: several sessions, Firefox, several servers. */
const LATER = { "rekindle-hub.js": 1_750, "rekindle-parking.js": 1_150, "rekindle-search.js": 2_000 };

test("Node may import it, and is told what it lacks only when something is asked of it", async () => {
  for (const base of [DIST, new URL("../../static/", import.meta.url)]) {
    const module = await import(new URL("rekindle.js", base).href);
    assert.deepEqual(Object.keys(module).toSorted(), ["Session", "publish", "watch"]);
    assert.throws(() => module.watch("https://example.org/whep/main"), /needs a browser/);
    const player = await import(new URL("rekindle-player.js", base).href);
    assert.deepEqual(Object.keys(player), ["RekindlePlayer"]);
  }
});

test("one file has all that one session at one server needs, but for Firefox, none is larger than it says, and the element is beside it", () => {
  for (const [name, most] of Object.entries({ "rekindle.js": MOST_BYTES, ...LATER })) {
    const module = fs.readFileSync(new URL(name, DIST));
    assert.ok(!/\bimport\b[^(;]*["']\.\//.test(module.toString()), `${name} imports nothing`);
    const { length } = gzipSync(module, { level: 9 });
    assert.ok(length <= most, `${name}: ${length} bytes with gzip`);
  }
  const later = [...fs.readFileSync(new URL("rekindle.js", DIST), "utf8").matchAll(/\bimport\("\.\/([^"]+)"\)/g)].map(([, name]) => name);
  assert.deepEqual(later.toSorted(), Object.keys(LATER));
  assert.match(fs.readFileSync(new URL("rekindle-player.js", DIST), "utf8"), /from"\.\/rekindle\.js"/, "a page with both has one of the module");
});

test("the README says how large they are", () => {
  const readme = fs.readFileSync(new URL("README.md", PACKAGE), "utf8");
  const sizes = Object.fromEntries(["rekindle.js", ...Object.keys(LATER), "rekindle-player.js"].map((name) => [name, gzipSync(fs.readFileSync(new URL(name, DIST)), { level: 9 }).length]));
  const said = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
  for (const [name, bytes] of Object.entries(sizes)) assert.match(readme, new RegExp("`" + name + "`[^\\d`]*" + said(bytes)), `${name}: ${bytes}`);
  assert.ok(readme.includes(`${said(sizes["rekindle.js"] + sizes["rekindle-parking.js"])} in all`));
});

test("no name that is shortened is one that a browser or JavaScript has", () => {
  const types = new URL("node_modules/@typescript/", import.meta.url);
  const [own] = fs.readdirSync(types).filter((name) => name.startsWith("typescript-"));
  const lib = new URL(`${own}/lib/`, types);
  const known = new Set();
  for (const name of fs.readdirSync(lib).filter((each) => /^lib\.(dom|es)/.test(each))) {
    const members = fs.readFileSync(new URL(name, lib), "utf8").matchAll(/^\s+(?:readonly |get |set |static )*"?(\w+)"?\??[(:<]/gm);
    for (const [, member] of members) known.add(member);
  }
  assert.ok(known.has("setLocalDescription") && known.has("iceTransport") && known.has("toSorted"));
  assert.deepEqual(OWN.filter((name) => known.has(name)), []);
});

test("what is packed is what is built, with types", () => {
  const [{ files }] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: fileURLToPath(PACKAGE), encoding: "utf8" }));
  assert.deepEqual(files.map(({ path }) => path).toSorted(), ["README.md", "dist/rekindle-hub.js", "dist/rekindle-parking.js", "dist/rekindle-player.d.ts", "dist/rekindle-player.js", "dist/rekindle-search.js", "dist/rekindle.d.ts", "dist/rekindle.js", "package.json"]);
  const { exports } = JSON.parse(fs.readFileSync(new URL("package.json", PACKAGE), "utf8"));
  for (const { types, default: file } of Object.values(exports)) for (const each of [types, file]) assert.ok(fs.existsSync(new URL(each, PACKAGE)), each);
});

test("the package's number is the server's", () => {
  const cargo = fs.readFileSync(new URL("../../Cargo.toml", import.meta.url), "utf8");
  const { version } = JSON.parse(fs.readFileSync(new URL("package.json", PACKAGE), "utf8"));
  assert.equal(version, /^version = "([^"]+)"/m.exec(cargo)?.[1]);
});

test("no example is longer than 30 lines", () => {
  const names = fs.readdirSync(EXAMPLES).filter((name) => /\.(html|jsx)$/.test(name));
  assert.deepEqual(names.toSorted(), ["player.html", "publish.html", "react.jsx"]);
  for (const name of names) assert.ok(fs.readFileSync(new URL(name, EXAMPLES), "utf8").trimEnd().split("\n").length <= 30, name);
});
