// Makes the package's files out of static/: one file that publishes, watches and comes back after a restart; beside it what is loaded when it is needed
// (several sessions, several servers), the element, and their types. With `--account` it says what in the first file takes how much.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { minify } from "terser";
import { OWN } from "./names.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const from = path.join(here, "../../static");
const to = path.join(here, "dist");
/** A name that anybody else knows must stay as it is. */
function checked() {
  const COMMENT = /\/\*[\s\S]*?\*\//g;
  const whole = (/** @type {string} */ name) => fs.readFileSync(path.join(from, name), "utf8");
  const read = (/** @type {string} */ name) => whole(name).replace(COMMENT, "");
  const known = `${read("rekindle.d.ts")}${read("rekindle-player.d.ts")}`;
  const sources = fs.readdirSync(from).filter((name) => /^rekindle.*\.js$/.test(name)).map(read).join("\n");
  const later = [...sources.matchAll(/\bimport\("\.\/([^"]+)"\)/g)].map(([, name]) => read(name ?? "")).join("\n");
  // What servers, browsers' statistics and other pages say, as comments describe it.
  const said = ["rekindle-signalling.js", "rekindle-statistics.js", "rekindle-hub.js"].flatMap((name) => whole(name).match(COMMENT) ?? []);
  const words = said.filter((comment) => /\} (Data|Report|Keys|Stream|Message)\b/.test(comment)).flatMap((comment) => comment.match(/(?<=@property \{.*\} \[?)\w+|\w+(?=:)/g) ?? []);
  for (const name of OWN) {
    if (words.includes(name)) throw new Error(`${name} is what others say, and must not be shortened`);
    if (new RegExp(`\\b${name}\\b`).test(known)) throw new Error(`${name} is of the interface, and must not be shortened`);
    if (new RegExp(`["'\`]${name}["'\`]`).test(sources)) throw new Error(`"${name}" is used as text, and must not be shortened`);
    if (new RegExp(`^export (?:async )?\\w+ ${name}\\b`, "m").test(later)) throw new Error(`${name} is exported by what is loaded later, and must not be shortened`);
  }
  return new RegExp(`^(${OWN.join("|")})$`);
}

fs.rmSync(to, { recursive: true, force: true });
fs.mkdirSync(to);
const common = { bundle: true, minify: true, format: /** @type {const} */ ("esm"), target: "es2022", legalComments: /** @type {const} */ ("none"), outdir: to };
const module = { ...common, entryPoints: [path.join(from, "rekindle.js")], splitting: true, chunkNames: "[name]", mangleProps: checked(), metafile: true };
const { metafile } = await build(module);
// The element has the module from the file beside it, so that a page with both has one of it.
await build({ ...common, entryPoints: [path.join(from, "rekindle-player.js")], external: ["./rekindle.js"] });
// What esbuild has bundled and shortened, terser shortens by some more.
for (const name of fs.readdirSync(to)) {
  const { code } = await minify(fs.readFileSync(path.join(to, name), "utf8"), { module: true, ecma: 2020, compress: { passes: 3 } });
  fs.writeFileSync(path.join(to, name), code ?? "");
}
for (const name of ["rekindle.d.ts", "rekindle-player.d.ts"]) fs.copyFileSync(path.join(from, name), path.join(to, name));

const size = (/** @type {string | Uint8Array} */ content) => gzipSync(content, { level: 9 }).length;
for (const name of fs.readdirSync(to)) {
  const content = fs.readFileSync(path.join(to, name));
  console.log(`${name}: ${content.length} bytes, ${size(content)} with gzip`);
}

if (process.argv.includes("--account")) {
  // By its share of what esbuild has made: parts compress each other.
  const whole = size(fs.readFileSync(path.join(to, "rekindle.js")));
  const output = Object.entries(metafile.outputs).find(([name]) => name.endsWith("/rekindle.js"))?.[1];
  const length = output?.bytes ?? 1;
  for (const [name, { bytesInOutput }] of Object.entries(output?.inputs ?? {}).sort(([, a], [, b]) => b.bytesInOutput - a.bytesInOutput)) {
    console.log(`  ${path.basename(name)}: ${bytesInOutput} bytes, about ${Math.round((bytesInOutput * whole) / length)} with gzip`);
  }
}
