// A browser changes its network, as a telephone that leaves the house: it has two uplinks, of which the first one goes, and the second one comes with another
// address, behind another router that hides it. While the server runs, while it is killed, and back. Each browser, as a viewer and as a publisher.
import { Broadcast } from "./lib/broadcast.js";
import { goesOn, killed } from "./lib/goes-on.js";
import { SERVER, onNetworks } from "./lib/networks.js";
import { record } from "./lib/report.js";
import { sleep } from "./lib/server.js";

const ADDRESS = "198.51.100.2";
const UPLINKS = { wifi: "192.168.0", mobile: "192.168.1" };
/** A telephone takes its time between two networks. */
const BETWEEN_MS = 300;
/** The server is down for so long while the network changes. */
const DOWN_MS = 1000;

/** @param {import("./lib/networks.js").Networks} networks */
function build(networks) {
  networks.hosts("roamer", "other");
  networks.routers("net", ...Object.keys(UPLINKS));
  networks.link("net", SERVER, { v4: "198.51.100" });
  networks.gateway(SERVER, "198.51.100.1");
  networks.link("net", "other", { v4: "203.0.113" });
  networks.gateway("other", "203.0.113.1");
  Object.entries(UPLINKS).forEach(([router, inside], i) => {
    networks.link("net", router, { v4: `10.0.${i}` });
    networks.gateway(router, `10.0.${i}.1`);
    networks.masquerade(router, "net");
    networks.link(router, "roamer", { v4: inside });
    networks.plug("roamer", router, false);
  });
  networks.ip("roamer", "address", "flush", "dev", "mobile");
  networks.attach("roamer", "wifi", UPLINKS.wifi);
}

/** @param {import("./lib/networks.js").Networks} networks @param {keyof typeof UPLINKS} from @param {keyof typeof UPLINKS} to */
async function roam(networks, from, to) {
  networks.plug("roamer", from, false);
  networks.ip("roamer", "address", "flush", "dev", from);
  await sleep(BETWEEN_MS);
  networks.attach("roamer", to, UPLINKS[to]);
}

/** @param {string} browser @param {"viewer" | "publisher"} role @param {boolean} [short] @returns {import("./lib/networks.js").Case} */
const roams = (browser, role, short = false) => ({
  build,
  filters: true,
  short,
  run: async (networks) => {
    const there = { words: networks.on("roamer") };
    const elsewhere = { words: networks.on("other") };
    const fixed = [{ browser: "chromium", launch: elsewhere }, { browser: "firefox", launch: elsewhere }];
    const broadcast = await Broadcast.open({
      server: { host: ADDRESS, listen: "0.0.0.0", args: ["--open", "--advertise", ADDRESS] },
      launch: ({ url }) => ({ trusted: url }),
      publisher: role === "publisher" ? browser : "chromium",
      publisherLaunch: role === "publisher" ? there : elsewhere,
      viewers: role === "viewer" ? [{ browser, launch: there }] : fixed,
    });
    const gap_ms = {};
    try {
      gap_ms.roams = await goesOn(broadcast, "roams", () => roam(networks, "wifi", "mobile"));
      gap_ms.killed = await killed(broadcast);
      const bothAtOnce = async () => {
        await broadcast.server.kill();
        await roam(networks, "mobile", "wifi");
        await sleep(DOWN_MS - BETWEEN_MS);
        broadcast.server.spawn();
      };
      gap_ms.roams_back_while_killed = await goesOn(broadcast, "roams back while the server is killed", bothAtOnce, { kills: 1 });
      broadcast.assertNoProblems();
    } finally {
      record(`roaming ${role}, ${browser}`, { between_ms: BETWEEN_MS, down_ms: DOWN_MS, gap_ms });
      await broadcast.close();
    }
  },
});

onNetworks(import.meta.url, {
  "a viewer in Chromium roams": roams("chromium", "viewer", true),
  "a viewer in Firefox roams": roams("firefox", "viewer"),
  "a publisher in Chromium roams": roams("chromium", "publisher"),
  "a publisher in Firefox roams": roams("firefox", "publisher"),
});
