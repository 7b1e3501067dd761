// The pages' script: live updates, times that stay true, keys. Every page can be read without it.
"use strict";

const main = () => document.querySelector("main");
// Signs that are not seen, or turn the order around: as the server shows them.
const shownName = (text) => text.replace(/[\u0000-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, "\ufffd");
const REFRESH_MS = 1500; // between two refreshes of a page that somebody looks at
const SOON_MS = 2000; // until a page looks again that shows what changes without an event, where it does not say how many seconds
const RELOAD_MS = 5000; // a page that has just loaded is not loaded anew
const BUSY_MS = 15000; // since the last touch: an open list of choices is not redrawn under somebody's hand

// ---------------------------------------------------------------- refresh: fetch this page again, morph what changed

const refresher = {
  timer: 0,
  due: 0, // when it is over
  last: 0,
  running: null,
  acting: 0, // requests of the page itself: what they do is not looked at before they are answered
  again: false, // something happened while a refresh was under way, which may have been too early to see it

  soon(least = 0) {
    const wait = Math.max(least, this.last + REFRESH_MS - Date.now());
    if (this.timer && this.due <= Date.now() + wait) return;
    this.in(wait);
  },

  in(wait) {
    clearTimeout(this.timer);
    this.due = Date.now() + wait;
    this.timer = setTimeout(() => this.now(), wait);
  },

  async now() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (!main()?.dataset.live) return;
    if (this.running || this.acting) { this.again = true; return; }
    if (choosing()) { this.in(REFRESH_MS); return; }
    const address = location.href;
    const running = new AbortController();
    this.running = running;
    try {
      const response = await fetch(address, { headers: { "X-Live": "1" }, signal: running.signal });
      if (response.redirected && new URL(response.url).pathname === "/login") { connection.say("signed-out"); return; }
      if (address !== location.href) return;
      if (response.status >= 500 || response.status === 429) { this.again = true; return; }
      // Any other refusal is a page, too: the job that it was about is gone, say.
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      const content = fresh.querySelector("main");
      if (!content || running.signal.aborted) return;
      if (choosing()) { this.again = true; return; }
      if (response.ok && dress(fresh) !== dress(document) && !anythingBegun()) {
        // Two servers of two releases behind one address must not make it load in circles.
        const early = RELOAD_MS - performance.now();
        if (early <= 0) { location.reload(); return; }
        this.soon(early);
      }
      Idiomorph.morph(main(), content, { callbacks: keeping });
      document.title = fresh.title;
      settle();
      connection.answered();
    } catch (error) {
      if (error.name !== "AbortError") { connection.say("lost"); this.again = true; }
    } finally {
      if (this.running === running) {
        this.running = null;
        this.last = Date.now();
        if (this.again) { this.again = false; this.soon(); }
      }
    }
  },

  act() {
    this.acting += 1;
    if (!this.running) return;
    this.again = true;
    this.running.abort();
    this.running = null;
  },

  acted() {
    this.acting = Math.max(0, this.acting - 1);
    if (!this.acting && this.again) { this.again = false; this.soon(); }
  },

  stop() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.again = false;
    this.running?.abort();
    this.running = null;
  },
};

// The styles and scripts of a page, by addresses that carry their hashes. A server of another release brings others.
const dress = (page) =>
  [...page.head.querySelectorAll("link[rel=stylesheet], script[src]")].map((each) => each.getAttribute("href") || each.getAttribute("src")).join(" ");

let touched = 0;
for (const name of ["pointerdown", "keydown"]) addEventListener(name, () => { touched = Date.now(); }, true);
const choosing = () =>
  Date.now() - touched < BUSY_MS && main().contains(document.activeElement)
  && document.activeElement.matches("select, input[type=datetime-local]");

// What somebody has begun is not taken away: a word half typed, a box ticked, a choice made.
const begun = (control) => {
  if (control === document.activeElement && !control.matches("[type=checkbox]")) return true;
  if (control.matches("select")) {
    const first = [...control.options].findIndex((option) => option.defaultSelected);
    return control.selectedIndex !== Math.max(0, first);
  }
  return control.matches("[type=checkbox]") ? control.checked !== control.defaultChecked : control.value !== control.defaultValue;
};

