/**
 * The texts that make a browser run DTLS again: session descriptions (RFC 8866) that a page derives from the answer it joined with. Pure.
 *
 * Chromium and Safari start DTLS over when the fingerprint changes; the same certificate under another hash function is enough.
 *
 * Firefox ignores that. It starts over when media moves to another transport, and media moves when another m-section owns the BUNDLE
 * group (RFC 9143). Moving it from one media section to the other has a race: the old transport has no user left and is closed, and if a
 * section hears of that before it has been moved, it never sends again. So two more sections, which carry nothing, take turns as the
 * owner: the old one leaves the group and keeps the old transport, which stays open, while the new one brings a new transport for the
 * media. When all is well the old owner comes back into the group, and its transport, which no media uses, is closed. These sections
 * are between page and browser: the server never sees them. (Chromium must not be given that: it moves one media section and leaves
 * the other on the old, dead transport.)
 *
 * @module
 */

const LINE = /\r?\n/;
const SECTION = /^(?=m=)/m;
const BUNDLE = /^a=group:BUNDLE ([^\r\n]*)/m;

/** A section's mid; every section that a browser makes has one. @param {string} section */
const midOf = (section) => /^a=mid:([^\r\n]*)/m.exec(section)?.[1]?.trim() ?? "";

/** What is before the first section, and the sections. @param {string} sdp @returns {[head: string, ...sections: string[]]} */
function split(sdp) {
  const [head = "", ...sections] = sdp.split(SECTION);
  return [head, ...sections];
}

/** The mids of a description's BUNDLE group, its owner first. @param {string} sdp @returns {string[]} */
export function bundled(sdp) {
  return BUNDLE.exec(sdp)?.[1]?.trim().split(" ") ?? [];
}

/**
 * Makes an offer (or an answer again) out of the server's answer, different enough that the browser runs DTLS again.
 *
 * @param {string} answer the answer of the join
 * @param {{ version: number, fingerprint?: string, bundle?: string[], type?: "offer" | "answer" }} edit
 * @returns {string}
 */
export function reoffer(answer, { version, fingerprint, bundle, type = "offer" }) {
  const setup = type === "offer" ? "actpass" : "passive";
  return answer
    .split(LINE)
    .map((line) => {
      if (line.startsWith("o=")) {
        const fields = line.split(" ");
        fields[2] = String(BigInt(fields[2] ?? 0) + BigInt(version));
        return fields.join(" ");
      }
      if (line.startsWith("a=setup:")) return `a=setup:${setup}`;
      if (fingerprint && line.startsWith("a=fingerprint:")) return `a=fingerprint:${fingerprint}`;
      if (bundle && line.startsWith("a=group:BUNDLE ")) return `a=group:BUNDLE ${bundle.join(" ")}`;
      return line;
    })
    .join("\r\n");
}

/** That of a server's first candidate (RFC 8445 §5.1.2.1); a browser takes up to 2^24 more. */
const PRIORITY = 0x7effffff;
/** The same of TCP (RFC 6544 §4.2). */
const PRIORITY_TCP = 0x5a9fffff;

/**
 * The server's answer with candidates (RFC 8839 §5.1) at these addresses in place of its own. With rank 0 they have the priorities that a server
 * gives its own: see `#restartIce` in rekindle-connection.js. Where the answer has candidates of TCP (RFC 6544), so has every one of these addresses.
 *
 * @param {string} answer
 * @param {string[]} media addresses with ports, the first preferred
 * @param {number} [rank] those of a higher rank are preferred to all of lower ones
 * @returns {string}
 */
export function withCandidates(answer, media, rank = 0) {
  /** @param {number} first @param {string} protocol @param {number} priority @param {string} end */
  const candidates = (first, protocol, priority, end) =>
    media.map((each, i) => `a=candidate:${first + i} 1 ${protocol} ${priority + 0x10000 * rank - 256 * i} ${each.replace(/^\[?(.*?)\]?:(\d+)$/, "$1 $2")} typ host${end}\r\n`);
  const lines = candidates(1, "udp", PRIORITY, "");
  if (/^a=candidate:\S+ 1 tcp /m.test(answer)) lines.push(...candidates(1 + media.length, "tcp", PRIORITY_TCP, " tcptype passive"));
  return answer
    .split(SECTION)
    .map((section) => {
      const [before = "", ...after] = section.split(/^a=candidate:[^\n]*\n/m);
      return after.length === 0 ? section : [before, ...lines, ...after].join("");
    })
    .join("");
}

