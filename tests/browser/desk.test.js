// The publisher's desk and the viewer's controls: what is chosen before going live and changed while live, and that it reaches viewers who keep
// their connection, also over a restart. And whether all can use the page (axe), in both browsers and themes.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { Browsers, Tab, until } from "./lib/pages.js";
import { Server } from "./lib/server.js";

const AXE = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** A server and two pages of it. @param {(pages: { server: Server, publisher: Tab, viewer: Tab }) => Promise<void>} run */
async function withPages(name, run, options = {}) {
  const browsers = new Browsers();
  const server = await Server.make();
  try {
    await server.start();
    const browser = await browsers.get(name, options);
    const open = async (role) => Object.assign(await Tab.open(browser, `${server.url}/?channel=test`), { role });
    await run({ server, viewer: await open("viewer"), publisher: await open("publisher") });
  } finally {
    await browsers.close();
    await server.close();
  }
}

const choose = (tab, id, value) =>
  tab.run(
    ([name, wanted]) => {
      const select = document.getElementById(name);
      select.value = wanted;
      select.dispatchEvent(new Event("change"));
    },
    [id, value],
  );
const options = (tab, id) => tab.run((name) => [...document.getElementById(name).options].map(({ value, text }) => ({ value, text })), id);
const own = (tab, kind) =>
  tab.run((wanted) => {
    const track = document.querySelector("video").srcObject.getTracks().find((each) => each.kind === wanted);
    return { label: track.label, enabled: track.enabled, state: track.readyState };
  }, kind);
const shown = (tab) => tab.run(() => document.querySelector("video").videoWidth);
const becomes = (tab, width) => until(async () => (await shown(tab)) === width, async () => tab.describe(`a picture ${width} wide, and not ${await shown(tab)}`), 15_000);
const text = (tab, id, pattern) => until(async () => pattern.test(await tab.fact(id)), async () => tab.describe(`${id} ${pattern}, and not ${await tab.fact(id)}`), 15_000);

for (const name of (process.env.REKINDLE_PAGE ?? "chromium,firefox").split(",")) {
  test(`what is sent is chosen before going live and changed while live (${name})`, { timeout: 120_000 }, async () => {
    await withPages(name, async ({ server, publisher, viewer }) => {
      await publisher.click("publish");
      await publisher.words("Not live yet");
      await until(async () => (await options(publisher, "camera-choice")).length > 0, "cameras are listed");
      const cameras = await options(publisher, "camera-choice");
      const microphones = await options(publisher, "microphone-choice");
      // Firefox has one fake device of each kind.
      assert.deepEqual([cameras.length, microphones.length], name === "chromium" ? [3, 3] : [1, 1]);
      await choose(publisher, "camera-choice", cameras.at(-1).value);
      await choose(publisher, "microphone-choice", microphones.at(-1).value);
      await until(async () => (await own(publisher, "video")).label === cameras.at(-1).text, async () => `the chosen camera, and not ${JSON.stringify(await own(publisher, "video"))}`);
      await until(async () => (await own(publisher, "audio")).label === microphones.at(-1).text, "the chosen microphone");
      // A Firefox without any loudspeaker has no audio context that runs, and the page shows no level.
      if (name === "chromium") await until(() => publisher.run(() => document.querySelector("#level").value > 0.2), "the level shows the beeps of the fake microphone");
      await choose(publisher, "quality", "240");
      // Nothing of this has left the page.
      const sent = () => publisher.run(() => window.seen.requests.filter(([, method, path]) => method === "POST" && path.includes("/whip/")).length);
      assert.equal(await sent(), 0);
      assert.equal(await viewer.fact("status-text"), "Waiting for a publisher");

      await publisher.click("go");
      await publisher.words("Connected, you are live");
      assert.equal((await own(publisher, "video")).label, cameras.at(-1).text);
      // Firefox's fake camera takes no other size while it runs.
      await becomes(viewer, name === "chromium" ? 426 : 320);
      const most = () => publisher.run(() => window.seen.live().getSenders().find(({ track }) => track?.kind === "video").getParameters().encodings[0].maxBitrate);
      await until(async () => (await most()) === 250_000, async () => `at most 250 kbit/s, and not ${await most()}`);
      await choose(publisher, "quality", "480");
      await until(async () => (await most()) === 800_000, async () => `at most 800 kbit/s, and not ${await most()}`);
      await text(publisher, "viewers", /^1$/);
      await text(publisher, "rate", /^[1-9]\d* kbit\/s$/);
      const identities = async () => [await publisher.identity(), await sent(), await viewer.identity(), await viewer.posts()];
      const before = await identities();

      await publisher.click("mute");
      await text(publisher, "status-text", /^Connected, you are live: muted$/);
      assert.equal((await own(publisher, "audio")).enabled, false);
      await publisher.run(() => (window.camera = document.querySelector("video").srcObject.getVideoTracks()[0]));
      await publisher.click("camera-off");
      await text(publisher, "status-text", /^Connected, you are live: muted, the camera is off$/);
      assert.equal(await publisher.run(() => window.camera.readyState), "ended", "the camera itself is off, and its light");
      await becomes(viewer, 640);

      // The restart finds it so, and leaves it so.
      await server.kill();
      server.spawn();
      for (const tab of [publisher, viewer]) await until(async () => (await tab.fact("restarts")) === "1", () => tab.describe("1 restart survived"), 15_000);
      await text(publisher, "status-text", /^Connected, (you are live: muted, the camera is off|back after)/);
      assert.deepEqual(await identities(), before);
      assert.ok((await viewer.nextFrame(10_000)) !== null, await viewer.describe("frames of the camera that is off"));

      await publisher.click("camera-off");
      await publisher.click("mute");
      await becomes(viewer, 320);
      await text(publisher, "status-text", /^Connected, you are live$/);

      // The screen in place of the camera. Firefox has none without a display, and what it says is passed on.
      await publisher.click("screen");
      if (name === "chromium") {
        await becomes(viewer, 1280);
        await text(publisher, "badge-own", /^Your screen$/);
        await publisher.click("screen");
        await becomes(viewer, 320);
      } else {
        await text(publisher, "fault", /^The screen cannot be shared\. The browser says: [^.]+\.$/);
      }
      assert.deepEqual([(await own(publisher, "audio")).enabled, (await own(publisher, "video")).label], [true, cameras.at(-1).text]);
      assert.deepEqual(await identities(), before);
    });
  });

  test(`a viewer has volume, full screen, statistics and a link for others (${name})`, { timeout: 90_000 }, async () => {
    await withPages(name, async ({ publisher, viewer, server }) => {
      await publisher.goLive();
      await becomes(viewer, 320);
      await viewer.web.bringToFront();
      const sound = () => viewer.run(() => [document.querySelector("video").muted, document.querySelector("video").volume]);
      const slide = (to) =>
        viewer.run((value) => {
          const slider = document.querySelector("#volume");
          slider.value = value;
          slider.dispatchEvent(new Event("input"));
        }, to);
      await viewer.click("volume");
      await slide("0.4");
      assert.deepEqual(await sound(), [false, 0.4]);
      await text(viewer, "unmute", /^Mute$/);
      await slide("0");
      assert.equal((await sound())[0], true);
      await viewer.click("unmute");
      assert.deepEqual(await sound(), [false, 1]);

      await viewer.click("full");
      await until(() => viewer.run(() => document.fullscreenElement?.id === "stage"), () => viewer.describe("full screen"));
      await text(viewer, "full", /^Leave full screen$/);
      await viewer.click("full");
      await until(() => viewer.run(() => document.fullscreenElement === null), "no full screen");

      await viewer.web.click("#statistics summary");
      const lines = () => viewer.run(() => Object.fromEntries([...document.querySelectorAll("#stats > div")].map(({ children }) => [...children].map(({ textContent }) => textContent))));
      await until(async () => /bit\/s$/.test((await lines()).Rate), async () => JSON.stringify(await lines()));
      const said = await lines();
      assert.equal(said.Picture, "320 × 240");
      assert.match(said.Codecs, /opus/i);
      assert.match(said["Lost on the way"], /^\d+\.\d %$/);
      await text(viewer, "viewers", /^1$/);

      assert.equal(await viewer.run(() => document.querySelector("#share").value), `${server.url}/?channel=test`);
      await viewer.click("copy");
      await text(viewer, "copy", /^(Copied|Press Ctrl\+C)$/);
      assert.match(await viewer.fact("share-note"), /this computer only/);
    });
  });
}

