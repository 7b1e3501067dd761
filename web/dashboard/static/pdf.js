"use strict";

// Draws a PDF whose bytes the page around hands over, in a frame without an origin (sandbox): no cookie, no storage, no
// page of ours is within reach of it. Pages are drawn when they come near, and given up when they are far.

const MOST_PAGES = 1000;
const MOST_PIXELS = 6_000_000; // of one drawing
const LONGEST = 16_000; // pixels of a side of it: browsers have no canvas that is much longer
const TALLEST = 20; // times its width
const MOST_DRAWN = 8; // pages that are kept
const MOST_MS = 20000; // for one page, or for the document to open
const whole = (address) => new URL(address, document.baseURI).href; // this script is another origin's to its frame
const { library, worker, wasm } = document.currentScript.dataset;

const say = (text) => {
  const said = document.getElementById("said");
  said.hidden = !text;
  said.textContent = text;
};

const inTime = (promise) => Promise.race([promise, new Promise((_, fail) => setTimeout(() => fail(new Error("slow")), MOST_MS))]);

// A frame without an origin may start no worker by its address, and none that is a module: it starts one of a line that
// imports the module.
let port = null; // one that nothing refers to may be given up

const startWorker = () => new Promise((done, fail) => {
  const line = `import(${JSON.stringify(whole(worker))}).then(() => postMessage("there"), () => postMessage("missing"));`;
  port = new Worker(URL.createObjectURL(new Blob([line], { type: "text/javascript" })));
  port.addEventListener("message", ({ data }) => {
    if (data === "there") done();
    else if (data === "missing") fail(new Error("no worker"));
  });
});

const drawn = []; // the pages that are drawn, the oldest first

const drop = (holder) => {
  holder.task?.cancel();
  holder.task = null;
  holder.querySelector("canvas")?.remove();
};

const draw = async (pdf, holder) => {
  if (holder.task || holder.querySelector("canvas")) return;
  holder.task = { cancel() {} };
  try {
    const page = await inTime(pdf.getPage(Number(holder.dataset.page)));
    const plain = page.getViewport({ scale: 1 });
    const width = Math.max(100, holder.clientWidth);
    const wanted = width / plain.width * Math.min(2, devicePixelRatio);
    const scale = Math.min(wanted, Math.sqrt(MOST_PIXELS / (plain.width * plain.height)), LONGEST / Math.max(plain.width, plain.height));
    const viewport = page.getViewport({ scale });
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.floor(viewport.width));
    canvas.height = Math.max(1, Math.floor(viewport.height));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", holder.getAttribute("aria-label"));
    holder.task = page.render({ canvas, viewport });
    holder.querySelector("p").hidden = true;
    holder.append(canvas);
    drawn.push(holder);
    while (drawn.length > MOST_DRAWN) drop(drawn.shift());
    await inTime(holder.task.promise);
  } catch (error) {
    if (error?.name === "RenderingCancelledException") return;
    drop(holder);
    const said = holder.querySelector("p");
    said.hidden = false;
    said.textContent = error.message === "slow" ? "This page takes too long to draw." : "This page cannot be drawn.";
  } finally {
    holder.task = null;
  }
};

const show = async (bytes) => {
  try {
    const [pdfjs] = await inTime(Promise.all([import(whole(library)), startWorker()]));
    pdfjs.GlobalWorkerOptions.workerPort = port;
    const loading = pdfjs.getDocument({
      data: new Uint8Array(bytes), wasmUrl: whole(wasm), isEvalSupported: false, enableXfa: false,
      stopAtErrors: false, maxImageSize: 50_000_000, disableFontFace: false, verbosity: 0,
    });
    const pdf = await inTime(loading.promise);
    const first = (await inTime(pdf.getPage(1))).getViewport({ scale: 1 });
    const near = new IntersectionObserver((seen) => {
      for (const each of seen) if (each.isIntersecting) draw(pdf, each.target);
    }, { rootMargin: "400px" });
    const pages = document.getElementById("pages");
    for (let number = 1; number <= Math.min(pdf.numPages, MOST_PAGES); number += 1) {
      const holder = document.createElement("section"), said = document.createElement("p");
      holder.className = "leaf";
      holder.dataset.page = number;
      holder.setAttribute("aria-label", `Page ${number} of ${pdf.numPages}`);
      holder.style.aspectRatio = `${first.width} / ${Math.min(first.height, first.width * TALLEST)}`;
      said.className = "muted small";
      said.textContent = `Page ${number}`;
      holder.append(said);
      pages.append(holder);
      near.observe(holder);
    }
    say(pdf.numPages > MOST_PAGES ? `The first ${MOST_PAGES} of ${pdf.numPages} pages. Download it to see the others.` : "");
  } catch (error) {
    port?.terminate(); // which may be busy with it for ever
    say(error?.name === "PasswordException" ? "This PDF takes a password. Download it to see it."
      : error?.message === "slow" ? "This PDF takes too long to open. Download it to see it."
      : "This PDF cannot be shown. Download it to see it.");
  }
};

addEventListener("message", (event) => {
  if (event.source === parent && event.data instanceof ArrayBuffer) show(event.data);
}, { once: true });
parent.postMessage("ready", "*");
