// The two families of addresses, several networks, names, and paths with a small MTU; each with a kill of the server.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { Broadcast } from "./lib/broadcast.js";
import { goesOn, killed } from "./lib/goes-on.js";
import { SERVER, onNetworks } from "./lib/networks.js";
import { Tab, until } from "./lib/pages.js";
import { record } from "./lib/report.js";
import { Server, sleep } from "./lib/server.js";

/** @import { Case, Networks } from "./lib/networks.js" */

/** A browser on this host, whose page is at this origin. */
const at = (networks, host, origin) => ({ words: networks.on(host), trusted: origin });

const viewer = (networks, browser, host, origin) => ({ browser, url: `${origin}/?channel=test`, launch: at(networks, host, origin) });

/** Where a page's server receives media, as the page was told, and the addresses that its own media leaves from, as the server sees them. */
const addresses = (tab) =>
  tab.run(async () => {
    const connection = window.seen.live();
    const told = [...connection.remoteDescription.sdp.matchAll(/^a=candidate:\S+ 1 udp \d+ (\S+) /gm)].map(([, address]) => address);
    const own = [...(await connection.getStats()).values()].filter(({ type }) => type === "local-candidate").map(({ address, ip }) => address ?? ip ?? "");
    return { told: [...new Set(told)], own };
  });

/** Kills the server while the broadcast is watched, and says how long each picture stood still. */
async function withKill(name, open, during = async () => ({})) {
  const broadcast = await open();
  const figures = {};
  try {
    figures.gap_ms = await killed(broadcast);
    Object.assign(figures, await during(broadcast));
    broadcast.assertNoProblems();
  } finally {
    record(name, figures);
    await broadcast.close();
  }
}

/** @type {Case} */
const bothFamilies = {
  short: true,
  build: (networks) => {
    networks.hosts("four", "six");
    networks.link(SERVER, "four", { v4: "10.0.4" });
    networks.link(SERVER, "six", { v6: "2001:db8:6" });
  },
  run: async (networks) => {
    const server = await Server.make({ host: "10.0.4.1", listen: "[::]", udpHost: "[::]", args: ["--open"] });
    const [four, six] = [server.url, `http://[2001:db8:6::1]:${server.port}`];
    const open = () =>
      Broadcast.open({
        server,
        publisherLaunch: at(networks, "four", four),
        viewers: [viewer(networks, "chromium", "six", six), ...(process.env.CI ? [] : [viewer(networks, "firefox", "four", four), viewer(networks, "firefox", "six", six)])],
      });
    await withKill("both families of addresses", open, async (broadcast) => {
      for (const tab of broadcast.tabs) {
        const { told, own } = await addresses(tab);
        const isFour = (await tab.run(() => location.hostname)) === "10.0.4.1";
        assert.equal(told[0], isFour ? "10.0.4.1" : "2001:db8:6::1", `${tab.name} is told first where it has reached the server`);
        // An IPv4 peer of a socket for both families must not be told an IPv6 address of its own.
        assert.ok(!own.some((address) => address.startsWith("::ffff:")), `${tab.name} has ${own}`);
        // Link-local addresses need a zone, and browsers take none: neither in a URL nor in a description.
        assert.ok(await tab.run(() => !URL.canParse("http://[fe80::1%25eth0]:8080/")), tab.name);
      }
    });
  },
};

/** @type {Case} */
const ipv6Alone = {
  build: (networks) => {
    networks.hosts("one", "other");
    networks.link(SERVER, "one", { v6: "2001:db8:1" });
    networks.link(SERVER, "other", { v6: "2001:db8:2" });
  },
  run: async (networks) => {
    const server = await Server.make({ host: "[2001:db8:1::1]", listen: "[::]", udpHost: "[::]", args: ["--open", "--advertise", "2001:db8:1::1,2001:db8:2::1"] });
    const other = `http://[2001:db8:2::1]:${server.port}`;
    const open = () =>
      Broadcast.open({
        server,
        publisher: "firefox",
        publisherLaunch: at(networks, "one", server.url),
        viewers: [viewer(networks, "chromium", "other", other), viewer(networks, "firefox", "other", other)],
      });
    await withKill("IPv6 alone", open);
  },
};

/** @type {Case} */
const severalNetworks = {
  build: (networks) => {
    networks.hosts("left", "right", "late");
    networks.link(SERVER, "left", { v4: "10.0.1" });
    networks.link(SERVER, "right", { v4: "10.0.2" });
  },
  run: async (networks) => {
    const server = await Server.make({ host: "10.0.1.1", listen: "0.0.0.0", args: ["--open"] });
    const [left, right, late] = [server.url, `http://10.0.2.1:${server.port}`, `http://10.0.3.1:${server.port}`];
    const open = () =>
      Broadcast.open({
        server,
        publisherLaunch: at(networks, "right", right),
        publisherUrl: () => `${right}/?channel=test`,
        viewers: [viewer(networks, "chromium", "left", left), viewer(networks, "firefox", "right", right)],
      });
    await withKill("several networks", open, async (broadcast) => {
      // A network that comes while the server runs.
      networks.link(SERVER, "late", { v4: "10.0.3" });
      const { browser, url, launch } = viewer(networks, "chromium", "late", late);
      broadcast.viewers.push(await Tab.viewer(await broadcast.browsers.get(browser, launch), url));
      assert.equal((await addresses(broadcast.viewers[2])).told[0], "10.0.3.1");
      // One that goes takes its own viewer along, and nobody else.
      const [gone, ...others] = broadcast.viewers;
      broadcast.viewers = others;
      const more = { network_gone_gap_ms: await goesOn(broadcast, "a network goes", () => networks.ip(SERVER, "link", "delete", "left")) };
      await gone.close();
      more.killed_then_gap_ms = await killed(broadcast);
      return more;
    });
  },
};

