// Before the server: a proxy that shows it under a path; and pages of another origin.
import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";
import { Browsers, Tab } from "./lib/pages.js";
import { Server } from "./lib/server.js";

/** An HTTP server on a port that the system chooses. */
async function listen(handler) {
  const server = http.createServer(handler);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** A proxy that takes this path off, and knows nothing beside it. */
const proxy = (port, base) =>
  listen((request, response) => {
    if (!request.url.startsWith(`${base}/`)) return response.writeHead(404).end();
    const onward = { port, host: "127.0.0.1", method: request.method, path: request.url.slice(base.length), headers: request.headers };
    const passed = http.request(onward, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    passed.on("error", () => response.destroy());
    response.on("close", () => passed.destroy());
    request.pipe(passed);
  });

const close = (server) => {
  server?.closeAllConnections();
  server?.close();
};

for (const name of ["chromium", "firefox"]) {
  test(`the page works under a path of a proxy's, and comes back from a kill (${name})`, { timeout: 90_000 }, async () => {
    const server = await Server.make({ args: ["--base-path", "/media"] });
    const browsers = new Browsers();
    let before;
    try {
      await server.start();
      before = await proxy(server.port, "/media");
      const browser = await browsers.get(name);
      const url = `http://127.0.0.1:${before.address().port}/media/?channel=live/one`;
      const publisher = await Tab.publisher(browser, url);
      const viewer = await Tab.viewer(browser, url);
      const was = [await publisher.identity(), await viewer.identity()];
      await server.kill();
      await server.start();
      for (const tab of [publisher, viewer]) {
        await tab.words("Connected, back");
        assert.equal(await tab.fact("restarts"), "1", tab.name);
      }
      assert.deepEqual([await publisher.identity(), await viewer.identity()], was);
    } finally {
      close(before);
      await browsers.close();
      await server.close();
    }
  });
}

test("a page of another origin sees that there is nothing to PATCH", { timeout: 60_000 }, async () => {
  const server = await Server.make();
  const browsers = new Browsers();
  let other;
  try {
    await server.start();
    other = await listen((_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html>"));
    for (const name of ["chromium", "firefox"]) {
      const page = await (await browsers.get(name)).newPage();
      await page.goto(`http://127.0.0.1:${other.address().port}/`);
      const patch = async (session) => {
        const headers = { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": '"x"', Authorization: "Bearer x" };
        return (await fetch(session, { method: "PATCH", headers, body: "a=end-of-candidates\r\n" })).status;
      };
      assert.equal(await page.evaluate(patch, `${server.url}/session/x`), 405, name);
    }
  } finally {
    close(other);
    await browsers.close();
    await server.close();
  }
});
