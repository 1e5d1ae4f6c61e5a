// Real browsers for `rekindle-bench resume --browser`: one publisher and one viewer, kills and restarts, and the largest gap between
// shown frames around each. Takes its settings as JSON in the first argument, and says the result as one line of JSON.
import fs from "node:fs";
import path from "node:path";
import { Broadcast } from "./lib/broadcast.js";
import { random } from "./lib/numbers.js";
import { until } from "./lib/pages.js";
import { clock, sleep } from "./lib/server.js";

const { browser, kills, args = [], forget = false, downMs = 0, rttMs = 0, loss = 0, seed = 1 } = JSON.parse(process.argv[2]);
const options = { publisher: browser, viewers: [browser], server: { args } };
const far = rttMs > 0 || loss > 0;
const broadcast = far
  ? await Broadcast.openFar(rttMs, { ...options, relay: { loss: loss / 100, random: random(seed) } })
  : await Broadcast.open(options);
const gaps = [];
try {
  const [viewer] = broadcast.viewers;
  const calm = await viewer.gap(clock() - 1000);
  const version = await viewer.run(() => navigator.userAgent);
  for (let round = 1; round <= kills; round++) {
    const killedAt = await broadcast.server.kill();
    if (downMs > 0) await sleep(downMs);
    if (forget) fs.rmSync(path.join(broadcast.server.dir, "rekindle-state/peers"), { recursive: true });
    broadcast.server.spawn();
    // Nobody asks the pages anything while it happens: that would cost them the time that is measured.
    await sleep(800);
    // Until frames have been shown for a while again, on whichever connection.
    await until(async () => (await viewer.run((since) => window.seen.frames.filter(([at]) => at > since).length, killedAt + downMs + 50)) > 20, () => viewer.describe("frames after the kill"), 20_000);
    if (!forget) await broadcast.survived(round);
    gaps.push((await viewer.gap(killedAt - 30)).ms);
  }
  console.log(JSON.stringify({ gaps, calm: calm.ms, version }));
} finally {
  await broadcast.close();
}