for (const name of ["chromium", "firefox"]) {
  for (const dark of [false, true]) {
    test(`all can use the page, says axe (${name}, ${dark ? "dark" : "light"})`, { timeout: 90_000 }, async () => {
      await withPages(
        name,
        async ({ server, publisher, viewer }) => {
          assert.equal(await viewer.run(() => matchMedia("(prefers-color-scheme: dark)").matches), dark);
          const check = async (tab, state) => {
            await tab.web.bringToFront();
            if (!(await tab.run(() => "axe" in window))) await tab.web.evaluate(AXE);
            // Only colours differ between the themes.
            const violations = await tab.run(async (rules) => {
              const found = await window.axe.run(document, { resultTypes: ["violations"], ...(rules && { runOnly: rules }) });
              return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html.slice(0, 120)} ${any[0]?.message ?? ""}`).join(" | ")}`);
            }, dark ? ["color-contrast"] : null);
            assert.deepEqual(violations, [], state);
            const wider = await tab.run(() => document.documentElement.scrollWidth - innerWidth);
            assert.ok(wider <= 0, `${state}: ${wider} px wider than the window`);
          };
          // The narrowest, and the widest that a page has to fit.
          await viewer.web.size(320, 640);
          await publisher.web.size(3840, 2160);
          await check(viewer, "waiting");
          // Firefox gives a camera to the window in front only.
          await publisher.web.bringToFront();
          await publisher.click("publish");
          await publisher.words("Not live yet");
          await check(publisher, "preview");
          await publisher.web.size(320, 640);
          await publisher.click("go");
          await publisher.words("Connected, you are live");
          await publisher.web.click("#statistics summary");
          await becomes(viewer, 320);
          await viewer.web.click("#statistics summary");
          await check(publisher, "live");
          await check(viewer, "watching");
          await server.kill();
          await viewer.words("Server gone");
          await check(viewer, "server gone");
          await publisher.run(() => {
            const [track] = document.querySelector("video").srcObject.getVideoTracks();
            track.stop();
            track.dispatchEvent(new Event("ended"));
          });
          await check(publisher, "server and camera gone");
        },
        { dark },
      );
    });
  }
}
