// A browser on another host of this machine (a network namespace): a process there starts it, and does what is asked of its pages.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

const SELF = fileURLToPath(import.meta.url);

/** What a page is asked; a function goes as its text. @typedef {{ id: number, page: number, what: string, args: unknown[] }} Order */

/**
 * Starts a browser there; it has the interface of those of browsers.js.
 *
 * @param {string} name
 * @param {object} options
 * @param {string[]} words the words that run a command on that host
 */
export async function launchFar(name, options, [execPath, ...before]) {
  const child = fork(SELF, [], { execPath, execArgv: [...before, process.execPath], serialization: "advanced" });
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  const waiting = new Map();
  /** @type {Map<number, string[]>} */
  const problems = new Map();
  child.on("message", (/** @type {any} */ { id, page, value, error, problem }) => {
    if (problem !== undefined) return problems.get(page)?.push(problem);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(value);
    else reject(new Error(error));
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  ended.then(() => waiting.forEach(({ reject }) => reject(new Error(`the host of ${name} has ended`))));
  let last = 0;
  const order = (page, what, ...args) =>
    new Promise((resolve, reject) => {
      const id = ++last;
      waiting.set(id, { resolve, reject });
      child.send({ id, page, what, args }, (error) => error && reject(error));
    });
  const close = async () => {
    if (child.connected) child.disconnect();
    await ended;
  };
  try {
    await order(0, "launch", name, options);
  } catch (error) {
    await close();
    throw error;
  }
  let pages = 0;
  const newPage = async (init) => {
    const page = ++pages;
    problems.set(page, []);
    await order(page, "newPage", init);
    return {
      page: undefined,
      problems: problems.get(page),
      evaluate: (fn, argument) => order(page, "evaluate", `${fn}`, argument),
      goto: (url) => order(page, "goto", url),
      click: (selector) => order(page, "click", selector),
      type: (selector, text) => order(page, "type", selector, text),
      press: (key) => order(page, "press", key),
      reload: () => order(page, "reload"),
      screenshot: (path) => order(page, "screenshot", path),
      size: (width, height) => order(page, "size", width, height),
      bringToFront: () => order(page, "bringToFront"),
      close: () => order(page, "close"),
    };
  };
  return { name, newPage, close };
}

/** What the process on the other host does. */
async function serve() {
  const { launch } = await import("./browsers.js");
  /** @type {Awaited<ReturnType<typeof launch>>} */
  let browser;
  /** @type {Map<number, any>} */
  const pages = new Map();
  const told = new Map();
  const tell = (message) => process.connected && process.send(message);
  const reports = setInterval(() => {
    for (const [page, { problems }] of pages) {
      for (const problem of problems.slice(told.get(page) ?? 0)) tell({ page, problem });
      told.set(page, problems.length);
    }
  }, 100);
  /** @param {Order} order */
  const does = async ({ page, what, args }) => {
    if (what === "launch") {
      const [name, options] = /** @type {Parameters<typeof launch>} */ (args);
      browser = await launch(name, options);
    } else if (what === "newPage") {
      pages.set(page, await browser.newPage(/** @type {string} */ (args[0])));
    } else if (what === "evaluate") {
      // A function of the tests' own.
      return pages.get(page).evaluate((0, eval)(`(${args[0]})`), args[1]);
    } else {
      await pages.get(page)[what](...args);
    }
    return undefined;
  };
  process.on("message", (/** @type {Order} */ order) => {
    does(order).then(
      (value) => tell({ id: order.id, value }),
      (error) => tell({ id: order.id, error: `${error.message ?? error}` }),
    );
  });
  process.once("disconnect", async () => {
    clearInterval(reports);
    await browser?.close().catch(() => {});
    process.exit(0);
  });
}

// Not awaited: browsers.js needs this module, too.
if (process.argv[1] === SELF) serve();
