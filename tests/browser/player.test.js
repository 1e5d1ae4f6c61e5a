// The module in pages that are not the server's own, of another origin, as it is packed for npm: the element, a publisher, and a component in
// React's strict mode. All of them are the examples, and they survive a kill -9.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Browsers, Tab, until } from "./lib/pages.js";
import { Server } from "./lib/server.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PACKAGE = path.join(ROOT, "packaging/npm");
const MAIN = `
import { StrictMode, createElement } from "react";
import { createRoot } from "react-dom/client";
import { Channel } from "./react.jsx";
const root = createRoot(document.getElementById("root"));
window.render = (shown) => root.render(createElement(StrictMode, null, shown && createElement(Channel, { url: window.channel })));
`;

/** React's example with React itself, as a site would build it. */
async function component() {
  const { build } = createRequire(path.join(PACKAGE, "package.json"))("esbuild");
  const { outputFiles } = await build({
    stdin: { contents: MAIN, resolveDir: path.join(ROOT, "examples") },
    bundle: true,
    write: false,
    format: "esm",
    jsx: "automatic",
    // Strict mode mounts twice in React's development build only.
    define: { "process.env.NODE_ENV": '"development"' },
    nodePaths: [path.join(PACKAGE, "node_modules")],
    alias: { rekindle: path.join(PACKAGE, "dist/rekindle.js") },
  });
  return outputFiles[0].text;
}

