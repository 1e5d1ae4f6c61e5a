// When keys are renewed: rekindle-outage.js decides, and is told the time.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Outage, isFar } from "../../static/rekindle-outage.js";

const HELLO = { boot: 2, process: "another" };
const near = (more = {}) => ({ rtt: 1, handshakes: 1, connected: false, broken: false, serverHasKeys: false, iceHasFailed: false, iceDownSince: null, sent: null, mixes: true, ...more });
const far = (more = {}) => near({ rtt: 100, ...more });
const present = (at, more = {}) => ({ at, mode: "rehandshake", streamOpen: false, refused: false, hidden: false, ...more });
const open = (at, more = {}) => present(at, { streamOpen: true, ...more });

/** An outage from time 0 on, with a server that is back at this time. */
function back(connection, at, hello = HELLO, previous = null) {
  const outage = new Outage(connection, 0, previous);
  outage.greeted(hello, at);
  return outage;
}

test("from nearby keys are renewed when the server says that it is back, and not before", () => {
  const outage = new Outage(near(), 0, null);
  assert.equal(outage.renewalAt(near(), present(50, { refused: true })), Infinity);
  outage.greeted(HELLO, 60);
  assert.ok(outage.renewalAt(near(), open(60)) <= 60);
});

test("from far away the first renewal waits for no news, and the second one for the handshake that it may have begun", () => {
  assert.deepEqual([near(), far(), near({ rtt: Infinity })].map(isFar), [false, true, false]);
  const outage = new Outage(far(), 0, null);
  assert.ok(outage.renewalAt(far(), present(0)) <= 0);
  outage.renews(far(), 0);
  outage.greeted(HELLO, 200);
  const due = outage.renewalAt(far(), open(200));
  assert.ok(due >= 250 && due < 400, `${due}`);
});

test("where nobody answers, renewals are tried blindly, ever more seldom, and end", () => {
  const outage = new Outage(near(), 0, null);
  const times = [];
  for (let at = 0; at < 60_000; at += 10) {
    if (outage.renewalAt(near(), present(at)) > at) continue;
    times.push(at);
    outage.renews(near(), at);
  }
  assert.deepEqual(times, [1000, 3000, 7000]);
  assert.equal(outage.renewalAt(near(), present(60_000)), Infinity);
});

test("where nobody says anything for a while, not even no, it may be the page's own network that is gone", () => {
  const outage = new Outage(near(), 0, null);
  assert.ok(!outage.isBlind(present(900)));
  assert.ok(outage.isBlind(present(1000)));
  assert.ok(!outage.isBlind(present(1000, { refused: true })));
  assert.ok(!back(near(), 500).isBlind(open(1000)));
});

test("a page with another network is given more time, since its browser hears late of its own new address, and keeps no keys", () => {
  const outage = back(near(), 0);
  outage.renews(near(), 1);
  assert.ok(outage.isHopeless(near(), open(5100)));
  outage.roams = true;
  assert.ok(!outage.isHopeless(near(), open(9900)));
  assert.ok(outage.isHopeless(near(), open(10_100)));
  const kept = { ...open(0), mode: "full-state" };
  const full = back(near({ serverHasKeys: true }), 0);
  assert.ok(full.keepsKeys(near({ serverHasKeys: true }), kept));
  full.roams = true;
  assert.ok(!full.keepsKeys(near({ serverHasKeys: true }), kept));
});

test("a page that nobody looks at does not wait for news, which its timers would bring late", () => {
  const outage = new Outage(near(), 0, null);
  assert.ok(outage.renewalAt(near(), present(5, { refused: true, hidden: true })) <= 5);
});

test("a handshake that the server has seen is waited for, and so are all who are before us", () => {
  const seen = back(near(), 100, { ...HELLO, handshaking: true });
  assert.ok(seen.renewalAt(near(), open(100)) > 140);
  const crowd = back(near(), 100, { ...HELLO, handshaking: true, patience_ms: 3000 });
  assert.ok(crowd.renewalAt(near(), open(100)) > 3140);
  assert.ok(!crowd.isHopeless(near(), open(8000)));
});

test("a renewal without an answer is tried again ever more seldom; one that has failed, as soon as another can be told from it", () => {
  const outage = back(near(), 0);
  const times = [];
  for (let at = 0; at < 5000; at += 10) {
    if (outage.renewalAt(near(), open(at)) > at) continue;
    times.push(at);
    outage.renews(near(), at);
  }
  assert.deepEqual(times, [0, 300, 900, 1900, 2900, 3900, 4900]);
  assert.ok(outage.renewalAt(near({ broken: true }), open(4910)) < 4950);
});

test("an outage that gets worse is as old as it was, and is not renewed faster than a handshake takes", () => {
  const first = back(near(), 100);
  first.renews(near(), 100);
  const second = back(near({ handshakes: 2 }), 110, { boot: 3, process: "third" }, first);
  assert.deepEqual([second.since, second.base, second.applied, second.renewed], [0, 2, 0, true]);
  assert.ok(second.renewalAt(near(), open(110)) > 140);
  // The keys of the process that died in between are of no use.
  assert.ok(!second.hasKeys(near({ handshakes: 2, connected: true }), open(150)));
  assert.ok(second.hasKeys(near({ handshakes: 3, connected: true }), open(150)));
});

test("keys that the server does not confirm are renewed after the time that its word may take", () => {
  const outage = back(near(), 0);
  outage.renews(near(), 0);
  outage.upAt = 30;
  const due = outage.renewalAt(near({ handshakes: 2, connected: true }), open(30));
  assert.ok(due > 70 && due <= 300, `${due}`);
});

test("a connection that does not come back with the server is given up", () => {
  const outage = back(near(), 1000);
  assert.ok(!outage.isHopeless(near(), open(60_000)), "before a renewal was tried");
  outage.renews(near(), 1000);
  assert.ok(!outage.isHopeless(near(), open(5900)));
  assert.ok(outage.isHopeless(near(), open(6001)));
  assert.ok(!outage.isHopeless(near(), present(6001)), "while the server is away again");
  assert.equal(outage.lookAgainAt(near(), open(1000)), 6001);
});

test("a server that keeps session keys is given a moment to take them over; then they are renewed", () => {
  const full = (at, more) => open(at, { mode: "full-state", ...more });
  const outage = new Outage(near(), 0, null);
  assert.equal(outage.renewalAt(near(), full(5000, { streamOpen: false })), Infinity);
  outage.greeted(HELLO, 1000);
  assert.equal(outage.renewalAt(near(), full(1200)), Infinity);
  assert.equal(outage.lookAgainAt(near(), full(1200)), 1301);
  assert.ok(outage.renewalAt(near(), full(1301)) <= 1301);
  // What it has taken over it keeps, unless the browser is about to lose its consent to send.
  const kept = near({ serverHasKeys: true, connected: true });
  assert.ok(outage.hasKeys(kept, full(9000)));
  assert.equal(outage.renewalAt(kept, full(9000)), Infinity);
  assert.ok(outage.renewalAt({ ...kept, iceDownSince: 0 }, full(13_000)) <= 13_000);
});

test("a page with many sessions gives each more time, since the browser renews one after the other", () => {
  const greeted = (among) => {
    const outage = new Outage({ handshakes: 1 }, 0, null);
    outage.greeted({ boot: 2, process: "b", patience_ms: 20 }, 100, among);
    return outage.patience;
  };
  assert.deepEqual([greeted(undefined), greeted(1), greeted(50)], [20, 20, 4920]);
});
