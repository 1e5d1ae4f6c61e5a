// What else can go wrong around a restart.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { random } from "./lib/numbers.js";
import { Browsers, Tab, until } from "./lib/pages.js";
import { BROWSERS, PUBLISHERS } from "./lib/publishers.js";
import { TcpRelay } from "./lib/relay.js";
import { record } from "./lib/report.js";
import { Server, clock, sleep } from "./lib/server.js";
import { firstAnswer } from "./lib/stun.js";

/** From the start of the new process to a new frame; the aim is a second, machines that tests share with others get more. */
const LIMIT_MS = Number(process.env.REKINDLE_FRAME_LIMIT ?? 3000);

/** How often a page asked for its event stream. */
const streams = (tab) => tab.run(() => window.seen.requests.filter(([, , path]) => path.endsWith("/events")).length);

for (const publisher of PUBLISHERS) {
  test(`false alarm: the event streams are cut, the server lives (published by ${publisher})`, { timeout: 60_000 }, async () => {
    let relay;
    const through = async (server) => {
      relay ??= await TcpRelay.open(server.port);
      return `http://127.0.0.1:${relay.port}/?channel=test`;
    };
    const broadcast = await Broadcast.open({ publisher, publisherUrl: through, viewerUrl: through });
    try {
      const before = await broadcast.identities();
      const gaps = [];
      for (let round = 0; round < 3; round++) {
        const cutAt = clock();
        relay.cut();
        await sleep(150);
        for (const tab of broadcast.tabs) await tab.words("Connected");
        await sleep(1500);
        gaps.push(await Promise.all(broadcast.viewers.map(async (tab) => Math.round((await tab.gap(cutAt)).ms))));
      }
      assert.deepEqual(await broadcast.identities(), before);
      for (const tab of broadcast.tabs) {
        assert.equal(await tab.fact("restarts"), "0", tab.name);
        assert.ok((await streams(tab)) < 30, `${tab.name} asks for its events again and again`);
      }
      for (const gap of gaps.flat()) assert.ok(gap < 1000, `gaps ${JSON.stringify(gaps)}`);
      record(`false alarm, publisher ${publisher}`, { gaps_ms: gaps });
      broadcast.assertNoProblems();
    } finally {
      await broadcast.close();
      relay?.close();
    }
  });
}

test("killed twice within 200 ms", { timeout: 90_000 }, async () => {
  const broadcast = await Broadcast.open({ publisher: "firefox", viewers: ["chromium", "firefox"] });
  const next = random(2);
  try {
    const before = await broadcast.identities();
    for (let round = 0; round < 5; round++) {
      await broadcast.restart();
      await sleep(next() * 200);
      const { startedAt } = await broadcast.restart();
      const frames = await broadcast.firstFrames(startedAt);
      for (const [i, ms] of frames.entries()) assert.ok(ms !== null && ms <= LIMIT_MS, await broadcast.viewers[i].describe(`first frame after ${ms} ms`));
      for (const tab of broadcast.tabs) await tab.words("Connected");
      await sleep(300);
    }
    assert.deepEqual(await broadcast.identities(), before);
    broadcast.assertNoProblems();
  } finally {
    await broadcast.close();
  }
});

test("killed while viewers and a publisher join", { timeout: 120_000 }, async () => {
  const browsers = new Browsers();
  const server = await Server.make();
  const next = random(3);
  const rounds = [];
  try {
    await server.start();
    for (const name of ["chromium", "firefox"]) {
      const browser = await browsers.get(name);
      for (let round = 0; round < 3; round++) {
        const url = `${server.url}/?channel=join-${name}-${round}`;
        const publisher = await Tab.open(browser, url);
        publisher.role = "publisher";
        await publisher.goLive();
        await until(() => publisher.run(() => window.seen.posts() > 1), "the publisher joins");
        await sleep(next() * 60);
        await server.kill();
        await sleep(next() * 400);
        await server.start();
        await until(async () => (await publisher.stats()).encoded > 5, () => publisher.describe("frames are encoded"), 15_000);
        await publisher.words("Connected", 15_000);

        const viewer = await Tab.open(browser, url);
        viewer.role = "viewer";
        await until(() => viewer.run(() => window.seen.posts() > 0), "the viewer joins");
        await sleep(next() * 60);
        await server.kill();
        await sleep(next() * 400);
        const startedAt = await server.start();
        await until(async () => (await viewer.stats()).decoded > 5, () => viewer.describe("a picture"), 15_000);
        rounds.push({ browser: name, viewer_ms: Math.round(clock() - startedAt), connections: await viewer.run(() => window.seen.connections.length) });
        await viewer.close();
        await publisher.close();
      }
    }
  } finally {
    record("killed during join", { rounds });
    await browsers.close();
    await server.close();
  }
});

