// The recipes of packaging/proxies, each run by the proxy that it is for: browsers on the other side of it keep their connections when
// the server is killed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Broadcast } from "./lib/broadcast.js";
import { record } from "./lib/report.js";
import { Server, freeTcpPort, sleep } from "./lib/server.js";

const RECIPES = fileURLToPath(new URL("../../packaging/proxies", import.meta.url));
/** Kills of each proxy's server: at once, and after a while in which the proxy finds nobody. */
const DOWN_MS = [0, 300];

/**
 * How each proxy is run by somebody who is not root, in this folder. `text` is what its recipe became.
 *
 * @type {{ [name: string]: { recipe: string, run: (dir: string, text: string) => { files: { [name: string]: string }, command: string[] } } }}
 */
const PROXIES = {
  nginx: {
    recipe: "nginx.conf",
    run: (dir, text) => {
      const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${dir}/${name};`);
      const main = `daemon off; pid ${dir}/pid; error_log stderr; events {} http { access_log off; ${places.join(" ")} include ${dir}/recipe.conf; }`;
      return { files: { "main.conf": main, "recipe.conf": text }, command: ["nginx", "-e", "stderr", "-p", dir, "-c", `${dir}/main.conf`] };
    },
  },
  caddy: {
    recipe: "Caddyfile",
    run: (dir, text) => {
      const options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n";
      return { files: { Caddyfile: options + text }, command: ["caddy", "run", "--config", `${dir}/Caddyfile`, "--adapter", "caddyfile"] };
    },
  },
  haproxy: {
    recipe: "haproxy.cfg",
    run: (dir, text) => ({ files: { "haproxy.cfg": text }, command: ["haproxy", "-db", "-f", `${dir}/haproxy.cfg`] }),
  },
};

/** The recipe with a test's ports and certificate in the place of its own; each that it names must be there. */
function adapted(text, { name, port, upstream, cert, key, all }) {
  const changes = {
    nginx: { "listen 443": `listen 127.0.0.1:${port}`, "media.example.org;": "localhost;" },
    caddy: { "media.example.org {": `https://localhost:${port} {\n\tbind 127.0.0.1` },
    haproxy: { "bind :443": `bind 127.0.0.1:${port}`, "/etc/ssl/media.example.org/all.pem": all },
  }[name];
  const files = name === "haproxy" ? {} : { "/etc/ssl/media.example.org/fullchain.pem": cert, "/etc/ssl/media.example.org/privkey.pem": key };
  for (const [from, to] of Object.entries({ ...changes, ...files, "127.0.0.1:8080": `127.0.0.1:${upstream}` })) {
    assert.ok(text.includes(from), `the recipe has no "${from}"`);
    text = text.replaceAll(from, to);
  }
  return text;
}

/** What a proxy answers to GET; 0 if it does not. */
const status = (url) =>
  new Promise((resolve) => {
    const request = https.get(url, { rejectUnauthorized: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    request.on("error", () => resolve(0));
  });

/** Starts a proxy before this server. Gives its address, and what ends it. */
async function proxyBefore(name, server) {
  const dir = path.join(server.dir, "proxy");
  fs.mkdirSync(dir);
  const [cert, key, all] = [path.join(server.dir, "tls/cert.pem"), path.join(server.dir, "tls/key.pem"), path.join(dir, "all.pem")];
  fs.writeFileSync(all, fs.readFileSync(cert, "utf8") + fs.readFileSync(key, "utf8"), { mode: 0o600 });
  const port = await freeTcpPort();
  const { recipe, run } = PROXIES[name];
  const text = adapted(fs.readFileSync(path.join(RECIPES, recipe), "utf8"), { name, port, upstream: server.port, cert, key, all });
  const { files, command } = run(dir, text);
  for (const [file, content] of Object.entries(files)) fs.writeFileSync(path.join(dir, file), content);
  const log = fs.openSync(path.join(dir, "log"), "a");
  const [program, ...args] = command;
  const env = { ...process.env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir };
  const proxy = spawn(program, args, { cwd: dir, stdio: ["ignore", log, log], env });
  fs.closeSync(log);
  const failed = new Promise((_, reject) => proxy.once("error", reject));
  const ended = new Promise((resolve) => proxy.once("exit", resolve));
  const url = `https://localhost:${port}`;
  const close = async () => {
    // Workers end with their master.
    proxy.kill("SIGTERM");
    await Promise.race([ended, sleep(2000)]);
    if (proxy.exitCode === null && proxy.signalCode === null) proxy.kill("SIGKILL");
  };
  const up = async () => {
    for (let attempt = 0; attempt < 500; attempt++) {
      if (proxy.exitCode !== null) break;
      if ((await status(`${url}/healthz`)) === 200) return;
      await sleep(20);
    }
    throw new Error(`${name} does not serve:\n${fs.readFileSync(path.join(dir, "log"), "utf8")}`);
  };
  try {
    await Promise.race([up(), failed]);
  } catch (error) {
    await close();
    throw error;
  }
  return { url, close };
}

for (const name of Object.keys(PROXIES)) {
  test(`pages behind ${name} keep their connections over kills of the server`, { timeout: 120_000 }, async () => {
    // The certificate is the proxy's: the server itself speaks plain HTTP to it.
    const server = await Server.make({ args: ["--behind-proxy", "--open"] });
    server.certify();
    /** @type {{ url: string, close: () => Promise<void> } | undefined} */
    let proxy;
    /** @type {Broadcast | undefined} */
    let broadcast;
    const figures = [];
    try {
      await server.start();
      proxy = await proxyBefore(name, server);
      const url = `${proxy.url}/?channel=live/one`;
      const options = { publisher: "chromium", viewers: ["chromium", "firefox"], publisherUrl: () => url, viewerUrl: () => url };
      broadcast = await Broadcast.join(server, { ...options, launch: () => ({ unsigned: true }) });
      const before = await broadcast.identities();
      for (const [at, downMs] of DOWN_MS.entries()) {
        const { killedAt } = await broadcast.restart(downMs);
        await broadcast.survived(at + 1);
        await sleep(700);
        const gaps = await Promise.all(broadcast.viewers.map((viewer) => viewer.gap(killedAt - 30)));
        const took = await Promise.all(broadcast.tabs.map(async (tab) => Number.parseInt(await tab.fact("took"), 10)));
        figures.push({ down_ms: downMs, gaps_ms: gaps.map(({ ms }) => Math.round(ms)), took_ms: took });
      }
      assert.deepEqual(await broadcast.identities(), before, "connections, tracks and joins");
      broadcast.assertNoProblems();
    } finally {
      record(`restarts behind ${name}`, figures);
      await broadcast?.close();
      await proxy?.close();
      await server.close();
    }
  });
}
