// An ICE connectivity check (RFC 8445 §7, RFC 8489) as a browser would send it.
import { createHmac, randomBytes } from "node:crypto";
import dgram from "node:dgram";
import { clock, sleep } from "./server.js";
import { crc32 } from "node:zlib";

const COOKIE = 0x2112a442;

function attribute(type, value) {
  const padded = Buffer.alloc(4 + Math.ceil(value.length / 4) * 4);
  padded.writeUInt16BE(type, 0);
  padded.writeUInt16BE(value.length, 2);
  value.copy(padded, 4);
  return padded;
}

const uint32 = (value) => {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value >>> 0);
  return buffer;
};

/** A Binding request with valid MESSAGE-INTEGRITY and FINGERPRINT. */
export function bindingRequest({ remoteUfrag, remotePwd, localUfrag }) {
  const transaction = randomBytes(12);
  const header = (length) => {
    const buffer = Buffer.alloc(8);
    buffer.writeUInt16BE(0x0001, 0);
    buffer.writeUInt16BE(length, 2);
    buffer.writeUInt32BE(COOKIE, 4);
    return Buffer.concat([buffer, transaction]);
  };
  let body = Buffer.concat([
    attribute(0x0006, Buffer.from(`${remoteUfrag}:${localUfrag}`)),
    attribute(0x0024, uint32(1853824767)),
    attribute(0x802a, randomBytes(8)),
  ]);
  const integrity = createHmac("sha1", remotePwd).update(header(body.length + 24)).update(body).digest();
  body = Buffer.concat([body, attribute(0x0008, integrity)]);
  const crc = crc32Of(Buffer.concat([header(body.length + 8), body]));
  body = Buffer.concat([body, attribute(0x8028, uint32(crc ^ 0x5354554e))]);
  return { transaction, data: Buffer.concat([header(body.length), body]) };
}

function crc32Of(buffer) {
  if (crc32) return crc32(buffer);
  let crc = ~0;
  for (const byte of buffer) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** Sends checks every `every` ms until one is answered; resolves with the time of the answer, or null. */
export async function firstAnswer({ host, port, credentials, every = 2, timeout = 5000 }) {
  const socket = dgram.createSocket("udp4");
  const sent = new Set();
  let at = null;
  socket.on("error", () => {});
  socket.on("message", (data) => {
    if (data.readUInt16BE(0) === 0x0101 && sent.has(data.subarray(8, 20).toString("hex"))) at ??= clock();
  });
  const end = clock() + timeout;
  while (at === null && clock() < end) {
    const { transaction, data } = bindingRequest(credentials);
    sent.add(transaction.toString("hex"));
    socket.send(data, port, host, () => {});
    await sleep(every);
  }
  socket.close();
  return at;
}