const anythingBegun = () =>
  document.querySelector("dialog[open]") || [...main().querySelectorAll("input:not([type=hidden]), select, textarea")].some(begun);

const keeping = {
  beforeNodeMorphed: (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) return true;
    if (old.matches("input:not([type=hidden]), select, textarea")) return !begun(old);
    // What a field was when its page came goes together with the field: both are kept, or both come anew.
    if (old.matches("input[type=hidden][name^=was_]")) {
      return ![...(old.form?.elements ?? [])].some((each) => each.name === old.name.slice(4) && begun(each));
    }
    // A log that is followed is ahead of the page.
    if (old.matches("[data-log]") && liveLog.source) return liveLog.about(old) !== liveLog.about(fresh);
    if (old.id === "live-state" || old.matches("datalist[data-asked]")) return false;
    // A chart redraws itself; its canvas is in no page.
    return !(old.matches("[data-chart]") && old.dataset.chart === fresh.dataset.chart);
  },
  // Opened is opened.
  beforeAttributeUpdated: (name, node) => !(name === "open" && node.matches("details")),
};

// An open dialog stays as it is when another page comes: without its `open`, which no page brings, it would be unseen
// and still keep all else from being clicked.
Idiomorph.defaults.callbacks.beforeNodeMorphed = (old) => !(old instanceof HTMLDialogElement && old.open);

// ---------------------------------------------------------------- the stream of events

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

const connection = {
  port: null, // to the one stream of this browser (stream.js)
  state: "",
  streams: false, // whether the stream stands, whatever a refresh came to

  // What the page wants to hear of stands in its <main>. The sign in the head of the page may be a new one, which says
  // nothing yet.
  open() {
    const address = main()?.dataset.live || "";
    const query = new URLSearchParams(address.split("?")[1]);
    const list = (name) => (query.get(name) || "").split(",").filter(Boolean);
    this.port ||= this.connect();
    // While an operation that was begun here goes on, each page shows how far it is.
    const types = "works" in (main()?.dataset || {}) && address ? [...list("types"), "operation_updated"] : list("types");
    const ends = endings.ids;
    if (ends.length) types.push("batch_ended");
    this.port.postMessage({ types, jobs: list("jobs").map(Number), hidden: document.hidden, endings: ends });
    this.say(address ? this.state : "off");
  },

  connect() {
    const script = document.querySelector("script[src*='/static/stream.js']").src;
    let port;
    try {
      const worker = new SharedWorker(script, "blobforge");
      // It may be forbidden, or not to be had: then this tab has a stream of its own.
      worker.onerror = () => { if (this.port === port) { this.port = this.alone(); this.open(); } };
      port = worker.port;
    } catch { return this.alone(); }
    port.onmessage = (event) => this.heard(event.data);
    return port;
  },

  alone() {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = (event) => this.heard(event.data);
    makeHub().add(port2);
    return port1;
  },

  heard({ who, state, figures, missed, ended }) {
    if (who) { this.open(); return; }
    if (ended) { endings.tell(ended); return; }
    if (!main()?.dataset.live) return;
    if (state) {
      this.streams = state === "live";
      this.say(state);
    } else if (document.hidden) {
      if (figures) showFigures(figures); // all else is fetched when somebody looks
    } else if (missed) {
      refresher.now();
    } else {
      refresher.soon();
    }
  },

  // A page has come from the server: that one try before it came to nothing is over.
  answered() {
    if (this.state === "lost" && this.streams) this.say("live");
  },

  say(state) {
    this.state = state;
    const content = main();
    if (content) content.toggleAttribute("data-stale", state === "lost" || state === "signed-out");
    const sign = document.getElementById("connection");
    if (!sign || sign.dataset.state === state) return;
    sign.dataset.state = state;
    sign.textContent = {
      live: "live", lost: `reconnecting… as of ${clock.format(refresher.last || Date.now())}`, off: "",
      "signed-out": "signed out: reload to sign in",
    }[state];
  },
};

// ---------------------------------------------------------------- times, icon, notices

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const timeOfDay = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dayAndTime = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const speak = new Intl.RelativeTimeFormat("en", { numeric: "always" });

