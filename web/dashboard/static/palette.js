"use strict";

// The dialog of Ctrl-K: what /find answers, and what can be done on the page that is open.

const MOST_ACTS = 6;
const ASK_AFTER_MS = 120; // of the last letter

const palette = {
  get dialog() { return document.getElementById("palette"); },
  get field() { return document.getElementById("palette-q"); },
  get found() { return document.getElementById("palette-found"); },
  get acts() { return document.getElementById("palette-acts"); },

  open() {
    if (!this.dialog || document.querySelector("dialog[open]")) return; // who may not read finds nothing
    this.field.value = "";
    this.acts.replaceChildren();
    this.dialog.showModal();
    this.ask();
  },

  async ask() {
    this.asked?.abort();
    const asked = this.asked = new AbortController();
    const text = this.field.value;
    try {
      const answer = await fetch(`/find?q=${encodeURIComponent(text)}`, { headers: { "X-Live": "1" }, signal: asked.signal });
      if (!answer.ok || answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (asked.signal.aborted || !this.dialog.open) return;
      this.show(page.querySelectorAll("#found > li"), text);
    } catch (error) {
      if (error.name !== "AbortError") connection.say("lost");
    }
  },

  // The arrows may be on an answer to what was typed before: they stay on it where it is found again.
  show(items, text) {
    const at = document.activeElement, within = this.found.contains(at);
    this.found.replaceChildren(...items);
    this.found.dataset.of = text;
    htmx.process(this.found);
    if (within) ([...this.found.querySelectorAll("a")].find((each) => each.href === at.href) ?? this.field).focus();
  },

  // What the rows of a table have is not among them: "Cancel" would be there a hundred times.
  showActs() {
    const text = this.field.value.trim().toLowerCase();
    const all = text ? [...document.querySelectorAll("#content button[type=submit], #content button:not([type]), #content a[data-act]")] : [];
    const meant = all.filter((each) => !each.disabled && !each.closest("[data-row]") && each.checkVisibility()
      && each.textContent.toLowerCase().includes(text)).slice(0, MOST_ACTS);
    this.acts.replaceChildren(...meant.map((button) => {
      const item = document.createElement("li"), act = document.createElement("button"), kind = document.createElement("span");
      kind.className = "muted kind";
      kind.textContent = button.matches("a") ? "Page" : "Action";
      act.type = "button";
      act.className = "plain";
      act.append(kind, " ", button.textContent.trim());
      act.addEventListener("click", () => { this.dialog.close(); button.focus(); button.click(); });
      item.append(act);
      return item;
    }));
  },

  get answers() { return [...this.dialog.querySelectorAll(".found a, .found button")]; },

  step(by) {
    const all = [this.field, ...this.answers];
    all[Math.min(all.length - 1, Math.max(0, all.indexOf(document.activeElement) + by))].focus();
  },
};

addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    if (palette.dialog?.open) palette.dialog.close(); else palette.open();
    return;
  }
  if (!palette.dialog?.open || event.isComposing) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    palette.step(event.key === "ArrowDown" ? 1 : -1);
  } else if (event.key === "Enter" && document.activeElement === palette.field) {
    // An answer to what was typed before is not meant: then the page of /find answers.
    const first = palette.answers[0];
    if (first && palette.found.dataset.of === palette.field.value) { event.preventDefault(); first.click(); }
  } else if (event.key === "Backspace" || /^\S$/u.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) {
    palette.field.focus(); // typing goes on where it was begun
  }
});

addEventListener("click", (event) => {
  if (event.target.closest?.("#find-open") && !event.ctrlKey && !event.metaKey) { event.preventDefault(); event.stopPropagation(); palette.open(); }
  if (event.target.closest?.("#palette .found a") || event.target === palette.dialog) palette.dialog.close();
}, true);
document.addEventListener("submit", (event) => { if (event.target.closest("#palette")) palette.dialog.close(); }, true);
document.addEventListener("input", (event) => {
  if (event.target !== palette.field) return;
  palette.showActs();
  clearTimeout(palette.timer);
  palette.timer = setTimeout(() => palette.ask(), ASK_AFTER_MS);
});
