// What somebody sees and hears of restarts, and what the cushion costs in delay: the tables of docs/restart-cost.md, in Markdown.
// `node measure.js [kills]`; some minutes long. The machine should do nothing else.
import { Broadcast } from "./lib/broadcast.js";
import { paint, read } from "./lib/glass.js";
import { median } from "./lib/numbers.js";
import { calm, choose, kills } from "./lib/unseen.js";
import { sleep } from "./lib/server.js";

const KILLS = Number(process.argv[2] ?? 20);
/** Publisher, viewer, round trip in ms, cushion. */
const CASES = [
  ["chromium", "chromium", 50, "auto"],
  ["firefox", "firefox", 50, "auto"],
  ["chromium", "firefox", 50, "auto"],
  ["firefox", "chromium", 50, "auto"],
  ["chromium", "chromium", 50, 0],
  ["chromium", "chromium", 0, "auto"],
  ["chromium", "chromium", 0, 0],
  ["firefox", "firefox", 0, 0],
];

const open = (publisher, viewer, rttMs, publisherPrepare) => {
  const options = { publisher, viewers: [viewer], publisherPrepare };
  return rttMs > 0 ? Broadcast.openFar(rttMs, options) : Broadcast.open(options);
};
const spread = (values) => `${median(values)} (${Math.max(...values)})`;

console.log(`${KILLS} kills each, median (worst), ms\n`);
console.log("| published by, watched in | round trip | cushion | without any kill | longest time without a new frame | within one frame of that, two frames | sound made up |");
console.log("|---|---|---|---|---|---|---|");
for (const [publisher, viewer, rttMs, cushion] of CASES) {
  const broadcast = await open(publisher, viewer, rttMs);
  try {
    await choose(broadcast, cushion);
    const without = await calm(broadcast, 5000);
    const rounds = await kills(broadcast, KILLS);
    const still = rounds.map(({ still_ms: ms }) => ms);
    const madeUp = rounds.map(({ made_up_ms: ms }) => ms);
    const within = (frames) => still.filter((ms) => ms <= without + Math.ceil((frames * 1000) / 30)).length;
    console.log(`| ${publisher}, ${viewer} | ${rttMs} | ${cushion} | ${without} | ${spread(still)} | ${within(1)}, ${within(2)} of ${KILLS} | ${spread(madeUp)} |`);
  } finally {
    await broadcast.close();
  }
}

console.log("\nFrom glass to glass, median (worst), ms\n\n| browser | round trip | cushion 0 | cushion auto |\n|---|---|---|---|");
for (const browser of ["chromium", "firefox"]) {
  for (const rttMs of [0, 50]) {
    const broadcast = await open(browser, browser, rttMs, (tab) => tab.run(paint));
    try {
      const ages = {};
      for (const cushion of [0, "auto"]) {
        await choose(broadcast, cushion);
        // Firefox shortens and lengthens its buffer slowly.
        await sleep(6000);
        ages[cushion] = await broadcast.viewers[0].run(read, 5000);
      }
      console.log(`| ${browser} | ${rttMs} | ${spread(ages[0])} | ${spread(ages.auto)} |`);
    } finally {
      await broadcast.close();
    }
  }
}