// The server says with each page what time it is there: this machine's clock may be wrong.
const serverTime = {
  told: 0,
  ahead: 0, // ms that the server's clock is ahead of ours

  heed() {
    const told = Number(main()?.dataset.now);
    if (!told || told === this.told) return;
    this.told = told;
    this.ahead = told - Date.now();
  },

  now() { return Date.now() + this.ahead; },
};

const tellTimes = () => {
  for (const time of document.querySelectorAll("time[data-ago]:not([data-exact])")) {
    const seconds = (Date.parse(time.dateTime) - serverTime.now()) / 1000;
    const [unit, length] = UNITS.find(([, size]) => Math.abs(seconds) >= size) || UNITS[3];
    const said = Math.abs(seconds) < 1 ? "now" : speak.format(Math.round(seconds / length), unit);
    const text = time.dataset.ago === "bare" ? said.replace(/^in /, "") : said;
    if (time.textContent !== text) time.textContent = text;
  }
  // Times of day: in the zone of who reads them, with the day where it is another one.
  const today = new Date(serverTime.now()).toDateString();
  for (const time of document.querySelectorAll("time[data-clock]:not([data-exact])")) {
    const at = new Date(time.dateTime);
    const text = (at.toDateString() === today ? timeOfDay : dayAndTime).format(at).replace(",", "");
    if (time.textContent !== text) time.textContent = text;
  }
};

// Fields for times take UTC; with a script, the zone of who reads the page, and what is sent is UTC.
const zoned = {
  local: (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60000).toISOString().slice(0, 16),

  settle() {
    for (const field of document.querySelectorAll("input[data-utc]:not([data-zoned])")) {
      field.dataset.zoned = "1"; // until a refresh brings what the server said
      if (field.dataset.utc) field.value = field.defaultValue = this.local(Date.parse(field.dataset.utc));
    }
    for (const word of document.querySelectorAll("[data-zone]")) word.textContent = "your time";
  },
};

document.addEventListener("formdata", ({ target, formData }) => {
  for (const { name, value } of target.querySelectorAll("[data-zoned]")) {
    if (value) formData.set(name, new Date(value).toISOString().slice(0, 16));
  }
});

// Where there is no pointer to hover with, a touch shows the exact time, and another one the distance again.
addEventListener("click", (event) => {
  const time = event.target.closest("time[data-ago], time[data-clock]");
  if (!time || time.closest("a, button, summary")) return;
  if (time.toggleAttribute("data-exact")) time.textContent = time.title;
  else tellTimes();
});

const showState = () => {
  const icon = document.querySelector("link[rel=icon]");
  const wanted = main()?.dataset.icon;
  if (icon && wanted && icon.getAttribute("href") !== wanted) icon.setAttribute("href", wanted);
};

// The title and the icon of a tab in the background, as the server would make them.
const showFigures = ({ dead, busy }) => {
  const title = document.title.replace(/^\([\d,]+ dead\) /, "");
  document.title = dead ? `(${dead.toLocaleString("en")} dead) ${title}` : title;
  const icon = document.querySelector("link[rel=icon]");
  icon?.setAttribute("href", icon.dataset[dead ? "dead" : busy ? "busy" : "idle"]);
};

// A notice outlives the refresh that follows it: it moves out of the page, until it is dismissed or its page is left.
const keepNotices = () => {
  const shelf = document.getElementById("notices");
  for (const notice of shelf?.children || []) if (notice.dataset.place !== location.pathname) notice.remove();
  for (const notice of main()?.querySelectorAll(".notice[data-once]") || []) {
    notice.dataset.place = location.pathname;
    shelf.replaceChildren(notice);
    notice.querySelector("[data-dismiss]")?.removeAttribute("hidden");
  }
};

// ---------------------------------------------------------------- the log of a job that runs

const MOST_LOG = 131072; // characters of it that stay in the page
const NEAR_END = 40; // pixels: who is so near to the end wants to see what comes