for (const name of BROWSERS) {
  test(`killed while a viewer is in the background (${name}, with its throttling on)`, { timeout: 90_000 }, async () => {
    const broadcast = await Broadcast.open({ publisher: "chromium", viewers: [name], viewerLaunch: { throttled: true } });
    const rounds = [];
    try {
      const [viewer] = broadcast.viewers;
      const front = await Tab.open(viewer.browser, `${broadcast.server.url}/healthz`);
      await front.web.bringToFront();
      await sleep(1000);
      const hidden = await viewer.run(() => document.hidden);
      assert.ok(hidden, "the viewer is in the background");
      const before = await broadcast.identities();
      for (const down of [0, 700, 2500]) {
        const { startedAt } = await broadcast.restart(down);
        const [ms] = await broadcast.firstFrames(startedAt, 8000);
        rounds.push({ down, first_frame_ms: ms, hidden });
        assert.ok(ms !== null, await viewer.describe("a frame in the background"));
        for (const tab of broadcast.tabs) await tab.words("Connected");
        await sleep(1000);
      }
      assert.deepEqual(await broadcast.identities(), before);
    } finally {
      record(`background, viewer ${name}`, { rounds });
      await broadcast.close();
    }
  });
}

test("a publisher leaves and comes back, and another one follows, also across a restart", { timeout: 120_000 }, async () => {
  const broadcast = await Broadcast.open({ publisher: "chromium", viewers: ["chromium", "firefox"] });
  try {
    const { server, browsers, url, viewers } = broadcast;
    const identity = () => Promise.all(viewers.map(async (tab) => `${await tab.identity()} ${await tab.posts()}`));
    const before = await identity();
    const watching = async (what) => {
      for (const tab of viewers) assert.ok((await tab.nextFrame(8000)) !== null, await tab.describe(what));
    };
    // Comes back in the same tab.
    await broadcast.publisher.web.click("#stop");
    for (const tab of viewers) await tab.words("Connected, the publisher has left");
    await broadcast.publisher.goLive();
    await broadcast.publisher.words("Connected, you are live");
    await watching("the publisher is back");
    // Another browser follows.
    await broadcast.publisher.close();
    for (const tab of viewers) await tab.words("Connected, the publisher has left", 20_000);
    broadcast.publisher = await Tab.publisher(await browsers.get("firefox"), url);
    await watching("Firefox follows");
    // One leaves while the server is down, and another one follows after it is back.
    await server.kill();
    await broadcast.publisher.close();
    await sleep(300);
    await server.start();
    broadcast.publisher = await Tab.open(await browsers.get("chromium"), url);
    broadcast.publisher.role = "publisher";
    // The place is kept for a while for the one who was there before the restart.
    await sleep(16_000);
    await broadcast.publisher.run(() => document.querySelector("#publish").click());
    await broadcast.publisher.click("go");
    await broadcast.publisher.words("Connected, you are live", 20_000);
    await watching("Chromium follows across the restart");
    assert.deepEqual(await identity(), before);
    broadcast.assertNoProblems();
  } finally {
    await broadcast.close();
  }
});

test("from process start to the first STUN answer: less than 50 ms", { timeout: 60_000 }, async () => {
  const broadcast = await Broadcast.open({ viewers: ["chromium"] });
  const times = [];
  try {
    const credentials = await broadcast.viewers[0].run(() => window.seen.credentials());
    for (let round = 0; round < 7; round++) {
      await broadcast.server.kill();
      const answer = firstAnswer({ host: "127.0.0.1", port: broadcast.server.udpPort, credentials, every: 1 });
      await sleep(50);
      const startedAt = broadcast.server.spawn();
      const at = await answer;
      assert.ok(at !== null, "no STUN answer at all");
      times.push(Math.round((at - startedAt) * 10) / 10);
      await broadcast.server.ready();
      await sleep(500);
    }
    record("first STUN answer", { times_ms: times });
    // The quickest counts: on a machine that is shared with others any single start can be held up.
    assert.ok(Math.min(...times) < 50, `${times} ms`);
  } finally {
    await broadcast.close();
  }
});

for (const [publisher, loss] of [
  ["chromium", 0],
  ["firefox", 0],
  ["chromium", 0.02],
].filter(([name]) => PUBLISHERS.includes(/** @type {string} */ (name)))) {
  test(`50 ms round trip, ${loss * 100} % loss, published by ${publisher}`, { timeout: 90_000 }, async () => {
    const broadcast = await Broadcast.openFar(50, { publisher, relay: { loss, random: random(5) } });
    const rounds = [];
    try {
      const before = await broadcast.identities();
      for (const [i, down] of [0, 0, 0, 300, 1500].entries()) {
        const { killedAt, startedAt } = await broadcast.restart(down);
        const frames = await broadcast.firstFrames(startedAt);
        await broadcast.survived(i + 1);
        await sleep(1000);
        const gaps = await Promise.all(broadcast.viewers.map(async (tab) => Math.round((await tab.gap(killedAt)).ms)));
        rounds.push({ down, frames, gaps });
        for (const ms of frames) assert.ok(ms !== null && ms <= LIMIT_MS, JSON.stringify(rounds));
      }
      assert.deepEqual(await broadcast.identities(), before);
    } finally {
      record(`50 ms round trip, ${loss * 100} % loss, publisher ${publisher}`, { rounds });
      await broadcast.close();
    }
  });
}
