// Makes the package's files out of static/: one file with all parts of the module, the element beside it, and their types.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const from = path.join(here, "../../static");
const to = path.join(here, "dist");

fs.rmSync(to, { recursive: true, force: true });
fs.mkdirSync(to);
/** @param {string} name @param {string[]} external */
const bundle = (name, external = []) =>
  build({ entryPoints: [path.join(from, name)], outfile: path.join(to, name), bundle: true, minify: true, format: "esm", target: "es2022", external, legalComments: "none" });
await bundle("rekindle.js");
// The element has the module from the file beside it, so that a page with both has one of it.
await bundle("rekindle-player.js", ["./rekindle.js"]);
for (const name of ["rekindle.d.ts", "rekindle-player.d.ts"]) fs.copyFileSync(path.join(from, name), path.join(to, name));

for (const name of fs.readdirSync(to)) {
  const content = fs.readFileSync(path.join(to, name));
  console.log(`${name}: ${content.length} bytes, ${gzipSync(content, { level: 9 }).length} with gzip`);
}