// One stream, of the log on the page that somebody looks at: none in a tab in the background. What it brings is text.
const liveLog = {
  source: null,
  shown: "", // which log that is
  size: 0,

  about: (pane) => `${pane.dataset.log} ${pane.dataset.attempt}`,

  settle() {
    const pane = document.querySelector("[data-log]");
    if (!pane || document.hidden) { this.close(); return; }
    if (this.source && this.shown === this.about(pane)) return;
    this.close();
    const { log, attempt, end } = pane.dataset;
    const again = this.shown === this.about(pane);
    this.shown = this.about(pane);
    if (!again) pane.scrollTop = pane.scrollHeight;
    this.size = pane.textContent.length;
    const source = new EventSource(`${log}?attempt=${attempt}&start=${end}`);
    this.source = source;
    source.addEventListener("log", (event) => { if (this.source === source) this.add(pane, JSON.parse(event.data)); });
    source.addEventListener("end", () => { if (this.source === source) { this.close(); this.say("ended"); refresher.soon(); } });
    source.onerror = () => {
      if (this.source !== source) return;
      this.say("interrupted");
      if (source.readyState === EventSource.CLOSED) this.close();
    };
    pane.onscroll = () => this.say(this.follows(pane) ? "following" : "paused: scroll to the end to follow");
  },

  close() {
    this.source?.close();
    this.source = null;
  },

  follows: (pane) => pane.scrollHeight - pane.scrollTop - pane.clientHeight < NEAR_END,

  add(pane, { text, end, attempt, live }) {
    if (!pane.isConnected || String(attempt) !== pane.dataset.attempt) { this.close(); return; }
    if (!live) return;
    pane.dataset.end = end;
    const follows = this.follows(pane);
    if (text) {
      const piece = document.createElement("span");
      piece.textContent = text;
      pane.append(piece);
      this.size += text.length;
      while (this.size > MOST_LOG && pane.childNodes.length > 1) {
        this.size -= pane.firstChild.textContent.length;
        pane.firstChild.remove();
      }
      if (follows) pane.scrollTop = pane.scrollHeight;
    }
    this.say(follows ? "following" : "paused: scroll to the end to follow");
  },

  say(state) {
    const sign = document.getElementById("live-state");
    if (sign && sign.textContent !== state) sign.textContent = state;
  },
};

// ---------------------------------------------------------------- choosing rows, copying, menus

const countChosen = () => {
  const boxes = [...document.querySelectorAll("input[name=ids]")];
  const everything = document.getElementById("everything");
  if (everything?.checked) for (const box of boxes) box.checked = true; // those that came since, too
  const chosen = boxes.filter((box) => box.checked).length;
  const all = document.querySelector("[data-all]");
  if (all) {
    all.checked = chosen > 0 && chosen === boxes.length;
    all.indeterminate = chosen > 0 && chosen < boxes.length;
  }
  for (const said of document.querySelectorAll("[data-chosen]")) {
    said.textContent = everything?.checked ? said.dataset.every : chosen ? `${chosen} selected` : "";
  }
  // Who has ticked a whole page may mean all pages.
  const more = document.querySelector("[data-take-every]");
  if (more) more.hidden = !all?.checked || everything.checked;
};