/** @type {Case} */
const names = {
  build: (networks) => {
    networks.hosts("viewer");
    networks.link(SERVER, "viewer", { v4: "10.0.1", v6: "2001:db8:1" });
  },
  run: async (networks) => {
    // What /etc/hosts is for the server alone.
    const server = await Server.make({ host: "10.0.1.1", listen: "listens.test", udpHost: "[::]", args: ["--open", "--advertise", "media.test"] });
    const hosts = path.join(server.dir, "hosts");
    server.words = ["unshare", "--mount", "sh", "-c", `mount --bind '${hosts}' /etc/hosts && exec "$@"`, "sh"];
    const known = { listens: "10.0.1.1 listens.test\n", media: "2001:db8:1::1 media.test\n10.0.1.1 media.test\n" };
    try {
      fs.writeFileSync(hosts, known.listens);
      server.spawn();
      const { code } = await server.exited;
      assert.equal(code, 1, "whoever starts it starts it again");
      assert.match(server.log(), /cannot find an address of the host "media\.test": .*; check the name, or give an IP address/);
      // A supervisor does so.
      server.supervised = true;
      server.spawn();
      await until(() => server.log(60).split("cannot find an address").length > 2, () => server.log());
      fs.writeFileSync(hosts, known.listens + known.media);
      await server.ready(30_000);
    } catch (error) {
      await server.close();
      throw error;
    }
    const open = () =>
      Broadcast.join(server, {
        publisherLaunch: at(networks, "viewer", server.url),
        viewers: [viewer(networks, "chromium", "viewer", server.url), viewer(networks, "firefox", "viewer", server.url)],
      });
    await withKill("names", open, async (broadcast) => {
      const { told } = await addresses(broadcast.viewers[0]);
      assert.deepEqual(told.sort(), ["10.0.1.1", "2001:db8:1::1"], "both families");
      // The name is unknown at the next start, and known again after a while.
      fs.writeFileSync(hosts, known.listens);
      const unknown = async () => {
        await server.kill();
        await sleep(1500);
        fs.writeFileSync(hosts, known.listens + known.media);
      };
      return { unknown_for_a_while_gap_ms: await goesOn(broadcast, "the name is unknown for a while", unknown, { kills: 1 }) };
    });
  },
};

/** @param {number} mtu @param {{ v4?: string, v6?: string }} inner @param {string} address @returns {Case} */
const narrow = (mtu, inner, address) => ({
  build: (networks) => {
    networks.hosts("viewer", "publisher");
    networks.routers("near", "far");
    const { v4, v6 } = inner;
    const of = (number) => ({ v4: v4 && `${v4}.${number}`, v6: v6 && `${v6}:${number}` });
    const [first, second] = v6 ? ["::1", "::2"] : [".1", ".2"];
    const whole = (number) => (v6 ? `${v6}:${number}` : `${v4}.${number}`);
    // server - near -(narrow)- far - viewer: neither end sees it.
    networks.link("near", SERVER, of(1));
    networks.link("near", "far", { ...of(2), mtu });
    networks.link("far", "viewer", of(3));
    networks.link("near", "publisher", of(4));
    networks.gateway(SERVER, whole(1) + first);
    networks.gateway("viewer", whole(3) + first);
    networks.gateway("publisher", whole(4) + first);
    networks.gateway("near", whole(2) + second);
    networks.gateway("far", whole(2) + first);
  },
  run: async (networks) => {
    const server = await Server.make({ host: address, listen: address.startsWith("[") ? "[::]" : "0.0.0.0", udpHost: address.startsWith("[") ? "[::]" : "0.0.0.0", args: ["--open"] });
    const open = () =>
      Broadcast.open({
        server,
        publisherLaunch: at(networks, "publisher", server.url),
        // Pictures with packets of the full size.
        viewers: [viewer(networks, "chromium", "viewer", server.url), viewer(networks, "firefox", "viewer", server.url)],
      });
    await withKill(`a path with an MTU of ${mtu}, to ${address}`, open, async (broadcast) => {
      const { packets, lost } = await broadcast.viewers[0].stats();
      assert.ok(lost * 50 < packets, `${lost} of ${packets} packets are lost`);
      return { packets, lost };
    });
  },
});

onNetworks(import.meta.url, {
  "one socket for both families, a viewer in each": bothFamilies,
  "IPv6 alone": ipv6Alone,
  "a server in several networks, of which one comes and one goes": severalNetworks,
  "names, of which one is unknown at first": names,
  "a path with an MTU of 1280 over IPv4": narrow(1280, { v4: "10.0" }, "10.0.1.2"),
  "a path with an MTU of 1280 over IPv6": narrow(1280, { v6: "2001:db8" }, "[2001:db8:1::2]"),
  // Room for 1200 bytes in a datagram (RFC 791 §3.1, RFC 768), while RTP of that size has SRTP's tag behind it.
  "a path with an MTU of 1228 over IPv4": narrow(1228, { v4: "10.0" }, "10.0.1.2"),
  // Less than browsers reckon with: the router splits what it passes on (RFC 791 §2.3).
  "a path with an MTU of 1000 over IPv4": narrow(1000, { v4: "10.0" }, "10.0.1.2"),
});
