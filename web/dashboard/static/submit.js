// Submitting from a browser: files are hashed in a worker, submitted some at a time, and those that the server does not
// have are sent straight to the object store. What was begun goes on when the same files are chosen again: all that is
// there by then is known by its hash, and of a large file the parts.
"use strict";

const AT_ONCE = 4; // uploads side by side
const TOGETHER = 50; // submitted in one request
const MOST_ROWS = 200; // of what is done, or failed; all are counted
const AHEAD = 200; // that are hashed and wait to be sent: no more is begun meanwhile
const TRIES = 3;
const WAIT_MS = 1000; // after a request that failed, and longer each time
const LARGEST = 5 * 1024 ** 3; // bytes of one PUT, as object stores have it
const ROUNDS = 3; // through the parts of a file: the store may lose what it has of them
const UNREADABLE = "It cannot be read. Was it changed, moved or removed since it was chosen? Then choose it again.";

const byId = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

const sizeWords = (bytes) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; bytes >= 1024 && at < units.length - 1; at += 1) bytes /= 1024;
  return `${at ? bytes.toFixed(1) : bytes} ${units[at]}`;
};
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

class Queue {
  items = [];
  waiting = [];
  closed = false;

  put(item) {
    const next = this.waiting.shift();
    if (next) next(item); else this.items.push(item);
  }

  close() {
    this.closed = true;
    for (const next of this.waiting.splice(0)) next(null);
  }

  // The next one; null where there are no more.
  take() {
    if (this.items.length) return Promise.resolve(this.items.shift());
    return this.closed ? Promise.resolve(null) : new Promise((resolve) => { this.waiting.push(resolve); });
  }
}

class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.error || `The server answered ${status}.`);
    this.status = status;
    this.type = problem.type || "";
  }
}

// ---------------------------------------------------------------- one run

class Submission {
  constructor(form, files, settings) {
    this.form = form;
    this.settings = settings; // what all jobs have in common, as the API takes it
    this.files = files.map(({ file, path }, id) => ({ id, file, path, sent: 0, state: "", tries: 0 }));
    this.bytes = this.files.reduce((sum, each) => sum + each.file.size, 0);
    this.batch = null;
    this.stopped = new AbortController();
    this.told = 0;
  }

  async run(files) {
    const hashed = new Queue();
    const due = new Queue();
    this.byHash = new Map(); // those whose bytes this run sends
    await Promise.all([
      this.hashing(files, hashed, due),
      this.submitting(hashed, due),
      ...Array.from({ length: AT_ONCE }, () => this.uploading(due)),
    ]);
  }

  get cancelled() { return this.stopped.signal.aborted; }

  // -------------------------------------------------------------- the steps

  async hashing(files, hashed, due) {
    let worker = new Worker(this.form.dataset.hasher);
    try {
      for (const item of files) {
        while (!this.cancelled && hashed.items.length + due.items.length >= AHEAD) await pause(100);
        if (this.cancelled) break;
        if (!item.hash) {
          this.says(item, "is hashed");
          try {
            item.hash = await this.hash(worker, item);
          } catch (error) {
            if (!this.cancelled) this.failed(item, error.message);
            // One whose script did not start says nothing of any further file.
            worker.terminate();
            worker = new Worker(this.form.dataset.hasher);
            continue;
          }
        }
        this.says(item, "waits");
        hashed.put(item);
      }
    } finally {
      worker.terminate();
      hashed.close();
    }
  }

  hash(worker, item, file = item.file, by = "SHA256") {
    return new Promise((resolve, reject) => {
      worker.onerror = (event) => { event.preventDefault(); reject(new Error(event.message || "the script that hashes did not start")); };
      worker.onmessage = ({ data }) => {
        if (data.id !== item.id) return;
        if (data.hash) resolve(data.hash);
        else if (data.error) reject(new Error(`${UNREADABLE} (${data.error})`));
        else if (file === item.file) this.shows(item, data.at, "is hashed");
      };
      this.stopped.signal.addEventListener("abort", () => reject(new Error("cancelled")), { once: true });
      worker.postMessage({ id: item.id, file, by });
    });
  }

