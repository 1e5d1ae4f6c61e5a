// Where a session is looked for: rekindle-nodes.js decides, and is told the time; rekindle-search.js asks. No browser, no server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { withCandidates } from "../../static/rekindle-description.js";
import { listen } from "../../static/rekindle-feed.js";
import { Nodes, answerTime } from "../../static/rekindle-nodes.js";
import { Signalling } from "../../static/rekindle-signalling.js";
import { sleep } from "./lib/server.js";

const [A, B, C] = ["https://a.example/", "https://b.example/live/", "https://c.example/"];
const named = (...places) => places.map((place) => ({ url: place.slice(0, -1) }));

/** A session at A that may be at B and C too. */
function nodes(here = A, ...others) {
  const all = new Nodes(here);
  all.named(named(...(others.length > 0 ? others : [B, C])));
  return all;
}

/** When each place is first asked, looking whenever it says to look again. */
function asked(all, from, until) {
  const first = {};
  for (let at = from; at <= until; at = Math.min(all.lookAgainAt(at), until + 1)) for (const place of all.asked(at)) first[place] ??= at;
  return first;
}

test("while the session is where it is nobody else is asked", () => {
  assert.deepEqual(asked(nodes(), 0, 60_000), { [A]: 0 });
});

test("its own server alone is asked at first, then the others too, one after the other, and all of them until one has it", () => {
  const all = nodes();
  all.lost(1000, false);
  assert.deepEqual(asked(all, 1000, 2000), { [A]: 1000, [B]: 1300, [C]: 1550 });
  all.found(B);
  assert.deepEqual([all.here, all.asked(2100)], [B, [B]]);
});

test("a page that is to come back later than others asks its own server first all the same", () => {
  const all = nodes();
  all.spread = 200;
  all.lost(1000, false);
  assert.deepEqual(asked(all, 1000, 2000), { [A]: 1000, [B]: 1500, [C]: 1750 });
});

test("a host that has said nothing has been waited for already", () => {
  const all = nodes();
  all.lost(1000, true, true);
  assert.deepEqual(asked(all, 1000, 2000), { [A]: 1000, [B]: 1000, [C]: 1250 });
  const unsure = nodes();
  unsure.lost(1000, true, false);
  assert.deepEqual(asked(unsure, 1000, 4000), { [A]: 1000, [B]: 3000, [C]: 3250 }, "where no place answers the session is most likely where it was");
  const late = nodes();
  late.lost(1000, true, false);
  late.isGone(1500);
  assert.deepEqual(asked(late, 1500, 4000), { [A]: 1500, [B]: 1500, [C]: 1750 });
});

test("a server that has answered is given the time to read its records, but not for ever", () => {
  const all = nodes();
  all.lost(1000, false);
  all.answers(1300);
  assert.deepEqual(asked(all, 1300, 3200), { [A]: 1300 });
  for (let at = 1300; at < 20_000; at += 500) all.answers(at);
  assert.deepEqual(all.asked(11_000), [A, B]);
  const plays = nodes();
  plays.lost(0, false);
  for (let at = 340; at < 30_000; at += 170) plays.answers(at, true);
  assert.deepEqual([plays.asked(31_000), plays.asked(32_000)], [[A], [A, B]], "while media comes nobody else is asked");
});

test("a place that does not have the session is asked again, ever more seldom, and is not the end while another may have it", () => {
  const all = nodes(A, B);
  all.lost(0, false);
  const times = [];
  for (let at = 0; at < 8000; at += 10) {
    if (!all.asked(at).includes(B)) continue;
    times.push(at);
    all.lacks(B, at);
    assert.equal(all.givesUp(at), null);
  }
  assert.deepEqual(times, [300, 550, 1050, 2050, 4050, 6050]);
});

