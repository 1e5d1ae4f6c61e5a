// Down times in small steps, 50 ms of round trip away: Chromium's own repetition of a ClientHello and the page's next renewal meet at some
// of them, and must not spoil each other. Seen on the wire: an attempt that is spoiled gets two answers, an earlier one's and its own.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { median } from "./lib/numbers.js";
import { record } from "./lib/report.js";
import { sleep } from "./lib/server.js";

const RTT_MS = 50;
const [UP_TO_MS, STEP_MS] = (process.env.REKINDLE_SWEEP ?? "400:25").split(":").map(Number);
/** From the moment when the server serves until both browsers have keys; machines that tests share with others get more. */
const LIMIT_MS = 600;
/** The browser may say its ClientHello again while the renewal is being applied, which nobody can see before. */
const MAY_MEET = 1;

/** Finds attempts that get the answer to an earlier one. */
class Attempts {
  #last = new Map();
  #answers = new Set();
  spoiled = 0;
  all = 0;

  watch(whose, data, fromBrowser) {
    // The first fragment of a ClientHello or a ServerHello, in plaintext.
    const isHello = data.length >= 59 && data[0] === 22 && data.readUInt16BE(3) === 0 && data.readUIntBE(19, 3) === 0;
    if (!isHello || data[13] !== (fromBrowser ? 1 : 2)) return;
    const random = data.toString("hex", 27, 59);
    const last = this.#last.get(whose);
    if (fromBrowser) {
      if (last?.random === random) return;
      this.#last.set(whose, { random, answers: 0 });
      this.all += 1;
    } else if (last && !this.#answers.has(random)) {
      this.#answers.add(random);
      last.answers += 1;
      if (last.answers === 2) this.spoiled += 1;
    }
  }
}

test(`down for 0 to ${UP_TO_MS} ms in steps of ${STEP_MS}, Chromium`, { timeout: 240_000 }, async () => {
  const attempts = new Attempts();
  const relay = { watch: (...seen) => attempts.watch(...seen) };
  const broadcast = await Broadcast.openFar(RTT_MS, { publisher: "chromium", viewers: ["chromium"], relay });
  const rounds = [];
  try {
    let restarts = 0;
    for (let down = 0; down <= UP_TO_MS; down += STEP_MS) {
      const before = attempts.spoiled;
      const { startedAt } = await broadcast.restart(down);
      // Nobody asks the pages anything while it happens; then until they have prepared the next renewal.
      await sleep(2000);
      await broadcast.survived(++restarts);
      const since = broadcast.server.upAt() ?? startedAt;
      const keyed = await Promise.all(broadcast.tabs.map((tab) => tab.run(() => window.seen.states.findLast(([, what]) => what === "dtls connected")?.[0])));
      rounds.push({ down, keys_ms: Math.max(...keyed.map((at) => Math.round(at - (since % 1e6)))), spoiled: attempts.spoiled - before });
    }
    const keys = rounds.map((round) => round.keys_ms);
    record("down times at 50 ms of round trip, chromium", { attempts: attempts.all, spoiled: attempts.spoiled, median_keys_ms: median(keys), worst_keys_ms: Math.max(...keys), rounds });
    assert.ok(attempts.all >= 2 * rounds.length, `${attempts.all} attempts were seen`);
    assert.ok(attempts.spoiled <= MAY_MEET, JSON.stringify(rounds));
    assert.ok(median(keys) <= LIMIT_MS, JSON.stringify(rounds));
    broadcast.assertNoProblems();
  } finally {
    await broadcast.close();
  }
});
