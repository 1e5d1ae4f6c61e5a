// Starts the two browsers, headless and with fake cameras, and gives both the same small interface.
import puppeteer from "puppeteer-core";
import { chromium } from "playwright-core";

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
  "--use-fake-device-for-media-stream=fps=30",
  "--autoplay-policy=no-user-gesture-required",
];

// Without these a page in a background tab may be throttled. Tests of the background leave them out.
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
 * @param {{ throttled?: boolean }} [options] `throttled`: leave the browser's throttling of background tabs on.
 */
export async function launch(name, options = {}) {
  const throttled = options.throttled ?? false;
  if (name === "chromium") {
    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      headless: true,
      args: [...CHROMIUM_FLAGS, ...(throttled ? [] : CHROMIUM_FOREGROUND)],
      // Playwright's own defaults include the foreground flags.
      ignoreDefaultArgs: throttled ? CHROMIUM_FOREGROUND : [],
    });
    const context = await browser.newContext();
    return {
      name,
      newPage: async (init) => {
        const page = await context.newPage();
        if (init) await page.addInitScript(init);
        return wrap(page, (p, colour) => p.emulateMedia({ colorScheme: colour }));
      },
      close: () => browser.close(),
    };
  }
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: FIREFOX,
    headless: true,
    extraPrefsFirefox: { ...FIREFOX_PREFS, ...(throttled ? {} : FIREFOX_FOREGROUND) },
  });
  return {
    name,
    newPage: async (init) => {
      // A window of its own: of the tabs of one window, all but one are in the background.
      const page = await browser.newPage({ type: options.tabs ? "tab" : "window" });
      if (init) await page.evaluateOnNewDocument(init);
      return wrap(page, null);
    },
    close: () => browser.close(),
  };
}

function wrap(page, colour) {
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
    screenshot: (path) => page.screenshot({ path }),
    colourScheme: (name) => (colour ? colour(page, name) : undefined),
    size: (width, height) => (page.setViewportSize ? page.setViewportSize({ width, height }) : page.setViewport({ width, height })),
    bringToFront: () => page.bringToFront(),
    close: () => page.close(),
  };
}
