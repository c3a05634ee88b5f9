/* The report's map and its choice of a photo. Numbers and names come from the JSON block of the page. */
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const byNumber = new Map(data.photos.map((photo) => [photo.number, photo]));
  const rowOf = new Map([...document.querySelectorAll("#photos tbody tr")].map((row) => [Number(row.dataset.number), row]));
  const articleOf = new Map([...document.querySelectorAll("article.photo")].map((each) => [Number(each.dataset.number), each]));
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const LABEL_ROOM_PX = 84; // a line on the map at least this long carries its metres without being chosen
  const firstNumber = numberInHash() ?? data.photos[0].number;
  document.documentElement.classList.add("scripted");
  articleOf.get(firstNumber).classList.add("photo-chosen"); // before the map is measured: it takes the room that is left

  // --- the map -------------------------------------------------------------------------------------------------
  const image = document.getElementById("map-image");
  const bounds = L.latLngBounds(data.bounds);
  const everything = L.latLngBounds(data.bounds);
  for (const photo of data.photos) {
    everything.extend(at(photo.candidates[0]));
    if (photo.truth) everything.extend(at(photo.truth));
  }
  image.remove();
  const map = L.map("map", {
    attributionControl: false, keyboard: false, zoomControl: false, zoomSnap: 0.25, zoomDelta: 0.75,
    wheelPxPerZoomLevel: 100, zoomAnimation: !calm, fadeAnimation: !calm, markerZoomAnimation: !calm,
  });
  map.fitBounds(bounds, { animate: false });
  const widthAtZoomZero = map.project(bounds.getNorthEast(), 0).x - map.project(bounds.getSouthWest(), 0).x;
  const ownZoom = Math.max(Math.log2(image.naturalWidth / widthAtZoomZero || 1), map.getZoom()); // a pixel a pixel
  map.setMaxZoom(ownZoom + 3);
  map.setMaxBounds(everything.pad(0.5));
  L.imageOverlay(image, bounds, { className: "aerial" }).addTo(map);
  L.control.scale({ imperial: false, position: "bottomleft", maxWidth: 140 }).addTo(map);
  L.control.zoom({ position: "topleft" }).addTo(map);
  addWholeMapControl();
  addNorthArrow();

  const answers = new Map(); // photo number -> { pin, truth, line, label }
  for (const photo of data.photos) answers.set(photo.number, drawPhoto(photo));
  const others = L.layerGroup().addTo(map);
  let otherPins = [];
  let chosen = null;
  let showsWhole = false; // until the map is moved: a window of another size then shows the whole map again
  let givenZoom = null; // the zoom this script chose last; any other is the reader's, and is kept

  function at(place) {
    return L.latLng(place.latitude_deg, place.longitude_deg);
  }

  function wholeMap() {
    const snap = map.options.zoomSnap;
    map.options.zoomSnap = 0; // fill the window to the pixel
    map.setMinZoom(0);
    map.fitBounds(bounds, { animate: false });
    givenZoom = map.getZoom();
    map.setMinZoom(map.getBoundsZoom(everything) - 0.75);
    map.options.zoomSnap = snap;
    showsWhole = true;
  }

  function addWholeMapControl() {
    const control = L.control({ position: "topleft" });
    control.onAdd = () => {
      const box = L.DomUtil.create("div", "leaflet-bar");
      const button = L.DomUtil.create("button", "whole-map", box);
      button.type = "button";
      button.title = "The whole map (0)";
      button.setAttribute("aria-label", "Show the whole map");
      button.innerHTML = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4"/></svg>';
      L.DomEvent.disableClickPropagation(box);
      L.DomEvent.on(button, "click", () => wholeMap());
      return box;
    };
    control.addTo(map);
  }

  function addNorthArrow() {
    const control = L.control({ position: "topright" });
    control.onAdd = () => {
      const box = L.DomUtil.create("div", "north-arrow");
      box.setAttribute("role", "img");
      box.setAttribute("aria-label", "North is up");
      box.innerHTML = '<svg viewBox="0 0 24 34"><path class="north-left" d="M12 2 4 22l8-5Z"/><path class="north-right" d="m12 2 8 20-8-5Z"/><text x="12" y="33" text-anchor="middle">N</text></svg>';
      return box;
    };
    control.addTo(map);
  }

  // --- what stands on the map ------------------------------------------------------------------------------------
  function offWords(place) {
    return place.metres_off_text === null ? "" : `${place.metres_off_text} off, ${place.grade}`;
  }

  function makePin(position, icon, label, onChoose, options) {
    const pin = L.marker(position, { icon, keyboard: true, riseOnHover: true, ...options }).addTo(options.into || map);
    const name = () => pin.getElement() && pin.getElement().setAttribute("aria-label", label);
    name();
    pin.on("add", name);
    pin.on("click keypress", (event) => {
      const key = event.originalEvent && event.originalEvent.key;
      if (event.type === "click" || key === "Enter" || key === " ") onChoose();
    });
    pin.rename = name;
    return pin;
  }

  function drawPhoto(photo) {
    const best = photo.candidates[0];
    const words = [["tip-name", `${photo.number}  ${photo.name}`], ["tip-text", offWords(best) || `confidence ${photo.confidence.toFixed(2)}`]];
    const drawn = { pin: null, truth: null, line: null, label: null };
    const choose = () => select(photo.number, { byPin: true });
    if (photo.truth) {
      const ends = [at(best), at(photo.truth)];
      drawn.line = L.layerGroup([
        L.polyline(ends, { className: "line-casing", weight: 4, interactive: false }),
        L.polyline(ends, { className: "line-core", weight: 1.5, interactive: false }),
      ]).addTo(map);
      drawn.truth = makePin(ends[1], symbols.truthIcon(photo, false), `True position of photo ${photo.number}, ${photo.name}`, choose, {});
      drawn.truth.bindTooltip(symbols.described([["tip-name", `True position of ${photo.number}`], ["tip-text", photo.name]]), { direction: "top", offset: [0, -14] });
      const middle = L.latLng((ends[0].lat + ends[1].lat) / 2, (ends[0].lng + ends[1].lng) / 2);
      drawn.label = L.marker(middle, { interactive: false, keyboard: false, zIndexOffset: 5000, icon: symbols.labelIcon(best.metres_off_text) });
    }
    drawn.pin = makePin(at(best), symbols.answerIcon(photo, false), `Photo ${photo.number}, ${photo.name}${offWords(best) && ", " + offWords(best)}`, choose, { zIndexOffset: 200 });
    drawn.pin.bindTooltip(symbols.described(words), { direction: "top", offset: [0, -14] });
    return drawn;
  }

  function placeLabels() {
    for (const [number, drawn] of answers) {
      if (!drawn.label) continue;
      const photo = byNumber.get(number);
      const from = map.latLngToLayerPoint(at(photo.candidates[0]));
      const to = map.latLngToLayerPoint(at(photo.truth));
      const long = from.distanceTo(to) >= LABEL_ROOM_PX;
      const shown = number === chosen || long;
      if (shown !== map.hasLayer(drawn.label)) map[shown ? "addLayer" : "removeLayer"](drawn.label);
      const element = drawn.label.getElement();
      const heading = photo.candidates[0].heading_deg; // a label without room on its line goes behind the camera
      const south = heading > 90 && heading < 270;
      if (element) element.classList.toggle("line-label-above", !long && south);
      if (element) element.classList.toggle("line-label-below", !long && !south);
    }
  }

  function drawOthers(photo) {
    others.clearLayers();
    otherPins = photo.candidates.slice(0, 5).map((place, index) => {
      if (index === 0) return null;
      const label = `Place ${place.rank} of photo ${photo.number}`;
      const pin = makePin(at(place), symbols.candidateIcon(place), label, () => highlight(index), { into: others, zIndexOffset: 100 });
      const parts = [["tip-name", label], ["tip-text", `score ${place.score.toFixed(3)}`]];
      if (offWords(place)) parts.push(["tip-text", offWords(place)]);
      return pin.bindTooltip(symbols.described(parts), { direction: "top", offset: [0, -12] });
    });
  }

  // --- choosing --------------------------------------------------------------------------------------------------
  function restyle(number) {
    if (number === null) return;
    const photo = byNumber.get(number);
    const { pin, truth } = answers.get(number);
    const isChosen = number === chosen;
    pin.setIcon(symbols.answerIcon(photo, isChosen)).setZIndexOffset(isChosen ? 2000 : 200);
    pin.rename();
    if (truth) {
      truth.setIcon(symbols.truthIcon(photo, isChosen)).setZIndexOffset(isChosen ? 1900 : 0);
      truth.rename();
    }
    if (isChosen) rowOf.get(number).setAttribute("aria-current", "true");
    else rowOf.get(number).removeAttribute("aria-current");
    articleOf.get(number).classList.toggle("photo-chosen", isChosen);
  }

  function select(number, { still = false, byPin = false } = {}) {
    if (!byNumber.has(number)) return;
    const before = chosen;
    chosen = number;
    restyle(before);
    restyle(number);
    const photo = byNumber.get(number);
    drawOthers(photo);
    markTile(null);
    placeLabels();
    if (!still) goTo(photo);
    const order = visibleOrder();
    document.getElementById("place-in-list").textContent = `${order.indexOf(number) + 1} of ${order.length}`;
    keepRowInSight(rowOf.get(number));
    if (!byPin && before !== null) bringMapIntoSight();
    if (location.hash !== `#photo=${number}` && before !== null) {
      try { history.replaceState(null, "", `#photo=${number}`); } catch { /* some viewers forbid it; the choice stands */ }
    }
  }

  function goTo(photo) {
    const target = L.latLngBounds([at(photo.candidates[0])]);
    if (photo.truth) target.extend(at(photo.truth));
    const readers = givenZoom === null || Math.abs(map.getZoom() - givenZoom) > 0.01;
    const apart = photo.truth ? map.getBoundsZoom(target, false, map.getSize().subtract([110, 110])) : 0; // 110 px apart
    const near = Math.max(map.getBoundsZoom(bounds) + 1.75, Math.min(apart, ownZoom + 1));
    const fits = Math.min(map.getBoundsZoom(target, false, L.point(180, 180)), map.getMaxZoom());
    const zoom = Math.min(fits, readers ? map.getZoom() : near);
    if (!readers) givenZoom = zoom;
    fly(target.getCenter(), zoom);
  }

  function fly(center, zoom) {
    showsWhole = false;
    if (calm || document.hidden || !ready) map.setView(center, zoom, { animate: false });
    else map.flyTo(center, zoom, { duration: 0.6 });
  }

  function markTile(index) {
    for (const tile of articleOf.get(chosen).querySelectorAll(".tile-view")) {
      tile.classList.toggle("tile-marked", Number(tile.dataset.index) === index);
    }
    otherPins.forEach((pin, each) => pin && pin.getElement() && pin.getElement().classList.toggle("pin-marked", each === index));
  }

  function highlight(index) {
    markTile(index);
    showsWhole = false;
    map.panInside(at(byNumber.get(chosen).candidates[index]), { padding: [60, 60], animate: !calm });
  }

  function keepRowInSight(row) {
    const box = row.closest(".table-scroll");
    const head = box.querySelector("thead").offsetHeight;
    const top = row.offsetTop - head;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = row.offsetTop + row.offsetHeight - box.clientHeight;
  }

  function bringMapIntoSight() {
    const { top } = map.getContainer().getBoundingClientRect();
    const narrow = window.matchMedia("(max-width: 920px)").matches;
    if (narrow && (top < 0 || top > window.innerHeight * 0.4)) map.getContainer().scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  }

  function visibleOrder() {
    return [...document.querySelectorAll("#photos tbody tr")].map((row) => Number(row.dataset.number));
  }

  function step(by) {
    const order = visibleOrder();
    const next = order.indexOf(chosen) + by;
    if (next >= 0 && next < order.length) select(order[next]);
  }

  function numberInHash() {
    const match = /^#photo=(\d+)$/.exec(location.hash);
    return match && byNumber.has(Number(match[1])) ? Number(match[1]) : null;
  }

  // --- list, keys, copying ---------------------------------------------------------------------------------------
  for (const [number, row] of rowOf) {
    row.addEventListener("click", (event) => {
      event.preventDefault();
      select(number);
    });
  }
  for (const view of document.querySelectorAll(".tile-view")) {
    view.addEventListener("click", () => {
      highlight(Number(view.dataset.index));
      bringMapIntoSight();
    });
  }
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  window.addEventListener("hashchange", () => numberInHash() !== null && select(numberInHash()));

  for (const head of document.querySelectorAll("#photos thead th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(head));
  }

  function sortBy(head) {
    const column = [...head.parentElement.children].indexOf(head);
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const each of head.parentElement.children) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const key = (row) => row.children[column].dataset.value;
    const compare = (a, b) => {
      if (head.dataset.sort === "name") return a.children[column].textContent.localeCompare(b.children[column].textContent, undefined, { numeric: true });
      return Number(key(a)) - Number(key(b));
    };
    const body = document.querySelector("#photos tbody");
    const known = (row) => head.dataset.sort === "name" || key(row) !== undefined;
    const rows = [...body.children];
    const sorted = rows.filter(known).sort((a, b) => (descending ? compare(b, a) : compare(a, b)));
    body.append(...sorted, ...rows.filter((row) => !known(row)));
    select(chosen, { still: true, byPin: true });
  }

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const shift = { ArrowLeft: [-120, 0], ArrowRight: [120, 0], ArrowUp: [0, -120], ArrowDown: [0, 120] }[event.key];
    const inList = document.activeElement && document.activeElement.closest("#photos, #map");
    if (event.shiftKey && shift) pan(shift);
    else if (event.key === "ArrowLeft" || (inList && event.key === "ArrowUp")) step(-1);
    else if (event.key === "ArrowRight" || (inList && event.key === "ArrowDown")) step(1);
    else if (event.key === "+" || event.key === "=") map.zoomIn();
    else if (event.key === "-" || event.key === "−") map.zoomOut();
    else if (event.key === "0") wholeMap();
    else return;
    event.preventDefault();
  });

  function pan(by) {
    showsWhole = false;
    map.panBy(by, { animate: !calm });
  }

  async function copy(text) {
    const field = document.createElement("textarea"); // the old way first: it works in a page opened from a file
    field.value = text;
    field.className = "visually-hidden";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (!done) await navigator.clipboard.writeText(text);
  }
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", () => copy(button.dataset.copy).then(() => {
      button.focus({ preventScroll: true });
      button.classList.add("copied");
      setTimeout(() => button.classList.remove("copied"), 1200);
    }, () => window.getSelection().selectAllChildren(button.querySelector(".coordinates"))));
  }

  const readout = L.control({ position: "bottomright" });
  readout.onAdd = () => L.DomUtil.create("div", "pointer coordinates");
  readout.addTo(map);
  const pointer = readout.getContainer();
  map.on("mousemove", (event) => {
    pointer.textContent = `${event.latlng.lat.toFixed(6)}, ${event.latlng.lng.toFixed(6)}`;
  });
  map.on("mouseout", () => { pointer.textContent = ""; });
  map.on("zoomend", placeLabels);
  map.on("dragstart zoomstart", () => { showsWhole = false; });

  // --- printing: the whole map at the paper's width --------------------------------------------------------------
  let beforePrint = null;
  window.addEventListener("beforeprint", () => {
    beforePrint = { center: map.getCenter(), zoom: map.getZoom() };
    document.documentElement.classList.add("printing");
    const shape = image.naturalHeight / image.naturalWidth;
    map.getContainer().style.height = `${Math.min(180 * shape, 170)}mm`;
    map.invalidateSize({ animate: false });
    wholeMap();
  });
  window.addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    map.getContainer().style.height = "";
    map.invalidateSize({ animate: false });
    if (beforePrint) map.setView(beforePrint.center, beforePrint.zoom, { animate: false });
  });

  new ResizeObserver(() => {
    const again = showsWhole;
    map.invalidateSize({ animate: false });
    if (again) wholeMap();
  }).observe(map.getContainer());

  let ready = false;
  wholeMap();
  select(firstNumber, { still: numberInHash() === null });
  ready = true;
})();
