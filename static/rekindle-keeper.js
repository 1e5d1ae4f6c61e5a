/**
 * Keeps one connection: follows the server's events, does what is due when it is gone and when it is back, and ends the connection where nothing
 * else helps. What is due, rekindle-outage.js decides.
 *
 * @module
 */

import { listen } from "./rekindle-feed.js";
import { Outage, isFar } from "./rekindle-outage.js";
import { now, pause } from "./rekindle-time.js";
import { flows, isSilent, watchPicture, watchRoundTrip } from "./rekindle-watch.js";

/** @import { Connection } from "./rekindle-connection.js" */
/** @import { Owner } from "./rekindle-session.js" */
/** @import { Data, Join } from "./rekindle-signalling.js" */

/** A publisher's media that is not heard of this long after its keys were renewed needs a new session. */
const SILENT_MS = 4000;
/** What the last renewal left behind is removed when all has been well for this time. */
const TIDY_MS = 1000;
/** A server refuses a browser by a DTLS alert, and gives the reason by an event, which may come this much later. */
const REASON_MS = 1000;

/** @typedef {ReturnType<typeof keep>} Keeper */

/** @param {Connection} connection @param {Join} join @param {Owner} owner */
export function keep(connection, join, owner) {
  const { isViewer, signalling } = owner;
  const { encoders, pc } = connection;
  /** What a restart takes of this server, and the process that this connection's keys are shared with. */
  let { mode, process } = join;
  /** The outage in progress; null while all is well. @type {Outage | null} */
  let outage = null;
  /** How many there have been. */
  let outages = 0;
  /** What is in hand while the session's events are followed. @type {ReturnType<typeof listen> | null} */
  let feed = null;
  let streamOpen = false;
  /** The last attempt to open the event stream was refused at once. */
  let refused = false;
  /** The server says that the publisher's media arrives. @type {boolean | null} */
  let arrives = null;
  /** Video came while all was well: it has to come again. */
  let pictured = true;
  /** ICE is down, and the event stream was asked whether the server is. */
  let iceDoubted = false;
  /** The way to the server is doubted: whether anything comes is being looked at; and nothing did, so that the server is asked. */
  let doubting = false;
  let silent = false;
  /** What the server last greeted us with, and when. @type {Data | null} */
  let hello = null;
  let greetedAt = -Infinity;
  /** Since when the connection has failed without ever having been up. @type {number | null} */
  let failedSince = null;
  /** When to look again; when to prepare the next renewal. @type {{ look?: ReturnType<typeof setTimeout>, ready?: ReturnType<typeof setTimeout> }} */
  const timers = {};

  const isHidden = () => globalThis.document?.hidden === true;
  /** @returns {import("./rekindle-outage.js").Present} */
  const present = () => ({ at: now(), mode, streamOpen, refused, hidden: isHidden() });
  /** What the paths of the server begin with at which the session is. */
  const place = () => new URL("..", join.location).href;
  const look = () => feed?.().look(connection.rtt);
  const lookAgain = (/** @type {number} */ ms) => {
    if (ms < Infinity) timers.look = setTimeout(assess, Math.max(1, ms));
  };

  // -- the event stream: its end is the first sign that the server is gone ---------------------------------------------------

  /** Follows the session's events. */
  const follow = () => {
    feed = listen(join, signalling, {
      heard: (event, data) => {
        if (!connection.ended) heard(event, data);
      },
      down: (first, isRefused) => {
        if (connection.ended) return;
        streamOpen = false;
        refused = isRefused;
        if (first) lost();
      },
      others: () => connection.ended || watchSilence(),
      moved: (location, from, to, alive) => {
        join.location = location;
        connection.rank += Number(alive);
        connection.media ??= "elsewhere";
        signalling.move(from, to);
      },
      unknown: (other) => {
        signalling.move(place(), other);
        connection.end("unknown-session");
      },
    });
    connection.over.then(() => {
      clearTimeout(timers.look);
      feed?.().stop();
    });
  };

  /** Something has happened that makes another attempt worthwhile. */
  const nudge = () => {
    feed?.().nudge();
    assess();
  };

  /** @param {string} event @param {Data} data */
  const heard = (event, data) => {
    if (data.keys) owner.learn("keys", data.keys, "keys", data.keys);
    if (event === "hello") greeted(data);
    else if (event === "connected") connection.serverHasKeys = true;
    else if (event === "handshake") outage?.saw(now());
    else if (event === "source") {
      tune(data);
      setLive(data.live === true);
      // What a publisher sends does not arrive.
      if (!isViewer && data.live === false && !outage && connection.sends) doubt();
    } else if (event === "unheard") owner.learn("unheard", data.unheard === true);
    else if (event === "gone") connection.end(data.reason ?? "gone");
    watchSilence();
    assess();
  };

  /** @param {Data} data */
  const greeted = (data) => {
    streamOpen = true;
    hello = data;
    greetedAt = now();
    connection.serverHasKeys = data.connected === true;
    mode = data.mode ?? mode;
    const moved = data.media !== undefined && connection.move(data.media);
    if ((data.process ?? null) !== process) {
      // Without a lost stream before it: the server died and came back while the connection was being made.
      if (!outage) begin();
    } else {
      if (outage?.applied === 0 && (!outage.renewed || connection.connected)) {
        // A false alarm: only the stream was lost, and the keys are what they were.
        outage = null;
        if (encoders.held) refresh();
        if (connection.served) owner.set("connected");
        // A look at this that was on its way has ended with the alarm.
        watchArrival();
        if (!silent) doubt();
      }
      if (!outage && silent) loseWay();
      // What was renewed meanwhile with a server that had its keys all the time was renewed by the wrong way.
      else if (outage && outage.applied > 0 && !connection.connected) connection.adrift = true;
    }
    if (outage) {
      outage.greeted(data, now(), owner.among());
      outage.moved ||= moved;
      if (outage.upAt === null && !outage.keepsKeys(connection, present())) owner.set("renewing");
    } else {
      owner.setBoot(data.boot ?? null);
    }
    if (data.unheard === true) owner.learn("unheard", true);
    tune(data);
    if (typeof data.source === "boolean") setLive(data.source);
  };

  /** @param {Data} data */
  const tune = ({ streams }) => {
    if (isViewer && streams?.[0]) connection.setStreams(streams);
  };

  /** @param {boolean} live */
  const setLive = (live) => {
    arrives = live;
    if (!isViewer) return;
    // After a restart the publisher is away for a moment as everybody is. It counts as gone if it has not come back by the end.
    if (outage) outage.live = live;
    if (live || !outage || owner.live() === null) owner.learn("live", live, "source");
  };

  // -- the way to the server, which this browser may have lost ----------------------------------------------------------------

  /** The browser's own network may be another one, or the server is there and its media is not. What nothing comes by from a server that greets us is lost. */
  const doubt = async () => {
    if (doubting || !connection.served) return;
    const since = now();
    doubting = connection.adrift = true;
    if (connection.iceIsDown) look();
    silent = await isSilent(pc, isViewer);
    doubting = false;
    // Nothing comes to a viewer without a publisher.
    silent &&= connection.iceIsDown || !isViewer || arrives === true;
    if (silent) signalling.freshen(place());
    else connection.adrift = false;
    if (!silent || connection.ended || outage || !streamOpen) return;
    if (greetedAt < since) look();
    else loseWay();
  };

  const loseWay = () => {
    silent = false;
    const way = begin();
    if (!hello) return;
    way.roams = true;
    way.greeted(hello, now(), owner.among());
    owner.set("renewing");
    assess();
  };

  // -- the outage --------------------------------------------------------------------------------------------------------------

  const lost = () => {
    const lately = begin();
    owner.set("server-gone");
    if (connection.served) prepare();
    feed?.().watchMedia?.(pc, () => connection.ended || streamOpen || outage !== lately);
    assess();
  };

  /** An outage begins, or gets worse. */
  const begin = () => {
    connection.serverHasKeys = false;
    outages += 1;
    clearTimeout(timers.ready);
    delete timers.ready;
    return (outage = new Outage(connection, now(), outage));
  };

  /** Evaluates all that is known and does what is due. Called whenever something changed; timers are only deadlines. */
  const assess = () => {
    if (connection.ended || !connection.join) return;
    clearTimeout(timers.look);
    if (connection.iceIsDown) connection.iceDownSince ??= now();
    else [connection.iceDownSince, iceDoubted] = [null, false];
    // What is done here may end it.
    const during = outage;
    if (!during) return assessPeace();
    if (connection.renewing) return;
    const at = present();
    if (during.hasKeys(connection, at)) {
      if (during.upAt === null) {
        during.upAt = at.at;
        if (!isViewer && wantsKeyFrame(during)) refresh();
        owner.wake();
        nudge();
        settle(during);
      }
      // With the stream open, the server has to know of the keys as well: they may be those of a process that died since.
      if (!streamOpen || connection.serverHasKeys) return finish(during);
    } else {
      during.upAt = null;
    }
    if (during.isHopeless(connection, at)) return connection.end("renewal-failed");
    const due = during.renewalAt(connection, at);
    if (due > at.at) lookAgain(Math.min(due, during.lookAgainAt(connection, at)) - at.at);
    else if (during.shouldAsk(connection, at)) connection.ask().finally(assess);
    else renew(during);
  };

  /** The same while there is no outage. */
  const assessPeace = () => {
    if (connection.connected) {
      serve();
      connection.retune()?.catch(() => connection.end("retune-failed"));
      makeReady();
    } else if (!connection.served) {
      if (pc.connectionState === "failed") fails();
      // ICE noticed what the event stream did not: a host that is gone closes nothing.
    } else if (connection.iceIsDown && !iceDoubted) {
      iceDoubted = true;
      doubt();
    }
  };

  /** The first connect has failed. While the server is there, it may be about to say why. */
  const fails = () => {
    failedSince ??= now();
    const wait = streamOpen ? failedSince + REASON_MS - now() : 0;
    if (wait <= 0) connection.end("no-media-path");
    else lookAgain(wait);
  };

  /** @param {Outage} during */
  const renew = async (during) => {
    const at = present();
    if (during.isBack(at)) owner.set("renewing");
    const blind = during.isBlind(at);
    // It may be the browser's own network that is gone, of which Firefox does not tell. It is asked only while no attempt is under way, which that would disturb.
    if (!connection.mixes && (connection.iceIsDown || connection.isStranded || (blind && during.applied === 0))) connection.adrift = true;
    if (blind) signalling.freshen(place());
    during.roams ||= connection.adrift;
    during.renews(connection, now());
    // Where the connection was closed meanwhile, or would not take the description, the deadline finds out.
    await connection.renew().catch(() => {});
    // Keys that were there before this returned have had their key frame: encoders stopped now would stay so.
    if (!isViewer && isFar(connection) && during.isLong(present()) && during.upAt === null) encoders.hold()?.catch(() => {});
    assess();
  };

  /**
   * Keys are there: whether a picture that needs nothing of what was lost helps. From far away it is there sooner than what was lost. But an
   * encoder that has to be stopped for it leaves frames out that viewers with a cushion would have seen.
   *
   * @param {Outage} during
   */
  const wantsKeyFrame = (during) => encoders.held || (isFar(connection) && (!encoders.stops || during.isLong(present())));

  /** Keys are there: waits until media flows under them, and says so. @param {Outage} during */
  const settle = async (during) => {
    const wanted = () => outage === during && during.upAt !== null && !connection.ended;
    if (isViewer && owner.live() !== false) {
      const flow = await flows(pc, wanted, () => during.live === true, pictured);
      if (wanted() && !flow && during.live === true) return connection.end("no-media");
    }
    if (!wanted()) return;
    during.tookMs = Math.round(now() - during.since);
    assess();
  };

  /** @param {Outage} over */
  const finish = ({ boot, tookMs, renewed, live, process: present }) => {
    if (tookMs === null) return;
    owner.set("connected", { took_ms: tookMs });
    // Which process it is that answered is known when the stream is back.
    if (!streamOpen) return;
    outage = null;
    silent = connection.adrift = false;
    // Where keys were kept ICE may be down still, and the server has just answered.
    iceDoubted = connection.iceIsDown;
    serve();
    const another = process !== present;
    process = present;
    owner.setBoot(boot);
    if (live !== null) setLive(live);
    queueMicrotask(assess);
    watchArrival();
    if (another && boot !== null) owner.restarted({ boot, took_ms: tookMs, renewed });
  };

  // -- while all is well ---------------------------------------------------------------------------------------------------------

  /** The first connect. */
  const serve = () => {
    if (connection.served) return;
    connection.served = true;
    owner.learn("unheard", false);
    watchRoundTrip(connection, { isExcused: () => outage !== null, measured: () => owner.measured() });
    if (isViewer) {
      if (mode !== "full-state") connection.prime()?.catch(() => {});
      watchPicture(pc, {
        isOver: () => connection.ended,
        isExcused: () => outage !== null || isHidden(),
        stands: () => connection.end("no-picture"),
        comes: (video) => {
          if (!outage) pictured = video;
        },
      });
    }
    owner.serves();
    owner.set("connected");
  };

  const refresh = () => encoders.refresh().catch(() => encoders.held && connection.end("no-picture"));

  /** What cannot be prepared is tried again when it is needed. */
  const prepare = () => {
    if (mode !== "full-state") connection.prepare()?.catch(() => {});
  };

  /** When all has been well for a while: clears away what the last renewal left behind, and prepares the next one. */
  const makeReady = () => {
    const ready = async () => {
      delete timers.ready;
      if (connection.ended || !connection.connected) return;
      await connection.tidy();
      if (!outage) prepare();
    };
    if (!connection.prepared) timers.ready ??= setTimeout(() => ready().catch(() => connection.end("tidy-failed")), TIDY_MS);
  };

  /** A publisher that is connected, and whose media does not arrive all the same, is helped only by a new connection. */
  const watchArrival = async () => {
    const before = outages;
    if (isViewer) return;
    await pause(SILENT_MS);
    // After a later outage the server may not have heard of it yet, and it is looked at then.
    if (outages === before && !connection.ended && streamOpen && arrives === false && connection.sends) connection.end("no-media");
  };

  /** Where there is somewhere else to go, a host that is gone is noticed by the silence. */
  const watchSilence = () =>
    feed?.().watchSilence?.(pc, {
      isOver: () => connection.ended,
      isExcused: () => outage !== null || !streamOpen || !connection.served || (isViewer && arrives !== true),
      rtt: () => connection.rtt,
    });

  return { follow, nudge, doubt, assess };
}