test("it is unknown where its own server says so and nobody else has it, or answers", () => {
  const lone = new Nodes(A);
  lone.lacks(A, 0);
  assert.equal(lone.givesUp(0), A, "as without other places");

  const all = nodes();
  all.lacks(A, 0);
  assert.equal(all.givesUp(0), null);
  assert.deepEqual(all.asked(0), [B], "at once");
  all.lacks(B, 10);
  assert.equal(all.givesUp(1000), null, "C may have it");
  assert.deepEqual(all.asked(250), [A, C]);
  assert.equal(all.givesUp(3300), A, "C does not answer");
});

test("its own server is waited for for longer, and then the new session is made where somebody answers", () => {
  const all = nodes();
  all.lost(0, false);
  assert.equal(all.givesUp(60_000), null, "nobody answers");
  all.lacks(C, 800);
  assert.equal(all.givesUp(9000), null);
  assert.equal(all.givesUp(10_000), C);
});

test("the way back is known, whatever a server tells", () => {
  const all = nodes(A, B);
  all.lost(0, true);
  all.found(B);
  assert.ok(all.hasOthers);
  all.lost(5000, true, true);
  assert.deepEqual(all.asked(5000), [B, A]);
  all.named(named(A, B));
  assert.deepEqual(all.asked(5000), [B, A], "a place names itself too");
});

test("a viewer that misses its publisher looks for it elsewhere, and goes only where it is", () => {
  const all = nodes(B, A);
  all.hears(false, 0);
  const first = all.lookAgainAt(0);
  assert.ok(first >= 3000 && first <= 6000, `${first}`);
  assert.deepEqual([all.asked(first - 1), all.asked(first)], [[B], [B, A]]);
  assert.ok(all.wants(true) && !all.wants(false));
  all.lacks(A, first);
  assert.ok(!all.asked(first + 1990).includes(A) && all.asked(first + 2001).includes(A));
  assert.equal(all.givesUp(60_000), null, "the session has its place");
  assert.deepEqual(all.asked(first + 5001), [B], "one that does not answer is asked again later");
  all.hears(true, 12_000);
  assert.deepEqual(asked(all, 12_000, 60_000), { [B]: 12_000 });
});

test("a server is given as long to answer as a new connection takes", () => {
  assert.deepEqual([0, 20, 120, Infinity, NaN].map(answerTime), [250, 250, 600, 1000, 1000]);
});

test("a viewer that has left a server which stood still asks there soon whether its publisher has waited", () => {
  const all = nodes(A, B);
  all.lost(0, true, true);
  all.found(B, named(A));
  all.hears(false, 1000);
  const back = all.lookAgainAt(1000);
  assert.ok(back >= 2000 && back <= 2500, `${back}`);
  assert.deepEqual(all.asked(back), [B, A]);
  assert.ok(all.wants(true));
  // Only once, and not after a move that it has made to follow the publisher.
  all.hears(true, 3000);
  all.hears(false, 4000);
  assert.ok(all.lookAgainAt(4000) >= 7000);
  all.found(A, named(B));
  all.hears(false, 9000);
  assert.ok(all.lookAgainAt(9000) >= 12_000);
});

// -- and it is done ------------------------------------------------------------------------------------------------------------

/**
 * Servers and what becomes of a session that looks for them: each greets it (with what is given), takes the request and says nothing yet
 * ("busy"), refuses it with a status, says nothing at all ("silent"), or is not there.
 */
