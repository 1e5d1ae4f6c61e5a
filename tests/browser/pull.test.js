// Nodes that take channels from each other: who watches at another node than the publisher's goes on whichever of the two is killed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { Cluster, clusterIsMissing } from "./lib/cluster.js";
import { Tab, until } from "./lib/pages.js";
import { record } from "./lib/report.js";
import { clock, sleep } from "./lib/server.js";

/** Machines that tests share with others get more than the aim of 2 s. */
const LIMIT_MS = Number(process.env.REKINDLE_FRAME_LIMIT ?? 6000);

const missing = clusterIsMissing();
if (missing !== null && process.env.CI) throw new Error(missing);

test("a publisher at one node, viewers at another, and each of them killed", { timeout: 120_000, skip: missing ?? false }, async () => {
  const cluster = await Cluster.open({ nodes: 2, args: ["--pull", "4"] });
  const [here, there] = cluster.nodes;
  let broadcast;
  try {
    broadcast = await Broadcast.join(here, { publisher: "chromium", viewers: [] });
    for (const name of ["chromium", "firefox"]) broadcast.viewers.push(await Tab.viewer(await broadcast.browsers.get(name), `${there.url}/?channel=test`));
    await until(async () => (await cluster.where(2)) === 1, "both viewers are where they asked");
    await sleep(1000);
    const before = await broadcast.identities();

    const first = {};
    for (const [what, node] of Object.entries({ publisher: here, viewers: there })) {
      const killedAt = await node.kill();
      node.spawn();
      const frames = await broadcast.firstFrames(killedAt, LIMIT_MS);
      first[what] = frames;
      if (!frames.every((ms) => ms !== null)) assert.fail(await broadcast.story(`${what}: first frames after ${frames} ms`));
      // It goes on, and all say so.
      await sleep(2000);
      const since = clock();
      const later = await broadcast.firstFrames(since, LIMIT_MS);
      if (!later.every((ms) => ms !== null)) assert.fail(await broadcast.story(`${what}: no frames later`));
      for (const tab of broadcast.tabs) await tab.words("Connected", 10_000);
    }
    assert.deepEqual(await broadcast.identities(), before, "connections, tracks and joins");
    broadcast.assertNoProblems();
    record("pulled channel, node killed", { first_frame_after_kill_ms: first });
  } finally {
    await broadcast?.close();
    await cluster.close();
  }
});
