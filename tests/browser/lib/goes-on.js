// What is asked whenever something has happened to a broadcast: the picture goes on, on the same connections, tracks and joins.
import assert from "node:assert/strict";
import { clock, sleep } from "./server.js";
import { until } from "./pages.js";

/** Networks change slowly, and machines that tests share with others are slow. */
const LIMIT_MS = Number(process.env.REKINDLE_FRAME_LIMIT ?? 20_000);

/** How many restarts each page has survived, by its own count. @param {import("./broadcast.js").Broadcast} broadcast */
const restarts = (broadcast) => Promise.all(broadcast.tabs.map(async (tab) => Number(await tab.fact("restarts"))));

/**
 * Does something, and waits until every viewer has new frames and every page says that it is connected. Resolves with each viewer's browser and how long its
 * picture stood still, in ms.
 *
 * @param {import("./broadcast.js").Broadcast} broadcast
 * @param {string} what
 * @param {() => unknown} act
 * @param {{ kills?: number }} [how] `kills`: how many restarts of the server are a part of it
 */
export async function goesOn(broadcast, what, act, { kills = 0 } = {}) {
  const before = await broadcast.identities();
  const survived = await restarts(broadcast);
  const since = clock();
  await act();
  const frames = await broadcast.firstFrames(since, LIMIT_MS);
  if (frames.some((ms) => ms === null)) assert.fail(await broadcast.story(`${what}: first frames after ${frames} ms`));
  const isOver = async () => (await restarts(broadcast)).every((count, i) => count === survived[i] + kills);
  await until(isOver, () => broadcast.story(`${what}: ${kills} restarts`), LIMIT_MS);
  for (const tab of broadcast.tabs) await tab.words("Connected", LIMIT_MS);
  // What has been prepared for the next time is a part of it.
  await sleep(1500);
  const now = await broadcast.identities();
  if (now.join() !== before.join()) assert.fail(await broadcast.story(`${what}: ${now.join()}, not ${before.join()}`));
  const gaps = await Promise.all(broadcast.viewers.map((tab) => tab.gap(since)));
  return gaps.map(({ ms }, i) => `${broadcast.viewers[i].browser.name} ${Math.round(ms)}`);
}

/** A `kill -9`, and a start after so many ms. @param {import("./broadcast.js").Broadcast} broadcast */
export const killed = (broadcast, what = "killed", downMs = 0) => goesOn(broadcast, what, () => broadcast.restart(downMs), { kills: 1 });
