// One event stream for all tabs of a browser: a browser opens few connections to a server over plain HTTP, and each
// stream keeps one. Runs as a SharedWorker; where there is none, app.js runs the same in the page, for that tab alone.
//
// A tab says over its port what it shows: {types: [names], jobs: [ids], hidden}, and which batches' ends it is to tell of,
// seen or not: {endings: [ids]}. It is told {ended: id} of these,
// {state: "live" | "lost" | "signed-out"}, {event: name} for what it shows, and {missed: true} when it has to fetch its
// page anew. A tab in the background is told {figures: {dead, busy}} when these change, for its title and icon.
"use strict";

const RETRY_MS = [500, 1000, 2000, 5000, 10000];
const MOST_JOBS = 100; // that a stream can name; beyond it all jobs' events are asked for
const JOB_EVENTS = ["job_created", "job_updated", "job_completed", "job_failed", "job_progress", "job_removed"];

const makeHub = () => {
  const tabs = new Map(); // port -> {types, jobs, hidden, told: the figures}
  let source = null;
  let place = ""; // the id of the last event: another stream goes on from there
  let state = "";
  let failures = 0;
  let timer = 0;
  // What all of them together want to hear of. What none wants any more stays until there is more to ask for.
  let types = new Set();
  let jobs = new Set();

  const tell = (message) => { for (const port of tabs.keys()) port.postMessage(message); };
  const say = (now) => { state = now; tell({ state }); };

  const ask = () => {
    const shown = [...tabs.values()].filter((tab) => tab.types.length || tab.jobs.length);
    if (!shown.length) { close(); return; }
    const news = shown.some((tab) => tab.types.some((name) => !types.has(name)) || tab.jobs.some((id) => !jobs.has(id)));
    if (news) {
      types = new Set(shown.flatMap((tab) => tab.types));
      jobs = new Set(shown.flatMap((tab) => tab.jobs));
    }
    if (news || !source || (source.readyState === EventSource.CLOSED && !timer)) open();
  };

  const address = () => {
    const many = jobs.size > MOST_JOBS;
    const query = new URLSearchParams();
    const names = many ? [...types, ...JOB_EVENTS] : [...types];
    if (names.length) query.set("types", [...new Set(names)].join());
    if (jobs.size && !many) query.set("jobs", [...jobs].join());
    if (place) query.set("last_event_id", place);
    return `/events?${query}`;
  };

  const close = () => {
    clearTimeout(timer);
    timer = 0;
    source?.close();
    source = null;
    state = "";
    failures = 0;
  };

  const open = () => {
    clearTimeout(timer);
    timer = 0;
    source?.close();
    const opened = new EventSource(address());
    source = opened;
    const heard = (act) => (event) => {
      if (source !== opened) return;
      if (event.lastEventId) place = event.lastEventId;
      act(event);
    };
    opened.addEventListener("ping", heard(() => {
      const again = failures > 0;
      failures = 0;
      if (state !== "live") say("live");
      if (again) tell({ missed: true });
    }));
    opened.addEventListener("connected", heard(() => {}));
    opened.addEventListener("resync", heard(() => tell({ missed: true })));
    for (const name of new Set([...types, ...JOB_EVENTS])) opened.addEventListener(name, heard((event) => pass(name, event)));
    opened.onerror = () => {
      if (source !== opened) return;
      failures += 1;
      say("lost");
      if (opened.readyState === EventSource.CLOSED) reopen();
    };
  };

  // The browser comes back by itself after a broken line, but not after an answer that was no stream.
  const reopen = () => {
    const wait = RETRY_MS[Math.min(failures, RETRY_MS.length) - 1] || RETRY_MS[0];
    timer = setTimeout(async () => {
      const answer = await fetch("/api/auth/info").then((found) => found.json()).catch(() => null);
      timer = 0;
      if (!tabs.size || source?.readyState !== EventSource.CLOSED) return;
      if (answer && !answer.authenticated) { say("signed-out"); return; }
      open();
    }, wait);
  };

  const pass = (name, event) => {
    const { data } = JSON.parse(event.data);
    const figures = name === "stats_updated" ? { dead: data.dead_jobs, busy: data.running_jobs > 0 } : null;
    const told = JSON.stringify(figures);
    for (const [port, tab] of tabs) {
      if (name === "batch_ended" && tab.endings?.includes(data.batch_id)) port.postMessage({ ended: data.batch_id });
      if (!tab.types.includes(name) && !tab.jobs.includes(data.job_id)) continue;
      if (!tab.hidden) {
        port.postMessage({ event: name });
      } else if (figures && told !== tab.told) {
        tab.told = told;
        port.postMessage({ figures });
      }
    }
  };

  // No tab tells that it is closed: what it says while it goes is lost, and one that crashes says nothing. So with each
  // new tab all others are asked, and those that have not answered by the next one are forgotten.
  const lookRound = (comer) => {
    for (const [port, tab] of tabs) {
      if (port === comer) continue;
      if (tab.asked) { tabs.delete(port); continue; }
      tab.asked = true;
      port.postMessage({ who: true });
    }
  };

  return {
    add(port) {
      port.onmessage = ({ data: said }) => {
        if (!tabs.has(port)) lookRound(port);
        tabs.set(port, { ...tabs.get(port), ...said, asked: false });
        if (state) port.postMessage({ state });
        ask();
      };
    },
  };
};

if (typeof SharedWorkerGlobalScope !== "undefined" && self instanceof SharedWorkerGlobalScope) {
  const hub = makeHub();
  self.onconnect = (event) => hub.add(event.ports[0]);
}
