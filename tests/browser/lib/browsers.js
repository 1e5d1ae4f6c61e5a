// Starts the two browsers, headless and with fake cameras, and gives both the same small interface.
import puppeteer from "puppeteer-core";
import { chromium } from "playwright-core";
import { launchFar } from "./far.js";

const CHROMIUM = process.env.REKINDLE_CHROMIUM ?? "/usr/bin/chromium";
const FIREFOX = process.env.REKINDLE_FIREFOX ?? "/usr/bin/firefox-esr";

const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-ui-for-media-stream",
  "--use-fake-device-for-media-stream=fps=30,device-count=3",
  "--autoplay-policy=no-user-gesture-required",
];

// Without these a page in a background tab is throttled. Tests of the background leave them out.
const CHROMIUM_FOREGROUND = [
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
];

const FIREFOX_PREFS = {
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
  "media.peerconnection.ice.loopback": true,
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "media.autoplay.default": 0,
  "media.autoplay.blocking_policy": 0,
};

const FIREFOX_FOREGROUND = {
  "dom.min_background_timeout_value": 4,
  "dom.min_background_timeout_value_without_budget_throttling": 4,
  "dom.timeout.enable_budget_timer_throttling": false,
};

/**
 * @param {"chromium" | "firefox"} name
 * @param {{ throttled?: boolean, trusted?: string, dark?: boolean, classical?: boolean, unshared?: boolean, unsigned?: boolean, loopback?: boolean, words?: string[] }} [options] `throttled`: pages are tabs of one window, and those in the background are
 *   throttled. `trusted`: pages of this origin get a camera although it is neither loopback nor https. `dark`: they are dark.
 *   `classical`: handshakes of WebRTC have elliptic curves alone, as those of older browsers. `unshared`: Firefox offers X25519MLKEM768, and sends its share of it
 *   only to servers that ask. `unsigned`: a server's certificate need not be signed by anybody.
 *   `loopback`: Firefox offers loopback candidates, which no Firefox does that nobody has set up for tests.
 *   `words`: it is on another host, where these words run a command.
 */
export function launch(name, { throttled = false, trusted, dark = false, classical = false, unshared = false, unsigned = false, loopback = true, words } = {}) {
  if (words) return launchFar(name, { throttled, trusted, dark, classical, unshared, unsigned, loopback }, words);
  if (name === "firefox") return launchFirefox({ throttled, trusted, dark, unsigned }, { ...(loopback ? {} : FIREFOX_AS_SHIPPED), ...(unshared ? FIREFOX_UNSHARED : {}), ...(classical ? FIREFOX_CLASSICAL : {}) });
  return throttled ? launchChromiumWithTabs() : launchChromium(trusted, dark, classical, unsigned);
}

const CHROMIUM_CLASSICAL = "--disable-features=WebRtcPqcForDtls";

async function launchChromium(trusted, dark, classical, unsigned) {
  const args = [...CHROMIUM_FLAGS, ...CHROMIUM_FOREGROUND, ...(unsigned ? ["--ignore-certificate-errors"] : []), ...(classical ? [CHROMIUM_CLASSICAL] : []), ...(trusted ? [`--unsafely-treat-insecure-origin-as-secure=${trusted}`] : [])];
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args });
  const context = await browser.newContext({ colorScheme: dark ? "dark" : "light" });
  return {
    name: "chromium",
    newPage: async (init) => {
      const page = await context.newPage();
      if (init) await page.addInitScript(init);
      return wrap(page);
    },
    close: () => browser.close(),
  };
}

/** Playwright makes every page believe that it is seen; Puppeteer leaves that as it is. */
async function launchChromiumWithTabs() {
  const browser = await puppeteer.launch({
    browser: "chrome",
    executablePath: CHROMIUM,
    headless: true,
    args: CHROMIUM_FLAGS,
    ignoreDefaultArgs: CHROMIUM_FOREGROUND,
  });
  return { name: "chromium", newPage: (init) => puppeteerPage(browser, "tab", init), close: () => browser.close() };
}

const FIREFOX_TRUSTED = { "media.devices.insecure.enabled": true, "media.getusermedia.insecure.enabled": true };

const FIREFOX_DARK = { "layout.css.prefers-color-scheme.content-override": 0 };

const FIREFOX_AS_SHIPPED = { "media.peerconnection.ice.loopback": false, "media.peerconnection.ice.obfuscate_host_addresses": true };

const FIREFOX_UNSHARED = { "media.webrtc.send_mlkem_keyshare": false };
const FIREFOX_CLASSICAL = { ...FIREFOX_UNSHARED, "security.tls.enable_kyber": false };

async function launchFirefox({ throttled, trusted, dark, unsigned }, more) {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: FIREFOX,
    headless: true,
    acceptInsecureCerts: unsigned,
    extraPrefsFirefox: { ...FIREFOX_PREFS, ...(throttled ? {} : FIREFOX_FOREGROUND), ...(trusted ? FIREFOX_TRUSTED : {}), ...(dark ? FIREFOX_DARK : {}), ...more },
  });
  // A window of its own for each page: of the tabs of one window, all but one are in the background.
  const type = throttled ? "tab" : "window";
  return { name: "firefox", newPage: (init) => puppeteerPage(browser, type, init), close: () => browser.close() };
}

async function puppeteerPage(browser, type, init) {
  const page = await browser.newPage({ type });
  if (init) await page.evaluateOnNewDocument(init);
  return wrap(page);
}

function wrap(page) {
  const problems = [];
  page.on("pageerror", (error) => problems.push(`page error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(`console: ${message.text()}`);
  });
  return {
    page,
    problems,
    goto: (url) => page.goto(url),
    evaluate: (fn, argument) => page.evaluate(fn, argument),
    click: (selector) => page.click(selector),
    type: (selector, text) => page.type(selector, text),
    press: (key) => page.keyboard.press(key),
    reload: () => page.reload(),
    screenshot: (path) => page.screenshot({ path }),
    size: (width, height) => (page.setViewportSize ? page.setViewportSize({ width, height }) : page.setViewport({ width, height })),
    bringToFront: () => page.bringToFront(),
    close: () => page.close(),
  };
}
