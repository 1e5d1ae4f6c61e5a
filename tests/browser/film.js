// Makes the picture of the README, docs/demo.webp, of a real run: `rekindle demo`, a publisher and a viewer in Chromium, and the button.
// Usage, after `cargo build --release`: node film.js [FILE]. Needs img2webp (Debian: apt install webp).
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Broadcast } from "./lib/broadcast.js";
import { until } from "./lib/pages.js";
import { sleep } from "./lib/server.js";

const OUTPUT = process.argv[2] ?? fileURLToPath(new URL("../../docs/demo.webp", import.meta.url));
const MOST_BYTES = 1_000_000;
const SIZE = /** @type {const} */ ([960, 510]);
/** Before the first press, and after the last words. */
const BEFORE_MS = 1200;
const AFTER_MS = 2500;
const KILLS = 2;
/** A frame of the film stands at least so long; Chromium tells of every one that it draws. */
const FRAME_MS = 66;

/** Everything that the browser draws of a page until `stop` is called. @param {import("playwright-core").Page} page */
async function record(page) {
  const session = await page.context().newCDPSession(page);
  /** @type {{ at: number, data: string }[]} */
  const frames = [];
  session.on("Page.screencastFrame", ({ data, metadata, sessionId }) => {
    frames.push({ at: (metadata.timestamp ?? 0) * 1000, data });
    session.send("Page.screencastFrameAck", { sessionId }).catch(() => {});
  });
  await session.send("Page.startScreencast", { format: "png", everyNthFrame: 1 });
  return async () => {
    await session.send("Page.stopScreencast");
    return frames;
  };
}

const broadcast = await Broadcast.open({ publisher: "chromium", viewers: ["chromium"], server: { demo: true } });
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "rekindle-film-"));
try {
  const [viewer] = broadcast.viewers;
  await viewer.web.size(...SIZE);
  await viewer.web.bringToFront();
  await viewer.run(() => document.getElementById("kill").focus());
  await sleep(500);
  const stop = await record(/** @type {import("playwright-core").Page} */ (viewer.web.page));
  await sleep(BEFORE_MS);
  for (let kill = 1; kill <= KILLS; kill++) {
    await viewer.web.press("Enter");
    await until(async () => (await viewer.fact("kills")).startsWith(`${kill} kill`), "the kill is survived");
    await until(async () => (await viewer.fact("killed")).includes("stood still"), "the gap is told");
    console.log(await viewer.fact("killed"));
    await sleep(AFTER_MS);
  }
  const all = await stop();
  /** @type {typeof all} */
  const kept = [];
  for (const frame of all) if (kept.length === 0 || frame.at - (kept.at(-1)?.at ?? 0) >= FRAME_MS) kept.push(frame);
  const words = kept.flatMap(({ at, data }, i) => {
    const file = path.join(folder, `${String(i).padStart(4, "0")}.png`);
    fs.writeFileSync(file, Buffer.from(data, "base64"));
    // For as long as it was really shown.
    return ["-d", String(Math.round((kept[i + 1]?.at ?? at + FRAME_MS) - at)), file];
  });
  const made = spawnSync("img2webp", ["-loop", "0", "-kmax", "60", "-lossy", "-q", "50", "-m", "4", ...words, "-o", OUTPUT], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`img2webp makes no film: ${made.error?.message ?? made.stderr}`);
  const { size } = fs.statSync(OUTPUT);
  console.log(`${OUTPUT}: ${kept.length} of ${all.length} frames, ${size} bytes`);
  if (size > MOST_BYTES) throw new Error(`that is more than ${MOST_BYTES} bytes`);
} finally {
  await broadcast.close();
  if (process.env.REKINDLE_KEEP) console.log(folder);
  else fs.rmSync(folder, { recursive: true, force: true });
}