  async submitting(hashed, due) {
    for (let first = await hashed.take(); first && !this.cancelled; first = await hashed.take()) {
      await this.submit([first, ...hashed.items.splice(0, TOGETHER - 1)], due);
    }
    due.close();
  }

  async submitted(items) {
    const jobs = items.map((item) => ({
      ...this.settings, source_hash: item.hash, source_path: item.path, source_size: item.file.size, bind_checksum: true,
    }));
    return (await this.ask("/api/jobs/batch", { jobs })).items;
  }

  async submit(items, due) {
    let answers;
    try {
      answers = await this.submitted(items);
    } catch (error) {
      if ([413, 422].includes(error.status) && items.length > 1) { // one may be wrong, or all too much: each by itself
        for (const item of items) if (!this.cancelled) await this.submit([item], due);
        return;
      }
      for (const item of items) this.failed(item, error.message.replace(/^jobs\[\d+\]\./, ""));
      return;
    }
    for (const [at, item] of items.entries()) {
      const answer = answers[at];
      if (answer.error) { this.failed(item, answer.error); continue; }
      item.job = answer.job_id;
      if (!answer.upload_url) { this.done(item, "known"); continue; }
      const twin = this.byHash.get(item.hash);
      if (twin && twin !== item && twin.state !== "failed") { this.done(item, "known", "has the bytes of another:"); continue; }
      this.byHash.set(item.hash, item);
      Object.assign(item, { url: answer.upload_url, headers: answer.upload_headers || {} });
      due.put(item);
    }
  }

  async uploading(due) {
    for (let item = await due.take(); item && !this.cancelled; item = await due.take()) {
      try {
        await this.upload(item);
        await this.ask(`/api/jobs/${item.job}/uploaded`, {});
        this.done(item, "sent");
      } catch (error) {
        this.failed(item, error.message);
      }
    }
  }

  get isLocal() { return "local" in this.form.dataset; }

  async upload(item) {
    if (!this.isLocal && item.file.size > Number(this.form.dataset.partsAbove) && await this.inParts(item)) return;
    if (!this.isLocal && item.file.size > LARGEST) throw new Error("It is larger than 5 GiB, and this object store takes no parts.");
    for (let tries = 1; ; tries += 1) {
      try {
        await this.put(item, item, item.file);
        return;
      } catch (error) {
        if (error.otherFile) item.hash = null;
        if (this.cancelled || tries >= TRIES || error.otherFile) throw error;
        await pause(WAIT_MS * tries);
        // A URL that has waited for too long is no longer good.
        const [answer] = await this.submitted([item]);
        if (answer.error) throw new Error(answer.error);
        if (!answer.upload_url) return;
        Object.assign(item, { url: answer.upload_url, headers: answer.upload_headers || {} });
      }
    }
  }

  // A large file goes in parts. What the store has of it already, from a run that broke off, is read and not sent
  // again. False: this store takes no parts.
  async inParts(item) {
    const to = { source_hash: item.hash };
    const known = new Set(); // parts of this file, in the store
    const worker = new Worker(this.form.dataset.hasher);
    try {
      for (let round = 0; round < ROUNDS; round += 1) {
        const upload = await this.ask("/api/files/multipart", { ...to, size: item.file.size });
        if (upload.stored) return true;
        let sent = 0;
        for (let number = 1; (number - 1) * upload.part_size < item.file.size; number += 1) {
          const at = (number - 1) * upload.part_size;
          const part = item.file.slice(at, at + upload.part_size);
          const there = upload.parts.find((each) => each.number === number && each.size === part.size);
          if (there && (known.has(number) || there.etag === await this.hash(worker, item, part, "MD5"))) {
            this.shows(item, at + part.size, "is sent");
          } else {
            await this.putPart(item, { ...to, upload_id: upload.upload_id, number }, part, at);
            sent += 1;
          }
          known.add(number);
        }
        if (sent) continue; // and ask what the store has now: a page may not read what it answers
        const parts = upload.parts.map(({ number, etag }) => ({ number, etag }));
        try {
          await this.ask("/api/files/multipart/complete", { ...to, upload_id: upload.upload_id, parts });
          return true;
        } catch (error) {
          if (!error.type?.endsWith("upload-gone")) throw error;
        }
      }
      throw new Error("The object store has not kept all parts of it.");
    } catch (error) {
      if (error.type?.endsWith("wrong-store")) return false;
      throw error;
    } finally {
      worker.terminate();
    }
  }

