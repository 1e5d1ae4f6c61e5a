// A restart that nobody sees or hears, 50 ms of round trip away: with the cushion that the page has by default, what was lost comes again
// before its turn. Held against the browser's own way ("least delay").
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { median, random } from "./lib/numbers.js";
import { record } from "./lib/report.js";
import { sleep } from "./lib/server.js";
import { calm, choose, kills } from "./lib/unseen.js";

const KILLS = Number(process.env.REKINDLE_UNSEEN_KILLS ?? 4);
const RTT_MS = 50;
/** Of a picture at 30 frames a second. */
const FRAME_MS = 34;
/** Generous: machines that tests share with others stall. */
const LIMITS = { still_ms: 250, made_up_ms: 120 };

const away = (publisher, viewer) => Broadcast.openFar(RTT_MS, { publisher, viewers: [viewer], relay: { random: random(1) } });

for (const [publisher, viewer] of [["chromium", "chromium"], ["chromium", "firefox"]]) {
  test(`${KILLS} kills at ${RTT_MS} ms, published by ${publisher}, watched in ${viewer}`, { timeout: 120_000 }, async () => {
    const broadcast = await away(publisher, viewer);
    try {
      // Until the buffer is as long as it should be.
      await sleep(4000);
      const without = await calm(broadcast);
      const steady = await kills(broadcast, KILLS);
      await choose(broadcast, 0);
      const least = await kills(broadcast, KILLS, KILLS);
      const of = (rounds, name) => rounds.map((round) => round[name]);
      record(`seen and heard at ${RTT_MS} ms, ${publisher} to ${viewer}`, {
        calm_gap_ms: without,
        steady: { still_ms: of(steady, "still_ms"), made_up_ms: of(steady, "made_up_ms"), lost: of(steady, "lost"), said: of(steady, "said") },
        least: { still_ms: of(least, "still_ms"), made_up_ms: of(least, "made_up_ms"), lost: of(least, "lost") },
        median: { steady_still_ms: median(of(steady, "still_ms")), steady_made_up_ms: median(of(steady, "made_up_ms")), least_still_ms: median(of(least, "still_ms")) },
      });
      assert.ok(median(of(steady, "still_ms")) <= without + LIMITS.still_ms, `${of(steady, "still_ms")}, calm ${without}`);
      assert.ok(median(of(steady, "made_up_ms")) <= LIMITS.made_up_ms, `${of(steady, "made_up_ms")} ms of sound made up`);
      assert.ok(steady.every(({ said }) => /^a frame for \d+ ms/.test(said)), of(steady, "said").join("; "));
      // The cushion is what hides it. Firefox shortens its buffer only slowly, so that the two cannot be told apart there.
      if (viewer === "chromium") assert.ok(median(of(steady, "still_ms")) + FRAME_MS < median(of(least, "still_ms")) || median(of(least, "still_ms")) <= without + FRAME_MS, `${of(steady, "still_ms")} and without ${of(least, "still_ms")}`);
      broadcast.assertNoProblems();
    } finally {
      await broadcast.close();
    }
  });
}

// Firefox gives a key frame only when its encoder is stopped and started again, which leaves frames out; and a viewer goes on with the key
// frame although the frames before it are about to come.
test("a publisher in Firefox goes on encoding through an outage that a cushion hides", { timeout: 120_000 }, async () => {
  const broadcast = await away("firefox", "firefox");
  const [viewer] = broadcast.viewers;
  try {
    await sleep(4000);
    let hidden = 0;
    for (let kill = 1; kill <= KILLS; kill++) {
      const before = await viewer.stats();
      await broadcast.restart();
      await broadcast.survived(kill);
      await sleep(1000);
      const after = await viewer.stats();
      const took = Number.parseInt(await broadcast.publisher.fact("took"), 10);
      // On a machine that stalls an outage may be longer than any cushion.
      if (took > 400) continue;
      hidden += 1;
      assert.equal(after.keyFrames - before.keyFrames, 0, `kill ${kill}, back after ${took} ms`);
    }
    assert.ok(hidden > 0, "no outage was short");
    broadcast.assertNoProblems();
  } finally {
    await broadcast.close();
  }
});
