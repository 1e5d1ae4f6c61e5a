// Under `rekindle supervise` the ports stay open while servers are killed: the same restarts with and without it, side by side.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { Knocking } from "./lib/knocking.js";
import { median } from "./lib/numbers.js";
import { BROWSERS } from "./lib/publishers.js";
import { record } from "./lib/report.js";
import { sleep } from "./lib/server.js";

const KILLS = Number(process.env.REKINDLE_ROUNDS ?? 10);
/** Kills without a supervisor, for comparison, and handovers to a new process under one. */
const ALONE = Math.ceil(KILLS / 3);
const HANDOVERS = 3;
/** Machines that tests share with others get more than the aim of 100 ms. */
const LIMIT_MS = Number(process.env.REKINDLE_GAP_LIMIT ?? 500);

/** Ends the server some times, each time by `end`; what it looked like from outside and from a viewer's page. */
async function restarts(broadcast, rounds, since, end) {
  const [viewer] = broadcast.viewers;
  const before = await broadcast.identities();
  const knocking = new Knocking(broadcast.server.port, broadcast.server.host);
  const gaps = [];
  for (let round = 1; round <= rounds; round++) {
    const endedAt = await end();
    // Nobody asks the pages anything while it happens.
    await sleep(600);
    await broadcast.survived(since + round);
    gaps.push(Math.round((await viewer.gap(endedAt - 30)).ms));
  }
  const connections = await knocking.stop();
  assert.deepEqual(await broadcast.identities(), before);
  broadcast.assertNoProblems();
  return { median_gap_ms: median(gaps), gaps_ms: gaps, connections };
}

async function withBroadcast(browser, supervised, run) {
  const broadcast = await Broadcast.open({ publisher: browser, viewers: [browser], server: { supervised } });
  try {
    return await run(broadcast, async () => (await broadcast.restart()).killedAt);
  } finally {
    await broadcast.close();
  }
}

for (const browser of BROWSERS) {
  test(`killed ${KILLS} times under a supervisor, ${browser}: the same connections, none refused, and no longer gaps`, { timeout: 90_000 }, async () => {
    const [held, handovers] = await withBroadcast(browser, true, async (broadcast, kill) => [
      await restarts(broadcast, KILLS, 0, kill),
      await restarts(broadcast, HANDOVERS, KILLS, () => broadcast.server.handOver()),
    ]);
    const alone = await withBroadcast(browser, false, (broadcast, kill) => restarts(broadcast, ALONE, 0, kill));
    record(`kills under a supervisor, ${browser}`, { held, handovers, alone });
    assert.equal(held.connections.refused, 0, JSON.stringify(held));
    assert.equal(handovers.connections.refused, 0, JSON.stringify(handovers));
    assert.ok(handovers.median_gap_ms <= LIMIT_MS, JSON.stringify(handovers));
    assert.ok(held.connections.made > KILLS && alone.connections.refused > 0, `the probe sees what is refused: ${JSON.stringify(alone)}`);
    assert.ok(held.median_gap_ms <= LIMIT_MS, JSON.stringify(held));
    assert.ok(held.median_gap_ms <= 2 * alone.median_gap_ms + 100, JSON.stringify({ held, alone }));
  });
}
