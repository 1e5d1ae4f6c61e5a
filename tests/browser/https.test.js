// The same restarts over HTTPS and over plain HTTP, side by side: each page keeps its connection, and hears of the server's death as
// soon, although over HTTP/2 the event stream is one stream of a connection that all requests share.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { median } from "./lib/numbers.js";
import { BROWSERS } from "./lib/publishers.js";
import { record } from "./lib/report.js";
import { sleep } from "./lib/server.js";

const ROUNDS = Number(process.env.REKINDLE_ROUNDS ?? 10);
/** Machines that tests share with others get more than the aim of 100 ms. */
const LIMIT_MS = Number(process.env.REKINDLE_GAP_LIMIT ?? 500);

/**
 * When a page first asked for its events again, which it does 10 ms after it hears that the stream has ended, in ms after this moment. One page of an
 * origin asks for all.
 */
async function heardAfter(tabs, since) {
  const first = (from) => window.seen.requests.find(([at, , path]) => at > from && path === "/events")?.[0] ?? Infinity;
  return Math.round(Math.min(...(await Promise.all(tabs.map((tab) => tab.run(first, since))))) - since);
}

/** What the page's own requests went over. */
const protocols = (tab) =>
  tab.run(() => {
    const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    return [...new Set(entries.map((entry) => /** @type {PerformanceResourceTiming} */ (entry).nextHopProtocol).filter(Boolean))];
  });

/** One restart: the viewer's largest gap, how long each page says that it took, and when the pages heard of it. */
async function restart(broadcast, round, downMs) {
  const [viewer] = broadcast.viewers;
  const { killedAt } = await broadcast.restart(downMs);
  // Nobody asks the pages anything while it happens.
  await sleep(700 + downMs);
  await broadcast.survived(round);
  const heard = await heardAfter(broadcast.tabs, killedAt);
  const took = await Promise.all(broadcast.tabs.map(async (tab) => Number.parseInt(await tab.fact("took"), 10)));
  return { gap: Math.round((await viewer.gap(killedAt - 30)).ms), heard, took };
}

for (const browser of BROWSERS) {
  test(`a page over HTTPS survives kills as one over HTTP does, published and watched in ${browser}`, { timeout: 180_000 }, async () => {
    const arms = { plain: null, https: null };
    const rounds = { plain: [], https: [] };
    try {
      for (const arm of Object.keys(arms)) {
        const tls = arm === "https";
        arms[arm] = await Broadcast.open({ publisher: browser, viewers: [browser], server: { tls }, launch: () => ({ unsigned: tls }) });
      }
      for (const tab of arms.https.tabs) {
        assert.deepEqual(await protocols(tab), ["h2"], tab.name);
        assert.equal(await tab.run(() => location.protocol), "https:");
      }
      const before = await arms.https.identities();
      for (let round = 1; round <= ROUNDS; round++) {
        // At once, and after a while, in which the browser finds nobody to connect to.
        const downMs = round % 2 ? 0 : 300;
        for (const arm of ["plain", "https"]) rounds[arm].push({ downMs, ...(await restart(arms[arm], round, downMs)) });
      }
      assert.deepEqual(await arms.https.identities(), before, "connections, tracks and joins");
      for (const { heard } of rounds.https) assert.ok(heard <= LIMIT_MS, JSON.stringify(rounds.https));
      const gap = median(rounds.https.filter(({ downMs }) => downMs === 0).map(({ gap: ms }) => ms));
      assert.ok(gap <= LIMIT_MS, `median of the largest gaps at instant restarts ${gap} ms`);
      arms.https.assertNoProblems();
    } finally {
      const of = (arm, down, pick) => median(rounds[arm].filter(({ downMs }) => downMs === down).flatMap(pick));
      const figures = (arm) => ({
        gap_ms: of(arm, 0, ({ gap }) => [gap]),
        gap_after_300_ms: of(arm, 300, ({ gap }) => [gap]),
        took_ms: of(arm, 0, ({ took }) => took),
        heard_after_ms: of(arm, 0, ({ heard }) => [heard]),
      });
      record(`restarts over HTTPS in ${browser}`, { plain: figures("plain"), https: figures("https"), rounds });
      for (const broadcast of Object.values(arms)) await broadcast?.close();
    }
  });
}