function world(states) {
  const [asks, told, open, looks] = [[], [], [], []];
  const fetch = async (url, { signal }) => {
    const place = [A, B, C].find((each) => url.href.startsWith(each));
    const isLook = url.pathname.endsWith("/healthz");
    (isLook ? looks : asks).push(place);
    const state = states[place];
    if (state === undefined) throw new TypeError("refused");
    if (state === "silent") return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    if (isLook) return new Response("");
    if (typeof state === "number") return new Response("", { status: state });
    let controller;
    const body = new ReadableStream({ start: (given) => (controller = given) });
    const stream = { place, ended: false, end: () => !stream.ended && ((stream.ended = true), controller.error(new Error("reset"))) };
    signal.addEventListener("abort", stream.end);
    open.push(stream);
    stream.say = (event, data) => controller.enqueue(new TextEncoder().encode(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
    if (state !== "busy") stream.say("hello", state);
    return new Response(body);
  };
  const signalling = new Signalling(new URL("whip/x", A), { fetch }, new AbortController().signal);
  const join = { id: "S-1", location: new URL("session/S-1", A), events: new URL("session/S-1/events", A), shared: null };
  const feed = listen(join, signalling, {
    heard: (event, data) => told.push(`${event} ${data.name ?? ""}`),
    down: (first) => first && told.push("lost"),
    moved: (location, from, to, alive) => told.push(`moved ${location.href} ${from} ${to}${alive ? " alive" : ""}`),
    unknown: (place) => told.push(`unknown ${place}`),
  });
  const dies = (place) => {
    delete states[place];
    for (const stream of open) if (stream.place === place) stream.end();
  };
  const says = (place, event, data) => open.find((stream) => stream.place === place && !stream.ended).say(event, data);
  return { asks, looks, told, feed, dies, says, open: () => open.filter(({ ended }) => !ended).map(({ place }) => place), states };
}

/** Waits until so much has been told. */
async function tells(told, count) {
  for (let i = 0; told.length < count && i < 1000; i++) await sleep(10);
}

const hello = (name, ...others) => ({ name, role: "publisher", source: true, nodes: named(...others) });

test("a session goes where it is known, follows the events there alone, and comes back", async () => {
  const { told, feed, dies, open, states, asks } = world({ [A]: hello("A", C, B), [B]: hello("B"), [C]: 404 });
  await sleep(50);
  assert.deepEqual([told, open()], [["hello A"], [A]]);
  dies(A);
  await tells(told, 4);
  assert.deepEqual(told, ["hello A", "lost", `moved ${B}session/S-1 ${A} ${B}`, "hello B"]);
  await sleep(20);
  assert.deepEqual(open(), [B]);
  assert.ok(asks.includes(C));
  const before = asks.length;
  await sleep(300);
  assert.equal(asks.length, before, "nobody else is asked any more");
  states[A] = hello("A again", B);
  dies(B);
  await tells(told, 7);
  assert.deepEqual(told.slice(4), ["lost", `moved ${A}session/S-1 ${B} ${A}`, "hello A again"]);
  feed().stop();
  await sleep(20);
  assert.deepEqual(open(), []);
});

test("places that are named while the session runs are as good as those of the greeting", async () => {
  const { told, feed, dies, says } = world({ [A]: hello("A"), [B]: hello("B") });
  await tells(told, 1);
  assert.ok(!feed().hasOthers);
  says(A, "nodes", { nodes: named(B) });
  await tells(told, 2);
  assert.ok(feed().hasOthers);
  dies(A);
  await tells(told, 5);
  assert.deepEqual(told.at(-1), "hello B");
  feed().stop();
});

test("a server that is back and reads its records is not left for another one", async () => {
  const { told, feed, dies, says, states, asks } = world({ [A]: hello("A", B), [B]: hello("B") });
  await tells(told, 1);
  dies(A);
  states[A] = "busy";
  await sleep(700);
  assert.ok(!asks.includes(B));
  says(A, "hello", hello("A again", B));
  await tells(told, 3);
  assert.deepEqual(told, ["hello A", "lost", "hello A again"]);
  feed().stop();
});

test("a viewer whose publisher has gone to another place follows it there", async () => {
  const viewer = (name, source, ...others) => ({ ...hello(name, ...others), role: "viewer", source });
  const { told, feed, asks, states, open } = world({ [A]: viewer("A", false, B), [B]: viewer("B", false) });
  await tells(told, 1);
  for (let i = 0; !asks.includes(B) && i < 1000; i++) await sleep(10);
  await sleep(20);
  assert.deepEqual([told, open()], [["hello A"], [A]], "it is not there");
  states[B] = viewer("B", true);
  await tells(told, 3);
  assert.deepEqual(told, ["hello A", `moved ${B}session/S-1 ${A} ${B} alive`, "hello B"]);
  feed().stop();
});

test("a host that falls silent is left as soon as another place has shown that the way is open", async () => {
  const took = [];
  // On a machine that has much else to do one of them may take longer.
  for (let i = 0; i < 3; i++) {
    const { told, feed, states, looks } = world({ [A]: hello("A", B), [B]: hello("B") });
    await tells(told, 1);
    states[A] = "silent";
    const at = performance.now();
    feed().look(1);
    await tells(told, 4);
    took.push(performance.now() - at);
    assert.deepEqual([told, looks], [["hello A", "lost", `moved ${B}session/S-1 ${A} ${B}`, "hello B"], [B, A]]);
    feed().stop();
  }
  // An attempt that is not cut short takes a second.
  assert.ok(Math.min(...took) >= 345 && Math.min(...took) < 1000, `${took}`);
});

test("where no other place answers either, the server is waited for; one that answers is not held against any", async () => {
  const { told, feed, states, asks, looks } = world({ [A]: hello("A", B), [B]: "silent" });
  await tells(told, 1);
  feed().look(1);
  await tells(told, 2);
  await sleep(300);
  assert.deepEqual([told, looks], [["hello A", "hello A"], []], "it has answered");
  states[A] = "silent";
  feed().look(1);
  await tells(told, 3);
  assert.deepEqual([told[2], new Set(looks)], ["lost", new Set([B])], "the way from here may be the reason");
  states[A] = hello("A again", B);
  await tells(told, 4);
  assert.deepEqual([told[3], asks.includes(B)], ["hello A again", false]);
  feed().stop();
});

test("a server whose question was lost on the way is asked again once another place answers, and is not left", async () => {
  const { told, feed, states, asks, looks } = world({ [A]: hello("A", B), [B]: hello("B") });
  await tells(told, 1);
  states[A] = "silent";
  feed().look(1);
  await sleep(50);
  // What it was asked before is answered never.
  states[A] = hello("A still", B);
  await tells(told, 2);
  assert.deepEqual([told, asks, looks], [["hello A", "hello A still"], [A, A, A], [B, A]]);
  feed().stop();
});

test("a server from which media comes again is not left, although its answer is still on the way", async () => {
  const { told, feed, states, asks } = world({ [A]: hello("A", B), [B]: hello("B") });
  await tells(told, 1);
  states[A] = "silent";
  let silent = true;
  feed().look(1, async () => silent);
  await sleep(50);
  silent = false;
  await sleep(800);
  assert.deepEqual([told, asks.includes(B)], [["hello A"], false]);
  states[A] = hello("A still", B);
  await tells(told, 3);
  assert.deepEqual([told.at(-1), asks.includes(B)], ["hello A still", false]);
  feed().stop();
});

/** A connection on which something comes, until it does not. */
function connection() {
  let bytes = 0;
  const pc = { comes: true, getStats: async () => new Map([["t", { type: "transport", bytesReceived: pc.comes ? (bytes += 100) : bytes }]]) };
  return pc;
}

/** Waits until others are known. */
async function knowsOthers(feed) {
  for (let i = 0; !feed().hasOthers && i < 1000; i++) await sleep(10);
}

test("a connection that falls silent has its server asked whether it is there, once", async () => {
  const { told, feed, asks } = world({ [A]: hello("A", B), [B]: hello("B") });
  await knowsOthers(feed);
  const pc = connection();
  let over = false;
  feed().watchSilence(pc, { isOver: () => over, isExcused: () => false, rtt: () => 1 });
  await sleep(1300);
  assert.deepEqual(asks, [A], "while something comes nobody is asked");
  pc.comes = false;
  await tells(told, 2);
  assert.deepEqual([told, asks], [["hello A", "hello A"], [A, A]]);
  await sleep(1300);
  assert.equal(asks.length, 2);
  pc.comes = true;
  await sleep(600);
  pc.comes = false;
  await tells(told, 3);
  assert.deepEqual(asks, [A, A, A]);
  over = true;
  feed().stop();
});

test("while media comes no other place is asked, although the event stream is gone", async () => {
  for (const comes of [false, true]) {
    const { feed, asks, dies } = world({ [A]: hello("A", B), [B]: 404 });
    await knowsOthers(feed);
    const pc = connection();
    pc.comes = comes;
    dies(A);
    await sleep(20);
    let over = false;
    feed().watchMedia(pc, () => over);
    await sleep(1000);
    assert.equal(asks.includes(B), !comes);
    over = true;
    feed().stop();
  }
});

test("a server that gives its sessions away is there still when they are at another place", async () => {
  const { told, feed, says, states } = world({ [A]: hello("A", B), [B]: hello("B") });
  await tells(told, 1);
  states[A] = 404;
  says(A, "gone", { reason: "unknown-session" });
  await tells(told, 4);
  assert.deepEqual(told, ["hello A", "lost", `moved ${B}session/S-1 ${A} ${B} alive`, "hello B"]);
  feed().stop();
});

test("a server that is unwell, or has not read its store yet, is asked until it has the session", async () => {
  const { told, feed, dies, states } = world({ [A]: hello("A", B), [B]: 503 });
  await sleep(50);
  dies(A);
  await sleep(800);
  states[B] = 404;
  await sleep(500);
  states[B] = hello("B");
  await tells(told, 4);
  assert.deepEqual(told, ["hello A", "lost", `moved ${B}session/S-1 ${A} ${B}`, "hello B"]);
  feed().stop();
});

test("without other places a session that is unknown ends at once; with them, when all have been asked", async () => {
  const lone = world({ [A]: 404 });
  await sleep(50);
  assert.deepEqual(lone.told, [`unknown ${A}`]);
  const { told, dies, states, asks } = world({ [A]: hello("A", B, C), [B]: 404, [C]: 404 });
  await sleep(50);
  states[A] = 404;
  const nobody = asks.length;
  dies(A);
  states[A] = 404;
  await tells(told, 3);
  assert.deepEqual(told, ["hello A", "lost", `unknown ${A}`]);
  assert.deepEqual(new Set(asks.slice(nobody)), new Set([A, B, C]));
});

// -- what the browser is told --------------------------------------------------------------------------------------------------

const ANSWER = ["v=0", "m=audio 9 X 0", "a=mid:0", "a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host", "a=candidate:2 1 udp 2130706175 2001:db8::1 8189 typ host", "a=end-of-candidates", "m=video 9 X 96", "a=mid:1", ""].join("\r\n");

test("the answer names the new place in every section that named the old one", () => {
  const moved = withCandidates(ANSWER, ["192.0.2.2:8189", "[2001:db8::2]:9"]);
  assert.equal(moved, ANSWER.replace("192.0.2.1", "192.0.2.2").replace("2001:db8::1 8189", "2001:db8::2 9"));
  assert.match(withCandidates(ANSWER, ["192.0.2.2:1"], 1), /2130771967 192\.0\.2\.2 1 typ/, "preferred to one that is alive still");
  const both = ANSWER.replace("a=end", "a=candidate:3 1 tcp 1520435199 192.0.2.1 8189 typ host tcptype passive\r\na=end");
  const overTcp = withCandidates(both, ["192.0.2.2:8189"]).split("\r\n").filter((line) => line.startsWith("a=candidate:"));
  assert.deepEqual(overTcp, ["a=candidate:1 1 udp 2130706431 192.0.2.2 8189 typ host", "a=candidate:2 1 tcp 1520435199 192.0.2.2 8189 typ host tcptype passive"], "over TCP too where it was so");
  assert.equal(withCandidates(withCandidates(ANSWER, ["192.0.2.3:1"]), ["192.0.2.1:8189", "[2001:db8::1]:8189"]), ANSWER, "and back");
});
