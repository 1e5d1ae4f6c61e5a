// Real browsers for `rekindle-bench resume --sweep --browser`: one publisher and one viewer that go through kill after kill. Takes its settings
// as JSON in the first argument, and then a line at a time on standard input: "kill MS" (down for so long) and "calm MS" (nothing happens for
// so long). Answers each with one line of JSON, and closes everything when the input ends.
import readline from "node:readline";
import { Broadcast } from "./lib/broadcast.js";
import { until } from "./lib/pages.js";
import { clock, sleep } from "./lib/server.js";
import { choose } from "./lib/unseen.js";

const { browser, args = [], rttMs = 0 } = JSON.parse(process.argv[2]);
/** Frames have been shown again for so long before the next kill. */
const FRAMES = 20;
/** Nobody asks the pages anything while it happens: that would cost them the time that is measured. */
const SILENCE_MS = 800;

const lines = readline.createInterface({ input: process.stdin });
const say = (words) => console.log(JSON.stringify(words));
let broadcast = null;
let closing = null;

/** The input has ended, or all is over: whoever still waits for a page finds it closed. */
function close() {
  return (closing ??= (async () => {
    // Without its server, no browser needs to be asked.
    await broadcast?.server.close();
    await broadcast?.close();
  })());
}

async function kill(downMs, round) {
  const [viewer] = broadcast.viewers;
  const posts = () => Promise.all(broadcast.tabs.map((tab) => tab.posts()));
  const before = await posts();
  const { server } = broadcast;
  const killedAt = await server.kill();
  await sleep(Math.max(0, killedAt + downMs - clock()));
  if (closing) throw new Error("closing");
  const startedAt = server.spawn();
  await sleep(SILENCE_MS);
  const shown = (since) => window.seen.frames.filter(([at]) => at > since).length;
  await until(async () => (await viewer.run(shown, killedAt + downMs + 50)) > FRAMES, () => viewer.describe("frames after the kill"), 20_000);
  const { ms } = await viewer.gap(killedAt - 30);
  await broadcast.survived(round);
  const after = await posts();
  return { gap: ms, down: startedAt - killedAt, sessions: after.reduce((sum, posts, place) => sum + posts - before[place], 0) };
}

process.stdin.on("end", () => close().finally(() => process.exit(0)));
try {
  const options = { publisher: browser, viewers: [browser], server: { args } };
  broadcast = rttMs > 0 ? await Broadcast.openFar(rttMs, options) : await Broadcast.open(options);
  const [viewer] = broadcast.viewers;
  // A viewer keeps nothing back: what a restart costs is to be seen.
  await choose(broadcast, 0);
  say({ version: await viewer.run(() => navigator.userAgent) });
  let round = 0;
  for await (const line of lines) {
    const [what, number] = line.split(" ");
    if (what === "calm") {
      const since = clock();
      await sleep(Number(number));
      say({ calm: (await viewer.gap(since)).ms });
    } else {
      round += 1;
      say(await kill(Number(number), round).catch((error) => ({ gap: null, error: error.message })));
    }
  }
} catch (error) {
  if (!closing) throw error;
} finally {
  await close();
}
