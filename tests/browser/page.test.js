// What the page says and asks for: tokens, cameras that cannot be had or are lost, a page that is loaded again while it publishes.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { Browsers, Tab, until } from "./lib/pages.js";
import { Server, ownAddress, sleep } from "./lib/server.js";

const PUBLISH = "publish+token/for-the-page==";
const WATCH = "watch-token-for-the-page";

/** A server, and pages of it in one browser. */
async function open(name, options = {}) {
  const browsers = new Browsers();
  const server = await Server.make(options);
  fs.writeFileSync(path.join(server.dir, "publish-token"), `${PUBLISH}\n`);
  fs.writeFileSync(path.join(server.dir, "watch-token"), `${WATCH}\n`);
  await server.start();
  return {
    server,
    page: async (fragment = "", role = "viewer") => {
      const tab = await Tab.open(await browsers.get(name), `${server.url}/?channel=test${fragment}`);
      tab.role = role;
      return tab;
    },
    close: async () => {
      await browsers.close();
      await server.close();
    },
  };
}

/** What stands over the picture, and what can be clicked there. */
const notice = (tab) =>
  tab.run(() => {
    const text = (id) => document.getElementById(id).textContent;
    if (document.querySelector("#overlay").hidden) return null;
    const buttons = [...document.querySelectorAll("#notice button")].filter((button) => !button.closest("[hidden]")).map((button) => button.textContent);
    return { title: text("notice-title"), text: text("notice-text"), buttons, field: document.querySelector("#token")?.closest("[hidden]") === null ? text("token-label") : null };
  });

async function says(tab, title, timeout = 10_000) {
  let last;
  const check = async () => ((last = await notice(tab)) && title.test(last.title));
  await until(check, () => tab.describe(`${title}, and not ${JSON.stringify(last)}`), timeout);
  return last;
}

const focused = (tab) => tab.run(() => document.activeElement?.id || document.activeElement?.tagName);
const focus = (tab, id) => until(async () => (await focused(tab)) === id, async () => tab.describe(`focus on ${id}, and not on ${await focused(tab)}`));
const button = (tab, id) => until(() => tab.run((name) => !document.getElementById(name).closest("[hidden]"), id), () => tab.describe(`the button ${id}`));
const log = (tab) => tab.run(() => [...document.querySelectorAll("#log li span")].map((line) => line.textContent).join("\n"));

/** Firefox gives keys to the window in front only. */
async function press(tab, key) {
  await tab.web.bringToFront();
  await tab.web.press(key);
}

async function give(tab, token) {
  await tab.web.type("#token", token);
  await press(tab, "Enter");
}

/** Has the next requests for a camera fail by this error; `only` names the kind that must be asked for. */
const failing = (tab, name, only = null) =>
  tab.run(
    ([error, kind]) => {
      const get = navigator.mediaDevices.getUserMedia;
      window.mended = () => (navigator.mediaDevices.getUserMedia = get);
      navigator.mediaDevices.getUserMedia = (wanted) => (!kind || wanted[kind] ? Promise.reject(new DOMException("as a test wants it", error)) : get(wanted));
    },
    [name, only],
  );

/** What a browser does when a device is pulled out. No script can do that, and `stop` alone tells nobody. */
const lose = (tab, kind) =>
  tab.run((wanted) => {
    const track = document.querySelector("video").srcObject.getTracks().find((each) => each.kind === wanted);
    track.stop();
    track.dispatchEvent(new Event("ended"));
  }, kind);

const TOKENS = ["--publish-token-file", "publish-token", "--watch-token-file", "watch-token"];

