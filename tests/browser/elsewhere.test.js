// A server that dies and stays dead, while another one has what it had on disk: every page goes on there with its connection, its tracks and its
// join. And back again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { median } from "./lib/numbers.js";
import { until } from "./lib/pages.js";
import { Places } from "./lib/places.js";
import { PUBLISHERS } from "./lib/publishers.js";
import { TcpRelay } from "./lib/relay.js";
import { record } from "./lib/report.js";
import { sleep } from "./lib/server.js";

const MOVES = Number(process.env.REKINDLE_MOVES || 4);
/** From the end of a server to a new frame from the other one; machines that tests share with others get more. */
const LIMIT_MS = Number(process.env.REKINDLE_MOVE_LIMIT ?? 8000);

/** A broadcast whose server has another one beside it, and what must not change. */
async function open(options) {
  const places = await Places.make();
  try {
    const broadcast = await Broadcast.open({ ...options, server: places.here });
    return { places, broadcast, before: await broadcast.identities(), close: () => broadcast.close().finally(() => places.close()) };
  } catch (error) {
    await places.close();
    throw error;
  }
}

/** Every viewer gets new frames from where the broadcast is now; resolves with how long that took. */
async function arrives({ places, broadcast }, since, what) {
  broadcast.server = places.here;
  const frames = await broadcast.firstFrames(since, LIMIT_MS);
  if (frames.some((ms) => ms === null)) assert.fail(await broadcast.story(`${what}: first frames after ${frames} ms`));
  return frames;
}

/** How often each page has asked a server for events, since a time. */
const asks = ({ tabs }, { url }, since = 0) =>
  Promise.all(tabs.map((tab) => tab.run(([host, from]) => window.seen.requests.filter(([at, , path, of]) => at > from && of === host && path.endsWith("/events")).length, [new URL(url).host, since])));

/** The same connections, tracks and joins as at first, after so many moves. */
async function survived({ broadcast, before }, moves) {
  await broadcast.survived(moves);
  assert.deepEqual(await broadcast.identities(), before);
  broadcast.assertNoProblems();
}

const figures = (broadcast, rounds) =>
  Object.fromEntries(broadcast.viewers.map((tab, i) => [tab.browser.name, { median: median(rounds.map((frames) => frames[i])), max: Math.max(...rounds.map((frames) => frames[i])) }]));

for (const publisher of PUBLISHERS) {
  test(`to another place and back, ${MOVES} moves, published by ${publisher}, watched in Chromium and Firefox`, { timeout: 60_000 + MOVES * 15_000 }, async () => {
    const one = await open({ publisher, viewers: ["chromium", "firefox"] });
    const { places, broadcast } = one;
    const rounds = [];
    try {
      for (let move = 1; move <= MOVES; move++) {
        await sleep(500 + 300 * (move % 3));
        const killedAt = await places.here.kill();
        places.move();
        rounds.push(await arrives(one, killedAt, `move ${move}`));
        await survived(one, move);
      }
      // It leaves where it is.
      await broadcast.publisher.click("stop");
      await until(() => places.here.log(100).includes("a peer leaves"), () => broadcast.story("the publisher leaves"));
      record(`elsewhere, publisher ${publisher}`, { moves: MOVES, first_frame_after_kill_ms: figures(broadcast, rounds), rounds });
    } finally {
      await one.close();
    }
  });
}

test("a server that runs and does not have the sessions yet is not the end of them", { timeout: 60_000 }, async () => {
  const one = await open({ publisher: "firefox", viewers: ["chromium"] });
  const { places, broadcast } = one;
  try {
    // It has the certificate, and so could tell the sessions' names from others; it has no session.
    const { there } = places;
    places.copy({ sessions: false });
    await there.start();
    const killedAt = await places.here.kill();
    const again = async () => (await asks(broadcast, there)).every((times) => times > 1);
    await until(again, () => broadcast.story("every page asks the other server, and asks again"));
    await there.kill();
    places.move();
    const frames = await arrives(one, killedAt, "it has the sessions");
    await survived(one, 1);
    record("elsewhere, known late", { first_frame_after_kill_ms: frames });
  } finally {
    await one.close();
  }
});

test("while media comes, a server whose HTTP is out of reach is not left", { timeout: 60_000 }, async () => {
  /** @type {TcpRelay} */
  let relay;
  const publisherUrl = async (server) => {
    relay ??= await TcpRelay.open(server.port);
    return `http://127.0.0.1:${relay.port}/?channel=test`;
  };
  const one = await open({ publisher: "chromium", viewers: ["firefox"], publisherUrl, viewerUrl: publisherUrl });
  const { places, broadcast } = one;
  try {
    places.copy();
    await places.there.start();
    relay.refuse = true;
    relay.cut();
    await Promise.all(broadcast.tabs.map((tab) => tab.words("Server gone")));
    await sleep(3000);
    relay.refuse = false;
    await Promise.all(broadcast.tabs.map((tab) => tab.words("Connected")));
    assert.deepEqual(await asks(broadcast, places.there), [0, 0]);
    await survived(one, 0);
  } finally {
    await one.close();
    relay?.close();
  }
});

test("a host that falls silent is left for another one, and pages that share a stream share it there too", { timeout: 60_000 }, async () => {
  const one = await open({ publisher: "chromium", viewers: ["chromium", "firefox", "chromium"] });
  const { places, broadcast } = one;
  const rounds = [];
  try {
    for (let move = 1; move <= 2; move++) {
      await sleep(1500);
      const silentAt = places.silence();
      const silent = places.here;
      places.move();
      rounds.push(await arrives(one, silentAt, `silence ${move}`));
      await silent.kill();
      await survived(one, move);
      const asked = await asks(broadcast, places.here, silentAt);
      const shared = asked.filter((_, i) => broadcast.tabs[i].browser.name === "chromium");
      assert.ok(shared.includes(0) && shared.some((times) => times > 0), `of the pages in Chromium one asks for all: ${shared}`);
    }
    record("elsewhere, after silence", { first_frame_after_silence_ms: figures(broadcast, rounds), rounds });
  } finally {
    await one.close();
  }
});
