// What restarts cost somebody who watches and listens: by counts of our own (probe.js), and by what the page says.
import { clock, sleep } from "./server.js";

/** @import { Broadcast } from "./broadcast.js" */

/** The largest time between two shown frames, in ms, while nothing happens for a while. @param {Broadcast} broadcast */
export async function calm(broadcast, ms = 1500) {
  const since = clock();
  await sleep(ms);
  return Math.round((await broadcast.viewers[0].gap(since)).ms);
}

/** The page's choice of the cushion: "auto" or ms. Resolves when the browser's buffer has had time to become as long as that. @param {Broadcast} broadcast */
export async function choose(broadcast, cushion) {
  await broadcast.viewers[0].run((wanted) => {
    /** @type {HTMLSelectElement} */
    const choice = document.querySelector("#cushion");
    choice.value = String(wanted);
    choice.dispatchEvent(new Event("change"));
  }, cushion);
  await sleep(4000);
}

/**
 * Kills the server some times and starts it again at once. What each kill cost the first viewer: `still_ms` without a new frame,
 * `made_up_ms` of sound by its browser, `lost` packets of sound for good, and what its page `said`.
 *
 * @param {Broadcast} broadcast
 * @param {number} count
 */
export async function kills(broadcast, count, survived = 0) {
  const [viewer] = broadcast.viewers;
  const rounds = [];
  for (let kill = 1; kill <= count; kill++) {
    const before = await viewer.run(() => window.seen.sound());
    const { killedAt } = await broadcast.restart();
    // The page counts a second long, after it is back.
    await sleep(2500);
    await broadcast.survived(survived + kill);
    const after = await viewer.run(() => window.seen.sound());
    const { ms } = await viewer.gap(killedAt - 30);
    rounds.push({ still_ms: Math.round(ms), made_up_ms: Math.round(after.madeUp - before.madeUp), lost: after.lost - before.lost, said: await viewer.fact("seen") });
  }
  return rounds;
}
