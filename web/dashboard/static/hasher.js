// A worker that hashes files, one after another, piece by piece: what it holds is one piece, however large they are.
"use strict";

importScripts("/static/vendor/sha256.umd.min.js");

const PIECE = 4 << 20; // bytes
let hasher = null;

onmessage = async ({ data: { id, file } }) => {
  try {
    hasher ||= await hashwasm.createSHA256();
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
