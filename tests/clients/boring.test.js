// Clients as they come that only builds with BoringSSL serve: their certificates have keys that dimpl cannot check.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIENTS } from "./lib/clients.js";
import { publishes, serve, watches } from "./lib/trial.js";

const VP8 = { video: "VP8", audio: "opus" };
const H264 = { video: "H264", audio: "opus" };

test("the server's library is BoringSSL", async () => {
  const server = await serve();
  try {
    assert.equal(JSON.parse((await server.get("/healthz")).text).dtls, "BoringSSL");
  } finally {
    await server.close();
  }
});

test("GStreamer's webrtcbin publishes and watches with its own RSA certificate", { timeout: 120_000 }, async () => {
  for (const [what, trial] of Object.entries({ publishes, watches })) {
    const { works, fault, story } = await trial(CLIENTS.gstreamer, VP8);
    assert.ok(works, `${what}: ${fault}\n${story}`);
  }
});

test("FFmpeg with GnuTLS publishes with its own certificate", { timeout: 60_000 }, async () => {
  const { works, fault, story } = await publishes(CLIENTS.pyav, H264);
  assert.ok(works, `${fault}\n${story}`);
});
