// Twenty kills in a row, at moments and for times that a seed decides, with each browser as publisher and both as viewers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { median, random } from "./lib/pages.js";
import { record } from "./lib/report.js";
import { sleep } from "./lib/server.js";

const KILLS = Number(process.env.REKINDLE_KILLS ?? 20);
const SEED = Number(process.env.REKINDLE_SEED ?? 20);
/** From the start of the new process to a new frame at the viewer. */
const LIMIT_MS = 1000;

for (const [number, publisher] of ["chromium", "firefox"].entries()) {
  test(`${KILLS} kills, published by ${publisher}, watched in Chromium and Firefox`, { timeout: 280_000 }, async () => {
    const next = random(SEED + number);
    const broadcast = await Broadcast.open({ publisher, viewers: ["chromium", "firefox"] });
    const rounds = [];
    try {
      const before = await broadcast.identities();
      for (let kill = 1; kill <= KILLS; kill++) {
        await sleep(200 + next() * 1300);
        const down = Math.round(next() * 3000);
        const { startedAt } = await broadcast.restart(down);
        const frames = await broadcast.firstFrames(startedAt);
        rounds.push({ kill, down, frames });
        for (const [i, ms] of frames.entries()) {
          assert.ok(ms !== null && ms <= LIMIT_MS, `kill ${kill}, down ${down} ms: ${await broadcast.viewers[i].describe(`first frame after ${ms} ms`)}`);
        }
        await broadcast.survived(kill);
      }
      assert.deepEqual(await broadcast.identities(), before);
      broadcast.assertNoProblems();
    } finally {
      const all = (i) => rounds.map(({ frames }) => frames[i]).filter((ms) => ms !== null);
      record(`kills, publisher ${publisher}`, {
        seed: SEED + number,
        kills: rounds.length,
        first_frame_after_start_ms: Object.fromEntries(
          (broadcast.viewers ?? []).map((tab, i) => [tab.browser.name, { median: median(all(i)), max: Math.max(...all(i)) }]),
        ),
        rounds,
      });
      await broadcast.close();
    }
  });
}
