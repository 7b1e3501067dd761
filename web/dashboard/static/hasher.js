// A worker that hashes files by SHA-256, and parts of them by MD5, as object stores name parts: one after another, piece
// by piece. What it holds is one piece, however large they are.
"use strict";

importScripts("/static/vendor/sha256.umd.min.js");
const { createSHA256 } = hashwasm; // the next one takes that name
importScripts("/static/vendor/md5.umd.min.js");
const { createMD5 } = hashwasm;

const PIECE = 4 << 20; // bytes
const makers = { SHA256: createSHA256, MD5: createMD5 };
const hashers = {};

onmessage = async ({ data: { id, file, by } }) => {
  try {
    const hasher = hashers[by] ||= await makers[by]();
    hasher.init();
    for (let at = 0; at < file.size; at += PIECE) {
      hasher.update(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
      postMessage({ id, at: Math.min(file.size, at + PIECE) });
    }
    postMessage({ id, hash: hasher.digest("hex") });
  } catch (error) {
    postMessage({ id, error: String(error.message || error) });
  }
};
