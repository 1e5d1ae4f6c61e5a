// Many sessions in one browser: it keeps six connections to a server at the most, and none may be lost for want of one.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Browsers, Tab, until } from "./lib/pages.js";
import { record } from "./lib/report.js";
import { Server, clock } from "./lib/server.js";

const SESSIONS = 50;
const TABS = Number(process.env.REKINDLE_TABS ?? 20);
/** Machines that tests share with others decode fifty pictures slowly. */
const BACK_MS = 30_000;

/** A small picture, five times a second. */
const publishSmall = (tab) =>
  tab.run(async () => {
    const { publish } = await import("/rekindle.js");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [64, 48];
    const context = canvas.getContext("2d");
    let frame = 0;
    setInterval(() => {
      context.fillStyle = `hsl(${(frame += 7) % 360} 80% 50%)`;
      context.fillRect(0, 0, 64, 48);
    }, 200);
    window.published = publish("/whip/test", canvas.captureStream(5));
  });

async function stage(name) {
  const browsers = new Browsers();
  const server = await Server.make();
  try {
    await server.start();
    const publisher = await Tab.open(await browsers.get("chromium"), `${server.url}/?channel=elsewhere`);
    await publishSmall(publisher);
    await until(() => publisher.run(() => window.published.state === "connected"), "somebody publishes");
    const viewers = await browsers.get(name);
    return { server, viewers, close: async () => (await browsers.close(), await server.close()) };
  } catch (error) {
    await browsers.close();
    await server.close();
    throw error;
  }
}

/** How many of a page's sessions are as they should be after so many restarts, and the states of the others. */
const fare = (tab, restarts) =>
  tab.run((wanted) => {
    const good = ({ state, restarts: survived, replacements }) => state === "connected" && survived === wanted && replacements === 0;
    const others = window.many.filter((session) => !good(session));
    return { good: window.many.length - others.length, others: others.map(({ state, restarts: survived }) => `${state} ${survived}`).slice(0, 5) };
  }, restarts);

for (const name of ["chromium", "firefox"]) {
  test(`${name}: ${SESSIONS} sessions of one page share a stream, leave the browser its connections, and all come back`, { timeout: 180_000 }, async () => {
    const { server, viewers, close } = await stage(name);
    try {
      const tab = await Tab.open(viewers, `${server.url}/?channel=elsewhere`);
      await tab.run(async (count) => {
        const { watch } = await import("/rekindle.js");
        window.many = Array.from({ length: count }, () => watch("/whep/test"));
      }, SESSIONS);
      const all = async (restarts) => {
        let last;
        await until(async () => (last = await fare(tab, restarts)).good === SESSIONS, () => `all are there: ${JSON.stringify(last)}`, BACK_MS, 200);
      };
      await all(0);
      // What else the page wants is answered at once.
      const status = await tab.run(() => fetch("/healthz", { signal: AbortSignal.timeout(2000) }).then((response) => response.status));
      assert.equal(status, 200);
      await server.kill();
      server.spawn();
      await server.ready();
      await all(1);
      record(`many ${name} sessions: the last of ${SESSIONS} is back, ms`, [Math.round(clock() - server.starts.at(-1))]);
      assert.equal(await tab.run(() => fetch("/healthz", { signal: AbortSignal.timeout(2000) }).then((response) => response.status)), 200);
    } finally {
      await close();
    }
  });

  test(`${name}: ${TABS} tabs share a stream, and all come back`, { timeout: 240_000 }, async () => {
    const { server, viewers, close } = await stage(name);
    try {
      const tabs = [];
      for (let i = 0; i < TABS; i += 1) {
        const tab = await Tab.open(viewers, `${server.url}/?channel=elsewhere`);
        await tab.run(async () => {
          const { watch } = await import("/rekindle.js");
          window.many = [watch("/whep/test")];
        });
        tabs.push(tab);
      }
      const all = async (restarts) => {
        let last;
        const count = async () => (last = await Promise.all(tabs.map((tab) => fare(tab, restarts)))).filter(({ good }) => good === 1).length;
        await until(async () => (await count()) === tabs.length, () => `all are there: ${JSON.stringify(last)}`, BACK_MS, 200);
      };
      await all(0);
      await server.kill();
      server.spawn();
      await server.ready();
      await all(1);
      record(`many ${name} tabs: the last of ${TABS} is back, ms`, [Math.round(clock() - server.starts.at(-1))]);
      // The one that reads for all goes, and another one does.
      await tabs.shift().close();
      await server.kill();
      server.spawn();
      await server.ready();
      await all(2);
    } finally {
      await close();
    }
  });
}
