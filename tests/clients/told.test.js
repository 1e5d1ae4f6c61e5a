// A client that can reach the server from two addresses of its own is told from the address that it asked, after kill -9.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIENTS } from "./lib/clients.js";
import { flows, killed, notices, staged, whip } from "./lib/trial.js";

test("libwebrtc hears by its next check that it is no more, on each of its paths", { timeout: 60_000 }, async () => {
  await staged(async (server, play) => {
    // The server listens on all addresses. The client has a path from its own address, and one from loopback to that.
    const publisher = play(CLIENTS.wrtc.publish(whip(server), { video: "VP8", audio: "opus" }));
    assert.ok(await flows(server, publisher), publisher.story());
    const killedAt = await killed(server);
    const lost = await notices(publisher, killedAt);
    assert.ok(lost, publisher.story());
    console.log(`${lost.how} ${Math.round(lost.at - killedAt)} ms after the kill`);
    // It checks every 2.5 s, and the server refuses from the first second on. Unanswered checks were noticed after 6.4 s.
    assert.ok(lost.at - killedAt < 5800, `${lost.how} after ${lost.at - killedAt} ms\n${publisher.story()}`);
  });
});
