// A poor network in both directions for a while: every frame is shown in the end, since what is lost is asked for again, and the publisher
// is not flooded with requests for key frames.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { random } from "./lib/numbers.js";
import { record } from "./lib/report.js";
import { sleep } from "./lib/server.js";

const SECONDS = Number(process.env.REKINDLE_LOSS_SECONDS ?? 60);
const [LOSS_UP, LOSS_DOWN] = [0.02, 0.05];
/** Requests for a key frame: each is one that the network made necessary. */
const PLIS_A_MINUTE = 4;

test(`${SECONDS} s at a round trip of 50 ms with 2 % loss to the server and 5 % to the browsers, in Chromium`, { timeout: (SECONDS + 60) * 1000 }, async () => {
  const broadcast = await Broadcast.openFar(50, { publisher: "chromium", viewers: ["chromium"], relay: { random: random(7) } });
  const [relay] = broadcast.relays;
  const [viewer] = broadcast.viewers;
  try {
    const before = await broadcast.frames();
    const [asked, begun] = [await broadcast.publisher.stats(), await viewer.stats()];
    [relay.lossUp, relay.lossDown] = [LOSS_UP, LOSS_DOWN];
    await sleep(SECONDS * 1000);
    [relay.lossUp, relay.lossDown] = [0, 0];
    const after = await broadcast.frames();
    const [asks, ended] = [await broadcast.publisher.stats(), await viewer.stats()];
    const encoded = after.encoded - before.encoded;
    const decoded = after.decoded[0] - before.decoded[0];
    const plis = asks.plis - asked.plis;
    const figures = { seconds: SECONDS, encoded, decoded, plis, nacks: ended.nacks - begun.nacks, lost: ended.lost - begun.lost, packets: ended.packets - begun.packets };
    record("loss of 2 and 5 % at 50 ms", figures);
    assert.ok(encoded > SECONDS * 10 && figures.nacks > SECONDS, `media flows and something is lost: ${JSON.stringify(figures)}`);
    assert.equal(decoded, encoded, JSON.stringify(figures));
    assert.ok(plis <= Math.max(1, (PLIS_A_MINUTE * SECONDS) / 60), JSON.stringify(figures));
    broadcast.assertNoProblems();
  } finally {
    await broadcast.close();
  }
});