  async putPart(item, place, part, at) {
    for (let tries = 1; ; tries += 1) {
      const to = await this.ask("/api/files/multipart/part", place);
      try {
        await this.put(item, to, part, at);
        return;
      } catch (error) {
        if (this.cancelled || tries >= TRIES || error.message === UNREADABLE) throw error;
        await pause(WAIT_MS * tries);
      }
    }
  }

  put(item, to, body, from = 0) {
    // A store of this server has its origin, by whichever name a browser reached it.
    const url = new URL(to.url, location.href);
    const address = this.isLocal ? url.pathname + url.search : url.href;
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const stop = () => request.abort();
      const ended = (fail) => {
        this.stopped.signal.removeEventListener("abort", stop);
        if (fail) reject(fail); else resolve();
      };
      request.open("PUT", address);
      for (const [name, value] of Object.entries(to.headers)) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => this.shows(item, from + event.loaded, "is sent");
      request.onload = () => {
        if (request.status >= 200 && request.status < 300) { ended(); return; }
        // 403: its URL is no longer good. Else what is refused may be another file than the one that was hashed.
        const otherFile = body === item.file && request.status >= 400 && request.status < 500 && request.status !== 403;
        const refused = `The object store refused it (${request.status}).${otherFile ? " Was the file changed meanwhile?" : ""}`;
        ended(Object.assign(new Error(refused), { otherFile }));
      };
      request.onerror = () => item.file.slice(0, 1).arrayBuffer().then(
        () => ended(new Error(`The object store (${url.origin}) cannot be reached from this page, or it does not let this page send to it: blobforge doctor says what to set.`)),
        () => ended(Object.assign(new Error(UNREADABLE), { otherFile: true })), // a browser tells both alike
      );
      request.onabort = () => ended(new Error("cancelled"));
      this.stopped.signal.addEventListener("abort", stop, { once: true });
      request.send(body);
    });
  }

  // One request to the server: again where it was not there, or busy.
  async ask(path, body) {
    for (let tries = 1; ; tries += 1) {
      let response;
      try {
        response = await fetch(path, {
          method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: this.stopped.signal,
        });
      } catch (error) {
        if (this.cancelled || tries >= TRIES) throw new Error(this.cancelled ? "cancelled" : "The server cannot be reached.");
        await pause(WAIT_MS * tries);
        continue;
      }
      const answer = await response.json().catch(() => ({}));
      if (response.ok) return answer;
      if (response.status === 401) throw new Refused(401, { detail: "You are signed out: sign in in another tab, then try again." });
      if (tries >= TRIES || (response.status !== 429 && response.status < 500)) throw new Refused(response.status, answer);
      await pause(Math.max(WAIT_MS * tries, 1000 * Number(response.headers.get("Retry-After") || 0)));
    }
  }

  // The open batch of that name, which is made where there is none.
  async openBatch(name) {
    try {
      this.batch = (await this.ask("/api/batches", { name })).id;
    } catch (error) {
      if (!(error instanceof Refused) || !error.type.endsWith("batch-exists")) throw error;
      const response = await fetch(`/api/batches?name=${encodeURIComponent(name)}&going=true&limit=100`);
      const found = response.ok ? (await response.json()).batches.find((each) => each.state === "open") : null;
      if (!found) throw error;
      this.batch = found.id;
    }
    this.settings.batch = this.batch;
  }

  // -------------------------------------------------------------- what is shown

  row(item) {
    if (item.row) return item.row;
    const row = document.createElement("tr");
    const [name, size, state] = ["lead wide", "num", ""].map((kind) => {
      const cell = document.createElement("td");
      cell.className = kind;
      row.append(cell);
      return cell;
    });
    const text = document.createElement("bdi");
    text.textContent = shownName(item.path);
    name.append(text);
    size.textContent = sizeWords(item.file.size);
    size.dataset.label = "Size";
    state.dataset.label = "State";
    byId("rows").prepend(row);
    item.row = row;
    return row;
  }

  says(item, text, job = null) {
    const cell = this.row(item).lastElementChild;
    cell.replaceChildren(text);
    if (job === null) return;
    const said = document.createElement("reads" in this.form.dataset ? "a" : "span"); // not all who submit may read
    if (said.matches("a")) said.href = `/jobs/${job}`;
    said.textContent = `job ${job}`;
    cell.append(" ", said);
  }

  shows(item, at, words) {
    if (words === "is sent") item.sent = Math.min(at, item.file.size);
    const cell = this.row(item).lastElementChild;
    let bar = cell.querySelector("progress");
    if (!bar || bar.getAttribute("aria-label") !== words) {
      bar = document.createElement("progress");
      bar.max = Math.max(1, item.file.size);
      bar.setAttribute("aria-label", words);
      cell.replaceChildren(bar, ` ${words}`);
    }
    bar.value = at;
    this.tell();
  }

  done(item, state, words = state === "known" ? "was there already:" : "submitted:") {
    item.state = state;
    item.sent = item.file.size;
    this.says(item, words, item.job);
    this.settle(item);
  }

  failed(item, why) {
    if (this.cancelled) return;
    item.state = "failed";
    item.sent = 0;
    this.says(item, "");
    const text = document.createElement("span");
    text.className = "wrong";
    text.textContent = shownName(why);
    this.row(item).lastElementChild.replaceChildren(text);
    this.settle(item);
  }

  // What is over stands behind what is under way, and only so much of it.
  settle(item) {
    const rows = byId("rows");
    rows.append(item.row);
    this.over ||= [];
    this.over = this.over.filter((each) => each !== item);
    this.over.push(item);
    if (this.over.length > MOST_ROWS) {
      const gone = this.over.splice(Math.max(0, this.over.findIndex((each) => each.state !== "failed")), 1)[0];
      gone.row.remove();
      gone.row = null;
    }
    this.tell();
  }

  tell(now = false) {
    if (!now && Date.now() - this.told < 500) { this.later ||= setTimeout(() => this.tell(true), 500); return; }
    clearTimeout(this.later);
    this.later = 0;
    this.told = Date.now();
    const n = (state) => this.files.filter((each) => each.state === state).length;
    const [known, sent, failed] = ["known", "sent", "failed"].map(n);
    const bytes = this.files.reduce((sum, each) => sum + each.sent, 0);
    const all = byId("all");
    all.max = Math.max(1, this.bytes);
    all.value = bytes;
    byId("summary").textContent = `${(known + sent).toLocaleString("en")} of ${count(this.files.length, "file")}, ${sizeWords(bytes)} of ${sizeWords(this.bytes)}`
      + `${known ? `; ${known.toLocaleString("en")} of them known already` : ""}${failed ? `; ${failed.toLocaleString("en")} failed` : ""}.`;
  }
}

