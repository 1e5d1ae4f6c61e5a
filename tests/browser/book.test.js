// What the book has its readers put into pages, taken out of it as it stands: the element, the module, and TURN servers. Pages of another origin
// than the server's; only the server's address is another.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import { test } from "node:test";
import { Browsers, until } from "./lib/pages.js";
import { Server } from "./lib/server.js";

const BOOK = "https://media.example.org";

/** The block of a document that begins so, without what its fence is indented by. */
function block(document, start) {
  const text = fs.readFileSync(new URL(`../../${document}`, import.meta.url), "utf8");
  const blocks = [...text.matchAll(/^( *)```\w+\n([^]*?)^ *```$/gm)].map(([, indentation, inside]) => inside.replaceAll(new RegExp(`^${indentation}`, "gm"), ""));
  const found = blocks.filter((inside) => inside.startsWith(start));
  assert.equal(found.length, 1, `${document} has one block that begins with ${start}`);
  return found[0];
}

/** Pages by their names, at an origin of their own. */
async function site(pages) {
  const server = http.createServer((request, response) => {
    const page = pages[request.url.slice(1)];
    response.writeHead(page ? 200 : 404, { "Content-Type": "text/html; charset=utf-8" }).end(page && `<!doctype html><title>A page of one's own</title>${page}`);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: (name) => `http://127.0.0.1:${port}/${name}`, close: () => server.close() };
}

/** Pages made of the book's, with a server that runs: `fn(open, server)`. */
async function shown(make, fn) {
  const browsers = new Browsers();
  const server = await Server.make();
  await server.start();
  const at = (text) => {
    assert.ok(text.includes(BOOK));
    return text.replaceAll(BOOK, server.url);
  };
  const pages = await site(make(at));
  const browser = await browsers.get("chromium");
  try {
    await fn(async (name) => {
      const web = await browser.newPage();
      await web.goto(pages.url(name));
      return web;
    }, server);
  } finally {
    await browsers.close();
    pages.close();
    await server.close();
  }
}

/** A publisher, by the function that the book imports beside `watch`. */
const publisher = (at) => `<script type="module">
  import { publish } from "${at(`${BOOK}/rekindle.js`)}";
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240 } });
  window.session = publish("${at(`${BOOK}/whip/main`)}", stream);
</script>`;

/** Frames that the session of a page has decoded; `find` says in the page where that is. */
const frames = (web, find) =>
  web.evaluate(async (where) => {
    // `rekindle-player` is an element, `session` a variable of the page.
    const session = where === "session" ? window.session : document.querySelector(where)?.session;
    const reports = [...((await session?.pc?.getStats()) ?? new Map()).values()];
    return reports.find(({ type, kind }) => type === "inbound-rtp" && kind === "video")?.framesDecoded ?? 0;
  }, find);

async function moves(web, find) {
  const before = await frames(web, find);
  await until(async () => (await frames(web, find)) > before + 5, () => `a picture: ${web.problems.join("; ")}`, 15_000);
}

const ELEMENT = '<script type="module" src=';

test("the element of the book shows a channel in a page of one's own", { timeout: 60_000 }, async () => {
  const [first, ...others] = ["README.md", "docs/pages.md"].map((document) => block(document, ELEMENT));
  for (const other of others) assert.equal(other, first, "it is the same everywhere");
  // The package's has the element alone: there it is imported.
  assert.ok(first.endsWith(block("packaging/npm/README.md", "<rekindle-player src=")));
  await shown(
    (at) => ({ publisher: publisher(at), viewer: at(first) }),
    async (open) => {
      await open("publisher");
      const viewer = await open("viewer");
      await moves(viewer, "rekindle-player");
      const [controls, muted, playing] = await viewer.evaluate(() => {
        const { video } = document.querySelector("rekindle-player");
        return [video.controls, video.muted, !video.paused];
      });
      assert.deepEqual([controls, muted, playing], [true, true, true]);
    },
  );
});

test("the module as the book uses it shows a channel, and says when it is back after a kill -9", { timeout: 60_000 }, async () => {
  const script = block("docs/pages.md", "import { publish, watch }");
  const page = (at) => `<video autoplay muted playsinline></video><script type="module">
    const video = document.querySelector("video");
    ${at(script)}
    window.session = session;
    window.imported = typeof publish;
  </script>`;
  await shown(
    (at) => ({ publisher: publisher(at), viewer: page(at) }),
    async (open, server) => {
      await open("publisher");
      const viewer = await open("viewer");
      await viewer.evaluate(() => {
        window.said = [];
        const { log } = console;
        console.log = (text) => (window.said.push(text), log(text));
      });
      await moves(viewer, "session");
      assert.deepEqual(await viewer.evaluate(() => [window.imported, document.querySelector("video").srcObject === window.session.stream]), ["function", true]);
      await server.kill();
      server.spawn();
      await until(() => viewer.evaluate(() => window.said.some((text) => /^back after \d+ ms$/.test(text))), "it says that it is back", 20_000);
      await moves(viewer, "session");
    },
  );
});

test("the servers for TURN in packaging/npm/README.md are those of the connections, and no other way is tried", { timeout: 60_000 }, async () => {
  const script = block("packaging/npm/README.md", "const iceServers");
  const [, urls, username, credential] = /urls: "(.*?)", username: "(.*?)", credential: "(.*?)"/.exec(script);
  const page = (at) => `<rekindle-player src="${at(`${BOOK}/whep/main`)}" controls muted></rekindle-player>
    <script>
      window.made = [];
      window.RTCPeerConnection = class extends RTCPeerConnection {
        constructor(...all) { super(...all); window.made.push(this); }
      };
    </script>
    <script type="module">
      import { watch } from "${at(`${BOOK}/rekindle.js`)}";
      import "${at(`${BOOK}/rekindle-player.js`)}";
      const url = "${at(`${BOOK}/whep/main`)}";
      ${script}
    </script>`;
  await shown(
    (at) => ({ publisher: publisher(at), viewer: page(at) }),
    async (open, server) => {
      await open("publisher");
      const live = async () => JSON.parse((await server.get("/channel/main")).text).live;
      await until(live, "the publisher is live");
      const viewer = await open("viewer");
      const made = () => viewer.evaluate(() => window.made.map((pc) => pc.getConfiguration()).map(({ iceServers, iceTransportPolicy }) => [iceTransportPolicy, iceServers.map((each) => [[each.urls].flat()[0], each.username, each.credential].join(" "))]));
      const wanted = [[`${urls} ${username} ${credential}`]];
      const policies = async () => (await made()).filter(([, servers]) => String(servers) === String(wanted)).map(([policy]) => policy);
      await until(async () => new Set(await policies()).size === 2, async () => `a session with the relay alone, and the element's: ${JSON.stringify(await made())}`, 15_000);
      assert.deepEqual([...new Set(await policies())].toSorted(), ["all", "relay"]);
    },
  );
});
