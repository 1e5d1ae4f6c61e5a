// Pictures of every state of the page for viewers and publishers, and of the operators' page, for people to look at: in both browsers, both themes, and at the
// sizes of a phone and of a desk. Usage, after `cargo build --release`: node shots.js [FOLDER]. What is there already is replaced; `sheet-*.png` have many on one.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { launch } from "./lib/browsers.js";
import { Browsers, Tab, until } from "./lib/pages.js";
import { Server, freeTcpPort, sleep } from "./lib/server.js";

const FOLDER = path.resolve(process.argv[2] ?? fileURLToPath(new URL("../../target/shots", import.meta.url)));
const SIZES = /** @type {const} */ ({ phone: [360, 740], desk: [1440, 900] });
const BROWSERS = (process.env.REKINDLE_PAGE ?? "chromium,firefox").split(",");
const TOKENS = ["--publish-token-file", "publish-token", "--watch-token-file", "watch-token"];
/** Until the page has written what is so. */
const SETTLE_MS = 450;

/** @param {"chromium" | "firefox"} name @param {"light" | "dark"} theme */
async function shoot(name, theme) {
  const browsers = new Browsers();
  const browser = await browsers.get(name, { dark: theme === "dark" });
  let number = 0;
  /** One state, at each size. @param {{ web: Tab["web"] }} of @param {string} state */
  const shot = async ({ web }, state) => {
    number += 1;
    await web.bringToFront();
    for (const [size, [width, height]] of Object.entries(SIZES)) {
      await web.size(width, height);
      await sleep(SETTLE_MS);
      const file = path.join(FOLDER, `${name}-${theme}-${size}-${String(number).padStart(2, "0")}-${state}.png`);
      await web.page.screenshot({ path: file, fullPage: true });
    }
  };
  const at = async (server, rest, role) => Object.assign(await Tab.open(browser, `${server.url}/?channel=test${rest}`), { role });
  const titled = (tab, words) => until(() => tab.run((start) => document.querySelector("#notice-title").textContent.startsWith(start) && !document.querySelector("#overlay").hidden, words), () => tab.describe(words), 40_000);

  /** Runs with a server of its own. @param {string[]} args @param {(server: Server) => Promise<void>} run @param {object} [more] */
  const withServer = async (args, run, more = {}) => {
    const server = await Server.make({ args, ...more });
    fs.writeFileSync(path.join(server.dir, "publish-token"), "publish-token\n");
    fs.writeFileSync(path.join(server.dir, "watch-token"), "watch-token\n");
    fs.writeFileSync(path.join(server.dir, "admin-token"), "admin-token\n");
    try {
      await server.start();
      await run(server);
    } finally {
      await server.close();
    }
  };

  try {
    await withServer(TOKENS, async (server) => {
      const tab = await at(server, "", "viewer");
      await titled(tab, "A watch token");
      await shot(tab, "token-wanted");
      await tab.web.type("#token", "wrong");
      await tab.web.press("Enter");
      await titled(tab, "This watch token");
      await shot(tab, "token-wrong");
      await tab.click("publish");
      await tab.click("go");
      await titled(tab, "A publish token");
      await shot(tab, "publish-token-wanted");
      await tab.close();
    });

    const admin = `127.0.0.1:${await freeTcpPort()}`;
    await withServer(["--list-channels", "--admin", admin], async (server) => {
      const viewer = await at(server, "", "viewer");
      await titled(viewer, "Waiting for a publisher");
      await shot(viewer, "waiting");
      const publisher = await at(server, "", "publisher");
      await publisher.web.bringToFront();
      await publisher.click("publish");
      await publisher.words("Not live yet");
      await shot(publisher, "preview");
      await publisher.click("go");
      await publisher.words("Connected");
      await until(async () => (await viewer.stats()).decoded > 10, () => viewer.describe("a picture"), 20_000);
      await sleep(2500);
      await shot(publisher, "live");
      await shot(viewer, "watching");
      await viewer.web.click("#statistics summary");
      await sleep(2500);
      await shot(viewer, "watching-statistics");
      const second = await at(server, "", "viewer");
      await second.web.bringToFront();
      await second.click("unmute");
      await publisher.web.bringToFront();
      await publisher.click("mute");
      await publisher.click("camera-off");
      await sleep(500);
      await shot(publisher, "live-muted-camera-off");
      await publisher.click("mute");
      await publisher.click("camera-off");
      const operators = await browser.newPage();
      await operators.goto(`http://${admin}/stats`);
      await until(() => operators.evaluate(() => document.querySelector("#status").textContent === "Boot 1 runs"), "the operators' page");
      await sleep(4000);
      await shot({ web: operators }, "operators");
      for (let kill = 1; kill <= 2; kill++) {
        await server.kill();
        if (kill === 1) {
          await sleep(1500);
          await shot(viewer, "server-gone");
          await shot(publisher, "server-gone-publisher");
          await shot({ web: operators }, "operators-server-gone");
        }
        server.spawn();
        for (const tab of [viewer, publisher]) await until(async () => (await tab.fact("restarts")) === String(kill), () => tab.describe("it is back"), 30_000);
        await sleep(2500);
      }
      await shot(viewer, "back");
      await shot(publisher, "back-publisher");
      await shot({ web: operators }, "operators-after-restarts");
      // What a browser does when a device is pulled out.
      await publisher.run(() => {
        const [track] = document.querySelector("video").srcObject.getVideoTracks();
        track.stop();
        track.dispatchEvent(new Event("ended"));
      });
      await titled(publisher, "Your camera");
      await shot(publisher, "camera-lost");
      await publisher.web.reload();
      await titled(publisher, "You are not live any more");
      await shot(publisher, "loaded-again");
      await titled(viewer, "The publisher has left");
      await shot(viewer, "publisher-left");
      // A camera that the browser does not give.
      await viewer.run(() => (navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("Permission denied", "NotAllowedError"))));
      await viewer.click("publish");
      await sleep(500);
      await shot(viewer, "camera-refused");
      for (const tab of [viewer, publisher, second]) await tab.close();
      await operators.close();
    });

    await withServer(["--admin", admin, "--admin-token-file", "admin-token"], async () => {
      const operators = await browser.newPage();
      await operators.goto(`http://${admin}/stats`);
      await until(() => operators.evaluate(() => !document.querySelector("#token-form").hidden), "a token is wanted");
      await shot({ web: operators }, "operators-token");
      await operators.close();
    });

    // An address that is nobody's (RFC 5737).
    await withServer(["--advertise", "192.0.2.1"], async (server) => {
      const tab = await at(server, "", "publisher");
      await tab.web.bringToFront();
      await tab.goLive();
      await titled(tab, "Media does not get through");
      await shot(tab, "media-does-not-get-through");
      await tab.close();
    });

    await withServer([], async (server) => {
      const publisher = await at(server, "", "publisher");
      await publisher.web.bringToFront();
      await publisher.goLive();
      await publisher.words("Connected");
      const viewer = await at(server, "", "viewer");
      await until(async () => (await viewer.stats()).decoded > 10, () => viewer.describe("a picture"), 20_000);
      await viewer.web.bringToFront();
      await viewer.click("kill");
      await until(async () => (await viewer.fact("restarts")) === "1", () => viewer.describe("it is back"), 30_000);
      await sleep(2500);
      await shot(viewer, "demo");
      await viewer.close();
      await publisher.close();
    }, { demo: true });
  } finally {
    await browsers.close();
  }
}