/**
 * Asks for sound again where it was lost, as for pictures: Chromium offers no NACK (RFC 4585 §6.2.1) for Opus of its own accord, and
 * works with it where both descriptions have the line.
 *
 * @param {string} sdp
 * @returns {string}
 */
export function withSoundAgain(sdp) {
  return sdp.replace(/^a=rtpmap:(\d+) opus\/48000.*(?:\r\n|\n)/gim, (line, type) => {
    const nack = `a=rtcp-fb:${type} nack`;
    return new RegExp(`^${nack}\\s*$`, "m").test(sdp) ? line : `${line}${nack}\r\n`;
  });
}

/**
 * Says in an offer who made it (RFC 8866 §6.4): the server then knows, also after a restart, that this page renews its keys.
 *
 * @param {string} offer
 * @returns {string}
 */
export function signed(offer) {
  return offer.replace(/^(?=m=)/m, "a=tool:rekindle\r\n");
}

/**
 * Takes sections out of an offer, for the server. The first that is left then stands for the transport, which all describe alike.
 *
 * @param {string} offer
 * @param {string[]} mids
 * @returns {string}
 */
export function without(offer, mids) {
  const [head, ...sections] = split(offer);
  const [first = "", ...others] = sections.filter((section) => !mids.includes(midOf(section)));
  const own = first.replace(/^m=(\w+) 0 /, "m=$1 9 ").replace(/^a=bundle-only\r?\n/m, "");
  const group = bundled(head).filter((mid) => !mids.includes(mid));
  return [head.replace(BUNDLE, `a=group:BUNDLE ${group.join(" ")}`), own, ...others].join("");
}

/**
 * Puts the sections that the server was not shown into its answer: on the same transport, carrying nothing.
 *
 * @param {string} answer the server's
 * @param {string} offer the browser's, with those sections
 * @param {string[]} mids
 * @returns {string}
 */
export function withParking(answer, offer, mids) {
  const [head, ...agreed] = split(answer);
  const transport = (agreed[0]?.match(/^a=(?:ice-ufrag|ice-pwd|fingerprint|setup|candidate|end-of-candidates)\b[^\n]*\n/gm) ?? []).join("");
  const sections = offer
    .split(SECTION)
    .slice(1)
    .map((own) => {
      const mid = midOf(own);
      if (!mids.includes(mid)) return agreed.shift() ?? "";
      const [, kind, proto, format] = /^m=(\w+) \d+ (\S+) (\d+)/.exec(own) ?? [];
      const codec = own.match(new RegExp(`^a=rtpmap:${format} [^\n]*\n`, "m"))?.[0] ?? "";
      const lines = [`m=${kind} 9 ${proto} ${format}`, "c=IN IP4 0.0.0.0", `a=mid:${mid}`, "a=inactive", "a=rtcp-mux", ""];
      return `${lines.join("\r\n")}${transport}${codec}`;
    });
  const group = sections.map(midOf).filter((mid) => mids.includes(mid) || bundled(head).includes(mid));
  return [head.replace(BUNDLE, `a=group:BUNDLE ${group.join(" ")}`), ...sections].join("");
}

/**
 * Names the publisher's streams in the server's answer, in place of those that it named.
 *
 * @param {string} answer
 * @param {{ kind: string, ssrc: number, rtx: number | null }[]} streams
 * @returns {string}
 */
export function withStreams(answer, streams) {
  return answer
    .split(SECTION)
    .map((section) => {
      const own = /^a=inactive/m.test(section) ? [] : streams.filter(({ kind }) => section.startsWith(`m=${kind} `));
      if (own.length === 0) return section;
      const others = section.split(/(?<=\n)/).filter((line) => !/^a=ssrc(-group)?:/.test(line));
      const retransmits = /^a=rtpmap:\d+ rtx\//m.test(section);
      const lines = own.flatMap(({ ssrc, rtx }) => {
        const pair = retransmits && rtx !== null ? [ssrc, rtx] : [ssrc];
        const group = pair.length > 1 ? [`a=ssrc-group:FID ${pair.join(" ")}\r\n`] : [];
        return [...group, ...pair.map((each) => `a=ssrc:${each} cname:rekindle\r\n`)];
      });
      return [...others, ...lines].join("");
    })
    .join("");
}
