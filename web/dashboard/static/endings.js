"use strict";

// A person who waits for a batch asks to be told when it has ended: a notice of the browser, without a sound, from whichever
// page of ours is open then. Kept in this browser: the batches' ids and names.

const endings = {
  get all() {
    try { return JSON.parse(localStorage.getItem("endings")) || {}; } catch { return {}; }
  },

  keep(all) {
    try { localStorage.setItem("endings", JSON.stringify(all)); } catch { /* it is forgotten with this page */ }
  },

  get ids() { return Object.keys(this.all).map(Number); },

  async ask(id, name) {
    if (await Notification.requestPermission() !== "granted") return false;
    this.keep({ ...this.all, [id]: name });
    return true;
  },

  forget(id) {
    const { [id]: name, ...others } = this.all;
    if (name !== undefined) this.keep(others);
    return name;
  },

  // Several tabs may hear of it: what has the same tag is one notice.
  tell(id) {
    const name = this.all[id];
    if (name === undefined || Notification.permission !== "granted") return;
    setTimeout(() => this.forget(id), 1000);
    let notice;
    try {
      notice = new Notification(`Batch ${id} has ended`, { body: name, tag: `batch-${id}`, silent: true });
    } catch { // browsers of phones show none that a page makes
      this.tellHere(id, name);
      return;
    }
    notice.onclick = () => { focus(); location.href = `/batches/${id}`; };
  },

  // In the page itself, until it is left.
  tellHere(id, name) {
    const link = Object.assign(document.createElement("a"), { href: `/batches/${id}`, textContent: `Batch ${id}` });
    const said = Object.assign(document.createElement("p"), { className: "notice" });
    said.dataset.place = location.pathname;
    said.append(link, ` has ended: ${name}`);
    document.getElementById("notices")?.append(said);
  },

  // The button of a batch's page: there where the browser can tell, and says what was asked for.
  show() {
    const button = document.querySelector("[data-ending]");
    if (!button || typeof Notification === "undefined") return;
    const id = Number(button.dataset.ending);
    if ("over" in button.dataset) { this.forget(id); return; }
    // Another database was put here: its batches have the same numbers.
    if (id in this.all && this.all[id] !== button.dataset.name) this.forget(id);
    button.hidden = false;
    const asked = id in this.all;
    button.setAttribute("aria-pressed", String(asked));
    button.textContent = Notification.permission === "denied" ? "This browser may not tell you when it ends" : asked ? "You are told when it ends" : "Tell me when it ends";
    button.disabled = Notification.permission === "denied";
  },
};

addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-ending]");
  if (!button) return;
  const id = Number(button.dataset.ending);
  if (id in endings.all) endings.forget(id); else await endings.ask(id, button.dataset.name);
  endings.show();
  connection.open();
});