addEventListener("change", (event) => {
  if (event.target.matches("[data-all]")) {
    for (const box of document.querySelectorAll("input[name=ids]")) box.checked = event.target.checked;
  }
  const everything = document.getElementById("everything");
  if (everything?.checked && event.target.matches("[data-all], input[name=ids]") && !event.target.checked) everything.checked = false;
  if (event.target.matches("[data-all], input[name=ids], #everything")) countChosen();
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

addEventListener("click", (event) => {
  if (!event.target.closest("[data-take-every]")) return;
  const everything = document.getElementById("everything");
  everything.checked = true;
  countChosen();
  everything.focus(); // the button is hidden now
});

addEventListener("click", async (event) => {
  const dismiss = event.target.closest("[data-dismiss]");
  if (dismiss) dismiss.closest(".notice").remove();
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const shown = document.getElementById(copy.dataset.copy);
    try {
      await navigator.clipboard.writeText(shown.textContent.trim());
    } catch { // over plain HTTP pages have no clipboard; what is selected can be copied still
      getSelection().selectAllChildren(shown);
      if (!document.execCommand("copy")) return;
    }
    copy.textContent = "Copied";
  }
});

// ---------------------------------------------------------------- back

// Where somebody was on a page, and what was ticked there: it is so again when they come back.
const place = {
  keep() {
    const ticked = [...document.querySelectorAll("input[name=ids]:checked")].map((box) => box.value);
    try { sessionStorage.setItem(`place ${location.href}`, JSON.stringify({ y: scrollY, ticked })); } catch { /* full, or forbidden */ }
  },

  restore() {
    let kept = null;
    try { kept = JSON.parse(sessionStorage.getItem(`place ${location.href}`)); } catch { /* forbidden */ }
    if (!kept) return;
    const ticked = new Set(kept.ticked);
    for (const box of document.querySelectorAll("input[name=ids]")) box.checked = ticked.has(box.value);
    countChosen();
    scrollTo(0, kept.y);
  },
};

// ---------------------------------------------------------------- keys

const rows = () => [...document.querySelectorAll("[data-row]")];

// The current row is the one that has the focus; so Enter opens it, and no refresh makes it another one.
const current = () => document.activeElement?.closest("[data-row]");

const step = (by) => {
  const all = rows();
  if (!all.length) return;
  const next = all[Math.min(all.length - 1, Math.max(0, all.indexOf(current()) + by))];
  (next.querySelector("a") || next).focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
};

const PLACES = { o: "/", j: "/jobs", t: "/types", f: "/failures", w: "/workers", a: "/admin" };
const go = (address) => document.querySelector(`.top nav a[href="${address}"]`)?.click();
let going = 0;

const KEYS = {
  "/": () => { const field = document.querySelector("[data-search]"); if (field) field.focus(); else go("/jobs"); },
  j: () => step(1),
  k: () => step(-1),
  x: () => current()?.querySelector("input[type=checkbox]")?.click(),
  r: () => refresher.now(),
  "?": () => document.getElementById("help").showModal(),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input:not([type=checkbox]), textarea, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (Date.now() - going < 1000 && PLACES[event.key]) { going = 0; go(PLACES[event.key]); return; }
  if (event.key === "g") { going = Date.now(); return; }
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});

// ---------------------------------------------------------------- together

const settle = () => {
  serverTime.heed();
  endings.show();
  tellTimes();
  zoned.settle();
  showState();
  keepNotices();
  countChosen();
  drawCharts();
  liveLog.settle();
  const soon = document.querySelector("[data-soon]");
  if (soon && !document.hidden) refresher.soon(1000 * soon.dataset.soon || SOON_MS);
};

const arrive = () => {
  refresher.stop();
  refresher.acting = 0;
  refresher.last = Date.now();
  connection.open();
  settle();
};

document.addEventListener("visibilitychange", () => { connection.open(); liveLog.settle(); if (!document.hidden) refresher.now(); });
addEventListener("pageshow", (event) => { if (event.persisted) { arrive(); refresher.now(); } });
// A page settles some time after it was swapped in; a refresh that was under way must not take its notice away before.
document.addEventListener("htmx:afterSwap", () => { refresher.stop(); refresher.last = Date.now(); });
document.addEventListener("htmx:afterSettle", arrive);
document.addEventListener("htmx:beforeRequest", () => { place.keep(); refresher.act(); });
document.addEventListener("htmx:afterRequest", () => refresher.acted());
document.addEventListener("htmx:onLoadError", () => refresher.acted()); // of what cannot be swapped in nothing else is told
document.addEventListener("htmx:historyRestore", () => { arrive(); place.restore(); refresher.now(); });
document.addEventListener("htmx:responseError", (event) => { event.detail.shouldSwap = true; });
document.addEventListener("htmx:beforeSwap", (event) => {
  // A refusal is a page, too, and says what to do.
  if (event.detail.xhr.status >= 400 && event.detail.xhr.getResponseHeader("Content-Type")?.startsWith("text/html")) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});
document.addEventListener("htmx:sendError", () => connection.say("lost"));
// A filter that is not set is not in the address.
document.addEventListener("htmx:configRequest", (event) => {
  const { verb, parameters, formData } = event.detail;
  if (verb !== "get") return;
  const sent = formData || parameters;
  for (const name of [...(sent.keys ? sent.keys() : Object.keys(sent))]) {
    const value = sent.get ? sent.get(name) : sent[name];
    if (value === "") { if (sent.delete) sent.delete(name); else delete sent[name]; }
  }
});
setInterval(() => { if (!document.hidden) tellTimes(); }, 10000);
arrive();
