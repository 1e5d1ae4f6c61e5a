// What a broadcast that goes on undisturbed writes to disk: nothing in the default mode, counters in full-state mode.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { inMode, record } from "./lib/report.js";
import { sleep } from "./lib/server.js";

const SECONDS = Number(process.env.REKINDLE_DISK_SECONDS ?? 20);
/** Ceilings lie half a second ahead of each stream, and a write is due when half of that is left: four a second. */
const MOST_PER_MINUTE = 4 * 60;

/** Bytes that the process has given to files and to the disk (proc(5)). */
function written(pid) {
  const lines = fs.readFileSync(`/proc/${pid}/io`, "utf8").split("\n");
  return Number(lines.find((line) => line.startsWith("write_bytes:")).split(" ")[1]);
}

test(`${SECONDS} s of broadcast, published by chromium, watched in Chromium and Firefox: writes to disk`, { timeout: 60_000 + SECONDS * 1000 }, async () => {
  const broadcast = await Broadcast.open({ publisher: "chromium", viewers: ["chromium", "firefox"] });
  const files = {};
  const watchers = [];
  try {
    const mode = await broadcast.mode();
    const state = path.join(broadcast.server.dir, "rekindle-state");
    // Addresses that the browsers found out are written once, soon after the start.
    await sleep(3000);
    for (const folder of fs.readdirSync(state, { recursive: true, withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name).concat("")) {
      watchers.push(
        fs.watch(path.join(state, folder), (event, name) => {
          // A file that takes its name: the end of every write.
          if (event !== "rename" || name.startsWith(".tmp-")) return;
          const file = path.join(folder, name);
          files[file] ??= { writes: 0, bytes: 0 };
          files[file].writes += 1;
          files[file].bytes += fs.statSync(path.join(state, file), { throwIfNoEntry: false })?.size ?? 0;
        }),
      );
    }
    const before = written(broadcast.server.process.pid);
    await sleep(SECONDS * 1000);
    const toDisk = written(broadcast.server.process.pid) - before;
    const sum = (what) => Object.values(files).reduce((all, file) => all + file[what], 0);
    const minute = (count) => Math.round((count * 60) / SECONDS);
    record(`writes to disk${inMode(mode)}`, {
      seconds: SECONDS,
      writes_per_minute: minute(sum("writes")),
      bytes_per_minute: minute(sum("bytes")),
      bytes_to_disk_per_minute: minute(toDisk),
      files,
    });
    if (mode === "full-state") {
      assert.deepEqual(Object.keys(files), ["counters.age"]);
      assert.ok(minute(sum("writes")) <= MOST_PER_MINUTE, `${sum("writes")} writes`);
    } else {
      assert.deepEqual(files, {});
      assert.equal(toDisk, 0);
    }
  } finally {
    for (const watcher of watchers) watcher.close();
    await broadcast.close();
  }
});