/** Pages of another origin: the examples with the package, and the server's address in place of theirs. */
async function site(server) {
  const { port } = new URL(server.url);
  const script = await component();
  const answer = (name) => {
    if (name === "react.js") return ["text/javascript", script];
    if (name === "react.html") return ["text/html", `<!doctype html><div id="root"></div><script>window.channel = "${server.url}/whep/main"</script><script type="module" src="react.js"></script>`];
    if (name.endsWith(".js")) return ["text/javascript", fs.readFileSync(path.join(PACKAGE, "dist", name))];
    const page = fs.readFileSync(path.join(ROOT, "examples", name), "utf8");
    return ["text/html", page.replace(/https:\/\/media\.example\.org\/(rekindle[\w-]*\.js)/g, "/$1").replaceAll("https://media.example.org", server.url)];
  };
  const asked = [];
  /** Files that are not there. */
  const missing = new Set();
  const pages = http.createServer((request, response) => {
    asked.push(request.url.slice(1));
    try {
      if (missing.has(request.url.slice(1))) throw new Error("missing");
      const [type, body] = answer(request.url.slice(1));
      response.writeHead(200, { "Content-Type": `${type}; charset=utf-8` }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => pages.listen(0, "127.0.0.1", () => resolve(null)));
  const { port: own } = /** @type {import("node:net").AddressInfo} */ (pages.address());
  assert.notEqual(own, Number(port));
  return { url: `http://127.0.0.1:${own}`, asked, missing, close: () => pages.close() };
}

for (const name of (process.env.REKINDLE_PAGE ?? "chromium,firefox").split(",")) {
  test(`the examples work on another origin, and over a kill -9 (${name})`, { timeout: 120_000 }, async () => {
    assert.ok(fs.existsSync(path.join(PACKAGE, "dist")), "the package has been built: npm run package");
    const browsers = new Browsers();
    const server = await Server.make();
    await server.start();
    const other = await site(server);
    const live = async () => JSON.parse((await server.get("/channel/main")).text);
    try {
      const browser = await browsers.get(name);
      const open = async (page) => {
        const web = await browser.newPage();
        await web.goto(`${other.url}/${page}`);
        return web;
      };
      const publisher = await open("publish.html");
      await publisher.click("#start");
      await until(async () => (await live()).live, async () => `the publisher is live: ${await publisher.evaluate(() => document.body.textContent)}`);

      const viewer = await open("player.html");
      const player = (fn) => viewer.evaluate(fn);
      // Firefox counts no frames of a stream in getVideoPlaybackQuality.
      const frames = () =>
        player(async () => {
          const { session, video } = document.querySelector("rekindle-player");
          const reports = [...((await session?.pc?.getStats()) ?? new Map()).values()];
          return video.readyState < 2 || video.paused ? 0 : (reports.find(({ type, kind }) => type === "inbound-rtp" && kind === "video")?.framesDecoded ?? 0);
        });
      const moves = async (what) => {
        const before = await frames();
        await until(async () => (await frames()) > before + 5, async () => `${what}: ${await player(() => document.querySelector("rekindle-player").outerHTML)} ${viewer.problems.join("; ")}`, 15_000);
      };
      await moves("a picture");
      assert.ok(!other.asked.includes("rekindle-search.js"), "one server needs no search for others");
      const react = await open("react.html");
      await until(() => react.evaluate(() => typeof window.render === "function"), "React is there");
      await react.evaluate(() => window.render(true));
      const component = () => react.evaluate(() => [document.querySelector("figcaption")?.textContent, (document.querySelector("video")?.readyState ?? 0) >= 2]);
      await until(async () => String(await component()) === "connected,true", async () => `the component: ${await component()} ${react.problems.join("; ")}`, 15_000);
      // The first mount of two has left nothing behind.
      await until(async () => (await live()).viewers === 2, async () => JSON.stringify(await live()));

      await viewer.bringToFront();
      await player(() => {
        const element = document.querySelector("rekindle-player");
        window.before = [element.session, element.session.pc, element.video.srcObject];
      });
      const same = () =>
        player(() => {
          const { session, video } = document.querySelector("rekindle-player");
          return [session, session?.pc, video.srcObject].every((each, i) => each === window.before[i]);
        });
      await server.kill();
      await until(() => player(() => document.querySelector("rekindle-player").getAttribute("state") === "server-gone"), "it says that the server is gone");
      assert.match(await player(() => document.querySelector("rekindle-player").shadowRoot.querySelector("p").textContent), /server is gone/);
      server.spawn();
      await until(() => player(() => /back after \d+ ms/.test(document.querySelector("#said").textContent)), async () => `it is back: ${await player(() => document.querySelector("rekindle-player").outerHTML)}`, 20_000);
      await moves("the same picture");
      assert.ok(await same(), "session, connection and stream are the same");
      await until(async () => String(await component()) === "connected,true", async () => `the component is back: ${await component()}`, 20_000);

      // Moved within the page it goes on; taken out it leaves; put in it joins.
      await player(() => document.body.prepend(document.querySelector("rekindle-player")));
      await moves("moved");
      assert.ok(await same());
      await player(() => {
        window.element = document.querySelector("rekindle-player");
        window.element.remove();
      });
      await react.evaluate(() => window.render(false));
      await until(async () => (await live()).viewers === 0, async () => `both have left: ${JSON.stringify(await live())}`);
      await player(() => document.body.append(window.element));
      await moves("put in again");
      // What a browser tells a page that goes into its cache and comes back; whether it keeps one with a connection is its own affair.
      const states = await player(() => {
        const tell = (type) => dispatchEvent(new PageTransitionEvent(type, { persisted: true }));
        tell("pagehide");
        const hidden = window.element.session.state;
        tell("pageshow");
        return [hidden, window.element.getAttribute("state")];
      });
      assert.deepEqual(states, ["closed", "closed"]);
      await moves("back from the browser's cache");

      // Servers for those whose network lets nothing else through, and what else a connection may be told.
      await player(() => (window.element.options = { iceServers: [{ urls: "stun:127.0.0.1:3478" }], rtc: { iceCandidatePoolSize: 1, bundlePolicy: "balanced" } }));
      await until(() => player(() => window.element.session.pc?.getConfiguration().iceServers.length === 1), "another session");
      assert.equal(await player(() => window.element.session.pc.getConfiguration().bundlePolicy), "max-bundle");
      await moves("with other options");
      // What the browser does not take is said, and is not tried for ever.
      await player(() => {
        window.element.addEventListener("error", ({ detail }) => (window.refused = detail), { once: true });
        window.element.options = { iceServers: [{ urls: "nonsense:1" }] };
      });
      await until(() => player(() => window.refused?.reason === "join" && window.refused.message.length > 10), "it says what it does not take");
      assert.equal(await player(() => window.element.getAttribute("state")), "failed");

      await publisher.bringToFront();
      await publisher.click("#stop");
      await until(async () => !(await live()).live, "the publisher has stopped");
      assert.match(await publisher.evaluate(() => document.querySelector("#state").textContent), /closed/);
      const problems = [publisher, viewer, react].flatMap(({ problems: each }) => each.filter((text) => !/Failed to load resource|Cross-Origin|NetworkError/.test(text)));
      assert.deepEqual(problems, []);
    } finally {
      await browsers.close();
      other.close();
      await server.close();
    }
  });
}

test("a page that lacks what Firefox's connections take besides says so", { timeout: 120_000 }, async () => {
  const browsers = new Browsers();
  const server = await Server.make();
  await server.start();
  const other = await site(server);
  try {
    const browser = await browsers.get("firefox");
    const states = async () => {
      const page = await browser.newPage();
      await page.goto(`${other.url}/player.html`);
      const state = () => page.evaluate(() => document.querySelector("rekindle-player").getAttribute("state"));
      await until(async () => ["waiting", "failed"].includes(await state()), async () => `it has joined, or says why not: ${await state()}`);
      return [await state(), await page.evaluate(() => document.querySelector("#said").textContent)];
    };
    assert.deepEqual(await states(), ["waiting", ""], "nobody publishes");
    other.missing.add("rekindle-parking.js");
    const [state, said] = await states();
    assert.equal(state, "failed");
    assert.match(said, /rekindle-parking\.js.*Load the page again/);
  } finally {
    other.close();
    await browsers.close();
    await server.close();
  }
});