for (const name of (process.env.REKINDLE_PAGE ?? "chromium,firefox").split(",")) {
  test(`tokens are asked for, taken from the address, and kept nowhere (${name})`, { timeout: 120_000 }, async () => {
    const { page, close } = await open(name, { args: TOKENS });
    try {
      const tab = await page("", "publisher");
      let now = await says(tab, /^A watch token is needed$/);
      assert.equal(now.field, "Watch token");
      // Who has the other token only must be able to publish.
      assert.deepEqual(now.buttons, ["Watch", "Publish your camera"]);
      await tab.words("Waiting for a token");
      await focus(tab, "token");
      for (const wrong of ["wrong", "wröng"]) {
        await give(tab, wrong);
        now = await says(tab, /^This watch token is not right$/);
        await focus(tab, "token");
        assert.equal(await tab.run(() => document.querySelector("#token").value), "");
      }
      await give(tab, WATCH);
      await tab.words("Waiting for a publisher");
      await focus(tab, "publish");

      await press(tab, "Enter");
      await tab.words("Not live yet");
      await focus(tab, "go");
      await press(tab, "Enter");
      now = await says(tab, /^A publish token is needed$/);
      assert.equal(now.field, "Publish token");
      assert.deepEqual(now.buttons, ["Publish", "Watch instead"]);
      await focus(tab, "token");
      await give(tab, WATCH);
      await says(tab, /^This publish token is not right$/);
      await give(tab, PUBLISH);
      await tab.words("Connected, you are live");
      await focus(tab, "stop");

      // Both side by side, and no question.
      const both = await page(`#publish-token=${PUBLISH}&watch-token=${WATCH}`);
      await until(async () => (await both.stats()).decoded > 10, () => both.describe("a picture"), 15_000);
      await tab.close();
      await both.words("Connected, the publisher has left");
      await both.goLive();
      await both.words("Connected, you are live");

      // One for both: as the watch token it is right.
      const third = await page(`#token=${WATCH}`);
      await until(async () => (await third.stats()).decoded > 10, () => third.describe("a picture"), 15_000);

      // An edited address works without a reload.
      const fourth = await page("#token=wrong");
      await says(fourth, /^This watch token is not right$/);
      await fourth.run((token) => (location.hash = `watch-token=${token}`), WATCH);
      await until(async () => (await fourth.stats()).decoded > 10, () => fourth.describe("a picture"), 15_000);
      await fourth.run(() => history.back());
      await sleep(300);

      for (const each of [both, third, fourth]) {
        const kept = await each.run(() => [location.href, document.querySelector("#self").href, JSON.stringify({ ...sessionStorage, ...localStorage }), document.cookie].join(" "));
        assert.doesNotMatch(kept, /token/, "a token is kept, or goes on in a link");
      }
    } finally {
      await close();
    }
  });

  test(`each camera error has its own words (${name})`, { timeout: 120_000 }, async () => {
    const { page, close } = await open(name);
    try {
      const tab = await page("", "publisher");
      const words = {
        NotAllowedError: [/not allowed/, /Allow this page/],
        NotFoundError: [/^No camera and no microphone was found$/, /Connect/],
        NotReadableError: [/cannot be used at the moment/, /Another program/],
        OverconstrainedError: [/^No camera can do/, /Choose another one/],
        AbortError: [/did not start/, /Connect it anew/],
        FancyError: [/could not be opened/, /as a test wants it/],
      };
      for (const [error, [title, text]] of Object.entries(words)) {
        await failing(tab, error);
        await button(tab, "publish");
        await tab.web.click("#publish");
        const now = await says(tab, title);
        assert.match(now.text, text);
        assert.deepEqual(now.buttons, ["Try again", "Watch instead"]);
        await focus(tab, "again");
        await tab.run(() => window.mended());
        await tab.web.click("#back");
        await focus(tab, "publish");
      }
      // Trying again asks for the camera again.
      await failing(tab, "NotReadableError");
      await tab.web.click("#publish");
      await says(tab, /cannot be used/);
      await tab.run(() => window.mended());
      await tab.web.click("#again");
      await tab.click("go");
      await tab.words("Connected, you are live");
    } finally {
      await close();
    }
  });

  test(`an address without TLS gets no camera, and the page says so (${name})`, { timeout: 60_000, skip: ownAddress() === "127.0.0.1" }, async () => {
    const { page, close } = await open(name, { host: ownAddress(), args: ["--open"] });
    try {
      const tab = await page("", "publisher");
      await button(tab, "publish");
      await tab.web.click("#publish");
      const now = await says(tab, /^Browsers give no camera to this address$/);
      assert.match(now.text, /https:\/\//);
      await focus(tab, "again");
    } finally {
      await close();
    }
  });

  test(`a camera without a microphone publishes, and a microphone without a camera (${name})`, { timeout: 90_000 }, async () => {
    const { page, close } = await open(name);
    try {
      const tab = await page("", "publisher");
      const viewer = await page();
      await failing(tab, "NotFoundError", "audio");
      await tab.goLive();
      await tab.words("Connected, you are live without sound");
      assert.match(await log(tab), /No microphone was found: viewers see you and hear nothing/);
      await until(async () => (await viewer.stats()).decoded > 10, () => viewer.describe("a picture"), 15_000);
      assert.equal((await viewer.stats()).audio, 0);

      await tab.web.click("#stop");
      await tab.run(() => window.mended());
      await failing(tab, "NotFoundError", "video");
      await tab.click("publish");
      // Sound alone is said before anybody hears it, and may be what is wanted.
      assert.deepEqual((await says(tab, /^You publish sound alone$/)).buttons, ["Try again", "Watch instead"]);
      await tab.click("go");
      await tab.words("Connected, you are live with sound alone");
      assert.match((await says(tab, /^You publish sound alone$/)).text, /Viewers hear you and see no picture/);
      await says(viewer, /^Sound without a picture$/, 20_000);
      await button(viewer, "unmute");
      // The camera is there now, and viewers need nothing new.
      const joins = [await viewer.posts(), await tab.posts()];
      await tab.run(() => window.mended());
      await tab.web.click("#again");
      await until(() => tab.run(() => document.querySelector("#status-text").textContent === "Connected, you are live"), () => tab.describe("all is there"));
      assert.ok((await viewer.nextFrame(10_000)) !== null, await viewer.describe("a picture"));
      assert.deepEqual([await viewer.posts(), await tab.posts()], joins);
    } finally {
      await close();
    }
  });

  test(`a camera that is lost while live is told of, and comes back to the same viewers (${name})`, { timeout: 90_000 }, async () => {
    const broadcast = await Broadcast.open({ publisher: name, viewers: [name] });
    try {
      const { publisher, viewers } = broadcast;
      const before = await broadcast.identities();
      await lose(publisher, "video");
      let now = await says(publisher, /^Your camera is gone$/, 2000);
      assert.match(now.text, /^Viewers see no picture any more; they still hear you\./);
      assert.deepEqual(now.buttons, ["Try again"]);
      await publisher.words("Connected, but your camera is gone");
      // Firefox goes on with a black one, which nobody can tell from a dark room.
      if (name === "chromium") await says(viewers[0], /^(Sound without a|No) picture/);
      await failing(publisher, "NotReadableError");
      await publisher.web.click("#again");
      await until(async () => /Another program/.test((await notice(publisher)).text), () => publisher.describe("in use"));
      await publisher.run(() => window.mended());
      await publisher.web.click("#again");
      await publisher.words("Connected, you are live");
      assert.ok((await viewers[0].nextFrame(10_000)) !== null, await viewers[0].describe("a picture"));
      await until(async () => (await notice(viewers[0])) === null, () => viewers[0].describe("no words"));

      await lose(publisher, "audio");
      now = await says(publisher, /^Your microphone is gone$/, 2000);
      assert.match(now.text, /^Viewers see you, but hear nothing any more\./);
      await publisher.web.click("#again");
      await publisher.words("Connected, you are live");

      // A camera that another program has taken is muted, and not for ever.
      const tell = (what) => publisher.run((event) => document.querySelector("video").srcObject.getVideoTracks()[0].dispatchEvent(new Event(event)), what);
      await tell("mute");
      now = await says(publisher, /^Your camera gives no picture$/);
      assert.match(now.text, /Another program/);
      await tell("unmute");
      await publisher.words("Connected, you are live");
      assert.deepEqual(await broadcast.identities(), before);
      broadcast.assertNoProblems();
    } finally {
      await broadcast.close();
    }
  });

  test(`a page that is loaded again while it publishes offers to go on (${name})`, { timeout: 120_000 }, async () => {
    const broadcast = await Broadcast.open({ publisher: name, viewers: [name] });
    try {
      const { publisher, viewers, browsers, url } = broadcast;
      const [viewer] = viewers;
      const posts = await viewer.posts();
      await publisher.web.reload();
      const now = await says(publisher, /^You are not live any more$/);
      assert.deepEqual(now.buttons, ["Go on publishing"]);
      await focus(publisher, "publish");
      assert.deepEqual(await publisher.run(() => Object.entries(sessionStorage)), [["rekindle-publishing", "test"]]);
      await viewer.words("Connected, the publisher has left");
      await press(publisher, "Enter");
      await publisher.words("Connected, you are live");
      await focus(publisher, "stop");
      assert.ok((await viewer.nextFrame(8000)) !== null, await viewer.describe("a picture"));
      assert.equal(await viewer.posts(), posts);

      // Where somebody else publishes meanwhile, it watches, now and after the next load.
      await publisher.web.reload();
      await says(publisher, /^You are not live any more$/);
      const other = await Tab.publisher(await browsers.get(name), url);
      await until(async () => (await publisher.stats()).decoded > 10, () => publisher.describe("a picture"), 15_000);
      await until(async () => (await notice(publisher)) === null, () => publisher.describe("no offer"));
      await focus(publisher, "unmute");
      await other.close();
      await publisher.words("Connected, the publisher has left", 20_000);
      await button(publisher, "publish");
      assert.equal(await publisher.fact("publish"), "Publish your camera");

      // Who stopped does not want to go on.
      await publisher.goLive();
      await publisher.words("Connected, you are live");
      await publisher.web.click("#stop");
      await button(publisher, "publish");
      await publisher.web.reload();
      await publisher.words("Waiting for a publisher");
      await button(publisher, "publish");
      assert.equal(await publisher.fact("publish"), "Publish your camera");
    } finally {
      await broadcast.close();
    }
  });

  test(`the status tells what counts, the focus is never lost, and a new session's picture is shown (${name})`, { timeout: 120_000 }, async () => {
    const broadcast = await Broadcast.open({ publisher: name, viewers: [name] });
    try {
      const { server, publisher, viewers, browsers, url } = broadcast;
      const [viewer] = viewers;
      const unmute = () => viewer.run(() => [document.querySelector("#unmute").textContent, document.querySelector("#unmute").getAttribute("aria-pressed")]);
      assert.deepEqual(await unmute(), ["Unmute", null]);
      await viewer.web.click("#unmute");
      assert.deepEqual(await unmute(), ["Mute", null]);

      await focus(publisher, "stop");
      await broadcast.restart();
      await broadcast.survived(1);
      await viewer.words("Connected, back after");
      await press(publisher, "Enter");
      await viewer.words("Connected, the publisher has left", 4000);
      await focus(publisher, "publish");

      // Its session is unknown and nobody publishes: it waits, and makes a new one when somebody does.
      await publisher.close();
      await server.kill();
      fs.rmSync(path.join(server.dir, "rekindle-state"), { recursive: true });
      await server.start();
      await viewer.words("Waiting for a publisher", 20_000);
      broadcast.publisher = await Tab.publisher(await browsers.get(name), url);
      await until(async () => (await viewer.fact("same")) === "new, 1 time", () => viewer.describe("a new session"), 20_000);
      // Chromium draws one frame a second of a page that is behind another.
      await viewer.web.bringToFront();
      const shown = await viewer.run(() => window.seen.frames.length);
      await until(async () => (await viewer.run(() => window.seen.frames.length)) > shown + 10, () => viewer.describe("its picture is shown"));
      assert.match(await log(viewer), /Making a new session/);
      assert.doesNotMatch(await log(viewer), /undefined|null/);
      await sleep(300);
      assert.equal(await notice(viewer), null);
    } finally {
      await broadcast.close();
    }
  });
}

test("a publisher whose media does not get through is told so, and when it does", { timeout: 90_000 }, async () => {
  // An address that is nobody's (RFC 5737).
  const { server, page, close } = await open("chromium", { args: ["--advertise", "192.0.2.1"] });
  try {
    const tab = await page("", "publisher");
    await tab.goLive();
    const { text } = await says(tab, /^Media does not get through$/, 20_000);
    assert.match(text, /--advertise/);
    await tab.words("Media does not get through");
    // Still after the browser has given up and the page has made another session.
    await until(async () => /Making a new session/.test(await log(tab)), () => tab.describe("another session"), 45_000);
    await says(tab, /^Media does not get through$/);
    // The operator has mended it.
    await server.kill();
    server.args = [];
    await server.start();
    await tab.words("Connected, you are live", 30_000);
    assert.equal(await notice(tab), null);
  } finally {
    await close();
  }
});
