"use strict";
// The search box of the index, buttons that copy the address of a feed, and no holes where pictures did not come. Pages
// say all there is without any of it.

const said = document.getElementById("said");

function plain(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

// --- the search box ---

const box = document.getElementById("search");
if (box) {
  const groups = Array.from(document.querySelectorAll(".group"), (section) => ({
    section,
    tab: document.querySelector(`nav a[href="#${section.id}"]`),
    feeds: Array.from(section.querySelectorAll(".cards > li"), (item) => ({
      item,
      name: plain(item.querySelector(".name").textContent),
    })),
  }));

  const filter = () => {
    const words = plain(box.value).split(/\s+/).filter(Boolean);
    let left = 0;
    for (const { section, tab, feeds } of groups) {
      let here = 0;
      for (const { item, name } of feeds) {
        const shown = words.every((word) => name.includes(word));
        item.hidden = !shown;
        here += shown;
      }
      section.hidden = !here;
      if (tab) {
        tab.parentNode.hidden = !here;
        tab.lastElementChild.textContent = here.toLocaleString("en");
      }
      left += here;
    }
    document.getElementById("none").hidden = left > 0;
    said.textContent = words.length ? `${left} found` : "";
  };

  box.form.hidden = false;
  box.form.addEventListener("submit", (event) => event.preventDefault());
  box.addEventListener("input", filter);
  if (box.value) filter(); // as browsers bring it back
  if (location.hash === "#search") box.focus(); // from a page that says that there is nothing
}

// --- copy link ---

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // pages that came by http:// have no clipboard
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("not copied");
}

for (const place of document.querySelectorAll(".take")) {
  const link = place.querySelector("a");
  if (!link) continue;
  const of = (place.closest(".cards > li")?.querySelector(".name") ?? link).textContent;
  const button = document.createElement("button");
  const face = document.createElement("span");
  const rest = document.createElement("span");
  button.type = "button";
  button.lang = "en";
  face.textContent = "Copy link";
  rest.className = "unseen";
  rest.textContent = ` of ${of}`;
  button.append(face, rest);
  place.append(button);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".take button");
  if (!button) return;
  const face = button.firstChild;
  let word = "Copied";
  try {
    await copy(button.parentNode.querySelector("a").href);
  } catch {
    word = "Not copied";
  }
  button.focus();
  face.textContent = word;
  said.textContent = word;
  setTimeout(() => {
    face.textContent = "Copy link";
    said.textContent = "";
  }, 2000);
});

// --- pictures that did not come ---

function lose(image) {
  if (image.closest("a.player")) image.classList.add("lost"); // what it says still names the link
  else (image.closest("figure") ?? image).hidden = true;
}

for (const image of document.images) {
  image.addEventListener("error", () => lose(image));
  if (image.complete && !image.naturalWidth) image.decode().catch(() => lose(image)); // it was faster than this script
}
