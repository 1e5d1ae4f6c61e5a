// Twenty kills in a row, at moments and for times that a seed decides, with each browser as publisher and both as viewers. In
// full-state mode (REKINDLE_SERVE_ARGS="--mode full-state", with a build that has it) no browser runs DTLS again, unless so many of
// its ICE checks in a row fell into times without a server that it would stop sending soon (only Firefox asks so seldom).
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { median, random } from "./lib/numbers.js";
import { inMode, record } from "./lib/report.js";
import { sleep } from "./lib/server.js";

const KILLS = Number(process.env.REKINDLE_KILLS ?? 20);
const SEED = Number(process.env.REKINDLE_SEED ?? 20);
/** The aim, from the start of the new process to a new frame at the viewer; machines that tests share with others get more. */
const AIM_MS = 1000;
const LIMIT_MS = Number(process.env.REKINDLE_FRAME_LIMIT ?? 3000);
/** From the start of a process until it serves; more is put down to the machine. */
const START_MS = 50;

/** What is on disk of three real browsers after a last kill: every byte accounted for, nothing forbidden, and the decoder in Python agrees. */
async function assertClean(broadcast) {
  const { report, decoder } = await broadcast.server.left();
  assert.deepEqual(report.findings, []);
  assert.deepEqual([report.vault.peers, report.totals.forbidden, report.totals.unaccounted], [broadcast.tabs.length, 0, 0]);
  assert.ok(decoder || !process.env.CI, "CI needs tests/persisted_format/requirements.txt");
  if (decoder) assert.deepEqual(decoder, { code: 0, said: `they agree on ${broadcast.tabs.length + 1} files\n` });
}

for (const [number, publisher] of ["chromium", "firefox"].entries()) {
  test(`${KILLS} kills, published by ${publisher}, watched in Chromium and Firefox`, { timeout: 280_000 }, async () => {
    const next = random(SEED + number);
    const broadcast = await Broadcast.open({ publisher, viewers: ["chromium", "firefox"] });
    const rounds = [];
    let kept = null;
    let [handshakes, excused] = [null, null];
    const mode = await broadcast.mode();
    try {
      const before = await broadcast.identities();
      const handshakesBefore = await broadcast.handshakes();
      for (let kill = 1; kill <= KILLS; kill++) {
        await sleep(200 + next() * 1300);
        const down = Math.round(next() * 3000);
        const { startedAt } = await broadcast.restart(down);
        const frames = await broadcast.firstFrames(startedAt);
        // How long a start may take is a test of its own; here a starved machine is given what it needs beyond that.
        const allowance = Math.max(0, Math.round((broadcast.server.upAt() ?? startedAt) - startedAt - START_MS));
        rounds.push({ kill, down, frames, allowance });
        for (const [i, ms] of frames.entries()) {
          if (!(ms !== null && ms <= LIMIT_MS + allowance)) assert.fail(await broadcast.story(`kill ${kill}, down ${down} ms, started ${Math.round(startedAt % 1e6)}: first frame in ${broadcast.viewers[i].name} after ${ms} ms`));
        }
        await broadcast.survived(kill);
        const soFar = await broadcast.handshakes();
        handshakes = soFar.map(({ begun }, i) => begun - handshakesBefore[i].begun);
        excused = soFar.map((counts) => counts.excused);
        if (mode === "full-state" && handshakes.some((count, i) => count > excused[i])) assert.fail(await broadcast.story(`kill ${kill}, down ${down} ms: DTLS ran again (${handshakes})`));
      }
      const after = await broadcast.identities();
      kept = after.map((identity, i) => identity === before[i]);
      assert.deepEqual(after, before, "connections, tracks and joins of the publisher and of the viewers");
      // What counts handshakes sees them where there are some.
      if (mode !== "full-state") for (const count of handshakes) assert.ok(count >= KILLS, `${handshakes} handshakes after ${KILLS} kills`);
      broadcast.assertNoProblems();
      if (mode !== "full-state") await assertClean(broadcast);
    } finally {
      const all = (i) => rounds.map(({ frames }) => frames[i]).filter((ms) => ms !== null);
      record(`kills, publisher ${publisher}${inMode(mode)}`, {
        mode,
        seed: SEED + number,
        kills: rounds.length,
        kept_their_connections: kept,
        handshakes,
        handshakes_for_consent: excused,
        aim_ms: AIM_MS,
        later_than_aim: rounds.flatMap(({ frames }) => frames).filter((ms) => !(ms <= AIM_MS)).length,
        first_frame_after_start_ms: Object.fromEntries(
          (broadcast.viewers ?? []).map((tab, i) => [tab.browser.name, { median: median(all(i)), max: Math.max(...all(i)) }]),
        ),
        rounds,
      });
      await broadcast.close();
    }
  });
}
