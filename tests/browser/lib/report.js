// Measured numbers, collected over all test files of a run into one JSON file.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const FILE = process.env.REKINDLE_RESULTS ?? fileURLToPath(new URL("../results.json", import.meta.url));

/** What is added to the name of a scenario that runs in another mode than the default one. */
export const inMode = (mode) => (mode === "rehandshake" ? "" : `, ${mode}`);

/** Adds one scenario's numbers to the results file; the same name replaces what is there. */
export function record(name, numbers) {
  let results = {};
  try {
    results = JSON.parse(fs.readFileSync(FILE, "utf8"));
  } catch {
    // The first of the run.
  }
  results[name] = { at: new Date().toISOString(), ...numbers };
  fs.mkdirSync(path.dirname(FILE), { recursive: true });
  fs.writeFileSync(`${FILE}.tmp`, `${JSON.stringify(results, null, 2)}\n`);
  fs.renameSync(`${FILE}.tmp`, FILE);
}