/** All pictures of one browser, theme and size on one. @param {string} kind */
async function sheet(kind) {
  const names = fs.readdirSync(FOLDER).filter((name) => name.startsWith(`${kind}-`)).toSorted();
  const html = path.join(FOLDER, "sheet.html");
  const width = kind.includes("-phone") ? 300 : 640;
  const figures = names.map((name) => `<figure><img src="${name}" width="${width}"><figcaption>${name.slice(kind.length + 1, -4)}</figcaption></figure>`);
  fs.writeFileSync(html, `<!doctype html><style>body{margin:8px;display:flex;flex-wrap:wrap;gap:12px;align-items:start;font:14px sans-serif;background:#888}figure{margin:0}</style>${figures.join("")}`);
  const browser = await launch("chromium");
  try {
    const web = await browser.newPage();
    await web.size(kind.includes("-phone") ? 1900 : 1980, 1000);
    await web.goto(pathToFileURL(html).href);
    await web.page.screenshot({ path: path.join(FOLDER, `sheet-${kind}.png`), fullPage: true });
  } finally {
    await browser.close();
    fs.rmSync(html);
  }
}

fs.rmSync(FOLDER, { recursive: true, force: true });
fs.mkdirSync(FOLDER, { recursive: true });
for (const name of BROWSERS) {
  for (const theme of /** @type {const} */ (["light", "dark"])) {
    await shoot(/** @type {"chromium" | "firefox"} */ (name), theme);
    for (const size of Object.keys(SIZES)) await sheet(`${name}-${theme}-${size}`);
    console.log(`${name}, ${theme}: ${fs.readdirSync(FOLDER).filter((file) => file.startsWith(`${name}-${theme}-`)).length} pictures`);
  }
}