// ---------------------------------------------------------------- the page

const chosen = [];
let submission = null;

const showChosen = () => {
  const bytes = chosen.reduce((sum, each) => sum + each.file.size, 0);
  byId("chosen").textContent = chosen.length ? `${count(chosen.length, "file")} chosen, ${sizeWords(bytes)}.` : "Nothing is chosen yet.";
};

// What is hidden in a folder is left out, as on the command line.
const isHidden = (path) => path.includes("/") && path.split("/").some((name) => name.startsWith("."));

const choose = (found) => {
  // What is chosen twice counts once; two files may have one name.
  const key = ({ file, path }) => `${path} ${file.size} ${file.lastModified}`;
  const there = new Set(chosen.map(key));
  for (const each of found) if (!there.has(key(each)) && !isHidden(each.path)) chosen.push(each);
  showChosen();
};

// All files of a dropped folder, by their paths from it on.
const walk = async (entry, found) => {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
    found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!some.length) return;
    for (const each of some) await walk(each, found);
  }
};

const dropped = async (transfer) => {
  const entries = [...transfer.items].filter((each) => each.kind === "file").map((each) => each.webkitGetAsEntry?.());
  if (!entries.length || entries.some((each) => !each)) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const found = [];
  for (const each of entries) await walk(each, found);
  return found;
};

