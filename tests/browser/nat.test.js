// Address translation: a server behind a router that translates one to one, and a browser behind one that hides it and forgets it. Each with kills of the server.
import assert from "node:assert/strict";
import { Broadcast } from "./lib/broadcast.js";
import { goesOn, killed } from "./lib/goes-on.js";
import { SERVER, onNetworks } from "./lib/networks.js";
import { record } from "./lib/report.js";
import { Server, sleep } from "./lib/server.js";

/** Where the server is reached, which no interface of its host has. */
const OUTSIDE = "198.51.100.1";
const DOWN_MS = 500;

/** @param {import("./lib/networks.js").Networks} networks */
function build(networks) {
  networks.hosts("hidden", "outside");
  networks.routers("net", "front", "home");
  networks.link("front", SERVER, { v4: "192.168.0" });
  networks.gateway(SERVER, "192.168.0.1");
  networks.link("front", "net", { v4: "198.51.100" });
  networks.gateway("front", "198.51.100.2");
  const inside = "192.168.0.2";
  networks.filter(
    "front",
    `table ip one {
      chain in { type nat hook prerouting priority dstnat
        ip daddr ${OUTSIDE} dnat to ${inside}
      }
      chain out { type nat hook postrouting priority srcnat
        ip saddr ${inside} oifname "net" snat to ${OUTSIDE}
      }
    }`,
  );
  networks.link("net", "outside", { v4: "203.0.113" });
  networks.gateway("outside", "203.0.113.1");
  networks.link("net", "home", { v4: "10.0.0" });
  networks.gateway("home", "10.0.0.1");
  networks.masquerade("home", "net");
  networks.link("home", "hidden", { v4: "192.168.1" });
  networks.gateway("hidden", "192.168.1.1");
}

/** The ports that stand for those of the hidden host's that send media. @param {import("./lib/networks.js").Networks} networks @param {number} media the server's */
function ports(networks, media) {
  const known = networks.run("home", ["cat", "/proc/net/nf_conntrack"]);
  return [...known.matchAll(new RegExp(`udp .*dport=${media} .*dport=(\\d+)`, "g"))].map(([, port]) => port);
}

/** @param {string} browser @param {"viewer" | "publisher"} role @param {boolean} [short] @returns {import("./lib/networks.js").Case} */
const hidden = (browser, role, short = false) => ({
  build,
  filters: true,
  short,
  run: async (networks) => {
    const server = await Server.make({ host: OUTSIDE, listen: "0.0.0.0", args: ["--open", "--advertise", OUTSIDE] });
    // The test is on the server's host, which reaches itself from inside only.
    networks.ip(SERVER, "address", "add", `${OUTSIDE}/32`, "dev", "lo");
    const [there, elsewhere] = ["hidden", "outside"].map((host) => ({ words: networks.on(host), trusted: server.url }));
    const broadcast = await Broadcast.open({
      server,
      publisher: role === "publisher" ? browser : "chromium",
      publisherLaunch: role === "publisher" ? there : elsewhere,
      viewers: role === "viewer" ? [{ browser, launch: there }] : [{ browser: "chromium", launch: elsewhere }, { browser: "firefox", launch: elsewhere }],
    });
    let before = [];
    const forget = () => {
      before = ports(networks, server.udpPort);
      networks.forget("home", "net", "10.0.0.1");
    };
    const isForgotten = () => {
      const now = ports(networks, server.udpPort);
      assert.ok(before.length > 0 && now.length > 0 && !now.some((port) => before.includes(port)), `ports ${before}, and then ${now}`);
    };
    const gap_ms = {};
    try {
      gap_ms.killed = await killed(broadcast);
      const whileDown = async () => {
        await server.kill();
        forget();
        await sleep(DOWN_MS);
        server.spawn();
      };
      gap_ms.forgotten_while_killed = await goesOn(broadcast, "the router forgets while the server is down", whileDown, { kills: 1 });
      isForgotten();
      gap_ms.forgotten = await goesOn(broadcast, "the router forgets while the server runs", forget);
      isForgotten();
      broadcast.assertNoProblems();
    } finally {
      record(`${role} behind a router, ${browser}`, { down_ms: DOWN_MS, gap_ms });
      await broadcast.close();
    }
  },
});

onNetworks(import.meta.url, {
  "a viewer in Chromium is hidden by a router": hidden("chromium", "viewer", true),
  "a viewer in Firefox is hidden by a router": hidden("firefox", "viewer"),
  "a publisher in Chromium is hidden by a router": hidden("chromium", "publisher"),
  "a publisher in Firefox is hidden by a router": hidden("firefox", "publisher"),
});
