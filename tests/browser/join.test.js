// How a session begins: rekindle-join.js sends the offer, and is told what the server says to it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Refusal, join } from "../../static/rekindle-join.js";
import { Signalling } from "../../static/rekindle-signalling.js";

const ENDPOINT = new URL("https://example.org/whip/main");
const HEADERS = { Location: "/whip/main/abc", Link: '</whip/main/abc/events>; rel="urn:ietf:params:whep:ext:core:server-sent-events"', "Rekindle-Boot": "3", "Rekindle-Process": "p" };
const ANSWER = "v=0\r\na=fingerprint:sha-256 AA\r\n";
const created = (headers = HEADERS) => new Response(ANSWER, { status: 201, headers });
const taken = () => Response.json({ detail: "Somebody else publishes." }, { status: 409 });

/** Joins with a server that answers one after the other of these; null is no answer. */
async function joins(answers, more = {}) {
  const waited = [];
  const fetch = async () => answers.shift() ?? Promise.reject(new TypeError("nobody is there"));
  const signalling = new Signalling(ENDPOINT, { fetch }, new AbortController().signal);
  const waits = (state, reason) => waited.push(`${state} ${reason}`);
  const circumstances = { isViewer: false, again: false, isDone: () => false, waits, pause: async () => {}, ...more };
  return { joined: await join(signalling, "offer", circumstances), waited };
}

test("what a 201 says", async () => {
  const { joined, waited } = await joins([created()]);
  assert.deepEqual(waited, []);
  assert.equal(joined.id, "abc");
  assert.equal(joined.location.href, "https://example.org/whip/main/abc");
  assert.equal(joined.events.href, "https://example.org/whip/main/abc/events");
  assert.deepEqual([joined.fingerprints, joined.boot, joined.process, joined.mode, joined.shared], [["sha-256 AA"], 3, "p", "rehandshake", null]);
});

test("an answer that names no session is no session, and says why", async () => {
  await assert.rejects(joins([created({})]), /Location/);
});

test("a server that does not answer, or not now, is waited for", async () => {
  const { joined, waited } = await joins([null, new Response(null, { status: 503 }), created()]);
  assert.equal(joined.id, "abc");
  assert.deepEqual(waited, ["server-gone unreachable", "server-gone unavailable"]);
});

test("a viewer waits for a publisher; a publisher does not wait for another one, unless that may be itself", async () => {
  assert.deepEqual((await joins([taken(), created()], { isViewer: true })).waited, ["waiting no-publisher"]);
  await assert.rejects(joins([taken(), created()]), (error) => error instanceof Refusal && error.reason === "channel-taken" && error.message === "Somebody else publishes.");
  assert.deepEqual((await joins([null, taken(), created()])).waited, ["server-gone unreachable"]);
  assert.deepEqual((await joins([taken(), created()], { again: true })).waited, []);
});

test("nobody waits any longer than the page wants it", async () => {
  const answers = [null, null, created()];
  const { joined } = await joins(answers, { isDone: () => answers.length === 1 });
  assert.equal(joined, null);
  assert.equal(answers.length, 1);
});

test("a no is told with its status, and ends it", async () => {
  await assert.rejects(joins([new Response("", { status: 401 }), created()]), (error) => error.reason === "refused" && error.status === 401 && /401/.test(error.message));
});

test("who leaves while it joins leaves the session that the server made meanwhile", async () => {
  const requests = [];
  let over = false;
  const fetch = async (url, { method }) => {
    requests.push(`${method} ${new URL(url).pathname}`);
    over = true;
    return method === "POST" ? created() : new Response(null);
  };
  const signalling = new Signalling(ENDPOINT, { fetch }, new AbortController().signal);
  const circumstances = { isViewer: false, again: false, isDone: () => over, waits: () => {}, pause: async () => {} };
  assert.equal(await join(signalling, "offer", circumstances), null);
  assert.deepEqual(requests, ["POST /whip/main", "DELETE /whip/main/abc"]);
});

test("who joins where this page is just leaving waits for that, but not for a server that does not answer", async () => {
  const requests = [];
  let left = () => {};
  const fetch = (url, { method }) => {
    requests.push(method);
    return method === "DELETE" ? new Promise((resolve) => (left = resolve)) : Promise.resolve(created());
  };
  const make = (signal = new AbortController().signal) => new Signalling(ENDPOINT, { fetch }, signal);
  const leaves = make().leave(new URL("/whip/main/abc", ENDPOINT));
  const posted = make().post("offer");
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(requests, ["DELETE"]);
  left(new Response(null));
  assert.equal((await posted).status, 201);
  await leaves;

  make().leave(new URL("/whip/main/def", ENDPOINT));
  assert.equal((await make().post("offer")).status, 201);
  // One that is given up meanwhile, as React's first mount, sends nothing.
  const abort = new AbortController();
  const given = make(abort.signal).post("offer");
  abort.abort();
  assert.equal(await given, null);
  assert.deepEqual(requests, ["DELETE", "POST", "DELETE", "POST"]);
  left(new Response(null));
});