const problem = (text) => {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
};

const listed = (text) => text.split(",").map((each) => each.trim()).filter(Boolean);

const settingsOf = (form) => {
  const settings = { type: form.type.value.trim(), priority: Number(form.priority.value), tags: listed(form.tags.value) };
  const options = form.options.value.trim();
  if (options) {
    try { settings.options = JSON.parse(options); } catch (error) { throw new Error(`The options are no JSON: ${error.message}`); }
    if (settings.options === null || typeof settings.options !== "object" || Array.isArray(settings.options)) throw new Error("The options are no JSON object, as {\"language\": \"fr\"}.");
  }
  return settings;
};

const finish = async () => {
  submission.tell(true);
  byId("cancel").hidden = true;
  const failed = submission.files.filter((each) => each.state === "failed").length;
  const outcome = byId("outcome");
  outcome.hidden = false;
  byId("further").hidden = false;
  removeEventListener("beforeunload", warn);
  if (submission.cancelled) {
    outcome.textContent = "Cancelled. What was submitted stays; choose the same files again to go on where this was.";
    return;
  }
  byId("again").hidden = !failed;
  if (failed) {
    outcome.textContent = `${count(failed, "file")} could not be submitted.${submission.batch ? ` Batch ${submission.batch} stays open.` : ""}`;
    return;
  }
  if (submission.batch) {
    if (!byId("open").checked) {
      try { await submission.ask(`/api/batches/${submission.batch}/close`, {}); } catch (error) { outcome.textContent = `All is submitted, but batch ${submission.batch} could not be closed: ${error.message}`; return; }
    }
    if ("reads" in form.dataset) {
      location.assign(`/batches/${submission.batch}`);
      return;
    }
  }
  outcome.textContent = `All is submitted: ${count(submission.files.length, "file")}.`;
};

const warn = (event) => { event.preventDefault(); };

const begin = async (files) => {
  byId("again").hidden = true;
  byId("further").hidden = true;
  byId("outcome").hidden = true;
  byId("cancel").hidden = false;
  addEventListener("beforeunload", warn);
  await submission.run(files);
  await finish();
};

const start = async (form) => {
  problem("");
  const suffix = form.suffix.value.trim().toLowerCase();
  const files = chosen.filter((each) => each.path.toLowerCase().endsWith(suffix));
  if (!files.length) { problem(chosen.length ? `None of what is chosen ends in ${suffix}.` : "Choose files first, or drop some here."); return; }
  let settings;
  try { settings = settingsOf(form); } catch (error) { problem(error.message); return; }
  submission = new Submission(form, files, settings);
  const name = form.batch.value.trim();
  byId("go").disabled = true;
  try {
    if (name) await submission.openBatch(name);
  } catch (error) {
    problem(error.message);
    return;
  } finally {
    byId("go").disabled = false;
  }
  form.hidden = true;
  byId("sending").hidden = false;
  submission.tell(true);
  await begin(submission.files);
};

const form = byId("submit");
byId("no-script").hidden = true;
form.hidden = false;
form.addEventListener("submit", (event) => { event.preventDefault(); start(form); });
for (const id of ["files", "folder"]) {
  byId(id).addEventListener("change", ({ target }) => {
    choose([...target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
    target.value = "";
  });
}
for (const kind of ["dragover", "dragenter"]) form.addEventListener(kind, (event) => { event.preventDefault(); byId("drop").dataset.over = ""; });
for (const kind of ["dragleave", "drop"]) form.addEventListener(kind, () => { delete byId("drop").dataset.over; });
form.addEventListener("drop", async (event) => {
  event.preventDefault();
  problem("");
  try { choose(await dropped(event.dataTransfer)); } catch (error) { problem(`What was dropped cannot be read: ${error.message}`); }
});
byId("cancel").addEventListener("click", () => submission.stopped.abort());
byId("again").addEventListener("click", () => {
  const files = submission.files.filter((each) => each.state === "failed");
  for (const each of files) each.state = "";
  begin(files);
});
